//! What may change in the spec of a stored Pod through the Pod itself (R1.48, R1.49, K10).

use std::fmt::Write as _;

use outrigger_api::Object;
use serde_json::{Map, Value, json};

use super::{Scope, spec};
use crate::field::Findings;
use crate::tree;
use crate::validation::ABSENT;

const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
     `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
     tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const MAX_SECONDS: i64 = i32::MAX as i64;
const NODE_TERMS: [&str; 3] =
    ["nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];

/// Checks an update of a Pod.
pub(in crate::validation) fn update(new: &Object, old: &Object, findings: &mut Findings) {
    let (is, was) = (new.0.get("spec").unwrap_or(ABSENT), old.0.get("spec").unwrap_or(ABSENT));
    spec(&Scope { spec: is, base: "spec", template: false, stored: true }, findings);
    for field in ["containers", "initContainers"] {
        if tree::list(is, field).len() != tree::list(was, field).len() {
            findings.forbidden(&format!("spec.{field}"), "pod updates may not add or remove containers");
            return;
        }
    }
    if !deadline(is, was, findings) {
        return;
    }
    tolerations(is, was, findings);
    gates(is, was, findings);
    let allowed = with_allowed_changes(is, was, findings);
    if !tree::same(is, &allowed) {
        let mut why = format!("{ALLOWED}\n");
        differences(was, is, "spec", &mut why);
        findings.forbidden("spec", &why);
    }
}

/// Set once, then only lowered. Returns whether the other checks are worth making.
fn deadline(is: &Value, was: &Value, findings: &mut Findings) -> bool {
    let field = "spec.activeDeadlineSeconds";
    let key = "activeDeadlineSeconds";
    match (tree::int(is, key), tree::int(was, key)) {
        (Some(seconds), _) if !(0..=MAX_SECONDS).contains(&seconds) => {
            findings.invalid(field, seconds, "must be between 0 and 2147483647, inclusive");
        }
        (Some(seconds), Some(before)) if before < seconds => {
            findings.invalid(field, seconds, "must be less than or equal to previous value");
        }
        (None, Some(_)) => {
            findings.invalid(field, Value::Null, "must not update from a positive integer to nil value");
        }
        _ => return true,
    }
    false
}

fn tolerations(is: &Value, was: &Value, findings: &mut Findings) {
    let bare = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(map) = toleration.as_object_mut() {
            map.remove("tolerationSeconds");
        }
        toleration
    };
    let kept: Vec<Value> = tree::list(is, "tolerations").iter().map(bare).collect();
    let all = tree::list(was, "tolerations")
        .iter()
        .map(bare)
        .all(|before| kept.iter().any(|after| tree::same(after, &before)));
    if !all {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        findings.forbidden("spec.tolerations", why);
    }
}

fn gates(is: &Value, was: &Value, findings: &mut Findings) {
    let before = tree::list(was, "schedulingGates");
    for gate in tree::list(is, "schedulingGates") {
        if !before.contains(gate) {
            let name = tree::text(gate, "name");
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            findings.forbidden("spec.schedulingGates", &why);
        }
    }
}

/// The stored spec with everything the new one may change taken from it.
fn with_allowed_changes(is: &Value, was: &Value, findings: &mut Findings) -> Value {
    let mut allowed = was.clone();
    for field in ["containers", "initContainers"] {
        for (container, after) in tree::list_mut(&mut allowed, field).zip(tree::list(is, field)) {
            take(container, after, "image");
        }
    }
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        take(&mut allowed, is, key);
    }
    let grace = "terminationGracePeriodSeconds";
    if tree::int(was, grace).is_some_and(|seconds| seconds < 0) && tree::int(is, grace) == Some(1) {
        take(&mut allowed, is, grace);
    }
    if !tree::list(was, "schedulingGates").is_empty() {
        narrow(is, was, &mut allowed, findings);
    }
    allowed
}

fn take(to: &mut Value, from: &Value, key: &str) {
    match (from.get(key), to.as_object_mut()) {
        (Some(value), Some(map)) => {
            map.insert(key.to_owned(), value.clone());
        }
        (None, Some(map)) => {
            map.remove(key);
        }
        (_, None) => {}
    }
}

/// While gated, the choice of nodes may become smaller.
fn narrow(is: &Value, was: &Value, allowed: &mut Value, findings: &mut Findings) {
    let empty = Map::new();
    let labels = |spec: &Value| spec.get("nodeSelector").and_then(Value::as_object).unwrap_or(&empty).clone();
    let (after, before) = (labels(is), labels(was));
    if before.iter().any(|(key, value)| after.get(key) != Some(value)) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        findings.invalid("spec.nodeSelector", Value::Object(after), why);
    }
    take(allowed, is, "nodeSelector");
    let terms = |spec: &Value| {
        let found = NODE_TERMS.iter().try_fold(spec.get("affinity")?, |value, step| value.get(step));
        found.and_then(Value::as_array).cloned()
    };
    let (after, before) = (terms(is).unwrap_or_default(), terms(was).unwrap_or_default());
    let field = format!("spec.affinity.{}", NODE_TERMS.join("."));
    if before.is_empty() {
        take_affinity(allowed, is);
        return;
    }
    if after.len() != before.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        findings.invalid(&field, json!(after), why);
    }
    for (index, (after, before)) in after.iter().zip(&before).enumerate() {
        for list in ["matchExpressions", "matchFields"] {
            let (after, before) = (tree::list(after, list), tree::list(before, list));
            if after.len() < before.len() || before.iter().zip(after).any(|(before, after)| before != after) {
                let why = "only additions are allowed (no mutations or deletions)";
                findings.invalid(&format!("{field}[{index}].{list}"), after.to_vec(), why);
            }
        }
    }
    take_affinity(allowed, is);
}

/// Only the required node terms: everything else in the affinity stays.
fn take_affinity(allowed: &mut Value, is: &Value) {
    let Some(required) = is
        .get("affinity")
        .and_then(|affinity| affinity.get(NODE_TERMS[0]))
        .and_then(|node| node.get(NODE_TERMS[1]))
        .filter(|required| required.is_object())
    else {
        return;
    };
    let node =
        tree::object_mut(allowed, "affinity").and_then(|affinity| tree::object_mut(affinity, NODE_TERMS[0]));
    if let Some(node) = node {
        tree::set(node, NODE_TERMS[1], required.clone());
    }
}

/// One line for each member that differs; the form of this text is free (R1.49).
fn differences(old: &Value, new: &Value, path: &str, out: &mut String) {
    if tree::same(old, new) {
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
                let none = Value::Null;
                let (old, new) = (old.get(key).unwrap_or(&none), new.get(key).unwrap_or(&none));
                differences(old, new, &format!("{path}.{key}"), out);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                differences(old, new, &format!("{path}[{index}]"), out);
            }
        }
        _ => {
            let _infallible = write!(out, "- {path}: {old}\n+ {path}: {new}\n");
        }
    }
}
