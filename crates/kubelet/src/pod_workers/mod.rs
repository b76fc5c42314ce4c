//! One task per Pod (R2.1): facts, decision, memory, status, events, probes, actions; then wait.

mod actions;
mod facts;
mod memory;
mod resize;
mod sandbox;
mod start;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{Patch, PatchParams};
use outrigger_api::MonoTime;
use outrigger_pod_lifecycle::{
    Action, Decision, Desired, Failure, Gates, HookState, Input, NodeFacts, Operation, PendingResize,
    PodMemory, ResizeFacts, SandboxOperation, StopSignal, VolumesState,
};
use outrigger_runtime::{ContainerState, Sandbox};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::allocation::same_resources;
use crate::context::{Context, PodKey};
use crate::env::PodAddresses;
use crate::pod_table::{is_finished, is_static};
use crate::prober::Prober;
use crate::records::PodRecord;
use crate::status;

pub(crate) use memory::{forget, stored_pod, stored_pods, strays};
pub(crate) use sandbox::discard;

/// Looking again although nothing seems to have happened (R2.19).
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// The wait after the runtime or the API server did not answer.
const RETRY: Duration = Duration::from_secs(1);
/// How often volumes made from objects are compared with them (R12.21).
const REFRESH: Duration = Duration::from_secs(45);

/// How long an exit is the newest that is told of a container.
const EXIT_SHOWN: Duration = Duration::from_millis(250);
/// How long the news that app containers run waits for others that are being started, so that what begins together is
/// told together. Failures and exits do not wait.
const GATHER: Duration = Duration::from_millis(50);

/// What a worker is told from outside.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    /// The newest object, with the resources the node has granted.
    pub(crate) pod: Arc<Pod>,
    /// What it asks for beyond that.
    pub(crate) pending: Option<PendingResize>,
    pub(crate) desired: Desired,
}

/// How an operation ended.
#[derive(Debug)]
enum Outcome {
    Sandbox {
        result: Result<(), String>,
    },
    SandboxEnded {
        result: Result<(), String>,
    },
    SandboxStopped {
        result: Result<(), String>,
    },
    Start {
        container: String,
        result: Result<(), start::StartFailure>,
    },
    PostStart {
        instance: String,
        result: Result<(), String>,
    },
    PreStop {
        instance: String,
        result: Result<(), String>,
    },
    /// Signals and removals.
    Small {
        key: SmallKey,
    },
    Mounted,
    Unmounted {
        problem: Option<String>,
    },
    Refreshed,
    Resized {
        result: Result<(), String>,
    },
    Published {
        status: Box<PodStatus>,
        accepted: bool,
        gone: bool,
    },
    Confirmed,
}

/// Short operations, so that the same is not begun twice at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum SmallKey {
    Signal(String, bool),
    Remove(String),
}

/// A start in flight.
#[derive(Debug)]
struct Starting {
    operation: Arc<Mutex<Operation>>,
    cancel: CancellationToken,
}

/// One Pod's task.
pub(crate) struct PodWorker {
    context: Arc<Context>,
    key: PodKey,
    assignment: watch::Receiver<Assignment>,
    changed: Arc<Notify>,
    operations: JoinSet<Outcome>,
    memory: PodMemory,
    /// Counts how often it was written down.
    memory_turn: u64,
    prober: Prober,
    record: PodRecord,
    local: Local,
    published: Published,
    /// It comes from a file: its status goes to the mirror, whose uid is another (R14.5).
    is_static: bool,
    /// Told when the mirror was made anew.
    mirrored: Arc<Notify>,
    /// Tells whoever stops Pods for the node's sake.
    stopped: watch::Sender<bool>,
}

/// What this process knows beyond runtime and memory.
#[derive(Default)]
struct Local {
    sandboxes: Vec<Sandbox>,
    sandbox_operation: Option<SandboxOperation>,
    sandbox_failure: Option<Failure>,
    starting: HashMap<String, Starting>,
    failures: BTreeMap<String, Failure>,
    hooks: HashMap<(String, bool), HookState>,
    small: HashSet<SmallKey>,
    volumes: VolumesState,
    volume_problem: Arc<Mutex<Option<String>>>,
    mounting: Option<CancellationToken>,
    refreshing: bool,
    messages: HashMap<String, String>,
    confirming: bool,
    /// The Pod as of the last turn.
    seen: Option<Arc<Pod>>,
    resizing: bool,
    resize_failure: Option<(String, outrigger_api::MonoTime)>,
    /// The Pod as it was last written down.
    saved: Option<Arc<Pod>>,
}

/// What the API server is known to have.
#[derive(Default)]
struct Published {
    status: Option<PodStatus>,
    /// Nothing newer is told before: somebody who was told of an exit may want to read its log.
    exit_until: Option<MonoTime>,
    /// When news is told although containers are still being started.
    gather_until: Option<MonoTime>,
    in_flight: bool,
    gone: bool,
}

/// What follows from a turn.
enum Turn {
    Sleep(Duration),
    Forget,
}

impl PodWorker {
    pub(crate) fn new(
        context: Arc<Context>,
        assignment: watch::Receiver<Assignment>,
        changed: Arc<Notify>,
        mirrored: Arc<Notify>,
        stopped: watch::Sender<bool>,
    ) -> Self {
        let is_static = is_static(&assignment.borrow().pod);
        let key = PodKey::of(&assignment.borrow().pod);
        let (memory, memory_turn) = memory::load(&context, &key.uid);
        let record = context.records.open(&key.uid);
        let prober = Prober::new(context.clone(), changed.clone(), record.probes.clone());
        // What an earlier process mounted is still there; its disk tells that it saw the Pod, not how far it came.
        let seen_before = memory.start_time.is_some();
        let volumes = if seen_before { VolumesState::Unknown } else { VolumesState::Unmounted };
        let published = Published { status: assignment.borrow().pod.status.clone(), ..Published::default() };
        Self {
            context,
            key,
            assignment,
            changed,
            operations: JoinSet::new(),
            memory,
            memory_turn,
            prober,
            record,
            local: Local { volumes, ..Local::default() },
            published,
            is_static,
            mirrored,
            stopped,
        }
    }

    /// Runs until nothing is left to do for the Pod, or until `stop`, which leaves everything running.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut refresh = tokio::time::interval(REFRESH);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let began = self.context.clock.now().mono;
            let turn = self.turn().await;
            let took = self.context.clock.now().mono.since(began);
            self.context.metrics.worker_turn(self.operation(), took);
            let wait = match turn {
                Turn::Forget => break,
                Turn::Sleep(wait) => wait,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = self.mirrored.notified() => self.published.status = None,
                changed = self.assignment.changed() => if changed.is_err() { return },
                Some(outcome) = self.operations.join_next() => self.take(outcome),
                _ = refresh.tick() => self.refresh_volumes(),
                () = tokio::time::sleep(wait) => {}
            }
            while let Some(outcome) = self.operations.try_join_next() {
                self.take(outcome);
            }
        }
        debug!(pod = %self.key.name, namespace = %self.key.namespace, "forgotten");
    }

    async fn turn(&mut self) -> Turn {
        let assignment = self.assignment.borrow_and_update().clone();
        let desired = if self.published.gone { Desired::Gone } else { assignment.desired.clone() };
        match self.context.runtime.list_pod(&self.key.uid).await {
            Ok(sandboxes) => self.local.sandboxes = sandboxes,
            Err(error) => {
                warn!(pod = %self.key.name, error = &error as &dyn std::error::Error, "the runtime does not answer");
                return Turn::Sleep(RETRY);
            }
        }
        let pod = assignment.pod;
        self.note_metadata(&pod);
        let now = self.context.clock.now();
        let decision = self.decide(&pod, &desired, assignment.pending, now);
        // What was granted must outlive this process too.
        let granted = self.local.saved.as_ref().is_some_and(|saved| same_resources(saved, &pod));
        if decision.memory != self.memory || !granted {
            if let Err(error) = memory::save(&self.context, &pod, &decision.memory, self.memory_turn) {
                warn!(pod = %self.key.name, error = &error as &dyn std::error::Error, "memory not written");
                return Turn::Sleep(RETRY);
            }
            self.memory_turn += 1;
            self.memory = decision.memory.clone();
            self.local.saved = Some(pod.clone());
        }
        let held = self.publish(&decision, &desired, now.mono);
        self.context.start_latency.status(&self.context.metrics, &pod, &decision.status, now);
        self.tell_stopped(&decision.status, &desired);
        for event in &decision.events {
            self.context.events.pod_event(&pod, event);
        }
        let ip = self.probe_ip(&decision.status);
        self.prober.adjust(&pod, &ip, &decision.probes);
        let mut forget = false;
        for action in &decision.actions {
            if *action == Action::Forget {
                forget = true;
            } else {
                self.begin(&pod, action, &decision.status);
            }
        }
        if forget {
            memory::forget(&self.context, &self.key);
            self.context.records.prune(now.wall);
            self.context.start_latency.forget(&self.key.uid);
            return Turn::Forget;
        }
        let due = decision.wake_at.into_iter().chain(held).min();
        let due = due.map_or(LONGEST_SLEEP, |at| at.since(now.mono));
        Turn::Sleep(due.min(LONGEST_SLEEP))
    }

    /// What this turn was about, as upstream's workers count it (N22).
    fn operation(&self) -> &'static str {
        let assignment = self.assignment.borrow();
        if is_finished(&assignment.pod) {
            "terminated"
        } else if assignment.desired != Desired::Run || assignment.pod.metadata.deletion_timestamp.is_some() {
            "terminating"
        } else {
            "sync"
        }
    }

    /// Whoever stops Pods may go on once nothing of this one runs and the API server knows how it ended.
    fn tell_stopped(&self, status: &PodStatus, desired: &Desired) {
        let running = self.local.sandboxes.iter().flat_map(|sandbox| &sandbox.containers);
        let running = running.filter(|it| matches!(it.state, ContainerState::Running { .. })).count();
        let told = self.is_static || self.published.status.as_ref() == Some(status);
        let stopped = *desired != Desired::Run && running == 0 && told;
        self.stopped.send_if_modified(|value| std::mem::replace(value, stopped) != stopped);
    }

    fn decide(
        &mut self,
        pod: &Pod,
        desired: &Desired,
        pending: Option<PendingResize>,
        now: outrigger_api::Now,
    ) -> Decision {
        let resize = ResizeFacts { pending, ..self.resize_facts() };
        let sandboxes = self.sandbox_facts();
        let containers = self.container_facts(pod);
        if let VolumesState::Mounting { problem } = &mut self.local.volumes {
            *problem = self.local.volume_problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
        let node = NodeFacts {
            name: self.context.config.node_name.clone(),
            ips: self.context.config.node_ips.clone(),
            network_problem: self.context.node_state.now().network_problem,
        };
        let input = Input {
            pod,
            desired,
            node: &node,
            sandboxes: &sandboxes,
            sandbox_operation: self.local.sandbox_operation,
            sandbox_failure: self.local.sandbox_failure.as_ref(),
            containers: &containers,
            volumes: &self.local.volumes,
            resize: &resize,
            memory: &self.memory,
            gates: &Gates {
                max_crash_back_off_seconds: self.context.config.max_crash_back_off.as_secs(),
                static_pod: self.is_static,
            },
            now,
        };
        let decision = (self.context.decide)(&input);
        self.record.note(&input, &decision);
        decision
    }

    /// Where probes and hooks find the Pod.
    fn probe_ip(&self, status: &PodStatus) -> String {
        let node = || self.context.config.node_ips.first().map(ToString::to_string);
        status.pod_ip.clone().or_else(node).unwrap_or_default()
    }

    /// As the Pod's status shows them.
    fn addresses(&self, pod: &Pod) -> PodAddresses {
        let shown = pod.status.as_ref().and_then(|status| status.pod_ips.as_deref()).unwrap_or_default();
        PodAddresses {
            pod: shown.iter().map(|ip| ip.ip.clone()).collect(),
            host: self.context.config.node_ips.iter().map(ToString::to_string).collect(),
        }
    }

    /// One patch in flight; the newest status wins. Returns when to try again, if it is held back.
    fn publish(&mut self, decision: &Decision, desired: &Desired, now: MonoTime) -> Option<MonoTime> {
        let status = &decision.status;
        let known = self.published.status.as_ref() == Some(status);
        if known || *desired == Desired::Gone {
            self.published.gather_until = None;
            return None;
        }
        if self.published.in_flight {
            return None;
        }
        if let Some(until) = self.held_until(decision, now) {
            return Some(until);
        }
        self.published.gather_until = None;
        self.published.in_flight = true;
        let uid = (!self.is_static).then_some(self.key.uid.as_str());
        let patch = status::patch(uid, self.published.status.as_ref(), status);
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.key.namespace);
        let (name, status) = (self.key.name.clone(), Box::new(status.clone()));
        let is_static = self.is_static;
        self.operations.spawn(async move {
            let result = api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await;
            let gone = matches!(&result, Err(kube::Error::Api(s)) if s.is_not_found() || s.is_conflict());
            // The mirror may not be there yet, or be on its way to being made again.
            let gone = gone && !is_static;
            if let Err(error) = &result {
                warn!(pod = name, %error, "status not accepted");
                if !gone {
                    tokio::time::sleep(RETRY).await;
                }
            }
            Outcome::Published { status, accepted: result.is_ok(), gone }
        });
        None
    }

    /// What keeps news back, and until when.
    fn held_until(&mut self, decision: &Decision, now: MonoTime) -> Option<MonoTime> {
        // The next start begins in this very turn.
        let starts = decision.actions.iter().any(|action| matches!(action, Action::StartContainer { .. }));
        let news = status::tells_of_starts_only(self.published.status.as_ref(), &decision.status);
        let gathered = (news && (starts || !self.local.starting.is_empty()))
            .then(|| *self.published.gather_until.get_or_insert(now + GATHER));
        // A Pod that is over starts nothing again that could hide the exit.
        let over = matches!(decision.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let shown = self.published.exit_until.filter(|_| !over);
        shown.max(gathered).filter(|until| now < *until)
    }

    /// R12.24: labels and annotations that changed are shown without waiting for the next round.
    fn note_metadata(&mut self, pod: &Arc<Pod>) {
        let before = self.local.seen.replace(Arc::clone(pod));
        let same = |before: &Pod| {
            before.metadata.labels == pod.metadata.labels
                && before.metadata.annotations == pod.metadata.annotations
        };
        if before.is_some_and(|before| !same(&before)) {
            self.refresh_volumes();
        }
    }

    fn refresh_volumes(&mut self) {
        let pod = self.assignment.borrow().pod.clone();
        let due = self.local.volumes == VolumesState::Mounted && !self.local.refreshing;
        if !due || !crate::volumes::needs_refresh(&pod) {
            return;
        }
        self.local.refreshing = true;
        let addresses = self.addresses(&pod);
        let context = self.context.clone();
        self.operations.spawn(async move {
            crate::volumes::refresh(&context, &pod, &addresses).await;
            Outcome::Refreshed
        });
    }

    fn failure(&self, reason: outrigger_pod_lifecycle::FailureReason, message: String) -> Failure {
        let now = self.context.clock.now();
        Failure { reason, message, at: now.mono, at_wall: now.wall }
    }
}

/// Whether it is KILL.
const fn is_kill(signal: StopSignal) -> bool {
    matches!(signal, StopSignal::Kill)
}
