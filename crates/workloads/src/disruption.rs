//! The PodDisruptionBudget controller (N14): how many Pods may be evicted now.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use outrigger_api::WallTime;

use crate::pods;
use crate::share::{self, Round};

/// How long an eviction that was granted counts before its Pod is seen to go.
const GRANTED: SignedDuration = SignedDuration::from_secs(120);

/// Whether the number of Pods there should be matters: it need not be looked up otherwise.
pub fn asks_for_owners(budget: &PodDisruptionBudget) -> bool {
    let spec = budget.spec.as_ref();
    let percent = |value: &IntOrString| matches!(value, IntOrString::String(_));
    spec.is_some_and(|spec| {
        spec.max_unavailable.is_some() || spec.min_available.as_ref().is_some_and(percent)
    })
}

/// The status. `matching` are the Pods the budget selects, `expected` the sum of what their owners ask for, or why it
/// is not known. Also when the next granted eviction is forgotten.
pub fn status(
    budget: &PodDisruptionBudget,
    matching: &[Arc<Pod>],
    expected: Result<i32, String>,
    now: WallTime,
) -> (PodDisruptionBudgetStatus, Option<Duration>) {
    let spec = budget.spec.clone().unwrap_or_default();
    let before = budget.status.clone().unwrap_or_default();
    let generation = budget.metadata.generation;
    let expected = match expected {
        Ok(expected) => expected,
        Err(why) => {
            let mut status = before;
            status.disruptions_allowed = Some(0);
            status.observed_generation = generation;
            allow(&mut status, "False", "SyncFailed", why, generation, now);
            return (status, None);
        }
    };
    let count = i32::try_from(matching.len()).unwrap_or(i32::MAX);
    let (expected, desired) = match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => (expected, (expected - share::of(Some(most), expected, Round::Up)).max(0)),
        (None, Some(IntOrString::Int(least))) => (count, *least),
        (None, Some(percent)) => (expected, share::of(Some(percent), expected, Round::Up)),
        (None, None) => (count, 0),
    };
    let mut granted = before.disrupted_pods.clone().unwrap_or_default();
    granted.retain(|name, at| {
        let there = matching.iter().find(|pod| pods::name(pod) == name);
        there.is_some_and(|pod| !pods::is_deleting(pod)) && now.duration_since(at.0) < GRANTED
    });
    let healthy = |pod: &&Arc<Pod>| {
        pods::is_ready(pod) && !pods::is_deleting(pod) && !granted.contains_key(pods::name(pod))
    };
    let current = i32::try_from(matching.iter().filter(healthy).count()).unwrap_or(i32::MAX);
    let allowed = if expected > 0 { (current - desired).max(0) } else { 0 };
    let soonest = granted.values().map(|at| GRANTED - now.duration_since(at.0)).min();
    let mut status = PodDisruptionBudgetStatus {
        conditions: before.conditions,
        current_healthy: Some(current),
        desired_healthy: Some(desired),
        disrupted_pods: (!granted.is_empty()).then_some(granted),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: generation,
    };
    let (value, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    allow(&mut status, value, reason, String::new(), generation, now);
    (status, soonest.and_then(|wait| Duration::try_from(wait).ok()))
}

fn allow(
    status: &mut PodDisruptionBudgetStatus,
    value: &str,
    reason: &str,
    message: String,
    generation: Option<i64>,
    now: WallTime,
) {
    let all = status.conditions.get_or_insert_default();
    let known = all.iter().find(|one| one.type_ == "DisruptionAllowed" && one.status == value);
    let since = known.map_or(Time(now), |known| known.last_transition_time.clone());
    let condition = Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: since,
    };
    all.retain(|one| one.type_ != "DisruptionAllowed");
    all.push(condition);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn budget(spec: Value, granted: Value) -> PodDisruptionBudget {
        serde_json::from_value(json!({"metadata": {"name": "b", "generation": 2}, "spec": spec,
            "status": {"disruptedPods": granted, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0, "disruptionsAllowed": 0}}))
        .unwrap()
    }

    fn pods(ready: usize, waiting: usize) -> Vec<Arc<Pod>> {
        let pod = |at: usize, status: &str| {
            serde_json::from_value(
                json!({"metadata": {"name": format!("p{at}")}, "status": {"phase": "Running",
                "conditions": [{"type": "Ready", "status": status}]}}),
            )
            .unwrap()
        };
        (0..ready)
            .map(|at| pod(at, "True"))
            .chain((ready..ready + waiting).map(|at| pod(at, "False")))
            .map(Arc::new)
            .collect()
    }

    fn now() -> WallTime {
        "2026-01-01T00:02:00Z".parse().unwrap()
    }

    /// N14: current, desired, expected, allowed.
    #[test]
    fn what_may_go() {
        for (spec, ready, waiting, expected, wanted) in [
            (json!({"minAvailable": 2}), 3, 0, 0, [3, 2, 3, 1]),
            (json!({"minAvailable": 2}), 1, 1, 0, [1, 2, 2, 0]),
            (json!({"minAvailable": "50%"}), 3, 0, 5, [3, 3, 5, 0]),
            (json!({"maxUnavailable": 1}), 3, 0, 3, [3, 2, 3, 1]),
            (json!({"maxUnavailable": "30%"}), 4, 0, 4, [4, 2, 4, 2]),
            (json!({"maxUnavailable": 9}), 2, 0, 2, [2, 0, 2, 2]),
            (json!({"minAvailable": 0}), 0, 0, 0, [0, 0, 0, 0]),
        ] {
            let (status, _) =
                status(&budget(spec.clone(), json!({})), &pods(ready, waiting), Ok(expected), now());
            let numbers = [
                status.current_healthy,
                status.desired_healthy,
                status.expected_pods,
                status.disruptions_allowed,
            ];
            assert_eq!(numbers.map(Option::unwrap), wanted, "{spec}");
            let condition = &status.conditions.unwrap()[0];
            let reason = if wanted[3] > 0 { "SufficientPods" } else { "InsufficientPods" };
            assert_eq!((condition.reason.as_str(), condition.observed_generation), (reason, Some(2)));
        }
    }

    /// N14: a granted eviction counts until its Pod goes, or for two minutes.
    #[test]
    fn granted_evictions() {
        let granted = json!({"p0": "2026-01-01T00:01:00Z", "p1": "2026-01-01T00:00:00Z", "gone": "2026-01-01T00:01:59Z"});
        let (status, again) = status(&budget(json!({"minAvailable": 1}), granted), &pods(3, 0), Ok(0), now());
        assert_eq!((status.current_healthy, status.disruptions_allowed), (Some(2), Some(1)));
        assert_eq!(status.disrupted_pods.unwrap().into_keys().collect::<Vec<_>>(), ["p0"]);
        assert_eq!(again, Some(Duration::from_secs(60)));
    }

    /// N14: nothing may go while it is not known what there should be.
    #[test]
    fn unknown_owners() {
        let spec = json!({"maxUnavailable": 1});
        assert!(asks_for_owners(&budget(spec.clone(), json!({}))));
        assert!(!asks_for_owners(&budget(json!({"minAvailable": 1}), json!({}))));
        let (status, _) = status(&budget(spec, json!({})), &pods(3, 0), Err("why".to_owned()), now());
        let condition = &status.conditions.unwrap()[0];
        assert_eq!(
            (status.disruptions_allowed, condition.reason.as_str(), condition.message.as_str()),
            (Some(0), "SyncFailed", "why")
        );
    }
}
