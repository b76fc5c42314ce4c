//! What the restricted level forbids beyond the baseline (I41).

use std::collections::BTreeSet;

use serde_json::Value;

use super::Violation;
use super::baseline::{added, bad_seccomp};
use super::subject::{Profiles, Subject, containers, context_of, plural, quoted, setters, violation};
use crate::tree;
use crate::validation::ABSENT;

/// Where data may come from, with the version that allows it.
const VOLUMES: &[(&str, u32)] = &[
    ("configMap", 0),
    ("csi", 0),
    ("downwardAPI", 0),
    ("emptyDir", 0),
    ("ephemeral", 0),
    ("persistentVolumeClaim", 0),
    ("projected", 0),
    ("secret", 0),
    ("image", 0),
];

pub(super) fn privilege_escalation(subject: &Subject<'_>) -> Option<Violation> {
    if subject.is_exempt_windows() {
        return None;
    }
    let bad = subject.containers_where(|container| {
        context_of(container).get("allowPrivilegeEscalation").and_then(Value::as_bool) != Some(false)
    });
    if bad.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&bad));
    violation("allowPrivilegeEscalation != false", detail)
}

pub(super) fn capabilities(subject: &Subject<'_>) -> Option<Violation> {
    const ALLOWED: &[&str] = &["NET_BIND_SERVICE"];
    if subject.is_exempt_windows() {
        return None;
    }
    let keeps_some = |container: &&Value| {
        let capabilities = context_of(container).get("capabilities").unwrap_or(ABSENT);
        !tree::list(capabilities, "drop").iter().any(|name| name == "ALL")
    };
    let keep = subject.containers_where(keeps_some);
    let add = subject.containers_where(|container| !added(container, ALLOWED).is_empty());
    let names: BTreeSet<&str> =
        subject.containers().flat_map(|container| added(container, ALLOWED)).collect();
    let mut details = Vec::new();
    if !keep.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keep)));
    }
    if !add.is_empty() {
        let (who, names) = (containers(&add), quoted(names));
        details.push(format!("{who} must not include {names} in securityContext.capabilities.add"));
    }
    if details.is_empty() { None } else { violation("unrestricted capabilities", details.join("; ")) }
}

pub(super) fn volumes(subject: &Subject<'_>) -> Option<Violation> {
    let source = |volume: &Value| -> Option<String> {
        let members = volume.as_object().into_iter().flatten();
        let mut sources = members.filter(|(key, value)| *key != "name" && value.is_object());
        sources.next().map(|(key, _)| key.clone())
    };
    let is_allowed =
        |kind: &str| VOLUMES.iter().any(|(name, since)| *name == kind && subject.version().reaches(*since));
    let bad: Vec<(&str, String)> = tree::list(subject.spec, "volumes")
        .iter()
        .map(|volume| (tree::text(volume, "name"), source(volume).unwrap_or_else(|| "unknown".to_owned())))
        .filter(|(_, kind)| !is_allowed(kind))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let kinds: BTreeSet<&str> = bad.iter().map(|(_, kind)| kind.as_str()).collect();
    let detail = format!(
        "{} {} {} {} {}",
        plural(bad.len(), "volume", "volumes"),
        quoted(bad.iter().map(|(name, _)| *name)),
        plural(bad.len(), "uses", "use"),
        plural(kinds.len(), "restricted volume type", "restricted volume types"),
        quoted(kinds)
    );
    violation("restricted volume types", detail)
}

pub(super) fn non_root(subject: &Subject<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let set = |holder: &Value| context_of(holder).get("runAsNonRoot").and_then(Value::as_bool);
    let explicit = subject.containers_where(|container| set(container) == Some(false));
    if let Some(who) = setters(set(subject.spec) == Some(false), &explicit) {
        return violation(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = subject.containers_where(|container| set(container).is_none());
    if silent.is_empty() || set(subject.spec) == Some(true) {
        return None;
    }
    violation(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent)))
}

pub(super) fn user(subject: &Subject<'_>) -> Option<Violation> {
    let is_root = |holder: &Value| tree::int(context_of(holder), "runAsUser") == Some(0);
    let who = setters(is_root(subject.spec), &subject.containers_where(|container| is_root(container)))?;
    violation("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

pub(super) fn seccomp(subject: &Subject<'_>) -> Option<Violation> {
    if subject.is_exempt_windows() {
        return None;
    }
    let found = Profiles::of(subject, "seccompProfile");
    if let Some(bad) = bad_seccomp(&found) {
        return Some(bad);
    }
    if found.pod_is_good || found.unset.is_empty() {
        return None;
    }
    let who = containers(&found.unset);
    let detail = format!(
        "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
    );
    violation("seccompProfile", detail)
}
