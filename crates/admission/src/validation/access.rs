//! RBAC kinds (K37).

use outrigger_api::{KindInfo, Object};
use serde_json::Value;

use super::{ABSENT, names, text};
use crate::field::Findings;
use crate::tree;

const GROUP: &str = "rbac.authorization.k8s.io";

/// What holds for every version of the object.
pub(super) fn shape(kind: &KindInfo, object: &Object, findings: &mut Findings) {
    let whole = Value::Object(object.0.clone());
    if matches!(&*kind.kind, "Role" | "ClusterRole") {
        for (index, rule) in tree::list(&whole, "rules").iter().enumerate() {
            rule_shape(rule, kind.namespaced, &format!("rules[{index}]"), findings);
        }
        return;
    }
    let role = object.0.get("roleRef").unwrap_or(ABSENT);
    let group = tree::text(role, "apiGroup");
    if group != GROUP {
        findings.unsupported("roleRef.apiGroup", group, &[GROUP]);
    }
    let kinds: &[&str] = if kind.namespaced { &["ClusterRole", "Role"] } else { &["ClusterRole"] };
    if !kinds.contains(&tree::text(role, "kind")) {
        findings.unsupported("roleRef.kind", tree::text(role, "kind"), kinds);
    }
    let name = tree::text(role, "name");
    if name.is_empty() {
        findings.required("roleRef.name", "");
    } else if let Some(why) = names::path_segment(name) {
        findings.invalid("roleRef.name", name, &why);
    }
    for (index, subject) in tree::list(&whole, "subjects").iter().enumerate() {
        subject_shape(subject, kind.namespaced, &format!("subjects[{index}]"), findings);
    }
}

fn rule_shape(rule: &Value, namespaced: bool, at: &str, findings: &mut Findings) {
    let none = |key: &str| tree::list(rule, key).is_empty();
    if none("verbs") {
        findings.required(&format!("{at}.verbs"), "verbs must contain at least one value");
    }
    if !none("nonResourceURLs") {
        let field = format!("{at}.nonResourceURLs");
        let urls = tree::list(rule, "nonResourceURLs").to_vec();
        if namespaced {
            let why = "namespaced rules cannot apply to non-resource URLs";
            findings.invalid(&field, urls.clone(), why);
        }
        if !none("apiGroups") || !none("resources") || !none("resourceNames") {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            findings.invalid(&field, urls, why);
        }
        return;
    }
    if none("apiGroups") {
        findings.required(&format!("{at}.apiGroups"), "resource rules must supply at least one api group");
    }
    if none("resources") {
        findings.required(&format!("{at}.resources"), "resource rules must supply at least one resource");
    }
}

fn subject_shape(subject: &Value, namespaced: bool, at: &str, findings: &mut Findings) {
    text::required(subject, "name", at, findings);
    let group = tree::text(subject, "apiGroup");
    match tree::text(subject, "kind") {
        "ServiceAccount" => {
            if let Some(why) = names::dns_subdomain(tree::text(subject, "name")) {
                findings.invalid(&format!("{at}.name"), tree::text(subject, "name"), &why);
            }
            if !group.is_empty() {
                findings.unsupported(&format!("{at}.apiGroup"), group, &[""]);
            }
            // A binding without a namespace cannot lend its own.
            if !namespaced {
                text::required(subject, "namespace", at, findings);
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                findings.unsupported(&format!("{at}.apiGroup"), group, &[GROUP]);
            }
        }
        other => findings.unsupported(&format!("{at}.kind"), other, &["Group", "ServiceAccount", "User"]),
    }
}

/// A binding keeps its role.
pub(super) fn change(kind: &KindInfo, new: &Object, old: &Object, findings: &mut Findings) {
    if !matches!(&*kind.kind, "RoleBinding" | "ClusterRoleBinding") {
        return;
    }
    let role = |object: &Object| object.0.get("roleRef").cloned().unwrap_or_default();
    if role(new) != role(old) {
        findings.invalid("roleRef", role(new), "cannot change roleRef");
    }
}
