//! kube-scheduler: assigns Pods to nodes (rules N17-N25).
//!
//! An ordinary API client. It keeps a [`Snapshot`](outrigger_scheduling::Snapshot) of nodes and what is on them,
//! asks the pure core in `outrigger-scheduling` for a node, assumes the answer at once and binds in the background.
//! It starts nothing on a node and writes nothing but bindings, the `PodScheduled` condition and events.
//!
//! Start at [`run`]; [`queue`] holds the Pods that wait, [`cycle`] turns one decision into API calls.

mod cycle;
mod queue;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};
use outrigger_api::clock::SharedClock;
use outrigger_reconcile::{Change, changes};
use outrigger_scheduling::{PodInfo, Snapshot, schedule};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::cycle::{Binder, Outcome};
use crate::queue::{Queue, Waiting};

/// How many API calls of the scheduler are under way at most; further decisions wait for one to end.
const IN_FLIGHT: usize = 64;

/// What the scheduler needs to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which Pods are its business: those whose `spec.schedulerName` is this.
    pub name: String,
    /// Where it runs, for `reportingInstance` in events.
    pub host: String,
    /// Where time comes from.
    pub clock: SharedClock,
}

/// Schedules Pods until `stop`. Bindings under way are finished first.
pub async fn run(client: Client, config: Config, stop: CancellationToken) {
    let mut pods = changes(
        Api::<Pod>::all(client.clone()),
        watcher::Config::default().fields("status.phase!=Succeeded,status.phase!=Failed"),
    )
    .boxed();
    let mut nodes = changes(Api::<Node>::all(client.clone()), watcher::Config::default()).boxed();
    let mut scheduler = Scheduler::new(Binder::new(client, &config.name, &config.host), config);
    loop {
        let due = scheduler.next_due();
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(outcome) = scheduler.calls.join_next() => scheduler.settle(outcome),
            Some(change) = nodes.next() => scheduler.node_changed(change),
            Some(change) = pods.next() => scheduler.pod_changed(change),
            () = tokio::time::sleep(due), if scheduler.is_waiting() => {}
        }
        scheduler.schedule_due();
    }
    while let Some(outcome) = scheduler.calls.join_next().await {
        scheduler.settle(outcome);
    }
}

/// The scheduler's state; one task owns it.
struct Scheduler {
    config: Config,
    binder: Binder,
    snapshot: Snapshot,
    queue: Queue,
    calls: JoinSet<Outcome>,
    /// Nodes by uid, because a deletion names only that.
    node_names: std::collections::HashMap<String, String>,
    /// Both pictures have been delivered once; before that a Pod could be refused for want of nodes not yet seen.
    nodes_complete: bool,
    pods_complete: bool,
}

impl Scheduler {
    fn new(binder: Binder, config: Config) -> Self {
        Self {
            config,
            binder,
            snapshot: Snapshot::default(),
            queue: Queue::default(),
            calls: JoinSet::new(),
            node_names: std::collections::HashMap::new(),
            nodes_complete: false,
            pods_complete: false,
        }
    }

    fn node_changed(&mut self, change: Change<Node>) {
        match change {
            Change::Applied(node) => {
                self.node_names.insert(node.uid().unwrap_or_default(), node.name_any());
                let before = self.snapshot.node(&node.name_any()).map(room);
                self.snapshot.set_node(&node);
                // Heartbeats change nothing a Pod waits for.
                if self.snapshot.node(&node.name_any()).map(room) != before {
                    self.queue.retry_unschedulable();
                }
            }
            Change::Gone(uid) => {
                if let Some(name) = self.node_names.remove(&uid) {
                    self.snapshot.remove_node(&name);
                }
            }
            Change::Complete => self.nodes_complete = true,
        }
    }

    fn pod_changed(&mut self, change: Change<Pod>) {
        match change {
            Change::Applied(pod) => self.pod_applied(pod),
            Change::Gone(uid) => {
                self.queue.remove(&uid);
                if self.snapshot.is_placed(&uid) {
                    self.snapshot.remove_pod(&uid);
                    self.queue.retry_unschedulable();
                }
            }
            Change::Complete => self.pods_complete = true,
        }
    }

    fn pod_applied(&mut self, pod: Pod) {
        let info = PodInfo::new(&pod);
        if !info.node_name.is_empty() {
            self.queue.remove(&info.uid);
            self.snapshot.place(info);
        } else if self.is_mine(&pod) && !self.snapshot.is_placed(&info.uid) {
            self.queue.add(Waiting::new(pod, info), self.config.clock.now().mono);
        } else if !self.snapshot.is_placed(&info.uid) {
            self.queue.remove(&info.uid);
        }
    }

    /// N17: unassigned, ours, not being deleted, not gated.
    fn is_mine(&self, pod: &Pod) -> bool {
        let Some(spec) = &pod.spec else { return false };
        pod.metadata.deletion_timestamp.is_none()
            && spec.scheduler_name.as_deref() == Some(self.config.name.as_str())
            && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
    }

    fn is_waiting(&self) -> bool {
        self.may_schedule() && self.queue.next_due().is_some()
    }

    fn may_schedule(&self) -> bool {
        self.nodes_complete && self.pods_complete && self.calls.len() < IN_FLIGHT
    }

    fn next_due(&self) -> std::time::Duration {
        let now = self.config.clock.now().mono;
        self.queue.next_due().map(|due| due.since(now)).unwrap_or_default()
    }

    fn schedule_due(&mut self) {
        while self.may_schedule() {
            let now = self.config.clock.now();
            let Some(waiting) = self.queue.take_due(now.mono) else { return };
            match schedule(&waiting.info, &self.snapshot, rand::random()) {
                Ok(node) => {
                    // Assumed now, so that the next decision counts it; forgotten again if binding fails.
                    let mut placed = waiting.info.clone();
                    placed.node_name.clone_from(&node);
                    self.snapshot.place(placed);
                    self.calls.spawn(self.binder.clone().bind(waiting, node));
                }
                Err(refusal) => {
                    debug!(pod = waiting.pod.name_any(), %refusal, "unschedulable");
                    self.calls.spawn(self.binder.clone().refuse(waiting, refusal.to_string(), now.wall));
                }
            }
        }
    }

    fn settle(&mut self, outcome: Result<Outcome, tokio::task::JoinError>) {
        let now = self.config.clock.now().mono;
        match outcome {
            Ok(Outcome::Bound(uid)) => self.queue.done(&uid),
            Ok(Outcome::Vanished(uid)) => {
                // Whoever has it now is counted when its own change arrives.
                self.snapshot.remove_pod(&uid);
                self.queue.done(&uid);
            }
            Ok(Outcome::NotBound(waiting)) => {
                self.snapshot.remove_pod(&waiting.info.uid);
                self.queue.back_off(*waiting, now);
            }
            Ok(Outcome::Refused(waiting)) => self.queue.park(*waiting, now),
            Err(error) => tracing::error!(%error, "a scheduler call ended abnormally"),
        }
    }
}

/// What a Pod could be waiting for on a node.
fn room(node: &outrigger_scheduling::NodeInfo) -> impl PartialEq + use<> {
    (node.labels.clone(), node.taints.clone(), node.unschedulable, node.allocatable.clone())
}
