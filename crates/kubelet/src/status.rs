//! The patch that publishes a Pod's status: own conditions merged by type, everything else replaced.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use serde_json::{Map, Value, json};

/// Fields that vanish when the new status lacks them.
const OWNED: [&str; 9] = [
    "reason",
    "message",
    "podIP",
    "podIPs",
    "hostIP",
    "hostIPs",
    "startTime",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
];

/// A strategic merge patch for the status subresource of the Pod with `uid`, or of whichever Pod has the name.
pub(crate) fn patch(uid: Option<&str>, old: Option<&PodStatus>, new: &PodStatus) -> Value {
    let object = |status: &PodStatus| match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let old = old.map(object).unwrap_or_default();
    let mut status = object(new);
    for name in OWNED {
        if old.contains_key(name) && !status.contains_key(name) {
            status.insert(name.to_owned(), Value::Null);
        }
    }
    for list in ["podIPs", "hostIPs"] {
        if let Some(Value::Array(items)) = status.get_mut(list) {
            items.insert(0, json!({"$patch": "replace"}));
        }
    }
    if old.contains_key("conditions") {
        // R1.52: what is not there any more is taken away, also the last one.
        status.entry("conditions").or_insert_with(|| json!([]));
    }
    if let Some(Value::Array(conditions)) = status.get_mut("conditions") {
        let kept: Vec<Value> = conditions.iter().map(|c| c["type"].clone()).collect();
        let before = old.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        // Unchanged conditions stay out, so that a gate somebody else wrote meanwhile is not put back.
        conditions.retain(|condition| !before.contains(condition));
        for condition in conditions.iter_mut() {
            let old = before.iter().find(|old| old["type"] == condition["type"]);
            for field in ["reason", "message"] {
                // What a condition no longer says has to be taken back.
                if old.is_some_and(|old| !old[field].is_null()) && condition[field].is_null() {
                    condition[field] = Value::Null;
                }
            }
        }
        let gone = before.iter().filter(|c| !kept.contains(&c["type"]));
        conditions.extend(gone.map(|c| json!({"type": c["type"], "$patch": "delete"})));
    }
    match uid {
        Some(uid) => json!({"metadata": {"uid": uid}, "status": status}),
        None => json!({"status": status}),
    }
}

/// Whether `new` is the first to say that some instance ended.
pub(crate) fn tells_an_exit(old: Option<&PodStatus>, new: &PodStatus) -> bool {
    let before = old.map(ended).unwrap_or_default();
    !ended(new).is_subset(&before)
}

/// Whether `new` passes over an end that `old` tells of, because the container goes on: it is not the newest state any
/// more, or the container is started once more.
pub(crate) fn takes_an_exit_away(old: Option<&PodStatus>, new: &PodStatus) -> bool {
    let Some(old) = old else { return false };
    let has_ended = |it: &ContainerStatus| it.state.as_ref().is_some_and(|state| state.terminated.is_some());
    all(old).any(|before| {
        all(new)
            .find(|it| it.name == before.name)
            .is_some_and(|it| it.restart_count > before.restart_count || has_ended(before) && !has_ended(it))
    })
}

/// Whether `new` says something else of an app container's state than `old`.
pub(crate) fn tells_of_apps(old: Option<&PodStatus>, new: &PodStatus) -> bool {
    let states = |status: &PodStatus| -> Vec<_> {
        status.container_statuses.iter().flatten().map(|it| it.state.clone()).collect()
    };
    old.is_some_and(|old| states(old) != states(new))
}

/// The instances of which a status tells that they ended.
fn ended(status: &PodStatus) -> BTreeSet<&str> {
    let states = all(status).flat_map(|it| [&it.state, &it.last_state]);
    states.filter_map(|state| state.as_ref()?.terminated.as_ref()?.container_id.as_deref()).collect()
}

/// Init and app containers.
fn all(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let inits = status.init_container_statuses.iter().flatten();
    inits.chain(status.container_statuses.iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R14.12: an exit stays to be read when its container goes on; one that is the last keeps nothing back.
    #[test]
    fn exits_are_told_and_taken_away() {
        let status = |state: Value| {
            serde_json::from_value::<PodStatus>(json!({"containerStatuses": [{
                "name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]}))
            .unwrap()
        };
        let ended = status(json!({"terminated": {"exitCode": 0, "containerID": "outrigger://1"}}));
        let later = PodStatus { phase: Some("Succeeded".into()), ..ended.clone() };
        let again = status(json!({"running": {}}));
        assert!(tells_an_exit(None, &ended) && !tells_an_exit(Some(&ended), &later));
        assert!(takes_an_exit_away(Some(&ended), &again));
        let mut twice = again.clone();
        twice.container_statuses.as_mut().unwrap()[0].restart_count = 1;
        assert!(takes_an_exit_away(Some(&again), &twice), "an end that was only the last state's");
        assert!(tells_of_apps(Some(&ended), &again) && !tells_of_apps(Some(&ended), &later));
        assert!(!takes_an_exit_away(Some(&ended), &later) && !takes_an_exit_away(None, &again));
    }

    /// R1.52
    #[test]
    fn a_refused_pod_loses_every_condition() {
        let status = |value| serde_json::from_value::<PodStatus>(value).unwrap();
        let old = status(json!({"conditions": [{"type": "PodScheduled", "status": "True"}]}));
        let patch = patch(None, Some(&old), &status(json!({"phase": "Failed"})));
        assert_eq!(patch["status"]["conditions"], json!([{"type": "PodScheduled", "$patch": "delete"}]));
    }

    /// R9.13: foreign conditions are left alone.
    #[test]
    fn only_what_changed_is_sent() {
        let status = |value| serde_json::from_value::<PodStatus>(value).unwrap();
        let old = status(json!({"reason": "r", "conditions": [
            {"type": "gate", "status": "True"},
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
            {"type": "PodResizePending", "status": "True"}]}));
        let new = status(json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [
            {"type": "gate", "status": "True"}, {"type": "Ready", "status": "True"}]}));
        let patch = patch(Some("u"), Some(&old), &new);
        assert_eq!(patch["status"]["reason"], Value::Null);
        assert_eq!(patch["status"]["podIPs"], json!([{"$patch": "replace"}, {"ip": "10.0.0.1"}]));
        let want = json!([{"type": "Ready", "status": "True", "reason": null}, {"type": "PodResizePending", "$patch": "delete"}]);
        assert_eq!(patch["status"]["conditions"], want);
    }
}
