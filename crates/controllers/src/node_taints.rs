//! The taints a node has because of its conditions (N15). Pure.

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_api::WallTime;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that keep new Pods away while they are True.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// The taints the node should have; `None` if it has them. Taints of others stay where they are.
pub(crate) fn wanted(node: &Node, now: WallTime) -> Option<Vec<Taint>> {
    let due = due(node);
    let present = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let same = |a: &Taint, key: &str, effect: &str| a.key == key && a.effect == effect;
    let keeps =
        |taint: &Taint| !is_ours(&taint.key) || due.iter().any(|(key, effect)| same(taint, key, effect));
    let mut taints: Vec<Taint> = present.iter().filter(|taint| keeps(taint)).cloned().collect();
    for (key, effect) in &due {
        if !taints.iter().any(|taint| same(taint, key, effect)) {
            taints.push(Taint {
                key: (*key).to_owned(),
                effect: (*effect).to_owned(),
                time_added: (*effect == "NoExecute").then_some(Time(now)),
                value: None,
            });
        }
    }
    (taints != present).then_some(taints)
}

fn due(node: &Node) -> Vec<(&'static str, &'static str)> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let status = |kind: &str| {
        let mut all = conditions.into_iter().flatten();
        all.find(|condition| condition.type_ == kind).map(|condition| condition.status.as_str())
    };
    let mut due = Vec::new();
    match status("Ready") {
        Some("True") => {}
        Some("Unknown") => due.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        _ => due.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
    }
    due.extend(
        PRESSURES
            .iter()
            .filter(|(kind, _)| status(kind) == Some("True"))
            .map(|(_, key)| (*key, "NoSchedule")),
    );
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        due.push((UNSCHEDULABLE, "NoSchedule"));
    }
    due
}

fn is_ours(key: &str) -> bool {
    [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&key) || PRESSURES.iter().any(|(_, taint)| *taint == key)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(conditions: Value, unschedulable: bool, taints: &[(&str, &str)]) -> Node {
        let taints: Vec<Value> =
            taints.iter().map(|(key, effect)| json!({"key": key, "effect": effect})).collect();
        let spec = json!({"taints": taints, "unschedulable": unschedulable});
        serde_json::from_value(json!({"spec": spec, "status": {"conditions": conditions}})).unwrap()
    }

    fn of(node: &Node) -> Option<Vec<String>> {
        let taints = wanted(node, WallTime::UNIX_EPOCH)?;
        Some(
            taints
                .iter()
                .map(|taint| format!("{}:{}", taint.key.rsplit('/').next().unwrap(), taint.effect))
                .collect(),
        )
    }

    /// N15: taints come with a condition and go with it; those of others stay.
    #[test]
    fn taints_follow_conditions() {
        let ready = |status: &str| json!([{"type": "Ready", "status": status}]);
        let fresh = node(ready("True"), false, &[(NOT_READY, "NoSchedule"), ("own", "NoSchedule")]);
        assert_eq!(of(&fresh).unwrap(), ["own:NoSchedule"]);
        assert_eq!(of(&node(ready("True"), false, &[])), None);
        let bad = ["not-ready:NoSchedule", "not-ready:NoExecute"];
        assert_eq!(of(&node(ready("False"), false, &[])).unwrap(), bad);
        assert_eq!(of(&node(json!([]), false, &[])).unwrap(), bad);
        let silent = node(ready("Unknown"), false, &[(NOT_READY, "NoExecute")]);
        assert_eq!(of(&silent).unwrap(), ["unreachable:NoSchedule", "unreachable:NoExecute"]);
        let full = json!([{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"},
            {"type": "MemoryPressure", "status": "Unknown"}]);
        assert_eq!(
            of(&node(full, true, &[])).unwrap(),
            ["disk-pressure:NoSchedule", "unschedulable:NoSchedule"]
        );
    }
}
