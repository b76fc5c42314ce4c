//! What the server decides for a Pod: first status, QoS class, and which part of it each subresource may touch
//! (R1.10, R13.7-R13.9, H42, H43, K9).

use outrigger_api::Object;
use serde_json::{Value, json};

use crate::tree;
use outrigger_api::quantity::Quantity;

/// The status of a Pod nobody has seen yet (R1.10, D4).
pub(super) fn initial_status(pod: &Object) -> Value {
    let mut status = json!({ "phase": "Pending", "qosClass": qos_class(pod) });
    let gated =
        pod.at(&["spec", "schedulingGates"]).and_then(Value::as_array).is_some_and(|gates| !gates.is_empty());
    if gated {
        status["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": null,
            "lastTransitionTime": null,
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
    status
}

/// `Guaranteed`, `Burstable` or `BestEffort` (R13.7-R13.9).
pub fn qos_class(pod: &Object) -> &'static str {
    let empty = Value::Null;
    let spec = pod.0.get("spec").unwrap_or(&empty);
    let pod_level = spec.get("resources").filter(|resources| has_compute(resources));
    let counted: Vec<&Value> = match pod_level {
        Some(resources) => vec![resources],
        None => ["containers", "initContainers"]
            .into_iter()
            .flat_map(|field| tree::list(spec, field))
            .map(|container| container.get("resources").unwrap_or(&empty))
            .collect(),
    };
    if counted.iter().all(|resources| !has_compute(resources)) {
        "BestEffort"
    } else if counted.iter().all(|resources| is_guaranteed(resources)) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Fields of features that are off are dropped rather than stored.
pub(super) fn drop_disabled_fields(pod: &mut Object) {
    let Some(spec) = pod.0.get_mut("spec") else { return };
    for field in ["containers", "initContainers"] {
        for container in tree::list_mut(spec, field) {
            if let Some(lifecycle) = container.get_mut("lifecycle").and_then(Value::as_object_mut) {
                lifecycle.remove("stopSignal");
            }
        }
    }
}

/// What any spec write to a stored Pod keeps: the first QoS class, and disabled fields stay away.
pub(super) fn prepare_update(new: &mut Object, old: &Object) {
    drop_disabled_fields(new);
    if let Some(class) = old.at(&["status", "qosClass"]).cloned() {
        *new.entry(&["status", "qosClass"]) = class;
    }
    // K9: a grace period below zero is stored as one second.
    let negative =
        new.at(&["spec", "terminationGracePeriodSeconds"]).and_then(Value::as_i64).is_some_and(|s| s < 0);
    if negative {
        *new.entry(&["spec", "terminationGracePeriodSeconds"]) = json!(1);
    }
}

/// R1.51: a status writer that does not speak of the class does not change it.
pub(super) fn keep_qos_class(new: &mut Object, old: &Object) {
    if new.str_at(&["status", "qosClass"]).is_empty()
        && let Some(class) = old.at(&["status", "qosClass"]).cloned()
    {
        *new.entry(&["status", "qosClass"]) = class;
    }
}

/// H42: the stored Pod with the ephemeral containers of the request.
pub(super) fn keep_only_ephemeral_containers(new: &mut Object, old: &Object) {
    let asked = new.at(&["spec", "ephemeralContainers"]).cloned();
    let metadata = new.0.remove("metadata");
    *new = old.clone();
    if let Some(metadata) = metadata {
        new.0.insert("metadata".to_owned(), metadata);
    }
    if let Some(spec) = new.0.get_mut("spec").and_then(Value::as_object_mut) {
        match asked {
            Some(list) => spec.insert("ephemeralContainers".to_owned(), list),
            None => spec.remove("ephemeralContainers"),
        };
    }
}

/// H43: a resize takes the request's spec, so that validation can name what else it tried to change; only the
/// status is put back.
pub(super) fn keep_only_resources(new: &mut Object, old: &Object) {
    match old.0.get("status") {
        Some(status) => new.0.insert("status".to_owned(), status.clone()),
        None => new.0.remove("status"),
    };
}

/// R13.8: only cpu and memory with positive values matter.
const COMPUTE: [&str; 2] = ["cpu", "memory"];

fn has_compute(resources: &Value) -> bool {
    ["requests", "limits"].iter().any(|list| COMPUTE.iter().any(|name| positive(resources, list, name)))
}

fn is_guaranteed(resources: &Value) -> bool {
    COMPUTE.iter().all(|name| {
        let at =
            |list: &str| resources.get(list).and_then(|list| list.get(name)).and_then(Quantity::from_json);
        let (request, limit) = (at("requests"), at("limits"));
        positive(resources, "limits", name) && (request.is_none() || request == limit)
    })
}

fn positive(resources: &Value, list: &str, name: &str) -> bool {
    resources
        .get(list)
        .and_then(|list| list.get(name))
        .and_then(Quantity::from_json)
        .is_some_and(|q| q > Quantity::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(spec: Value) -> &'static str {
        qos_class(&Object::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("an object"))
    }

    fn with(requests: Value, limits: Value) -> Value {
        json!({"name": "c", "resources": {"requests": requests, "limits": limits}})
    }

    /// R13.7, R13.8, R13.9, R4.23: all app and init entries count, ephemeral ones never, the Pod's own amounts instead.
    #[test]
    fn classes() {
        let both = |cpu: &str| json!({"cpu": cpu, "memory": "1Gi"});
        let (full, none) = (with(both("1"), both("1")), json!({"name": "c"}));
        for (spec, expected) in [
            (json!({"containers": [none]}), "BestEffort"),
            (json!({"containers": [with(json!({"cpu": "0"}), json!({}))]}), "BestEffort"),
            (
                json!({"containers": [with(json!({"ephemeral-storage": "1"}), json!({"x/y": "1"}))]}),
                "BestEffort",
            ),
            (json!({"containers": [full]}), "Guaranteed"),
            (json!({"containers": [with(json!({}), both("1"))]}), "Guaranteed"),
            (json!({"containers": [with(json!({}), json!({"cpu": "1"}))]}), "Burstable"),
            (json!({"containers": [with(both("1"), both("2"))]}), "Burstable"),
            (json!({"containers": [full, none]}), "Burstable"),
            (json!({"containers": [full], "initContainers": [none]}), "Burstable"),
            (json!({"containers": [none], "initContainers": [full]}), "Burstable"),
            (json!({"containers": [full], "ephemeralContainers": [none]}), "Guaranteed"),
            (
                json!({"containers": [none], "resources": {"requests": both("1"), "limits": both("1")}}),
                "Guaranteed",
            ),
            (json!({"containers": [full], "resources": {"requests": {"cpu": "1"}}}), "Burstable"),
        ] {
            assert_eq!(class(spec.clone()), expected, "{spec}");
        }
    }
}
