//! A kubelet and a runtime in memory: they carry out what `decide` says, at once, and play the scripted containers.
//! Time passes only when nothing is left to do. Whatever happens is a line of the timeline: `<second> <what>`.

mod asks;
mod runtime;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_api::{MonoTime, Now, WallTime};
use outrigger_pod_lifecycle::*;

/// How one instance behaves. All times are seconds after its start, or after what asks for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) exit: Option<(u64, i32)>,
    /// `None`: TERM is ignored.
    pub(crate) on_term: Option<(u64, i32)>,
    pub(crate) startup: Option<(u64, bool)>,
    pub(crate) liveness_fails: Option<u64>,
    pub(crate) ready_after: Option<u64>,
    pub(crate) post_start: (u64, bool),
    pub(crate) pre_stop: u64,
    pub(crate) message: &'static str,
}

/// Runs until stopped, and leaves TERM with 143 at once.
pub(crate) fn serve() -> Run {
    Run { on_term: Some((0, 143)), post_start: (0, true), ..Run::default() }
}

/// Ends by itself.
pub(crate) fn exits(after: u64, code: i32) -> Run {
    Run { exit: Some((after, code)), ..serve() }
}

#[derive(Clone, Debug)]
enum Effect {
    SandboxMade(u32),
    SandboxStopped(String),
    Started { container: String, attempt: u32, sandbox: String },
    Exit { container: String, instance: String, code: i32 },
    PostStart { container: String, instance: String, ok: bool },
    PreStop { container: String, instance: String },
    Verdict { container: String, instance: String, kind: ProbeKind, verdict: Verdict },
    Mounted,
    Unmounted,
}

/// Where the agent dies in the turn it is told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    BeforePersisting,
    BeforeActing,
    AfterActing,
}

pub(crate) struct Sim {
    pub(crate) pod: Pod,
    pub(crate) desired: Desired,
    pub(crate) node: NodeFacts,
    pub(crate) gates: Gates,
    pub(crate) sandboxes: Vec<SandboxFacts>,
    sandbox_operation: Option<SandboxOperation>,
    sandbox_failure: Option<Failure>,
    pub(crate) sandbox_failures: u32,
    pub(crate) containers: BTreeMap<String, ContainerFacts>,
    volumes: VolumesState,
    pub(crate) memory: PodMemory,
    pub(crate) mono: u64,
    scripts: BTreeMap<String, VecDeque<Run>>,
    failures: BTreeMap<String, VecDeque<FailureReason>>,
    /// Seconds a start takes.
    pub(crate) start_takes: u64,
    pending: Vec<(u64, Effect)>,
    pub(crate) timeline: Vec<String>,
    pub(crate) events: Vec<String>,
    pub(crate) phases: Vec<String>,
    pub(crate) last: Option<Decision>,
    pub(crate) turns: u32,
    pub(crate) die: Option<(u32, Death)>,
    pub(crate) forgotten: bool,
    serial: u32,
}

fn base() -> WallTime {
    "2026-05-01T00:00:00Z".parse().expect("a date")
}

impl Sim {
    pub(crate) fn new(spec: serde_json::Value) -> Self {
        let pod = serde_json::json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u1", "generation": 1},
            "spec": spec,
            "status": {"phase": "Pending", "qosClass": "BestEffort"},
        });
        Self {
            pod: serde_json::from_value(pod).expect("a Pod"),
            desired: Desired::Run,
            node: NodeFacts {
                name: "n1".into(),
                ips: vec!["10.0.0.1".parse().expect("an address")],
                network_problem: None,
            },
            gates: Gates::default(),
            sandboxes: Vec::new(),
            sandbox_operation: None,
            sandbox_failure: None,
            sandbox_failures: 0,
            containers: BTreeMap::new(),
            volumes: VolumesState::Unmounted,
            memory: PodMemory::default(),
            mono: 1000,
            scripts: BTreeMap::new(),
            failures: BTreeMap::new(),
            start_takes: 0,
            pending: Vec::new(),
            timeline: Vec::new(),
            events: Vec::new(),
            phases: Vec::new(),
            last: None,
            turns: 0,
            die: None,
            forgotten: false,
            serial: 0,
        }
    }

    /// The instances of a container, one after another; the last one is repeated.
    pub(crate) fn script(mut self, container: &str, runs: impl IntoIterator<Item = Run>) -> Self {
        self.scripts.insert(container.into(), runs.into_iter().collect());
        self
    }

    /// The first attempts to start it fail so.
    pub(crate) fn fails(mut self, container: &str, reasons: impl IntoIterator<Item = FailureReason>) -> Self {
        self.failures.insert(container.into(), reasons.into_iter().collect());
        self
    }

    pub(crate) fn seconds(&self) -> u64 {
        self.mono - 1000
    }

    fn now(&self) -> Now {
        Now {
            wall: base() + Duration::from_secs(self.seconds()),
            mono: MonoTime::from_boot(Duration::from_secs(self.mono)),
        }
    }

    pub(crate) fn note(&mut self, what: impl std::fmt::Display) {
        let line = format!("{} {what}", self.seconds());
        self.timeline.push(line);
    }

    pub(crate) fn delete(&mut self, grace: i64) {
        self.pod.metadata.deletion_timestamp = Some(Time(self.now().wall));
        self.pod.metadata.deletion_grace_period_seconds = Some(grace);
    }

    /// The agent process is replaced: what only it knew is gone.
    pub(crate) fn restart_agent(&mut self) {
        self.memory.resume();
        self.sandbox_operation = None;
        self.sandbox_failure = None;
        self.pending.retain(|(_, effect)| matches!(effect, Effect::Exit { .. } | Effect::Verdict { .. }));
        if self.volumes != VolumesState::Mounted {
            self.volumes = VolumesState::Unmounted;
        }
        for facts in self.containers.values_mut() {
            facts.operation = None;
            facts.failure = None;
            facts.post_start = HookState::Idle;
            facts.pre_stop = HookState::Idle;
        }
    }

    /// Lets time pass until `until` (seconds since the beginning), or the end of the Pod.
    pub(crate) fn run(&mut self, until: u64) -> &mut Self {
        for _ in 0..20_000 {
            self.settle();
            if self.forgotten {
                return self;
            }
            let wake = self.last.as_ref().and_then(|last| last.wake_at).map(|at| at.since_boot().as_secs());
            let effect = self.pending.iter().map(|(at, _)| *at).min();
            let next = [wake, effect].into_iter().flatten().filter(|at| *at > self.mono).min();
            match next {
                Some(next) if next <= until + 1000 => self.mono = next,
                _ => {
                    self.mono = self.mono.max(until + 1000);
                    self.settle();
                    return self;
                }
            }
        }
        panic!("no end: {:#?}", self.timeline);
    }

    /// Turns until nothing happens any more at this moment.
    fn settle(&mut self) {
        for _ in 0..200 {
            let due = self.apply_due();
            let acted = self.turn();
            if self.forgotten || (!due && !acted && !self.pending.iter().any(|(at, _)| *at <= self.mono)) {
                return;
            }
        }
        panic!("restless at {}: {:#?}\n{:#?}", self.seconds(), self.last, self.timeline);
    }

    fn apply_due(&mut self) -> bool {
        let now = self.mono;
        let (due, later): (Vec<_>, Vec<_>) = self.pending.drain(..).partition(|(at, _)| *at <= now);
        self.pending = later;
        let any = !due.is_empty();
        for (_, effect) in due {
            self.apply(effect);
        }
        any
    }

    /// One turn of the kubelet. Says whether it did anything.
    pub(crate) fn turn(&mut self) -> bool {
        let decision = decide(&Input {
            pod: &self.pod,
            desired: &self.desired,
            node: &self.node,
            sandboxes: &self.sandboxes,
            sandbox_operation: self.sandbox_operation,
            sandbox_failure: self.sandbox_failure.as_ref(),
            containers: &self.containers,
            volumes: &self.volumes,
            memory: &self.memory,
            gates: &self.gates,
            now: self.now(),
        });
        self.turns += 1;
        let death = self.die.filter(|(turn, _)| *turn == self.turns).map(|(_, death)| death);
        if death == Some(Death::BeforePersisting) {
            self.restart_agent();
            return true;
        }
        let changed = decision.memory != self.memory;
        // What is not in the file is forgotten.
        let file = serde_json::to_string(&decision.memory).expect("memory is written");
        self.memory = serde_json::from_str(&file).expect("memory is read");
        assert_eq!(self.memory, decision.memory, "memory survives its file");
        if death == Some(Death::BeforeActing) {
            self.restart_agent();
            return true;
        }
        self.check(&decision);
        let phase = decision.status.phase.clone().unwrap_or_default();
        if self.phases.last() != Some(&phase) {
            self.phases.push(phase);
        }
        self.pod.status = Some(decision.status.clone());
        for event in &decision.events {
            self.events.push(format!("{} {}: {}", self.seconds(), event.reason_word(), event.message));
        }
        let mut acted = changed;
        for action in decision.actions.clone() {
            acted |= self.begin(action);
        }
        self.last = Some(decision);
        if death == Some(Death::AfterActing) {
            self.restart_agent();
        }
        acted
    }

    /// The invariants of section 20 that one turn can break.
    fn check(&self, decision: &Decision) {
        let old = self.pod.status.clone().unwrap_or_default();
        let phase = decision.status.phase.as_deref().unwrap_or_default();
        let alive = self.containers.values().flat_map(|facts| &facts.instances);
        let alive = alive.filter(|it| matches!(it.state, InstanceState::Running { .. })).count();
        let terminal = matches!(phase, "Succeeded" | "Failed");
        assert!(!(terminal && alive > 0), "I8 at {}: {phase} with {alive} alive", self.seconds());
        if let Some("Succeeded" | "Failed") = old.phase.as_deref() {
            assert_eq!(old.phase.as_deref(), Some(phase), "I7");
        }
        let starts = decision.actions.iter().filter(|it| matches!(it, Action::StartContainer { .. })).count();
        let ending =
            self.pod.metadata.deletion_timestamp.is_some() || decision.memory.worker != Worker::Syncing;
        assert!(!(ending && starts > 0), "I4 at {}", self.seconds());
        for (name, facts) in &self.containers {
            let running = |it: &&Instance| matches!(it.state, InstanceState::Running { .. });
            assert!(facts.instances.iter().filter(running).count() <= 1, "I1: {name}");
        }
        if asks::condition(&old, "Initialized") == "True" {
            assert_eq!(asks::condition(&decision.status, "Initialized"), "True", "I10");
        }
        if terminal {
            assert_ne!(asks::condition(&decision.status, "Ready"), "True", "R9.20");
        }
        for new in decision.status.container_statuses.iter().flatten() {
            let before = old.container_statuses.iter().flatten().find(|it| it.name == new.name);
            assert!(before.is_none_or(|it| it.restart_count <= new.restart_count), "I9: {}", new.name);
            let state = new.state.clone().unwrap_or_default();
            let set = [state.waiting.is_some(), state.running.is_some(), state.terminated.is_some()];
            assert_eq!(set.iter().filter(|it| **it).count(), 1, "R9.23: {state:?}");
        }
    }

    fn later(&mut self, after: u64, effect: Effect) {
        self.pending.push((self.mono + after, effect));
    }

    fn begin(&mut self, action: Action) -> bool {
        match action {
            Action::MountVolumes => {
                self.volumes = VolumesState::Mounting { problem: None };
                self.later(0, Effect::Mounted);
            }
            Action::UnmountVolumes => {
                self.note("unmount");
                self.volumes = VolumesState::Unmounting;
                self.later(0, Effect::Unmounted);
            }
            Action::CreateSandbox { attempt } => {
                self.note(format_args!("sandbox #{attempt}"));
                self.sandbox_operation = Some(SandboxOperation::Creating);
                self.later(0, Effect::SandboxMade(attempt));
            }
            Action::StopSandbox { sandbox } => {
                self.note("stop sandbox");
                self.sandbox_operation = Some(SandboxOperation::Stopping);
                self.later(0, Effect::SandboxStopped(sandbox));
            }
            Action::RemoveSandbox { sandbox } => {
                self.sandboxes.retain(|it| it.id != sandbox);
                for facts in self.containers.values_mut() {
                    facts.instances.retain(|it| it.sandbox != sandbox);
                }
            }
            Action::StartContainer { container, attempt, sandbox } => {
                self.note(format_args!("start {container}#{attempt}"));
                let facts = self.containers.entry(container.clone()).or_default();
                assert_eq!(facts.operation, None, "started twice: {container}");
                facts.operation = Some(Operation::Pulling);
                self.later(self.start_takes, Effect::Started { container, attempt, sandbox });
            }
            Action::CancelStart { container } => {
                self.pending.retain(|(_, effect)| {
                    !matches!(effect, Effect::Started { container: of, .. } if *of == container)
                });
                self.containers.entry(container).or_default().operation = None;
            }
            Action::RunPostStart { container, instance } => {
                let (after, ok) = self.script_of(&container, &instance).post_start;
                self.containers.entry(container.clone()).or_default().post_start = HookState::Running;
                self.later(after, Effect::PostStart { container, instance, ok });
            }
            Action::RunPreStop { container, instance, .. } => {
                self.note(format_args!("preStop {container}"));
                let after = self.script_of(&container, &instance).pre_stop;
                self.containers.entry(container.clone()).or_default().pre_stop = HookState::Running;
                self.later(after, Effect::PreStop { container, instance });
            }
            Action::Signal { container, instance, signal } => self.signal(container, instance, signal),
            Action::RemoveInstance { container, instance } => {
                let facts = self.containers.entry(container).or_default();
                facts.instances.retain(|it| it.id != instance);
            }
            Action::ConfirmDeletion => {
                self.note("confirm");
                self.desired = Desired::Gone;
            }
            Action::Forget => {
                self.note("forget");
                self.forgotten = true;
            }
        }
        true
    }

    fn signal(&mut self, container: String, instance: String, signal: StopSignal) {
        if signal == StopSignal::Kill {
            self.note(format_args!("KILL {container}"));
            self.later(0, Effect::Exit { container, instance, code: 137 });
            return;
        }
        self.note(format_args!("TERM {container}"));
        if let Some((after, code)) = self.script_of(&container, &instance).on_term {
            self.later(after, Effect::Exit { container, instance, code });
        }
    }

    /// The script of an instance, by its number.
    fn script_of(&self, container: &str, instance: &str) -> Run {
        let attempt: usize = instance.rsplit('-').next().and_then(|it| it.parse().ok()).expect("an attempt");
        let runs = self.scripts.get(container).cloned().unwrap_or_default();
        runs.get(attempt).or(runs.back()).cloned().unwrap_or_else(serve)
    }
}
