//! What controllers ask about Pods, and which of them go first when there are too many.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use outrigger_api::WallTime;

/// An annotation that makes a Pod go sooner or later when there are too many (N3).
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// `status.phase`, or the empty string.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether it ran to its end, well or not.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether it is on its way out.
pub fn is_deleting(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Neither finished nor deleting (N3, R16.3).
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_deleting(pod)
}

/// Deleting, but its containers may still run (R16.3).
pub fn is_terminating(pod: &Pod) -> bool {
    is_deleting(pod) && !is_finished(pod)
}

/// A condition of its status.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether its condition Ready is True.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Since when it has been ready; `None` if it is not.
pub fn ready_since(pod: &Pod) -> Option<WallTime> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// Ready for at least so many seconds (R16.8).
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: WallTime) -> bool {
    if !is_ready(pod) {
        return false;
    }
    min_ready_seconds <= 0
        || ready_since(pod)
            .is_some_and(|since| now.duration_since(since).as_secs() >= i64::from(min_ready_seconds))
}

/// How long until a ready Pod has been ready for so many seconds; `None` if it is not ready, or is available.
pub fn available_in(pod: &Pod, min_ready_seconds: i32, now: WallTime) -> Option<Duration> {
    let needed = Duration::from_secs(u64::try_from(min_ready_seconds).unwrap_or(0));
    let passed = Duration::try_from(now.duration_since(ready_since(pod)?)).unwrap_or_default();
    Some(needed.saturating_sub(passed)).filter(|left| !left.is_zero())
}

/// The name, or the empty string.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// The uid, or the empty string.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The node it is on, or the empty string.
pub fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// A label's value.
pub fn label<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// An annotation's value.
pub fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The reference to the object that controls this one.
pub fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Statuses of app containers, then of init containers and sidecars.
pub fn container_statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let apps = status.and_then(|status| status.container_statuses.as_ref());
    let inits = status.and_then(|status| status.init_container_statuses.as_ref());
    apps.into_iter().flatten().chain(inits.into_iter().flatten())
}

/// Restarts of every app container, init container and sidecar (R16.4).
pub fn restarts(pod: &Pod) -> i32 {
    container_statuses(pod).map(|status| status.restart_count).fold(0, i32::saturating_add)
}

/// When its last container ended, or when it was asked to end; `None` if neither is known.
pub fn finished_at(pod: &Pod) -> Option<WallTime> {
    let ends = container_statuses(pod).filter_map(|status| {
        let ended = status.state.as_ref()?.terminated.as_ref()?;
        ended.finished_at.as_ref().map(|time| time.0)
    });
    ends.max().or_else(|| {
        let until = pod.metadata.deletion_timestamp.as_ref()?.0;
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0).max(0);
        until.checked_sub(jiff::SignedDuration::from_secs(grace)).ok()
    })
}

/// Puts those that should go first at the front (N3). `neighbours` says how many Pods of the same kind a node has;
/// more of them make a Pod go sooner.
pub fn sort_for_removal(pods: &mut [Arc<Pod>], neighbours: &HashMap<String, usize>, now: WallTime) {
    pods.sort_by_cached_key(|pod| removal_key(pod, neighbours, now));
}

type RemovalKey = (bool, u8, bool, i32, Reverse<usize>, u32, Reverse<i32>, Reverse<WallTime>, String);

fn removal_key(pod: &Pod, neighbours: &HashMap<String, usize>, now: WallTime) -> RemovalKey {
    let phase = match phase(pod) {
        "Pending" | "" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let cost = annotation(&pod.metadata, DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or(0);
    // Doubling times are alike, so that a rollout's few seconds do not decide.
    let ready_for = ready_since(pod).map_or(0, |since| {
        u64::try_from(now.duration_since(since).as_secs())
            .unwrap_or(0)
            .checked_ilog2()
            .map_or(0, |log| log + 1)
    });
    let created = pod.metadata.creation_timestamp.as_ref().map_or(WallTime::MIN, |time| time.0);
    (
        !node(pod).is_empty(),
        phase,
        is_ready(pod),
        cost,
        Reverse(neighbours.get(node(pod)).copied().unwrap_or(0)),
        ready_for,
        Reverse(restarts(pod)),
        Reverse(created),
        name(pod).to_owned(),
    )
}

/// How many active Pods each node has.
pub fn per_node<'a>(pods: impl IntoIterator<Item = &'a Arc<Pod>>) -> HashMap<String, usize> {
    let mut count = HashMap::new();
    for pod in pods.into_iter().filter(|pod| is_active(pod)) {
        *count.entry(node(pod).to_owned()).or_insert(0) += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, more: Value) -> Arc<Pod> {
        let mut pod = json!({"metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}});
        merge(&mut pod, more);
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from,
        }
    }

    /// N3: the order in which surplus Pods go.
    #[test]
    fn those_that_matter_least_go_first() {
        let now: WallTime = "2026-01-01T01:00:00Z".parse().unwrap();
        let running = |node: &str, ready_at: &str, restarts: u32| {
            json!({"spec": {"nodeName": node, "containers": []}, "status": {"phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ready_at}],
                "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": restarts}]}})
        };
        let old = "2026-01-01T00:10:00Z";
        let order = [
            pod("unassigned", json!({"status": {"phase": "Pending"}})),
            pod(
                "pending",
                json!({"spec": {"nodeName": "a", "containers": []}, "status": {"phase": "Pending"}}),
            ),
            pod(
                "not-ready",
                json!({"spec": {"nodeName": "a", "containers": []}, "status": {"phase": "Running"}}),
            ),
            {
                let mut cheap = running("a", old, 0);
                merge(&mut cheap, json!({"metadata": {"annotations": {DELETION_COST: "-5"}}}));
                pod("cheap", cheap)
            },
            pod("crowded", running("b", old, 0)),
            pod("fresh", running("a", "2026-01-01T00:59:00Z", 0)),
            pod("restarted", running("a", old, 3)),
            {
                let mut young = running("a", old, 0);
                merge(&mut young, json!({"metadata": {"creationTimestamp": "2026-01-01T00:05:00Z"}}));
                pod("young", young)
            },
            pod("settled", running("a", old, 0)),
        ];
        let neighbours = HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        let mut pods: Vec<_> = order.iter().rev().cloned().collect();
        sort_for_removal(&mut pods, &neighbours, now);
        let names = |pods: &[Arc<Pod>]| pods.iter().map(|pod| name(pod).to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&pods), names(&order));
    }

    /// R16.8.
    #[test]
    fn available_is_ready_for_long_enough() {
        let ready = pod(
            "p",
            json!({"status": {"conditions":
            [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}),
        );
        let at = |text: &str| text.parse::<WallTime>().unwrap();
        assert!(is_available(&ready, 0, at("2026-01-01T00:00:00Z")));
        assert!(!is_available(&ready, 10, at("2026-01-01T00:00:09Z")));
        assert!(is_available(&ready, 10, at("2026-01-01T00:00:10Z")));
        assert!(!is_available(&pod("q", json!({})), 0, at("2026-01-01T00:00:10Z")));
    }
}
