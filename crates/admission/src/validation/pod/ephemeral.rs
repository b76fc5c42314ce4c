//! Ephemeral containers and the subresource that adds them (R14.1, R14.3, H42).

use outrigger_api::Object;
use serde_json::{Map, Value};

use super::{Scope, spec};
use crate::field::Findings;
use crate::tree;
use crate::validation::ABSENT;

const NOT_ALLOWED: &str = "cannot be set for an Ephemeral Container";
/// What an ephemeral container may not have, in upstream's order of fields.
const FORBIDDEN: &[&str] = &[
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];
const MIRROR: &str = "kubernetes.io/config.mirror";

/// One ephemeral container at `path`.
pub(super) fn check(of: &Scope<'_>, container: &Value, path: &str, findings: &mut Findings) {
    for field in FORBIDDEN {
        let set = match container.get(field) {
            None | Some(Value::Null) => false,
            Some(Value::Array(list)) => !list.is_empty(),
            Some(Value::Object(members)) => !members.is_empty(),
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Bool(_) | Value::Number(_)) => true,
        };
        if set {
            findings.forbidden(&format!("{path}.{field}"), NOT_ALLOWED);
        }
    }
    for (index, mount) in tree::list(container, "volumeMounts").iter().enumerate() {
        for field in ["subPath", "subPathExpr"] {
            if !tree::text(mount, field).is_empty() {
                findings.forbidden(&format!("{path}.volumeMounts[{index}].{field}"), NOT_ALLOWED);
            }
        }
    }
    let target = tree::text(container, "targetContainerName");
    let there = ["containers", "initContainers"]
        .iter()
        .flat_map(|field| tree::list(of.spec, field))
        .any(|other| tree::text(other, "name") == target);
    if !target.is_empty() && !there {
        findings.not_found(&format!("{path}.targetContainerName"), target); // R14.3
    }
}

/// Whether a Pod only mirrors what a node runs from a file.
pub(super) fn is_static(pod: &Object) -> bool {
    pod.at(&["metadata", "annotations"])
        .and_then(Value::as_object)
        .is_some_and(|map: &Map<_, _>| map.contains_key(MIRROR))
}

/// A write to `/ephemeralcontainers`: entries are only ever added.
pub(in crate::validation) fn update(new: &Object, old: &Object, findings: &mut Findings) {
    let (is, was) = (new.0.get("spec").unwrap_or(ABSENT), old.0.get("spec").unwrap_or(ABSENT));
    spec(&Scope { spec: is, base: "spec", template: false, stored: true }, findings);
    if is_static(new) {
        findings.forbidden("", "static pods do not support ephemeral containers");
    }
    let field = "spec.ephemeralContainers";
    let added = tree::list(is, "ephemeralContainers");
    for container in tree::list(was, "ephemeralContainers") {
        let name = tree::text(container, "name");
        match added.iter().find(|other| tree::text(other, "name") == name) {
            None => {
                let why = format!("existing ephemeral containers {name:?} may not be removed\n");
                findings.forbidden(field, &why);
            }
            Some(other) if !tree::same(other, container) => {
                let why = format!("existing ephemeral containers {name:?} may not be changed\n");
                findings.forbidden(field, &why);
            }
            Some(_) => {}
        }
    }
}
