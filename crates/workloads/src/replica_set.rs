//! The ReplicaSet controller (N3): as many active Pods as asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use outrigger_api::WallTime;

use crate::{pods, template};

/// How many Pods one turn creates or deletes at most.
const MAX_PER_TURN: usize = 500;
/// The condition that says Pods could not be created or deleted.
pub const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Pods to make and to remove; never both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scale {
    /// Pods to create.
    pub create: Vec<Pod>,
    /// Pods to delete.
    pub delete: Vec<Arc<Pod>>,
}

/// What is missing or too much. `own` are all Pods of the set; `neighbours` counts the Pods of all sets of the same
/// owner by node, because a crowded node gives up its Pods first.
pub fn scale(
    set: &ReplicaSet,
    owner: &OwnerReference,
    own: &[Arc<Pod>],
    neighbours: &HashMap<String, usize>,
    now: WallTime,
) -> Scale {
    let Some(spec) = &set.spec else { return Scale::default() };
    if set.metadata.deletion_timestamp.is_some() {
        return Scale::default();
    }
    let mut active: Vec<Arc<Pod>> = own.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    if active.len() > wanted {
        pods::sort_for_removal(&mut active, neighbours, now);
        active.truncate((active.len() - wanted).min(MAX_PER_TURN));
        return Scale { create: Vec::new(), delete: active };
    }
    let empty = PodTemplateSpec::default();
    let mut pod = template::pod(
        spec.template.as_ref().unwrap_or(&empty),
        set.metadata.namespace.as_ref(),
        owner.clone(),
    );
    pod.metadata.generate_name = Some(format!("{}-", set.metadata.name.as_deref().unwrap_or_default()));
    Scale { create: vec![pod; (wanted - active.len()).min(MAX_PER_TURN)], delete: Vec::new() }
}

/// Why Pods could not be made or removed: reason and message.
pub type Failure = (&'static str, String);

/// The status as it follows from the Pods; and when the next one will have been ready for long enough.
pub fn status(
    set: &ReplicaSet,
    own: &[Arc<Pod>],
    failure: Option<Failure>,
    now: WallTime,
) -> (ReplicaSetStatus, Option<Duration>) {
    let spec = set.spec.clone().unwrap_or_default();
    let before = set.status.clone().unwrap_or_default();
    let wait = spec.min_ready_seconds.unwrap_or(0);
    let active: Vec<&Arc<Pod>> = own.iter().filter(|pod| pods::is_active(pod)).collect();
    let labels = spec.template.and_then(|template| template.metadata?.labels).unwrap_or_default();
    let labelled =
        |pod: &Pod| labels.iter().all(|(key, value)| pods::label(&pod.metadata, key) == Some(value));
    let count = |wanted: &dyn Fn(&Pod) -> bool| size(active.iter().filter(|pod| wanted(pod)).count());
    let ready = count(&pods::is_ready);
    let available = count(&|pod| pods::is_available(pod, wait, now));
    let status = ReplicaSetStatus {
        replicas: size(active.len()),
        fully_labeled_replicas: some(count(&labelled)),
        ready_replicas: some(ready),
        available_replicas: some(available),
        terminating_replicas: Some(size(own.iter().filter(|pod| pods::is_terminating(pod)).count())),
        observed_generation: set.metadata.generation,
        conditions: conditions(before.conditions, failure, now),
    };
    let soonest = active.iter().filter_map(|pod| pods::available_in(pod, wait, now)).min();
    (status, soonest)
}

fn conditions(
    before: Option<Vec<ReplicaSetCondition>>,
    failure: Option<Failure>,
    now: WallTime,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut all = before.unwrap_or_default();
    match failure {
        None => all.retain(|one| one.type_ != REPLICA_FAILURE),
        Some(_) if all.iter().any(|one| one.type_ == REPLICA_FAILURE) => {}
        Some((reason, message)) => all.push(ReplicaSetCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        }),
    }
    (!all.is_empty()).then_some(all)
}

fn some(number: i32) -> Option<i32> {
    (number != 0).then_some(number)
}

fn size(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::claim;

    fn set(replicas: i32, more: Value) -> ReplicaSet {
        let mut spec = json!({"replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "ns", "uid": "u", "generation": 3}, "spec": spec})).unwrap()
    }

    fn pod(name: &str, status: Value) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(
                json!({"metadata": {"name": name, "uid": name, "labels": {"a": "b"}}, "status": status}),
            )
            .unwrap(),
        )
    }

    fn ready(since: &str) -> Value {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]})
    }

    fn now() -> WallTime {
        "2026-01-01T00:01:00Z".parse().unwrap()
    }

    fn scaled(set: &ReplicaSet, own: &[Arc<Pod>]) -> Scale {
        let owner = claim::reference("apps/v1", "ReplicaSet", &set.metadata);
        scale(set, &owner, own, &HashMap::new(), now())
    }

    /// N3: finished and leaving Pods do not count; surplus goes, what is missing comes.
    #[test]
    fn active_pods_are_counted() {
        let mut leaving = pod("leaving", json!({"phase": "Running"}));
        Arc::make_mut(&mut leaving).metadata.deletion_timestamp = Some(Time(now()));
        let own = [pod("a", ready("2026-01-01T00:00:00Z")), pod("b", json!({"phase": "Failed"})), leaving];
        let made = scaled(&set(3, json!({})), &own).create;
        assert_eq!((made.len(), made[0].metadata.generate_name.as_deref()), (2, Some("web-")));
        assert_eq!(made[0].metadata.labels.as_ref().unwrap()["a"], "b");
        assert_eq!(scaled(&set(1, json!({})), &own), Scale::default());
        assert_eq!(pods::name(&scaled(&set(0, json!({})), &own).delete[0]), "a");
        assert_eq!(scaled(&set(1000, json!({})), &own).create.len(), MAX_PER_TURN);
        let mut dying = set(3, json!({}));
        dying.metadata.deletion_timestamp = Some(Time(now()));
        assert_eq!(scaled(&dying, &own), Scale::default());
    }

    /// N3, R16.8.
    #[test]
    fn status_counts_ready_and_available() {
        let own = [
            pod("a", ready("2026-01-01T00:00:00Z")),
            pod("b", ready("2026-01-01T00:00:53Z")),
            pod("c", json!({"phase": "Pending"})),
        ];
        let (status, again) = status(&set(3, json!({"minReadySeconds": 10})), &own, None, now());
        assert_eq!(
            serde_json::to_value(status).unwrap(),
            json!({"replicas": 3, "fullyLabeledReplicas": 3,
            "readyReplicas": 2, "availableReplicas": 1, "terminatingReplicas": 0, "observedGeneration": 3})
        );
        assert_eq!(again, Some(Duration::from_secs(3)));
    }

    /// N3: ReplicaFailure comes with a failure and goes with it.
    #[test]
    fn failure_is_a_condition() {
        let mut set = set(1, json!({}));
        let failure = Some(("FailedCreate", "pods \"web-\" is forbidden: x".to_owned()));
        let (failed, _) = status(&set, &[], failure, now());
        let condition = &failed.conditions.as_ref().unwrap()[0];
        assert_eq!(
            (condition.type_.as_str(), condition.reason.as_deref()),
            ("ReplicaFailure", Some("FailedCreate"))
        );
        set.status = Some(failed);
        assert_eq!(status(&set, &[], None, now()).0.conditions, None);
    }
}
