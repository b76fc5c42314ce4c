//! What a decision says: actions as data, the status to publish, why each container waits, when to look again.

use k8s_openapi::api::core::v1::PodStatus;
use outrigger_api::{MonoTime, WallTime};
use serde::{Deserialize, Serialize};

use crate::memory::PodMemory;
use crate::reason::{EventReason, FailureReason};

/// The outcome of one turn. Carry it out in this order: persist `memory`, publish `status` if it differs from the
/// last one published, emit `events`, adjust the probe workers, begin `actions` in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What to begin now. Each runs on its own; none waits for another in this list. Until it has ended it must show
    /// in the next inputs as in flight (an operation, a running hook), else it is asked for again.
    /// [`Action::ConfirmDeletion`] is begun only after the status was accepted (R8.20).
    pub actions: Vec<Action>,
    /// The Pod's whole node-owned status. Foreign conditions are included as they were in the input (R9.13).
    pub status: PodStatus,
    /// Why each container that does not run does not, in spec order: one reason for each of them, none for the others.
    /// For people: `outrigger why`.
    pub waiting: Vec<(String, WaitingFor)>,
    /// What to tell, in order. The emitter does counting and rate limits (R10.4).
    pub events: Vec<PodEvent>,
    /// The probe workers that shall exist. Start missing ones, end others.
    pub probes: Vec<ProbeTarget>,
    /// Decide again then at the latest, even if nothing is observed.
    pub wake_at: Option<MonoTime>,
    /// The input to the next turn. Must be durable before any action is begun.
    pub memory: PodMemory,
}

/// Something to do. All are idempotent: asking twice is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Set up volumes; report [`crate::VolumesState`].
    MountVolumes,
    /// Take volumes down, then the Pod's cgroup.
    UnmountVolumes,
    /// Make the sandbox with its network. Report a failure as [`FailureReason::CreatePodSandboxError`].
    CreateSandbox {
        /// Its attempt number (R2.9).
        attempt: u32,
    },
    /// Kill what is left in a sandbox and take its network down. Its records stay.
    StopSandbox {
        /// Which.
        sandbox: String,
    },
    /// Forget a stopped sandbox and the instances in it. Logs stay.
    RemoveSandbox {
        /// Which.
        sandbox: String,
    },
    /// Image policy and pull, configuration, create, start (R5.29), emitting `Pulling`, `Pulled`, `Created`,
    /// `Started` on the way. Report a failing step as [`crate::Failure`].
    StartContainer {
        /// Its name in the spec.
        container: String,
        /// The restart count of the new instance; names its log file.
        attempt: u32,
        /// The sandbox to start it in.
        sandbox: String,
    },
    /// Give up a start in flight, if its present step can be given up (R2.7). Not a failure.
    CancelStart {
        /// Whose.
        container: String,
    },
    /// Run the postStart hook. A hook of a stopped Pod is dropped without a report.
    RunPostStart {
        /// Whose.
        container: String,
        /// In which instance.
        instance: String,
    },
    /// Run the preStop hook and report how it ended.
    RunPreStop {
        /// Whose.
        container: String,
        /// In which instance.
        instance: String,
        /// A sleep ends then at the latest; after it the core goes on without the hook.
        deadline: MonoTime,
    },
    /// Send a signal to an instance's main process.
    Signal {
        /// Whose.
        container: String,
        /// Which instance.
        instance: String,
        /// What.
        signal: StopSignal,
    },
    /// Give the Pod's cgroup and its running containers the resources of the spec, except containers whose changed
    /// resource asks for a restart: shrinking before growing, the Pod's own values never below what its containers
    /// have (R13.28). Report it in [`crate::ResizeFacts`].
    Resize,
    /// Forget an ended (or never started) instance and its writable layer. Its log stays.
    RemoveInstance {
        /// Whose.
        container: String,
        /// Which instance.
        instance: String,
    },
    /// Delete the Pod object with grace 0 and its uid as precondition (R8.20 step 5).
    ConfirmDeletion,
    /// Nothing is left to decide: drop the Pod's directory, logs, cgroup and memory, and end its task.
    Forget,
}

/// The two signals of a graceful stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopSignal {
    /// The container's stop signal: `lifecycle.stopSignal`, else the image's, else TERM (R7.11).
    Term,
    /// KILL.
    Kill,
}

/// A probe worker that shall exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeTarget {
    /// The container.
    pub container: String,
    /// The instance to probe. A new instance starts the worker's state anew (R6.2).
    pub instance: String,
    /// When it started, for `initialDelaySeconds` (R6.3).
    pub started_at: WallTime,
    /// Which of the container's probes.
    pub kind: ProbeKind,
    /// The periods are counted from here, whichever instance there is (R6.5).
    pub ticks_from: MonoTime,
    /// Probe at once, and count the periods from there on (R6.10): the Pod's containers have changed, and this one is
    /// not ready.
    pub at_once: bool,
}

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the wire words")]
pub enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    /// As events write it (R6.9).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// Why a container does not run, as a user would ask it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitingFor {
    /// The Pod's volumes.
    Volumes {
        /// The newest mount error.
        problem: Option<String>,
    },
    /// Pod networking on this node.
    Network,
    /// A sandbox: being made, or its last attempt failed.
    Sandbox {
        /// The newest error.
        problem: Option<String>,
    },
    /// A plain init container to exit with 0 (R3.1).
    InitContainer {
        /// Which.
        container: String,
    },
    /// A sidecar to count as started (R4.2).
    SidecarStarted {
        /// Which.
        container: String,
        /// What it lacks.
        lacks: StartedLack,
    },
    /// Another container's start to finish, because they start one after another (R2.5).
    Turn {
        /// Whose.
        container: String,
    },
    /// Its image.
    Image,
    /// Being created or started.
    Starting,
    /// Its own postStart hook (R7.3).
    PostStart,
    /// A delay after a crash (R5.13).
    CrashBackOff {
        /// Seconds.
        delay_seconds: u64,
        /// When it ends.
        until: MonoTime,
    },
    /// Another attempt after a failed one (R2.19, R5.25).
    Retry {
        /// What failed.
        reason: FailureReason,
        /// When it is tried again.
        until: MonoTime,
    },
    /// All containers are being restarted in place (R5.18).
    RestartAllContainers,
    /// Nothing: it ended and is not started again.
    Done,
    /// Nothing: the Pod stops.
    PodStopping,
}

/// What a sidecar lacks to count as started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartedLack {
    /// It does not run.
    Running,
    /// Its postStart hook has not succeeded.
    PostStart,
    /// Its startup probe has not succeeded.
    StartupProbe,
}

/// An event about the Pod or one of its containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodEvent {
    /// `Normal` or `Warning`.
    pub kind: EventKind,
    /// Why.
    pub reason: EventReason,
    /// The refusal's own word, only with [`EventReason::Rejected`].
    pub rejection: Option<String>,
    /// For people.
    pub message: String,
    /// `spec.containers{a}`, or empty for the Pod (R10.2).
    pub field_path: String,
}

impl PodEvent {
    /// A `Normal` event about a container; `field_path` as [`crate::field_path`] gives it.
    pub fn normal(reason: EventReason, field_path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: EventKind::Normal,
            reason,
            rejection: None,
            message: message.into(),
            field_path: field_path.into(),
        }
    }

    /// A `Warning` event.
    pub fn warning(reason: EventReason, field_path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: EventKind::Warning, ..Self::normal(reason, field_path, message) }
    }

    /// The event object's `reason`.
    pub fn reason_word(&self) -> &str {
        self.rejection.as_deref().unwrap_or(self.reason.as_str())
    }
}

/// An event's `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the wire words")]
pub enum EventKind {
    Normal,
    Warning,
}

impl EventKind {
    /// The wire word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}
