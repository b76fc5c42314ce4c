//! The `/resize` subresource: cpu and memory of a running Pod (R13.26, H43).

use outrigger_api::Object;
use serde_json::Value;

use super::ephemeral::is_static;
use super::{Scope, spec};
use crate::field::Findings;
use crate::strategy::qos_class;
use crate::tree;
use crate::validation::ABSENT;

const CONTAINERS: [&str; 2] = ["containers", "initContainers"];
const COMPUTE: [&str; 2] = ["cpu", "memory"];

/// Whether `new` changes nothing of `old` but amounts of cpu and memory.
pub(in crate::validation) fn update(new: &Object, old: &Object, findings: &mut Findings) {
    let (is, was) = (new.0.get("spec").unwrap_or(ABSENT), old.0.get("spec").unwrap_or(ABSENT));
    spec(&Scope { spec: is, base: "spec", template: false, stored: true }, findings);
    if is_static(new) {
        findings.forbidden("", "static pods cannot be resized");
    }
    for field in CONTAINERS {
        if tree::list(is, field).len() != tree::list(was, field).len() {
            let why = format!("{field} may not be added or removed on resize");
            findings.forbidden(&format!("spec.{field}"), &why);
            return;
        }
    }
    let class = qos_class(new);
    if class != qos_class(old) {
        findings.invalid("spec", class, "Pod QOS Class may not change as a result of resizing");
    }
    for field in CONTAINERS {
        for (index, (container, before)) in
            tree::list(is, field).iter().zip(tree::list(was, field)).enumerate()
        {
            removed(container, before, &format!("spec.{field}[{index}].resources"), findings);
        }
    }
    removed(is, was, "spec.resources", findings);
    if !tree::same(&with_amounts_of(is, was), was) {
        findings.forbidden("spec", "only cpu and memory resources are mutable");
    }
}

/// Amounts may change, not vanish.
fn removed(new: &Value, old: &Value, at: &str, findings: &mut Findings) {
    let of = |holder: &Value, list: &str, name: &str| {
        holder
            .get("resources")
            .and_then(|r| r.get(list))
            .and_then(|l| l.get(name))
            .is_some_and(|v| !v.is_null())
    };
    for list in ["requests", "limits"] {
        if COMPUTE.iter().any(|name| of(old, list, name) && !of(new, list, name)) {
            findings.forbidden(&format!("{at}.{list}"), &format!("resource {list} cannot be removed"));
        }
    }
}

/// `new` with the amounts and resize policies of `old`: what is left to compare.
fn with_amounts_of(new: &Value, old: &Value) -> Value {
    let mut munged = new.clone();
    for field in CONTAINERS {
        for (container, before) in tree::list_mut(&mut munged, field).zip(tree::list(old, field)) {
            restore_amounts(container, before);
            restore(container, before, "resizePolicy");
        }
    }
    restore_amounts(&mut munged, old);
    munged
}

fn restore_amounts(new: &mut Value, old: &Value) {
    let empty = Value::Null;
    let before = old.get("resources").unwrap_or(&empty);
    if new.get("resources").is_none() && before.is_null() {
        return;
    }
    let Some(resources) = tree::object_mut(new, "resources") else { return };
    for list in ["requests", "limits"] {
        if let Some(amounts) = tree::object_mut(resources, list) {
            for name in COMPUTE {
                restore(amounts, before.get(list).unwrap_or(&empty), name);
            }
        }
    }
}

fn restore(new: &mut Value, old: &Value, key: &str) {
    match (old.get(key), new.as_object_mut()) {
        (Some(value), Some(map)) => {
            map.insert(key.to_owned(), value.clone());
        }
        (None, Some(map)) => {
            map.remove(key);
        }
        (_, None) => {}
    }
}
