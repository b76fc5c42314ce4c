//! Graceful node shutdown (N32, R8.29): nothing new is taken, regular Pods stop first, critical ones last, each with
//! no more time than its group has.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use outrigger_pod_lifecycle::Desired;
use tracing::{info, warn};

use crate::context::Context;
use crate::pod_table::{is_critical, is_finished};

/// What R8.7 may add to a group's window: two seconds for the last signals, one for the last status.
const SLACK: Duration = Duration::from_secs(3);

/// How long a shutdown may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownGrace {
    /// All of it.
    pub total: Duration,
    /// The part at the end that is kept for critical Pods.
    pub critical: Duration,
}

/// Stops a node's Pods. Made before the kubelet runs, used while it does.
#[derive(Clone, Debug)]
pub struct NodeShutdown {
    context: Arc<Context>,
}

impl NodeShutdown {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Stops every Pod and returns when they have stopped, or their time is over. The kubelet must be running; it
    /// takes no more Pods from here on. Dropped midway it leaves Pods stopping.
    pub async fn shut_down(&self, grace: ShutdownGrace) {
        self.context.node_state.update(|state| state.shutting_down = true);
        let pods = self.context.pods.pods();
        for (pods, window) in groups(&pods, grace) {
            info!(
                pods = pods.len(),
                seconds = window.as_secs(),
                "stopping Pods for the shutdown of the node"
            );
            self.stop(&pods, window).await;
        }
    }

    async fn stop(&self, pods: &[Arc<Pod>], window: Duration) {
        let mut waits = Vec::new();
        for pod in pods {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            let Some(handle) = self.context.pods.get(&uid) else { continue };
            self.context.pods.want(&uid, Desired::Shutdown { grace_seconds: window.as_secs() });
            let mut stopped = handle.stopped;
            waits.push(async move {
                // A worker that is gone has nothing left to stop.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            });
        }
        if tokio::time::timeout(window + SLACK, join_all(waits)).await.is_err() {
            warn!("some Pods did not stop in the time they had");
        }
    }
}

/// Who stops when, and how long each group has: regular Pods, then critical ones. Empty groups take no time.
fn groups(pods: &[Arc<Pod>], grace: ShutdownGrace) -> Vec<(Vec<Arc<Pod>>, Duration)> {
    let (critical, regular): (Vec<_>, Vec<_>) =
        pods.iter().filter(|pod| !is_finished(pod)).cloned().partition(|pod| is_critical(pod));
    let windows = [(regular, grace.total.saturating_sub(grace.critical)), (critical, grace.critical)];
    windows.into_iter().filter(|(pods, _)| !pods.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// N32, R8.29: regular first, critical last, each with its part of the time; those that ended are left alone.
    #[test]
    fn the_order_of_a_shutdown() {
        let pod = |name: &str, priority: i32, phase: &str| {
            let value = json!({"metadata": {"name": name}, "spec": {"containers": [], "priority": priority},
                "status": {"phase": phase}});
            Arc::new(serde_json::from_value::<Pod>(value).unwrap())
        };
        let all = [
            pod("critical", 2_000_000_000, "Running"),
            pod("a", 0, "Running"),
            pod("done", 0, "Succeeded"),
            pod("b", 1_000_000, "Pending"),
        ];
        let grace = ShutdownGrace { total: Duration::from_secs(30), critical: Duration::from_secs(10) };
        let found: Vec<(Vec<String>, u64)> = groups(&all, grace)
            .into_iter()
            .map(|(pods, window)| {
                (pods.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect(), window.as_secs())
            })
            .collect();
        assert_eq!(found, [(vec!["a".to_owned(), "b".into()], 20), (vec!["critical".into()], 10)]);
        assert!(groups(&[], grace).is_empty());
    }
}
