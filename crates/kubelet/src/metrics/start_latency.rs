//! How long Pods take to start (N22): from `creationTimestamp` until every container runs, in all and without image
//! pulls and init containers. Kept per Pod until it has started.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use outrigger_api::clock::Now;
use outrigger_api::{MonoTime, WallTime};

use super::Metrics;

/// Pods whose start is under way; more are not measured.
const MOST: usize = 1024;

/// Starts under way.
#[derive(Debug, Default)]
pub(crate) struct StartLatency(Mutex<HashMap<String, Start>>);

#[derive(Debug, Default)]
struct Start {
    seen: Option<MonoTime>,
    pulls: Duration,
    initialized: Option<MonoTime>,
    done: bool,
}

impl StartLatency {
    /// A pull for the Pod took so long.
    pub(crate) fn pulled(&self, uid: &str, took: Duration) {
        let mut starts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(start) = starts.get_mut(uid) {
            start.pulls += took;
        }
    }

    /// A status was decided. Tells `metrics` once, when all containers run.
    pub(crate) fn status(&self, metrics: &Metrics, pod: &Pod, status: &PodStatus, now: Now) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut starts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if starts.len() >= MOST && !starts.contains_key(&uid) {
            return;
        }
        // Containers that ran before this process began tell nothing of how long they took.
        let fresh = pod.status.as_ref().is_none_or(|status| status.container_statuses.is_none());
        let start = starts.entry(uid).or_insert_with(|| Start { done: !fresh, ..Start::default() });
        if start.done {
            return;
        }
        let seen = *start.seen.get_or_insert(now.mono);
        let is_true =
            |kind: &str| status.conditions.iter().flatten().any(|it| it.type_ == kind && it.status == "True");
        if is_true("Initialized") {
            start.initialized.get_or_insert(now.mono);
        }
        let wanted = pod.spec.as_ref().map_or(0, |spec| spec.containers.len());
        let running = status.container_statuses.iter().flatten();
        let running = running.filter(|it| it.state.as_ref().is_some_and(|state| state.running.is_some()));
        if wanted == 0 || running.count() != wanted {
            return;
        }
        start.done = true;
        let init = if has_init(pod) {
            start.initialized.map_or(Duration::ZERO, |at| at.since(seen))
        } else {
            Duration::ZERO
        };
        // While init containers run their images are pulled too; that time counts once.
        let busy = if init.is_zero() { start.pulls } else { init };
        if let Some(total) = since(pod.metadata.creation_timestamp.as_ref().map(|at| at.0), now.wall) {
            metrics.pod_started(total, busy);
        }
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

fn has_init(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref()).is_some_and(|all| !all.is_empty())
}

fn since(created: Option<WallTime>, now: WallTime) -> Option<Duration> {
    Duration::try_from(now.duration_since(created?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::read_strictly;

    /// N22: pulls are part of the total and not of the SLI; a Pod counts once.
    #[test]
    fn a_start_is_measured_once() {
        let (latency, metrics) = (StartLatency::default(), Metrics::new());
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [{"name": "a"}]}}))
        .unwrap();
        let status = |state: &str| -> PodStatus {
            serde_json::from_value(serde_json::json!({"containerStatuses": [{"name": "a", "ready": true,
                "image": "", "imageID": "", "restartCount": 0, "state": {state: {}}}]}))
            .unwrap()
        };
        let at = |seconds: u64| Now {
            wall: WallTime::from_second(1_767_225_600 + i64::try_from(seconds).unwrap()).unwrap(),
            mono: MonoTime::from_boot(Duration::from_secs(seconds)),
        };
        latency.status(&metrics, &pod, &status("waiting"), at(1));
        latency.pulled("u", Duration::from_secs(2));
        for second in [4, 5] {
            latency.status(&metrics, &pod, &status("running"), at(second));
        }
        let all = read_strictly(&metrics.general_text());
        let value = |series: &str| all.iter().find(|(name, _)| name == series).map(|(_, value)| *value);
        assert_eq!(value("kubelet_pod_start_total_duration_seconds_sum"), Some(4.0));
        assert_eq!(value("kubelet_pod_start_sli_duration_seconds_sum"), Some(2.0));
        assert_eq!(value("kubelet_pod_start_sli_duration_seconds_count"), Some(1.0));
    }
}
