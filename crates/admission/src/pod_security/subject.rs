//! A Pod under judgement, and how findings about it are put into words.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Level, Standard, Version, Violation};
use crate::tree;
use crate::validation::ABSENT;

pub(super) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub(super) const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// What a check looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) metadata: &'a Value,
    pub(super) spec: &'a Value,
    pub(super) standard: Standard,
}

impl<'a> Subject<'a> {
    /// All containers, init ones first.
    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |field| tree::list(spec, field))
    }

    /// The security context of the Pod as a whole.
    pub(super) fn context(&self) -> &'a Value {
        context_of(self.spec)
    }

    pub(super) fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let all = self.metadata.get("annotations").and_then(Value::as_object);
        all.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// Whether the version takes Windows into account, and the Pod is for Windows.
    pub(super) fn is_exempt_windows(&self) -> bool {
        let os = self.spec.get("os").map(|os| tree::text(os, "name"));
        self.version().reaches(25) && os == Some("windows")
    }

    pub(super) const fn version(&self) -> Version {
        self.standard.version
    }

    pub(super) const fn level(&self) -> Level {
        self.standard.level
    }

    /// Names of the containers something is true of.
    pub(super) fn containers_where(&self, is: impl FnMut(&&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(is).map(|container| tree::text(container, "name")).collect()
    }
}

/// The `securityContext` of a Pod's spec or a container.
pub(super) fn context_of(holder: &Value) -> &Value {
    holder.get("securityContext").unwrap_or(ABSENT)
}

/// `container "a"`, `containers "a", "b"`.
pub(super) fn containers(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

/// Who sets something: `pod`, `container "a"`, `pod and container "a"`; `None` if nobody does.
pub(super) fn setters(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names) {
        (false, []) => None,
        (true, []) => Some("pod".to_owned()),
        (false, names) => Some(containers(names)),
        (true, names) => Some(format!("pod and {}", containers(names))),
    }
}

pub(super) const fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// Each in quotes, with commas between.
pub(super) fn quoted<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    words.into_iter().map(|word| format!("{:?}", word.as_ref())).collect::<Vec<_>>().join(", ")
}

pub(super) fn violation(reason: &str, detail: String) -> Option<Violation> {
    Some(Violation { reason: reason.to_owned(), detail })
}

/// Types of a profile that are set and not among those allowed; and who sets them.
pub(super) struct Profiles<'a> {
    /// Whether the Pod's own is bad.
    pub(super) pod: bool,
    /// Containers whose own is bad.
    pub(super) containers: Vec<&'a str>,
    /// The bad ones.
    pub(super) types: BTreeSet<&'a str>,
    /// Whether the Pod's own is there and good.
    pub(super) pod_is_good: bool,
    /// Containers without one.
    pub(super) unset: Vec<&'a str>,
}

impl<'a> Profiles<'a> {
    /// Of the profile `member` (`seccompProfile`, `appArmorProfile`).
    pub(super) fn of(subject: &Subject<'a>, member: &str) -> Self {
        let kind = |holder: &'a Value| {
            let profile = context_of(holder).get(member).filter(|profile| profile.is_object());
            profile.map(|profile| tree::text(profile, "type"))
        };
        let is_good = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
        let own = kind(subject.spec);
        let mut found = Self {
            pod: own.is_some_and(|own| !is_good(own)),
            containers: Vec::new(),
            types: own.into_iter().filter(|own| !is_good(own)).collect(),
            pod_is_good: own.is_some_and(is_good),
            unset: Vec::new(),
        };
        for container in subject.containers() {
            let name = tree::text(container, "name");
            match kind(container) {
                None => found.unset.push(name),
                Some(kind) if !is_good(kind) => {
                    found.containers.push(name);
                    found.types.insert(kind);
                }
                Some(_) => {}
            }
        }
        found
    }
}
