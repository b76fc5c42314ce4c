//! What is written down of a Pod: small entries, each with its moment. They travel as JSON from the node to whoever asks.

use k8s_openapi::api::core::v1::{Container, Pod};
use outrigger_api::WallTime;
use outrigger_pod_lifecycle::{Cause, ProbeKind, Role, StopSignal, WaitingFor, init_role};
use serde::{Deserialize, Serialize};

/// Everything a node can tell of one Pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Which Pod.
    pub pod: PodName,
    /// Its containers in spec order: init entries, app containers, ephemeral ones.
    pub containers: Vec<Row>,
    /// When the report was made.
    pub now: WallTime,
    /// When nothing of the Pod was left on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<WallTime>,
    /// In the order they were noted.
    pub entries: Vec<Entry>,
    /// How many entries are missing, because a record is bounded.
    #[serde(default)]
    pub dropped: u64,
    /// The missing ones stood behind so many of `entries`.
    #[serde(default)]
    pub dropped_after: usize,
    /// Why each container that does not run does not, by the newest decision.
    #[serde(default)]
    pub waiting: Vec<Wait>,
    /// How probes that have not come to a lasting result stand.
    #[serde(default)]
    pub probes: Vec<ProbeProgress>,
}

/// The identity of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodName {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// A container as its Pod defines it, as far as explanations need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What kind of container it is.
    pub kind: Kind,
    /// The restart policy that counts for it: its own, else the Pod's.
    pub restart_policy: String,
    /// Which of probes and hooks it has.
    #[serde(default)]
    pub has: Vec<Feature>,
}

/// A probe or a hook of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Feature {
    StartupProbe,
    LivenessProbe,
    ReadinessProbe,
    PostStart,
    PreStop,
}

/// What kind of container an entry of the spec is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Runs to completion before what follows it.
    Init,
    /// An init entry that is restarted always.
    Sidecar,
    /// An entry of `spec.containers`.
    App,
    /// An entry of `spec.ephemeralContainers`.
    Ephemeral,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, on the calendar; as exact as whoever noted it knows.
    pub at: WallTime,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What can happen to a Pod on its node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum What {
    /// The node takes the Pod; `again`: an earlier agent process had it, and its record is lost.
    Watched { again: bool },
    /// Its volumes.
    Volumes { step: VolumeStep },
    /// A sandbox: its namespaces and its network.
    Sandbox { attempt: u32, step: SandboxStep },
    /// The Pod could not be stopped; it is tried again (R8.19).
    KillFailed { problem: String },
    /// The start of a container: image, configuration, creation.
    Start { container: String, attempt: u32, step: StartStep },
    /// Its process runs.
    Running { container: String, attempt: u32 },
    /// It counts as started (R4.2).
    Started { container: String },
    /// It became ready, or is ready no more.
    Ready { container: String, ready: bool },
    /// A hook.
    Hook { container: String, hook: HookKind, step: HookStep },
    /// A probe's verdict changed.
    Probe { container: String, kind: ProbeKind, success: bool },
    /// A container is to be stopped.
    Stop { container: String, grace_seconds: u64, message: String },
    /// A signal to its process.
    Signal { container: String, signal: StopSignal },
    /// Its process ended, or could not be started (`error`).
    Exited {
        container: String,
        attempt: u32,
        code: i32,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        oom_killed: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// It waits for something else than before.
    Waits(Wait),
    /// Everything is restarted in place (R5.18), or that is over.
    RestartAll { begins: bool },
    /// The Pod stops.
    Ending { cause: Cause, grace_seconds: u64 },
    /// Its grace period became shorter (R8.6).
    Shortened { grace_seconds: u64 },
    /// `status.phase`, as decided.
    Phase { phase: String },
    /// A condition of the Pod changed.
    Condition { name: String, status: bool },
    /// Resources are being changed (R13.28).
    Resize,
    /// The node lets the object go (R8.20).
    Confirmed,
    /// Nothing of the Pod is left on the node.
    Forgotten,
}

/// How far volumes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum VolumeStep {
    Mounting,
    Failing { problem: String },
    Mounted,
    Unmounted,
}

/// How far a sandbox is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum SandboxStep {
    Begun,
    Ready,
    Failed { problem: String },
    Ended,
}

/// How far a start is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum StartStep {
    /// Its image is looked for first.
    Begun,
    /// The image is there; it is created and started.
    Creating,
    /// It did not work out.
    Failed {
        /// The waiting reason of R5.30.
        reason: String,
        /// The error.
        message: String,
    },
    /// Given up, because the Pod stops (R2.7).
    Cancelled,
}

/// Which hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HookKind {
    PostStart,
    PreStop,
}

/// How far a hook is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum HookStep {
    Begun,
    Succeeded,
    Failed { message: String },
}

/// What a container waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Which.
    pub container: String,
    /// The core's own reason.
    #[serde(rename = "for")]
    pub why: WaitingFor,
    /// When the wait ends by itself, on the calendar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<WallTime>,
}

/// How one probe of one instance stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeProgress {
    /// Whose.
    pub container: String,
    /// Which.
    pub kind: ProbeKind,
    /// Whether the newest try succeeded; `None` before the first.
    pub success: Option<bool>,
    /// So many tries in a row ended so.
    pub in_a_row: u32,
    /// So many make a verdict (R6.6).
    pub needed: u32,
    /// What the newest failing try said.
    #[serde(default)]
    pub output: String,
    /// When it is tried next; `None` if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<WallTime>,
}

impl Kind {
    /// Sidecars and app containers are asked whether they have started and are ready.
    pub const fn can_be_ready(self) -> bool {
        matches!(self, Self::Sidecar | Self::App)
    }

    /// As tables and sentences name it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Init => "init container",
            Self::Sidecar => "sidecar",
            Self::App => "container",
            Self::Ephemeral => "ephemeral container",
        }
    }
}

impl Row {
    /// Whether it has this probe or hook.
    pub fn has(&self, feature: Feature) -> bool {
        self.has.contains(&feature)
    }
}

/// The containers of a Pod, in spec order.
pub(crate) fn rows(pod: &Pod) -> Vec<Row> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let row = |container: &Container, kind| Row {
        name: container.name.clone(),
        kind,
        restart_policy: container.restart_policy.as_deref().unwrap_or(policy).to_owned(),
        has: features(container),
    };
    let init = |container: &Container| {
        let sidecar = init_role(container) == Role::Sidecar;
        row(container, if sidecar { Kind::Sidecar } else { Kind::Init })
    };
    let inits = spec.init_containers.iter().flatten().map(init);
    let apps = spec.containers.iter().map(|container| row(container, Kind::App));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| Row {
        name: container.name.clone(),
        kind: Kind::Ephemeral,
        restart_policy: "Never".to_owned(),
        has: Vec::new(),
    });
    inits.chain(apps).chain(ephemeral).collect()
}

fn features(container: &Container) -> Vec<Feature> {
    let hooks = container.lifecycle.as_ref();
    let all = [
        (container.startup_probe.is_some(), Feature::StartupProbe),
        (container.liveness_probe.is_some(), Feature::LivenessProbe),
        (container.readiness_probe.is_some(), Feature::ReadinessProbe),
        (hooks.is_some_and(|hooks| hooks.post_start.is_some()), Feature::PostStart),
        (hooks.is_some_and(|hooks| hooks.pre_stop.is_some()), Feature::PreStop),
    ];
    all.into_iter().filter(|(has, _)| *has).map(|(_, feature)| feature).collect()
}
