//! What the node says of itself: pressures, and why it is not ready. Written by who finds out, read by the status
//! loop, by admission and by the server.

use outrigger_api::clock::Now;
use tokio::sync::watch;

/// The node's own findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeState {
    pub(crate) pressure: Pressure,
    /// R8.29: no new Pods; those there are being stopped.
    pub(crate) shutting_down: bool,
    /// The runtime does not answer.
    pub(crate) runtime_down: bool,
    /// Why the Pod network does not work.
    pub(crate) network_problem: Option<String>,
}

/// What is short (N12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    pub(crate) memory: bool,
    pub(crate) disk: bool,
    pub(crate) pid: bool,
}

/// Shared findings. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedNodeState(watch::Sender<NodeState>);

impl SharedNodeState {
    pub(crate) fn now(&self) -> NodeState {
        self.0.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<NodeState> {
        self.0.subscribe()
    }

    /// Changes it; nobody is woken if nothing changed.
    pub(crate) fn update(&self, change: impl FnOnce(&mut NodeState)) {
        self.0.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            *state != before
        });
    }
}

impl NodeState {
    /// The causes of `Ready=False`, as N12 joins them; empty if it is ready.
    pub(crate) fn problems(&self) -> String {
        let mut all = Vec::new();
        if self.runtime_down {
            all.push("container runtime is down".to_owned());
        }
        if let Some(problem) = &self.network_problem {
            all.push(format!("container runtime network not ready: {problem}"));
        }
        if self.shutting_down {
            all.push("node is shutting down".to_owned());
        }
        all.join(", ")
    }
}

/// R1.53: why a Pod that was bound here is refused for the node's state, as reason and message. Pure.
pub(crate) fn refusal(state: &NodeState, pod: &k8s_openapi::api::core::v1::Pod) -> Option<(String, String)> {
    if state.shutting_down {
        let text = "Pod was rejected as the node is shutting down.";
        return Some(("NodeShutdown".to_owned(), text.to_owned()));
    }
    if crate::pod_table::is_critical(pod) {
        return None;
    }
    let qos = pod.status.as_ref().and_then(|status| status.qos_class.as_deref());
    let mut conditions = Vec::new();
    // Under memory pressure alone, only Pods that promise nothing are kept out, unless they tolerate it.
    let tolerates = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten()).any(|toleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let exists = toleration.operator.as_deref() == Some("Exists");
        (key == "node.kubernetes.io/memory-pressure" || (key.is_empty() && exists))
            && matches!(effect, "" | "NoSchedule")
    });
    let elsewhere = state.pressure.disk || state.pressure.pid;
    if state.pressure.memory && (elsewhere || (qos == Some("BestEffort") && !tolerates)) {
        conditions.push("MemoryPressure");
    }
    for (short, name) in [(state.pressure.disk, "DiskPressure"), (state.pressure.pid, "PIDPressure")] {
        if short {
            conditions.push(name);
        }
    }
    if conditions.is_empty() {
        return None;
    }
    Some(("Evicted".to_owned(), format!("The node had condition: [{}]. ", conditions.join(" "))))
}

/// A condition that lasts for a while after its cause, so that it does not flicker
/// (`evictionPressureTransitionPeriod`). Pure but for what it remembers.
#[derive(Debug, Default)]
pub(crate) struct Lasting(Option<outrigger_api::MonoTime>);

impl Lasting {
    pub(crate) fn step(&mut self, caused: bool, now: Now, period: std::time::Duration) -> bool {
        if caused {
            self.0 = Some(now.mono);
        } else if self.0.is_some_and(|at| now.mono.since(at) >= period) {
            self.0 = None;
        }
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    /// R1.53, R1.54, R8.29: under memory pressure a Pod that promises nothing is refused, under disk pressure any; critical
    /// ones never; a node that shuts down takes nothing.
    #[test]
    fn who_is_refused() {
        let effort = pod(json!({"status": {"qosClass": "BestEffort"}}));
        let tolerant = pod(json!({"spec": {"containers": [], "tolerations": [
            {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}]},
            "status": {"qosClass": "BestEffort"}}));
        let burst = pod(json!({"status": {"qosClass": "Burstable"}}));
        let critical = pod(json!({"spec": {"containers": [], "priority": 2_000_001_000}}));
        let state = |memory, disk| NodeState {
            pressure: Pressure { memory, disk, pid: false },
            ..NodeState::default()
        };
        let text = |state: &NodeState, pod| refusal(state, pod).map(|(_, message)| message);
        let memory = "The node had condition: [MemoryPressure]. ";
        assert_eq!(text(&state(true, false), &effort).as_deref(), Some(memory));
        assert_eq!(text(&state(true, false), &burst), None);
        assert_eq!(text(&state(true, false), &tolerant), None);
        let disk = "The node had condition: [DiskPressure]. ";
        assert_eq!(text(&state(false, true), &burst).as_deref(), Some(disk));
        assert_eq!(text(&state(true, true), &critical), None);
        let both = "The node had condition: [MemoryPressure DiskPressure]. ";
        assert_eq!(text(&state(true, true), &tolerant).as_deref(), Some(both));
        let down = NodeState { shutting_down: true, ..NodeState::default() };
        assert_eq!(refusal(&down, &critical).unwrap().0, "NodeShutdown");
    }

    /// N12
    #[test]
    fn causes_are_joined() {
        let state = NodeState {
            runtime_down: true,
            network_problem: Some("no bridge".into()),
            ..NodeState::default()
        };
        let want = "container runtime is down, container runtime network not ready: no bridge";
        assert_eq!(state.problems(), want);
    }

    /// R8.27: a pressure is shown for five minutes after it was last felt.
    #[test]
    fn pressure_lasts() {
        let at = |seconds| Now {
            wall: outrigger_api::WallTime::UNIX_EPOCH,
            mono: outrigger_api::MonoTime::from_boot(Duration::from_secs(seconds)),
        };
        let (mut lasting, period) = (Lasting::default(), Duration::from_secs(300));
        let shown = [(false, 0), (true, 10), (false, 300), (false, 310)];
        let shown = shown.map(|(caused, seconds)| lasting.step(caused, at(seconds), period));
        assert_eq!(shown, [false, true, true, false]);
    }
}
