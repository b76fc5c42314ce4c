//! Writes down what changes from one decision about a Pod to the next, in bounded space.
//!
//! A record keeps its first [`HEAD`] entries, which tell how the Pod came up, and its newest [`TAIL`]. What stood
//! between them is dropped and counted. So a container that crashes for a month costs no more than one that crashes
//! for an hour.

use std::collections::{BTreeMap, VecDeque};

use outrigger_api::{MonoTime, Now, WallTime};
use outrigger_pod_lifecycle::{
    Action, ContainerFacts, Decision, EventReason, FailureReason, HookState, Input, InstanceState, Operation,
    ProbeKind, StopScope, Verdict, VolumesState, WaitingFor, Worker, field_path,
};

use crate::record::{
    Entry, HookKind, HookStep, PodName, ProbeProgress, Report, Row, SandboxStep, StartStep, VolumeStep, Wait,
    What, rows,
};

/// So many of the first entries are kept.
pub const HEAD: usize = 64;
/// And so many of the newest.
pub const TAIL: usize = 192;

/// The record of one Pod.
#[derive(Debug, Default)]
pub struct Recorder {
    pod: PodName,
    containers: Vec<Row>,
    head: Vec<Entry>,
    tail: VecDeque<Entry>,
    dropped: u64,
    gone: Option<WallTime>,
    waiting: Vec<Wait>,
    seen: Seen,
}

/// The Pod as the last decision left it.
#[derive(Debug, Default)]
struct Seen {
    watched: bool,
    ending: Option<u64>,
    restarting_all: bool,
    phase: String,
    conditions: BTreeMap<String, bool>,
    volumes: VolumesState,
    /// Attempt and readiness of the newest.
    sandbox: Option<(u32, bool)>,
    sandbox_failure: Option<WallTime>,
    containers: BTreeMap<String, SeenContainer>,
    actions: Vec<Action>,
}

#[derive(Debug, Default)]
struct SeenContainer {
    /// The newest attempt noted, and whether its end was.
    attempt: Option<(u32, bool)>,
    operation: Option<Operation>,
    failure: Option<WallTime>,
    hooks: [HookState; 2],
    /// Startup, liveness, readiness.
    verdicts: [Option<Verdict>; 3],
    started: bool,
    ready: bool,
    /// The instance whose stop was noted.
    stopping: Option<String>,
}

impl Recorder {
    /// Notes one turn: what its facts show, then what was decided.
    pub fn note(&mut self, input: &Input<'_>, decision: &Decision) {
        let mut seen = std::mem::take(&mut self.seen);
        let now = input.now;
        if !seen.watched {
            seen.watched = true;
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            let meta = &input.pod.metadata;
            self.pod =
                PodName { namespace: text(&meta.namespace), name: text(&meta.name), uid: text(&meta.uid) };
            let again = input.memory.start_time.is_some();
            self.push(now.wall, What::Watched { again });
        }
        let containers = rows(input.pod);
        if containers != self.containers {
            self.containers = containers;
        }
        self.note_pod_facts(&mut seen, input);
        for (name, facts) in input.containers {
            let known = seen.containers.entry(name.clone()).or_default();
            self.note_container_facts(known, name, facts, now);
        }
        self.note_worker(&mut seen, decision, now.wall);
        for name in input.containers.keys() {
            let known = seen.containers.entry(name.clone()).or_default();
            self.note_standing(known, name, decision, now.wall);
        }
        for action in decision.actions.iter().filter(|action| !seen.actions.contains(action)) {
            self.note_action(action, now.wall);
        }
        self.note_waits(decision, now);
        self.note_status(&mut seen, decision, now.wall);
        if decision.actions != seen.actions {
            seen.actions.clone_from(&decision.actions);
        }
        self.seen = seen;
    }

    /// Everything so far, as of `now`; `probes` is what the probe workers know.
    pub fn report(&self, now: WallTime, probes: Vec<ProbeProgress>) -> Report {
        Report {
            pod: self.pod.clone(),
            containers: self.containers.clone(),
            now,
            gone: self.gone,
            entries: self.head.iter().chain(&self.tail).cloned().collect(),
            dropped: self.dropped,
            dropped_after: self.head.len(),
            waiting: self.waiting.clone(),
            probes,
        }
    }

    /// When nothing of the Pod was left on the node.
    pub fn gone(&self) -> Option<WallTime> {
        self.gone
    }

    /// Which Pod it is about.
    pub fn pod(&self) -> &PodName {
        &self.pod
    }

    fn push(&mut self, at: WallTime, what: What) {
        let entry = Entry { at, what };
        if self.head.len() < HEAD {
            self.head.push(entry);
            return;
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
            self.dropped += 1;
        }
        self.tail.push_back(entry);
    }

    fn note_pod_facts(&mut self, seen: &mut Seen, input: &Input<'_>) {
        let at = input.now.wall;
        if seen.volumes != *input.volumes {
            let step = match input.volumes {
                VolumesState::Mounting { problem: Some(problem) } => {
                    Some(VolumeStep::Failing { problem: problem.clone() })
                }
                VolumesState::Mounting { problem: None }
                | VolumesState::Unmounting
                | VolumesState::Unknown => None,
                VolumesState::Mounted => Some(VolumeStep::Mounted),
                VolumesState::Unmounted => Some(VolumeStep::Unmounted),
            };
            seen.volumes = input.volumes.clone();
            if let Some(step) = step {
                self.push(at, What::Volumes { step });
            }
        }
        let newest = input.sandboxes.last().map(|sandbox| (sandbox.attempt, sandbox.ready));
        if newest != seen.sandbox {
            match (seen.sandbox, newest) {
                (_, Some((attempt, true))) => {
                    self.push(at, What::Sandbox { attempt, step: SandboxStep::Ready });
                }
                (Some((attempt, true)), _) => {
                    self.push(at, What::Sandbox { attempt, step: SandboxStep::Ended });
                }
                _ => {}
            }
            seen.sandbox = newest;
        }
        let failure = input.sandbox_failure;
        if failure.map(|failure| failure.at_wall) != seen.sandbox_failure {
            seen.sandbox_failure = failure.map(|failure| failure.at_wall);
            if let Some(failure) = failure.filter(|it| it.reason == FailureReason::KillPodError) {
                self.push(failure.at_wall, What::KillFailed { problem: failure.message.clone() });
            } else if let Some(failure) = failure {
                let attempt = newest.map_or(0, |(attempt, _)| attempt + 1);
                let step = SandboxStep::Failed { problem: failure.message.clone() };
                self.push(failure.at_wall, What::Sandbox { attempt, step });
            }
        }
    }

    fn note_container_facts(
        &mut self,
        known: &mut SeenContainer,
        name: &str,
        facts: &ContainerFacts,
        now: Now,
    ) {
        let container = || name.to_owned();
        if facts.operation != known.operation {
            if facts.operation == Some(Operation::Starting) {
                let attempt = known.attempt.map_or(0, |(attempt, _)| attempt + 1);
                let step = StartStep::Creating;
                self.push(now.wall, What::Start { container: container(), attempt, step });
            }
            known.operation.clone_from(&facts.operation);
        }
        let failed_at = facts.failure.as_ref().map(|failure| failure.at_wall);
        if failed_at != known.failure {
            known.failure = failed_at;
            if let Some(failure) = &facts.failure {
                let attempt = known.attempt.map_or(0, |(attempt, _)| attempt + 1);
                let (reason, message) = (failure.reason.as_str().to_owned(), failure.message.clone());
                let step = StartStep::Failed { reason, message };
                self.push(failure.at_wall, What::Start { container: container(), attempt, step });
            }
        }
        self.note_instances(known, name, facts, now.wall);
        for (place, hook, state) in
            [(0, HookKind::PostStart, &facts.post_start), (1, HookKind::PreStop, &facts.pre_stop)]
        {
            if known.hooks[place] == *state {
                continue;
            }
            let step = match state {
                HookState::Idle | HookState::Running => None,
                HookState::Succeeded => Some(HookStep::Succeeded),
                HookState::Failed { message } => Some(HookStep::Failed { message: message.clone() }),
            };
            known.hooks[place] = state.clone();
            if let Some(step) = step {
                self.push(now.wall, What::Hook { container: container(), hook, step });
            }
        }
        let probes = &facts.probes;
        let verdicts = [probes.startup, probes.liveness, probes.readiness];
        let kinds = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];
        for (kind, (new, old)) in kinds.into_iter().zip(verdicts.into_iter().zip(known.verdicts)) {
            // R6.2: liveness is good until it is not.
            let usual = kind == ProbeKind::Liveness && old.is_none() && new == Some(Verdict::Success);
            if let Some(verdict) = new.filter(|_| new != old && !usual) {
                let success = verdict == Verdict::Success;
                self.push(now.wall, What::Probe { container: container(), kind, success });
            }
        }
        known.verdicts = verdicts;
    }

    /// Every instance is noted with its own times, also one that came and went between two turns.
    fn note_instances(
        &mut self,
        known: &mut SeenContainer,
        name: &str,
        facts: &ContainerFacts,
        now: WallTime,
    ) {
        for instance in &facts.instances {
            let attempt = instance.attempt;
            let is_new = known.attempt.is_none_or(|(last, _)| attempt > last);
            let (started_at, exit) = match &instance.state {
                InstanceState::Created | InstanceState::Unknown => continue,
                InstanceState::Running { started_at } => (Some(*started_at), None),
                InstanceState::Exited(exit) => (exit.started_at, Some(exit)),
            };
            if let Some(started_at) = started_at.filter(|_| is_new) {
                self.push(started_at, What::Running { container: name.to_owned(), attempt });
            }
            let end_is_new = is_new || known.attempt == Some((attempt, false));
            if let Some(exit) = exit.filter(|_| end_is_new) {
                let what = What::Exited {
                    container: name.to_owned(),
                    attempt,
                    code: exit.code,
                    oom_killed: exit.oom_killed,
                    error: exit.start_error.clone(),
                };
                self.push(exit.finished_at.min(now), what);
            }
            if is_new || end_is_new {
                known.attempt = Some((attempt, exit.is_some()));
            }
        }
    }

    fn note_worker(&mut self, seen: &mut Seen, decision: &Decision, at: WallTime) {
        let memory = &decision.memory;
        if memory.restarting_all != seen.restarting_all {
            seen.restarting_all = memory.restarting_all;
            self.push(at, What::RestartAll { begins: memory.restarting_all });
        }
        let (Worker::Terminating(termination) | Worker::Terminated(termination)) = &memory.worker else {
            return;
        };
        let grace_seconds = termination.grace_seconds;
        match seen.ending {
            None => self.push(at, What::Ending { cause: termination.cause.clone(), grace_seconds }),
            // Once all is over there is nothing left to shorten.
            Some(before) if grace_seconds < before && matches!(memory.worker, Worker::Terminating(_)) => {
                self.push(at, What::Shortened { grace_seconds });
            }
            Some(_) => {}
        }
        seen.ending = Some(grace_seconds);
    }

    /// What the core holds of a container: started, ready, being stopped.
    fn note_standing(&mut self, known: &mut SeenContainer, name: &str, decision: &Decision, at: WallTime) {
        let Some(memory) = decision.memory.containers.get(name) else { return };
        // Others are never asked whether they have started or are ready.
        let asked = self.containers.iter().any(|row| row.name == name && row.kind.can_be_ready());
        let (started, ready) = (asked && memory.started.is_some(), asked && memory.ready.is_some());
        if started && !known.started {
            self.push(at, What::Started { container: name.to_owned() });
        }
        // An instance that ended is not ready, which nobody needs to be told.
        if ready != known.ready && (ready || started) {
            self.push(at, What::Ready { container: name.to_owned(), ready });
        }
        (known.started, known.ready) = (started, ready);
        let Some(stop) = &memory.stop else { return };
        if known.stopping.as_deref() == Some(&stop.instance) {
            return;
        }
        known.stopping = Some(stop.instance.clone());
        let message = if stop.scope == StopScope::Pod { String::new() } else { reason_of(name, decision) };
        let (container, grace_seconds) = (name.to_owned(), stop.grace_seconds);
        self.push(at, What::Stop { container, grace_seconds, message });
    }

    fn note_action(&mut self, action: &Action, at: WallTime) {
        let what = match action {
            Action::MountVolumes => What::Volumes { step: VolumeStep::Mounting },
            Action::CreateSandbox { attempt } => {
                What::Sandbox { attempt: *attempt, step: SandboxStep::Begun }
            }
            Action::StartContainer { container, attempt, .. } => {
                let step = StartStep::Begun;
                What::Start { container: container.clone(), attempt: *attempt, step }
            }
            Action::CancelStart { container } => {
                let step = StartStep::Cancelled;
                What::Start { container: container.clone(), attempt: 0, step }
            }
            Action::RunPostStart { container, .. } => {
                let (hook, step) = (HookKind::PostStart, HookStep::Begun);
                What::Hook { container: container.clone(), hook, step }
            }
            Action::RunPreStop { container, .. } => {
                let (hook, step) = (HookKind::PreStop, HookStep::Begun);
                What::Hook { container: container.clone(), hook, step }
            }
            Action::Signal { container, signal, .. } => {
                What::Signal { container: container.clone(), signal: *signal }
            }
            Action::Resize => What::Resize,
            Action::ConfirmDeletion => What::Confirmed,
            Action::Forget => {
                self.gone = Some(at);
                What::Forgotten
            }
            // What becomes of them shows in the facts.
            Action::UnmountVolumes
            | Action::StopSandbox { .. }
            | Action::RemoveSandbox { .. }
            | Action::RemoveInstance { .. } => return,
        };
        self.push(at, what);
    }

    fn note_waits(&mut self, decision: &Decision, now: Now) {
        let same = |wait: &Wait, (container, why): &(String, WaitingFor)| {
            wait.container == *container && wait.why == timeless(why)
        };
        let before = std::mem::take(&mut self.waiting);
        for reason in &decision.waiting {
            let known = before.iter().find(|wait| same(wait, reason));
            let wait = known.cloned().unwrap_or_else(|| {
                let (container, why) = reason;
                let until = until(why).map(|until| later(now, until));
                let wait = Wait { container: container.clone(), why: timeless(why), until };
                self.push(now.wall, What::Waits(wait.clone()));
                wait
            });
            self.waiting.push(wait);
        }
    }

    fn note_status(&mut self, seen: &mut Seen, decision: &Decision, at: WallTime) {
        let phase = decision.status.phase.as_deref().unwrap_or_default();
        if phase != seen.phase {
            seen.phase = phase.to_owned();
            self.push(at, What::Phase { phase: phase.to_owned() });
        }
        for condition in decision.status.conditions.iter().flatten() {
            let status = condition.status == "True";
            if seen.conditions.get(&condition.type_).copied().unwrap_or(false) != status {
                seen.conditions.insert(condition.type_.clone(), status);
                self.push(at, What::Condition { name: condition.type_.clone(), status });
            }
        }
    }
}

/// Why a single container is stopped, as its event says (R10.11).
fn reason_of(container: &str, decision: &Decision) -> String {
    let kinds = [outrigger_pod_lifecycle::Role::App, outrigger_pod_lifecycle::Role::Sidecar];
    let paths = kinds.map(|role| field_path(role, container));
    let mut killing = decision.events.iter().filter(|event| event.reason == EventReason::Killing);
    let event = killing.find(|event| paths.contains(&event.field_path));
    event.map(|event| event.message.clone()).unwrap_or_default()
}

/// When a wait is over by itself.
const fn until(why: &WaitingFor) -> Option<MonoTime> {
    match why {
        WaitingFor::CrashBackOff { until, .. } | WaitingFor::Retry { until, .. } => Some(*until),
        WaitingFor::Volumes { .. }
        | WaitingFor::Network
        | WaitingFor::Sandbox { .. }
        | WaitingFor::InitContainer { .. }
        | WaitingFor::SidecarStarted { .. }
        | WaitingFor::Turn { .. }
        | WaitingFor::Image
        | WaitingFor::Starting
        | WaitingFor::PostStart
        | WaitingFor::RestartAllContainers
        | WaitingFor::Done
        | WaitingFor::PodStopping => None,
    }
}

/// The reason without its moment, which is computed anew each turn.
fn timeless(why: &WaitingFor) -> WaitingFor {
    let mut why = why.clone();
    if let WaitingFor::CrashBackOff { until, .. } | WaitingFor::Retry { until, .. } = &mut why {
        *until = MonoTime::default();
    }
    why
}

/// A moment of the monotonic clock on the calendar.
fn later(now: Now, at: MonoTime) -> WallTime {
    now.wall.saturating_add(at.since(now.mono)).unwrap_or(now.wall)
}
