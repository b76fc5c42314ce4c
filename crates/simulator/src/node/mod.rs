//! The node: clock, queue of what comes, and one slot per Pod. Parts by file: `store` (API server and watch), `agent`
//! (turns), `actions` (what is begun), `runtime` (what comes of it), `probes`, `ask` (for tests).

mod actions;
mod agent;
mod ask;
mod probes;
mod runtime;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use outrigger_api::{MonoTime, Now, WallTime};
use outrigger_pod_lifecycle::{
    ContainerFacts, Decision, Desired, Failure, Gates, Input, NodeFacts, PendingResize, PodMemory, ProbeKind,
    ResizeFacts, SandboxFacts, SandboxOperation, VolumesState,
};

use crate::chaos::Chaos;
use crate::invariants::Checker;
use crate::script::Script;
use crate::timeline::{Entry, What};
pub(crate) use ask::statuses;
pub use probes::ProbeRun;
use probes::ProbeWorker;

/// How the node decides; [`outrigger_pod_lifecycle::decide`], or a test's broken variant of it.
pub type Decide = Box<dyn Fn(&Input<'_>) -> Decision + Send>;

/// Which Pod of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodIndex(pub(crate) usize);

/// Looking again although nothing seems to have happened, as the kubelet does (R2.19).
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// The monotonic clock at the beginning.
pub(crate) const BOOT: Duration = Duration::from_secs(1000);
/// What a failed call or a dead agent costs at most, besides the time it is down.
const SETBACK: Duration = Duration::from_secs(3);
/// More events than this at one moment are an endless loop.
const MOST_AT_ONCE: u32 = 10_000;

/// A simulated node with all its Pods.
pub struct Node {
    now: Duration,
    wall_ahead: SignedDuration,
    queue: BTreeMap<(Duration, u64), Scheduled>,
    serial: u64,
    decide: Decide,
    /// The agent process: each has a number, and what an earlier one was waiting for is lost.
    epoch: u32,
    agent_is_up: bool,
    slots: Vec<Slot>,
    decisions: u64,
    /// What goes wrong.
    pub chaos: Chaos,
    /// What the node says of itself.
    pub facts: NodeFacts,
    /// Switches of the node.
    pub gates: Gates,
    /// Whether what happens is written down; off where only invariants count.
    pub record: bool,
    /// Whether the memory goes through its file format each time, as a real agent's does when it starts.
    pub file_memory: bool,
}

/// One Pod: its object, its worker, what is on disk and what runs.
pub(crate) struct Slot {
    /// In the API server.
    pub(crate) object: Option<Arc<Pod>>,
    /// Counts the object's changes.
    pub(crate) version: u64,
    /// What a stale cache would still list.
    pub(crate) before: Option<Arc<Pod>>,
    pub(crate) worker: Option<Worker>,
    /// Memory and last object, durable.
    pub(crate) disk: Option<(Arc<Pod>, Arc<PodMemory>)>,
    pub(crate) sandboxes: Vec<SandboxFacts>,
    /// Instances are the runtime's, all else in here is the agent's and dies with it.
    pub(crate) containers: BTreeMap<String, ContainerFacts>,
    /// What is really mounted, whatever the agent knows.
    pub(crate) mounted: bool,
    pub(crate) scripts: BTreeMap<String, Script>,
    pub(crate) sandbox_failures: u32,
    /// Attempts to stop the sandbox that will fail.
    pub(crate) stop_failures: u32,
    /// Why changes of resources fail, while they do.
    pub(crate) resize_failure: Option<String>,
    /// What is asked for beyond the spec the agent sees, and not granted.
    pub(crate) pending_resize: Option<PendingResize>,
    /// Why volumes cannot be mounted.
    pub(crate) mount_problem: Option<String>,
    pub(crate) timeline: Vec<Entry>,
    pub(crate) checker: Checker,
    pub(crate) forgotten: bool,
    pub(crate) last_status: Option<PodStatus>,
    /// What the agent asks of it when it first sees it.
    pub(crate) admission: Desired,
}

/// What the agent keeps of one Pod while it lives.
pub(crate) struct Worker {
    pub(crate) seen: Arc<Pod>,
    pub(crate) seen_version: u64,
    pub(crate) desired: Desired,
    pub(crate) memory: Arc<PodMemory>,
    pub(crate) published: Option<PodStatus>,
    pub(crate) publishing: bool,
    pub(crate) confirming: bool,
    pub(crate) sandbox_operation: Option<SandboxOperation>,
    pub(crate) sandbox_failure: Option<Failure>,
    pub(crate) volumes: VolumesState,
    pub(crate) resize: ResizeFacts,
    /// Signals and removals in flight, so that the same is not begun twice at once.
    pub(crate) small: BTreeSet<(String, Small)>,
    pub(crate) probes: BTreeMap<(String, ProbeKind), ProbeWorker>,
    pub(crate) wake: Option<(Duration, u64)>,
    pub(crate) last: Option<Decision>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Small {
    Term,
    Kill,
    Remove,
}

/// Something that will happen to a Pod.
struct Scheduled {
    pod: PodIndex,
    /// The agent process that waits for it; `None`: it happens whether or not an agent lives.
    epoch: Option<u32>,
    event: Event,
}

/// A start as it was decided: what happens to the spec meanwhile does not change it.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) container: String,
    pub(crate) attempt: u32,
    pub(crate) sandbox: String,
    pub(crate) image: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    // What a worker waits for.
    Wake,
    Deliver(u64, Arc<Pod>),
    DeliverGone,
    Mounted,
    MountFailed { problem: String },
    Unmounted { problem: bool },
    SandboxMade { attempt: u32, fails: bool },
    SandboxStopped { sandbox: String, fails: bool },
    SandboxRemoved { sandbox: String, fails: bool },
    Pulled { container: String },
    Started { planned: Planned, fails: bool },
    StartCancelled { container: String },
    PostStart { container: String, instance: String },
    PreStop { container: String, instance: String },
    Small { container: String, instance: String, what: Small, fails: bool },
    Probe { container: String, kind: ProbeKind, instance: String },
    Published { status: Box<PodStatus>, accepted: bool },
    Confirmed,
    Resized,
    // What happens by itself.
    Exit { container: String, instance: String, code: i32 },
    AgentStarts,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("now", &self.now)
            .field("pods", &self.slots.len())
            .finish_non_exhaustive()
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::new(Box::new(outrigger_pod_lifecycle::decide), Chaos::calm())
    }
}

impl Node {
    /// A node without Pods that decides with `decide`.
    pub fn new(decide: Decide, chaos: Chaos) -> Self {
        Self {
            now: Duration::ZERO,
            wall_ahead: SignedDuration::ZERO,
            queue: BTreeMap::new(),
            serial: 0,
            decide,
            epoch: 1,
            agent_is_up: true,
            slots: Vec::new(),
            decisions: 0,
            chaos,
            facts: NodeFacts {
                name: "n1".into(),
                ips: vec![std::net::Ipv4Addr::new(10, 0, 0, 1).into()],
                network_problem: None,
            },
            gates: Gates::default(),
            record: true,
            file_memory: true,
        }
    }

    /// Since the beginning.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// How often it decided.
    pub fn decisions(&self) -> u64 {
        self.decisions
    }

    /// Both clocks.
    pub fn clocks(&self) -> Now {
        // 2026-05-01T00:00:00Z
        let epoch = WallTime::from_second(1_777_593_600).unwrap_or_default();
        let wall = epoch.saturating_add(self.now).unwrap_or(epoch);
        let wall = wall.saturating_add(self.wall_ahead).unwrap_or(wall);
        Now { wall, mono: MonoTime::from_boot(BOOT + self.now) }
    }

    /// Sets the calendar forward or back; monotonic time goes on.
    pub fn jump_wall(&mut self, by: SignedDuration) {
        self.wall_ahead += by;
        self.slots.iter_mut().for_each(|slot| slot.checker.jumped());
        self.note_all(&format!("the clock jumps by {} s", by.as_secs()));
    }

    /// Lets time pass until `until`; ends early if nothing is left to happen.
    pub fn run(&mut self, until: Duration) {
        self.run_while(until, |_| true);
    }

    /// As [`Node::run`], and ends as soon as `goes_on` says no. It is asked after every step.
    pub fn run_while(&mut self, until: Duration, mut goes_on: impl FnMut(&Self) -> bool) {
        let mut at_once = 0;
        while let Some((&(at, _), _)) = self.queue.first_key_value() {
            if at > until {
                break;
            }
            at_once = if at > self.now { 0 } else { at_once + 1 };
            if at_once > MOST_AT_ONCE {
                self.complain("nothing settles: endless work at one moment".into());
                break;
            }
            self.now = at.max(self.now);
            self.step();
            if !goes_on(self) {
                return;
            }
        }
        self.now = self.now.max(until);
    }

    /// The next thing happens, and its Pod's worker takes a turn if it concerns it.
    fn step(&mut self) {
        let Some(((at, _), scheduled)) = self.queue.pop_first() else { return };
        let pod = scheduled.pod;
        let mut concerns = self.happen(scheduled);
        // What is due at the same moment is seen together, as a worker drains its operations before it decides.
        while let Some((&(next, _), following)) = self.queue.first_key_value() {
            if next > at || following.pod != pod || self.chaos.coin() {
                break;
            }
            let Some((_, following)) = self.queue.pop_first() else { break };
            concerns |= self.happen(following);
        }
        if concerns {
            self.turn(pod);
        }
    }

    fn happen(&mut self, scheduled: Scheduled) -> bool {
        match scheduled.epoch {
            Some(epoch) if epoch != self.epoch => false,
            _ => self.apply(scheduled.pod, scheduled.event),
        }
    }

    /// Schedules what the present agent process waits for.
    fn expect(&mut self, pod: PodIndex, after: Duration, event: Event) -> (Duration, u64) {
        let epoch = Some(self.epoch);
        self.schedule(after, Scheduled { pod, epoch, event })
    }

    /// Schedules what happens by itself.
    fn will(&mut self, pod: PodIndex, after: Duration, event: Event) {
        self.schedule(after, Scheduled { pod, epoch: None, event });
    }

    fn schedule(&mut self, after: Duration, scheduled: Scheduled) -> (Duration, u64) {
        self.serial += 1;
        let key = (self.now + after, self.serial);
        self.queue.insert(key, scheduled);
        key
    }

    fn slot(&mut self, pod: PodIndex) -> &mut Slot {
        &mut self.slots[pod.0]
    }

    pub(crate) fn note(&mut self, pod: PodIndex, what: impl FnOnce() -> What) {
        if self.record {
            let entry = Entry { at: self.now, what: what() };
            self.slots[pod.0].timeline.push(entry);
        }
    }

    /// Draws how long a call takes; what it takes excuses the agent.
    fn latency(&mut self, pod: PodIndex) -> Duration {
        let wait = self.chaos.latency();
        self.slots[pod.0].checker.allow(wait);
        wait
    }

    /// Draws whether a call fails; the time until it is made again excuses the agent.
    fn fails(&mut self, pod: PodIndex) -> bool {
        let fails = self.chaos.fails();
        if fails {
            self.slots[pod.0].checker.allow(SETBACK);
        }
        fails
    }

    fn note_all(&mut self, fault: &str) {
        for pod in (0..self.slots.len()).map(PodIndex) {
            self.note(pod, || What::Fault(fault.to_owned()));
        }
    }

    /// Notes a rule that is broken from the outside's point of view.
    pub(crate) fn complain_of(&mut self, pod: PodIndex, rule: &'static str, problem: String) {
        let now = self.now;
        self.slots[pod.0].checker.complain(now, rule, problem);
    }

    fn complain(&mut self, problem: String) {
        let now = self.now;
        if let Some(slot) = self.slots.first_mut() {
            slot.checker.complain(now, "P1", problem);
        }
    }
}
