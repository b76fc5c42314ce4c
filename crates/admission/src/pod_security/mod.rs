//! The Pod Security Standards: which Pods a namespace takes, as its labels say (I39-I41).
//!
//! [`Policy::of_labels`] reads the labels, [`violations`] judges one Pod or template against a level, and the three
//! questions an API server asks are [`judge_pod`], [`judge_template`] and [`judge_namespace`]. What a level forbids is a
//! table in `checks`; the checks themselves are in `baseline` and `restricted`.
//!
//! There are no exemptions: they come from a file of the API server, and this one reads none.

mod baseline;
mod checks;
mod restricted;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use outrigger_api::{KindInfo, Object, StatusError};
use serde_json::Value;

pub use checks::violations;

use crate::field::Findings;
use crate::tree;
use crate::validation::ABSENT;
use crate::warnings::Warning;

const PREFIX: &str = "pod-security.kubernetes.io/";
/// A change of a namespace's labels looks at no more Pods than this.
pub const PODS_LOOKED_AT: usize = 3000;

/// How much is forbidden; each level forbids what the one before it does, and more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    Privileged,
    /// Known ways out of a container (I40).
    Baseline,
    /// Whatever is not hardened (I41).
    Restricted,
}

impl Level {
    const ALL: [Self; 3] = [Self::Privileged, Self::Baseline, Self::Restricted];

    /// Its word in labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// Which Kubernetes' idea of a level is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// This server's.
    #[default]
    Latest,
    /// That of 1.N.
    Minor(u32),
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        let minor = text.strip_prefix("v1.")?;
        let plain =
            minor.bytes().all(|byte| byte.is_ascii_digit()) && (minor == "0" || !minor.starts_with('0'));
        if plain { minor.parse().ok().map(Self::Minor) } else { None }
    }

    /// Whether checks of 1.`minor` are part of it.
    const fn reaches(self, minor: u32) -> bool {
        match self {
            Self::Latest => true,
            Self::Minor(own) => own >= minor,
        }
    }
}

/// A level as of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standard {
    /// What is forbidden.
    pub level: Level,
    /// As of when.
    pub version: Version,
}

impl fmt::Display for Standard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.level.word())?;
        match self.version {
            Version::Latest => out.write_str(":latest"),
            Version::Minor(minor) => write!(out, ":v1.{minor}"),
        }
    }
}

/// What a namespace's labels ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What is refused.
    pub enforce: Standard,
    /// What is noted in the audit log.
    pub audit: Standard,
    /// What the client is warned of.
    pub warn: Standard,
}

impl Policy {
    /// Reads the labels of a namespace, and says what is wrong with them. What cannot be read is enforced strictly, but
    /// neither noted nor warned of.
    pub fn of_labels(namespace: &Object) -> (Self, Findings) {
        let mut findings = Findings::default();
        let mut policy = Self::default();
        for (mode, standard, unreadable) in [
            ("enforce", &mut policy.enforce, Level::Restricted),
            ("audit", &mut policy.audit, Level::Privileged),
            ("warn", &mut policy.warn, Level::Privileged),
        ] {
            let level = format!("{PREFIX}{mode}");
            if let Some(word) = label(namespace, &level) {
                let known = Level::ALL.into_iter().find(|level| level.word() == word);
                standard.level = known.unwrap_or(unreadable);
                if known.is_none() {
                    let why = "must be one of privileged, baseline, restricted";
                    findings.invalid(&format!("metadata.labels[{level}]"), word, why);
                }
            }
            let version = format!("{level}-version");
            if let Some(word) = label(namespace, &version) {
                let known = Version::parse(word);
                standard.version = known.unwrap_or_default();
                if known.is_none() {
                    let why = "must be \"latest\" or \"v1.x\"";
                    findings.invalid(&format!("metadata.labels[{version}]"), word, why);
                }
            }
        }
        (policy, findings)
    }
}

fn label<'a>(namespace: &'a Object, key: &str) -> Option<&'a str> {
    namespace.labels().find_map(|(name, value)| (name == key).then_some(value))
}

/// One thing a Pod must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What is forbidden, in few words.
    pub reason: String,
    /// Who does it; may be empty.
    pub detail: String,
}

/// Reasons with their details, as refusals and warnings name them.
fn told(violations: &[Violation]) -> String {
    let one = |violation: &Violation| match violation.detail.as_str() {
        "" => violation.reason.clone(),
        detail => format!("{} ({detail})", violation.reason),
    };
    violations.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What was decided about a Pod or a template that is not refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// For the client.
    pub warnings: Vec<Warning>,
    /// For the audit log, by key within `pod-security.kubernetes.io/`.
    pub audit: BTreeMap<&'static str, String>,
}

/// Judges a Pod that is created, or changed by an update that counts ([`is_significant`]).
///
/// # Errors
/// 403 if the namespace does not take such Pods.
pub fn judge_pod(pod: &Object, namespace: &Object) -> Result<Judged, StatusError> {
    let (policy, findings) = Policy::of_labels(namespace);
    let (metadata, spec) = (pod.0.get("metadata").unwrap_or(ABSENT), pod.0.get("spec").unwrap_or(ABSENT));
    let found = violations(policy.enforce, metadata, spec);
    if !found.is_empty() {
        let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, told(&found));
        return Err(StatusError::forbidden("pods", "", pod.name(), &why));
    }
    Ok(beyond_enforcing(policy, &findings, metadata, spec))
}

/// Judges the template of a workload: it is never refused, its Pods will be.
pub fn judge_template(kind: &KindInfo, object: &Object, namespace: &Object) -> Judged {
    let Some(template) = template_of(kind, object) else { return Judged::default() };
    let (policy, findings) = Policy::of_labels(namespace);
    let member = |key: &str| template.get(key).unwrap_or(ABSENT);
    beyond_enforcing(policy, &findings, member("metadata"), member("spec"))
}

fn beyond_enforcing(policy: Policy, findings: &Findings, metadata: &Value, spec: &Value) -> Judged {
    let mut judged = Judged::default();
    if !findings.is_empty() {
        let all: Vec<String> =
            findings.causes().iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let all = if let [one] = all.as_slice() { one.clone() } else { format!("[{}]", all.join(", ")) };
        judged.audit.insert("error", format!("Failed to parse policy: {all}"));
    }
    judged.audit.insert("enforce-policy", policy.enforce.to_string());
    let would = |standard: Standard| {
        let found = violations(standard, metadata, spec);
        let text = format!("would violate PodSecurity \"{standard}\": {}", told(&found));
        (!found.is_empty()).then_some(text)
    };
    if let Some(text) = would(policy.audit) {
        judged.audit.insert("audit-violations", text);
    }
    judged.warnings.extend(would(policy.warn));
    judged
}

/// The template of a kind that makes Pods.
fn template_of<'a>(kind: &KindInfo, object: &'a Object) -> Option<&'a Value> {
    match (&*kind.group, &*kind.kind) {
        ("", "PodTemplate") => object.at(&["template"]),
        ("", "ReplicationController")
        | ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
        | ("batch", "Job") => object.at(&["spec", "template"]),
        ("batch", "CronJob") => object.at(&["spec", "jobTemplate", "spec", "template"]),
        _ => None,
    }
}

/// Whether an update of a Pod can make it violate what it did not: another image, another container, or other
/// annotations about seccomp.
pub fn is_significant(new: &Object, old: &Object) -> bool {
    const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
    let list = |object: &Object, key: &str| -> Vec<(String, String)> {
        let spec = object.0.get("spec").unwrap_or(ABSENT);
        let of = |item: &Value| (tree::text(item, "name").to_owned(), tree::text(item, "image").to_owned());
        tree::list(spec, key).iter().map(of).collect()
    };
    let seccomp = |object: &Object| -> Vec<(String, Value)> {
        let all = object.at(&["metadata", "annotations"]).and_then(Value::as_object).into_iter().flatten();
        let about = all
            .filter(|(key, _)| *key == subject::SECCOMP_POD || key.starts_with(subject::SECCOMP_CONTAINER));
        about.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    LISTS.iter().any(|key| list(new, key) != list(old, key)) || seccomp(new) != seccomp(old)
}

/// The standard existing Pods have to be looked at for, if an update of a namespace makes it stricter.
pub fn stricter(new: &Object, old: &Object) -> Option<Standard> {
    let (is, was) = (Policy::of_labels(new).0.enforce, Policy::of_labels(old).0.enforce);
    let relaxed = is.version == was.version && is.level <= was.level;
    (is != was && is.level != Level::Privileged && !relaxed).then_some(is)
}

/// Whether the labels of a new or changed namespace can be read; those that were there before may stay.
///
/// # Errors
/// 422.
pub fn check_labels(kind: &KindInfo, new: &Object, old: Option<&Object>) -> Result<(), StatusError> {
    let (_, findings) = Policy::of_labels(new);
    let before = old.map(|old| Policy::of_labels(old).1);
    if before.is_some_and(|before| before.causes() == findings.causes()) {
        return Ok(());
    }
    findings.into_result(kind, new.name())
}

/// What the Pods of a namespace do that it will not take from now on. `total` counts those not among `pods` as well.
pub fn judge_namespace(name: &str, standard: Standard, pods: &[Object], total: usize) -> Vec<Warning> {
    let mut by_reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods {
        let (metadata, spec) = (pod.0.get("metadata").unwrap_or(ABSENT), pod.0.get("spec").unwrap_or(ABSENT));
        let found = violations(standard, metadata, spec);
        if !found.is_empty() {
            let reasons: Vec<&str> = found.iter().map(|violation| violation.reason.as_str()).collect();
            by_reasons.entry(reasons.join(", ")).or_default().push(pod.name());
        }
    }
    let mut warnings = Vec::new();
    if pods.len() < total {
        let (looked_at, all) = (pods.len(), total);
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {looked_at} of {all} existing pods"
        ));
    }
    if !by_reasons.is_empty() {
        warnings.push(format!(
            "existing pods in namespace \"{name}\" violate the new PodSecurity enforce level \"{standard}\""
        ));
    }
    let line = |(reasons, names): (String, Vec<&str>)| {
        let first = names.iter().min().copied().unwrap_or_default();
        match names.len() - 1 {
            0 => format!("{first}: {reasons}"),
            1 => format!("{first} (and 1 other pod): {reasons}"),
            others => format!("{first} (and {others} other pods): {reasons}"),
        }
    };
    let mut lines: Vec<String> = by_reasons.into_iter().map(line).collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}
