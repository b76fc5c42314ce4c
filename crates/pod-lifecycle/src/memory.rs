//! The small durable record of one Pod: what cannot be observed again after the agent restarts.
//!
//! An upstream release forgot on restart that sidecars were initialised and stopped restarting crashed app
//! containers. So everything a later turn leans on is either observed anew or kept here, on disk.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodStatus;
use outrigger_api::{MonoTime, WallTime};
use serde::{Deserialize, Serialize};

use crate::input::Exit;

/// What one turn leaves for the next. Persist it before beginning a decision's actions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodMemory {
    /// How far the Pod's one worker is (R2.1).
    pub worker: Worker,
    /// `status.startTime`: when this node first saw the Pod (R9.12).
    pub start_time: Option<WallTime>,
    /// Initialized was True once; it stays so (R9.17).
    pub initialized: bool,
    /// The last app container is to be stopped and not restarted, which is the end of the Pod (R5.3).
    pub finishing: bool,
    /// All containers are being restarted in place (R5.18).
    pub restarting_all: bool,
    /// When this node first came to running containers: probes tick in step with it (R6.5).
    pub probing_since: Option<MonoTime>,
    /// The sandbox being replaced: everything in it is to be stopped first (R2.10).
    pub replacing_sandbox: bool,
    /// By container name.
    pub containers: BTreeMap<String, ContainerMemory>,
    /// By image: failing pulls (R5.25).
    pub pulls: BTreeMap<String, PullBackOff>,
    /// Failed attempts at a sandbox or its network that were reported, so that each is told once.
    pub reported_sandbox_failure: Option<WallTime>,
    /// `ExceededGracePeriod` was told (R8.31).
    pub told_overdue: bool,
    /// What was told of a change of resources, so that each step is told once.
    pub resize: ResizeMemory,
    /// When `NetworkNotReady` was last told.
    pub reported_network: Option<MonoTime>,
    /// The status of the last decision: transition times and what was seen before come from here, because a watch
    /// may still deliver an older one.
    pub status: Option<Box<PodStatus>>,
}

impl PodMemory {
    /// A copy without the last status, which is the larger part and is decided anew anyway.
    pub(crate) fn without_status(&self) -> Self {
        Self {
            worker: self.worker.clone(),
            containers: self.containers.clone(),
            pulls: self.pulls.clone(),
            resize: self.resize.clone(),
            status: None,
            start_time: self.start_time,
            initialized: self.initialized,
            finishing: self.finishing,
            restarting_all: self.restarting_all,
            probing_since: self.probing_since,
            replacing_sandbox: self.replacing_sandbox,
            reported_sandbox_failure: self.reported_sandbox_failure,
            reported_network: self.reported_network,
            told_overdue: self.told_overdue,
        }
    }

    /// Prepares a memory read back from disk by a new agent process; call it once, before the first turn.
    ///
    /// The agent before this one may have died between writing down that it sends TERM and sending it. Without the
    /// signal a process would meet KILL unwarned, so it is sent once more; the grace window stays as it was, but for
    /// the two seconds every TERM is given (R8.7). A KILL may be lost the same way and is sent again when it is due.
    pub fn resume(&mut self) {
        for container in self.containers.values_mut() {
            if let Some(stop) = &mut container.stop {
                stop.repeat_term = stop.term.is_some() && stop.kill.is_none();
                stop.kill = None;
            }
        }
    }
}

/// What was told of a change of resources (R10.21).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResizeMemory {
    /// `ResizeStarted` was told, `ResizeCompleted` not yet.
    pub started: bool,
    /// The pending state told last: reason and message.
    pub pending: Option<(String, String)>,
    /// The failure told last.
    pub failure: Option<String>,
}

/// The worker's phases: *syncing → terminating → terminated*, never back (R2.1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Worker {
    /// Containers may be started.
    #[default]
    Syncing,
    /// Nothing is started any more; what runs is being stopped.
    Terminating(Termination),
    /// Nothing runs, nothing is mounted.
    Terminated(Termination),
}

/// Why and since when a Pod stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Termination {
    /// T0.
    pub since: MonoTime,
    /// The first cause; later ones only shorten the grace period.
    pub cause: Cause,
    /// The effective grace in seconds; only ever decreases (R8.6).
    pub grace_seconds: u64,
}

/// Why a Pod stops (R2.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// A deletionTimestamp, or the object is gone.
    Deleted,
    /// Its phase, computed or in the API, is terminal.
    Finished,
    /// activeDeadlineSeconds have passed (R8.26).
    DeadlineExceeded,
    /// The node needs its resources (R8.27, R8.28).
    Evicted {
        /// `status.message`.
        message: String,
        /// Whether condition DisruptionTarget is set.
        disruption: bool,
    },
    /// The node shuts down (R8.29).
    Shutdown,
    /// A critical Pod needs its place.
    Preempted {
        /// `status.message`.
        message: String,
    },
    /// The node refused it; nothing ever ran (R1.52).
    Rejected {
        /// `status.reason`.
        reason: String,
        /// After `Pod was rejected: `.
        message: String,
    },
}

/// What is remembered of one container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerMemory {
    /// The instance that counts as started: running, postStart done, startup probe passed (R4.2, R6.13).
    pub started: Option<String>,
    /// The instance whose readiness was True last, so that an agent restart does not flip it (R6.13).
    pub ready: Option<String>,
    /// The instance whose postStart hook has succeeded (at least once, R7.2).
    pub post_start_done: Option<String>,
    /// The highest restart count any instance had, plus one; 0 before the first (I9).
    pub next_attempt: u32,
    /// An exit whose record is gone from the runtime, shown as lastState or state (R2.17, R5.20).
    pub removed_exit: Option<RemovedExit>,
    /// The exit directly before that one, if its record is gone too: lastState once the later instance ended.
    pub exit_before: Option<RemovedExit>,
    /// The crash back-off (R5.10).
    pub crash: CrashBackOff,
    /// The stop of its newest instance, if one was begun. Kept after the instance ended, until the next one.
    pub stop: Option<StopRecord>,
    /// The instance whose postStart hook failed, and what to say of it (R7.5).
    pub post_start_failed: Option<(String, String)>,
    /// The last reported failed attempt, so that each is told once.
    pub reported_failure: Option<WallTime>,
    /// The last exit for which `BackOff` was told (R5.13).
    pub reported_back_off: Option<WallTime>,
    /// When that was: the exit itself is shown for a moment longer (R5.14).
    pub back_off_since: Option<MonoTime>,
    /// The last failed pull for which `BackOff` was told (R5.25).
    pub reported_pull_back_off: Option<WallTime>,
}

/// An exit that outlived its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedExit {
    /// The instance's id; empty for one made up.
    pub instance: String,
    /// Its restart count.
    pub attempt: u32,
    /// How it ended.
    pub exit: Exit,
    /// Why the record is gone.
    pub why: RemovedWhy,
}

/// Why an exit's record is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RemovedWhy {
    /// Old records are pruned (R2.17), or the sandbox was replaced (R2.10).
    Pruned,
    /// RestartAllContainers took it (R5.20).
    RestartAllContainers,
    /// It vanished while it ran (R9.28).
    Vanished,
}

/// The crash back-off series of one container (R5.10 to R5.12).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CrashBackOff {
    /// The delay before the next start, in seconds, once an exit happened; 0 at first.
    pub delay_seconds: u64,
    /// When the series last moved: a start that followed an exit.
    pub advanced_at: Option<WallTime>,
    /// Image and resources it is for; another key begins anew (R5.12).
    pub key: String,
    /// The instance whose exit has been waited out: the start that follows it needs no second grant.
    pub granted: Option<String>,
}

/// The pull back-off of one image (R5.25).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PullBackOff {
    /// The delay after the newest failure, in seconds.
    pub delay_seconds: u64,
    /// The newest failure.
    pub failed_at: Option<WallTime>,
}

/// One instance being stopped. Monotonic, so that an agent restarted on the same boot continues the same windows;
/// after another boot nothing of it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRecord {
    /// Which instance.
    pub instance: String,
    /// T0 of this stop.
    pub begun: MonoTime,
    /// Seconds from `begun` to KILL, before the floor of R8.7.
    pub grace_seconds: u64,
    /// One container, or the whole Pod with its ordering (R8.17).
    pub scope: StopScope,
    /// The preStop hook.
    pub hook: HookProgress,
    /// When TERM was sent, and the seconds left then.
    pub term: Option<TermSent>,
    /// When KILL was last sent.
    pub kill: Option<MonoTime>,
    /// A probe or a changed definition caused it, so the exit does not count for the crash back-off (R5.15).
    #[serde(default)]
    pub exempt: bool,
    /// TERM is to be sent once more: the agent that meant to send it was replaced and may have died before.
    #[serde(default)]
    pub repeat_term: bool,
}

/// When TERM was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermSent {
    /// When.
    pub at: MonoTime,
    /// Whole seconds of the grace used up before, by the hook and by waiting for a turn.
    pub used_seconds: u64,
}

/// What is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopScope {
    /// This container only; no ordering.
    Container,
    /// The whole Pod; sidecars take turns (R8.12).
    Pod,
}

/// How far a preStop hook is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookProgress {
    /// There is none, or the grace is 0 (R7.4).
    None,
    /// Begun with the stop.
    Running,
    /// Ended or failed then.
    Ended(MonoTime),
    /// Out of time then; what becomes of it is still told (R7.6).
    Abandoned(MonoTime),
}
