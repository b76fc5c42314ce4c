//! Everything a decision depends on. If a fact is not here, no decision may depend on it.
//!
//! Facts are what was observed, never what was asked for: an action that was issued shows up first as an
//! operation in flight and then as what it left behind.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerUser, Pod, ResourceRequirements};
use outrigger_api::{MonoTime, Now, WallTime};
use serde::{Deserialize, Serialize};

use crate::memory::PodMemory;
use crate::reason::FailureReason;
use crate::resize::ResizeSummary;

/// One Pod, everything observed about it, and the time. Build it anew each turn.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// The newest Pod object seen, with the resources the node has granted in place of those asked for (R13.27).
    /// After the object is gone from the API, the last one seen.
    pub pod: &'a Pod,
    /// What is asked of this Pod. Deletion is read from `pod.metadata`, not from here.
    pub desired: &'a Desired,
    /// What the node says of itself.
    pub node: &'a NodeFacts,
    /// The Pod's sandboxes, oldest first.
    pub sandboxes: &'a [SandboxFacts],
    /// A sandbox operation that was begun and has not ended.
    pub sandbox_operation: Option<SandboxOperation>,
    /// Why the newest attempt to make a sandbox, or to stop something of the Pod, failed; `None` once one succeeded.
    pub sandbox_failure: Option<&'a Failure>,
    /// By container name; a container without facts has never been touched.
    pub containers: &'a BTreeMap<String, ContainerFacts>,
    /// The Pod's volumes taken together.
    pub volumes: &'a VolumesState,
    /// How far a change of resources is.
    pub resize: &'a ResizeFacts,
    /// What earlier turns left for this one: the memory the last decision returned, or the default for a Pod never
    /// seen before.
    pub memory: &'a PodMemory,
    /// Switches of the node.
    pub gates: &'a Gates,
    /// The time of this turn.
    pub now: Now,
}

/// What is asked of a Pod, besides what its object says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Desired {
    /// Run it (or stop it, if it has a deletionTimestamp).
    #[default]
    Run,
    /// The object is gone from the API: force deletion, or a finished deletion (R8.5).
    Gone,
    /// Stop it for the node's sake (R8.27, R8.28).
    Evict {
        /// The event's and the status' message.
        message: String,
        /// Seconds; `None` means the Pod's own grace period. Hard thresholds use 1.
        grace_seconds: Option<u64>,
        /// Whether condition `DisruptionTarget` is set; not for local-storage limits (R8.28).
        disruption: bool,
    },
    /// The node shuts down (R8.29).
    Shutdown {
        /// Seconds this Pod's priority group has.
        grace_seconds: u64,
    },
    /// Make room for a critical Pod on this node.
    Preempt {
        /// The status' message.
        message: String,
    },
    /// The node refuses to run it (R1.52).
    Reject {
        /// `OutOfcpu`, `NodeAffinity`, … (R1.53).
        reason: String,
        /// The text after `Pod was rejected: `.
        message: String,
    },
}

/// What a decision needs to know of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// `metadata.name` of the Node.
    pub name: String,
    /// The node's internal addresses, primary family first, at most two (R9.36).
    pub ips: Vec<IpAddr>,
    /// Why Pod networking does not work at the moment; `None` when it does (R2.3).
    pub network_problem: Option<String>,
}

/// Switches that change decisions. The defaults are Kubernetes 1.36's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gates {
    /// The longest crash back-off in seconds; at least 1 (R5.10).
    pub max_crash_back_off_seconds: u64,
    /// The Pod comes from a file on the node: its phase is never made terminal (R8.22, R9.6).
    pub static_pod: bool,
}

impl Default for Gates {
    fn default() -> Self {
        Self { max_crash_back_off_seconds: 300, static_pod: false }
    }
}

/// One sandbox as the runtime and the network report it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxFacts {
    /// The runtime's identity of it.
    pub id: String,
    /// 0 for the first of a Pod (R2.9).
    pub attempt: u32,
    /// Whether its process lives and its network stands.
    pub ready: bool,
    /// Its addresses, primary first; empty with the host's network.
    pub ips: Vec<IpAddr>,
    /// Whether it uses the node's network.
    pub host_network: bool,
}

/// A change of a Pod's resources under way (section 13D).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResizeFacts {
    /// What was asked for and is not granted.
    pub pending: Option<PendingResize>,
    /// Whether [`crate::Action::Resize`] was begun and has not ended.
    pub operation: bool,
    /// How the newest attempt failed: message and time. `None` once one succeeded.
    pub failure: Option<(String, MonoTime)>,
    /// `spec.resources` as the Pod's cgroup has them; `None` if nobody knows.
    pub pod: Option<ResourceRequirements>,
}

/// A resize the node has not granted (R13.27).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingResize {
    /// Whether there is hope.
    pub outlook: ResizeOutlook,
    /// What is short, or why never.
    pub message: String,
    /// What was asked for.
    pub asked: ResizeSummary,
}

/// Whether a resize may be granted some day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResizeOutlook {
    /// Not now; tried again when something ends.
    Deferred,
    /// Never on this node.
    Infeasible,
}

impl ResizeOutlook {
    /// The condition's reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deferred => "Deferred",
            Self::Infeasible => "Infeasible",
        }
    }
}

/// What is being done to a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxOperation {
    /// Being made.
    Creating,
    /// Being stopped.
    Stopping,
    /// Being removed.
    Removing,
}

/// Everything observed about one container of the spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerFacts {
    /// The runtime's records, oldest first, of all sandboxes that still exist.
    pub instances: Vec<Instance>,
    /// The start that was begun and has not ended.
    pub operation: Option<Operation>,
    /// How the newest attempt to start it failed. `None` once an attempt succeeded. Keep it while a later attempt
    /// is in flight, and bring it back after an agent restart only if it is known.
    pub failure: Option<Failure>,
    /// The newest instance's postStart hook, as far as this agent process knows.
    pub post_start: HookState,
    /// The newest instance's preStop hook, as far as this agent process knows.
    pub pre_stop: HookState,
    /// Probe verdicts about the newest instance.
    pub probes: ProbeVerdicts,
    /// Highest `<n>` among `<n>.log` in the container's log directory, plus one; 0 if there is none (R5.31).
    pub next_log: u32,
}

impl ContainerFacts {
    /// The newest instance.
    pub fn newest(&self) -> Option<&Instance> {
        self.instances.last()
    }
}

/// One instance of a container: what the runtime keeps under one container id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// The runtime's identity, without the `<runtime>://` prefix.
    pub id: String,
    /// The sandbox it belongs to.
    pub sandbox: String,
    /// The restart count it was created with (R2.9).
    pub attempt: u32,
    /// What it is doing.
    pub state: InstanceState,
    /// [`crate::definition_hash`] of the container it was created from, kept as a label (R2.20).
    pub definition_hash: String,
    /// The image as the runtime reports it.
    pub image: String,
    /// The resolved reference: `repo@sha256:…` or `sha256:…` (R9.24).
    pub image_id: String,
    /// The effective ids, if the runtime reports them (R9.24).
    pub user: Option<ContainerUser>,
    /// The resources it really has; `None` if nobody knows, which asks for no change (R13.30).
    #[serde(default)]
    pub resources: Option<ResourceRequirements>,
}

/// What an instance is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceState {
    /// Prepared, no process yet.
    Created,
    /// Its process runs.
    Running {
        /// Since when.
        started_at: WallTime,
    },
    /// Its process ended, or could not be started.
    Exited(Exit),
    /// The runtime cannot tell.
    Unknown,
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The process's code; 128 + n for signal n; 128 if it could not be started (R5.32).
    pub code: i32,
    /// The signal that ended it, if the runtime knows.
    pub signal: Option<i32>,
    /// Whether its memory cgroup killed it (R9.30).
    pub oom_killed: bool,
    /// Why it could not be started; `None` for a process that ran.
    pub start_error: Option<String>,
    /// `None` if it never started.
    pub started_at: Option<WallTime>,
    /// When it ended.
    pub finished_at: WallTime,
    /// The termination message, already read and cut by [`crate::termination_message`] (R9.31, R9.32).
    pub message: String,
}

/// A start in flight: what `StartContainer` is doing just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Making sure the image is there, perhaps by a pull. Can be cancelled (R2.7).
    Pulling,
    /// Resolving the configuration, creating or starting.
    Starting,
}

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which step of R5.29 failed.
    pub reason: FailureReason,
    /// The error text, for the status and the event.
    pub message: String,
    /// When.
    pub at: MonoTime,
    /// When, on the calendar. Tells one failure from the next.
    pub at_wall: WallTime,
}

/// A hook of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookState {
    /// Never begun by this agent process, or the container has none.
    #[default]
    Idle,
    /// Begun and not ended.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed {
        /// What went wrong: the waiting message of R7.5.
        message: String,
    },
}

/// Probe verdicts about one instance. `None` where there is no probe or no verdict yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeVerdicts {
    /// The instance they are about; verdicts about another one are ignored (R6.2).
    pub instance: String,
    /// Has the startup probe succeeded or failed?
    pub startup: Option<Verdict>,
    /// Has the liveness probe failed?
    pub liveness: Option<Verdict>,
    /// Does the readiness probe succeed?
    pub readiness: Option<Verdict>,
}

/// What a probe worker concluded, after thresholds (R6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Healthy.
    Success,
    /// Not healthy.
    Failure,
}

/// The Pod's volumes taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumesState {
    /// Nothing done yet, or everything undone.
    #[default]
    Unmounted,
    /// An earlier agent process may have left some or all of them: to be mounted before use, and taken down at the
    /// end like any other.
    Unknown,
    /// Being mounted; the executor retries single volumes and emits `FailedMount` (R12.1).
    Mounting {
        /// The newest error, for people.
        problem: Option<String>,
    },
    /// All there.
    Mounted,
    /// Being unmounted.
    Unmounting,
}
