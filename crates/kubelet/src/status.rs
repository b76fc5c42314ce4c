//! The patch that publishes a Pod's status: own conditions merged by type, everything else replaced.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use outrigger_pod_lifecycle::{Role, init_role};
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

/// Whether `new` is the first to say that a container ended which may be started again: app containers, sidecars, and
/// init containers that failed.
pub(crate) fn tells_an_exit(pod: &Pod, old: Option<&PodStatus>, new: &PodStatus) -> bool {
    let ended = |status: &PodStatus| {
        let inits = status.init_container_statuses.iter().flatten();
        let all = inits.chain(status.container_statuses.iter().flatten());
        let ended = all.filter(|status| may_come_back(pod, status));
        ended.filter_map(|status| status.state.as_ref()?.terminated.as_ref()?.container_id.clone()).collect()
    };
    let before: Vec<String> = old.map(&ended).unwrap_or_default();
    let now: Vec<String> = ended(new);
    now.iter().any(|id| !before.contains(id))
}

fn may_come_back(pod: &Pod, status: &ContainerStatus) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let Some(container) = all.find(|container| container.name == status.name) else { return false };
    let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
    let init = spec.init_containers.iter().flatten().any(|it| it.name == status.name);
    if init && init_role(container) == Role::Init && ended.is_some_and(|ended| ended.exit_code == 0) {
        return false;
    }
    let policy = container.restart_policy.as_deref().or(spec.restart_policy.as_deref());
    let rules = container.restart_policy_rules.as_ref().is_some_and(|rules| !rules.is_empty());
    rules || policy != Some("Never")
}

/// Whether the only news of app containers is that some have begun to run.
pub(crate) fn tells_of_starts_only(old: Option<&PodStatus>, new: &PodStatus) -> bool {
    let before = old.and_then(|old| old.container_statuses.as_deref()).unwrap_or_default();
    let now = new.container_statuses.as_deref().unwrap_or_default();
    let changed: Vec<_> = before.iter().zip(now).filter(|(before, now)| before.state != now.state).collect();
    let starts = |(before, now): &(&ContainerStatus, &ContainerStatus)| {
        let waited = before.state.as_ref().is_some_and(|state| state.waiting.is_some());
        waited && now.state.as_ref().is_some_and(|state| state.running.is_some())
    };
    !changed.is_empty() && changed.iter().all(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R14.12
    #[test]
    fn an_exit_is_told_once() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}}))
        .unwrap();
        let ended = |container: &str, code: i32| {
            let list = if container == "i" { "initContainerStatuses" } else { "containerStatuses" };
            let state = json!({"terminated": {"exitCode": code, "containerID": "outrigger://1"}});
            serde_json::from_value::<PodStatus>(json!({ list: [{
                "name": container, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]}))
            .unwrap()
        };
        assert!(tells_an_exit(&pod, None, &ended("a", 0)));
        assert!(!tells_an_exit(&pod, Some(&ended("a", 0)), &ended("a", 0)));
        assert!(tells_an_exit(&pod, None, &ended("i", 1)));
        assert!(!tells_an_exit(&pod, None, &ended("i", 0)), "done for good");
        let mut never = pod;
        never.spec.as_mut().unwrap().restart_policy = Some("Never".into());
        assert!(!tells_an_exit(&never, None, &ended("a", 1)));
    }

    /// R2.5: what is gathered are starts and nothing else.
    #[test]
    fn starts_are_told_from_ends() {
        let status = |state: Value| {
            serde_json::from_value::<PodStatus>(json!({"containerStatuses": [{
                "name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]}))
            .unwrap()
        };
        let gone = status(json!({"terminated": {"exitCode": 0, "containerID": "outrigger://1"}}));
        let runs = status(json!({"running": {}}));
        let waits = status(json!({"waiting": {"reason": "ContainerCreating"}}));
        assert!(tells_of_starts_only(Some(&waits), &runs));
        for (old, new) in [(&gone, &runs), (&waits, &gone), (&runs, &runs)] {
            assert!(!tells_of_starts_only(Some(old), new));
        }
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
