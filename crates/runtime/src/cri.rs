//! The seam. Names follow CRI v1 so that any CRI socket can stand behind it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use futures::future::BoxFuture;
use outrigger_api::WallTime;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::stats::SandboxStats;

/// Identifies a sandbox on this node.
pub type SandboxId = String;
/// Identifies a container instance on this node.
pub type ContainerId = String;

/// What a Pod's sandbox shall be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxConfig {
    /// Chosen by the caller; unique per (Pod uid, attempt).
    pub id: SandboxId,
    /// The Pod's name, namespace and uid.
    pub pod: PodRef,
    /// 0 for the first sandbox of a Pod (R2.9).
    pub attempt: u32,
    /// The kernel host name; empty keeps the node's.
    pub hostname: String,
    /// A bind-mounted network namespace to join; `None` is the host's.
    pub netns: Option<PathBuf>,
    /// Use the node's IPC namespace.
    pub host_ipc: bool,
    /// Have a user namespace: the node's id of its root, and how many ids it has (`hostUsers: false`).
    pub user_namespace: Option<(u32, u32)>,
    /// How processes see each other.
    pub pid: PidMode,
    /// Kernel settings written inside the sandbox's namespaces, names with dots.
    pub sysctls: BTreeMap<String, String>,
    /// The Pod's cgroup relative to the controller roots: `kubepods/burstable/pod<uid>`.
    pub cgroup: String,
    /// Values of the Pod's cgroup (R13.14).
    pub resources: Resources,
    /// Where the log files go: `/var/log/pods/<ns>_<name>_<uid>`.
    pub log_directory: PathBuf,
    /// Opaque to the runtime; given back by listings.
    pub labels: BTreeMap<String, String>,
}

/// A Pod's identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodRef {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// Who shares a process namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidMode {
    /// Each container its own.
    #[default]
    Container,
    /// One for the Pod; the sandbox's pause process is pid 1.
    Pod,
    /// The node's.
    Node,
}

/// What a container shall be; everything is resolved (image defaults applied, `$(VAR)` expanded).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// Chosen by the caller.
    pub id: ContainerId,
    /// The container's name in the Pod.
    pub name: String,
    /// The restart count, names the log file (R2.9, R14.7).
    pub attempt: u32,
    /// The root file system.
    pub rootfs: Rootfs,
    /// Program and arguments; never empty.
    pub command: Vec<String>,
    /// Environment in order.
    pub env: Vec<(String, String)>,
    /// Made if it does not exist (R11.14).
    pub working_dir: PathBuf,
    /// Bind mounts in order.
    pub mounts: Vec<Mount>,
    /// Device nodes beyond the default set.
    pub devices: Vec<PathBuf>,
    /// User, groups, capabilities, confinement.
    pub security: Security,
    /// cgroup values.
    pub resources: Resources,
    /// Keep a pipe for attach.
    pub stdin: bool,
    /// Close it after the first attach session.
    pub stdin_once: bool,
    /// Run on a terminal.
    pub tty: bool,
    /// Join this container's process namespace (`targetContainerName`).
    pub target_pid_of: Option<ContainerId>,
    /// The log file: `<container>/<attempt>.log` under the sandbox's log directory.
    pub log_path: PathBuf,
    /// Opaque to the runtime; given back by listings.
    pub labels: BTreeMap<String, String>,
}

/// Where a container's root comes from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Rootfs {
    /// Unpacked layers, topmost first.
    pub lower: Vec<PathBuf>,
    /// A folder of the container's own for its changes; the runtime makes `upper` and `work` in it.
    pub writable: PathBuf,
    /// Mount the root read-only.
    pub readonly: bool,
}

/// One bind mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// On the node. With `layers` a name of the caller's for messages.
    pub source: PathBuf,
    /// What inside the source is mounted: a relative path that is followed only as long as it stays inside, at the
    /// moment of mounting (R12.29). Empty: the source itself.
    pub sub_path: PathBuf,
    /// Unpacked layers of an image to mount instead of `source`, topmost first; read-only, nothing in them can be
    /// executed (R12.28).
    pub layers: Vec<PathBuf>,
    /// In the container; made as the source's type if missing.
    pub target: PathBuf,
    /// Only the top mount, unless `recursive_readonly`.
    pub readonly: bool,
    /// All submounts too (mount_setattr; KEP-3857).
    pub recursive_readonly: bool,
    /// R12.5.
    pub propagation: Propagation,
}

/// Mount propagation (R12.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// None.
    #[default]
    Private,
    /// HostToContainer.
    Slave,
    /// Bidirectional.
    Shared,
}

/// Who the process is and what it may do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// Numeric user.
    pub uid: u32,
    /// Numeric primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Capability numbers in the bounding set; permitted and effective too for root.
    pub capabilities: Vec<u8>,
    /// Everything allowed: all capabilities, all devices, no seccomp, writable /sys and /proc.
    pub privileged: bool,
    /// Set no_new_privs.
    pub no_new_privileges: bool,
    /// Seccomp confinement.
    pub seccomp: Seccomp,
    /// The AppArmor profile, by the name it was loaded under; `None` leaves the choice to the kernel (R13.24).
    pub app_armor: Option<String>,
    /// Mask and protect the usual paths (R13.25); false is procMount Unmasked.
    pub mask_paths: bool,
    /// oom_score_adj (R13.15).
    pub oom_score_adj: i32,
}

/// Seccomp confinement (R13.24).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// None.
    #[default]
    Unconfined,
    /// The runtime's own profile.
    RuntimeDefault,
    /// A profile file in OCI form.
    Localhost(PathBuf),
}

/// cgroup values; `None` leaves the kernel's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// v1 shares; converted to weight on v2 (R13.11).
    pub cpu_shares: Option<u64>,
    /// Microseconds per 100 ms period; -1 lifts it (R13.12).
    pub cpu_quota: Option<i64>,
    /// Bytes; the largest number lifts it.
    pub memory_limit: Option<u64>,
    /// Processes.
    pub pids_limit: Option<u64>,
}

/// Everything the runtime knows of one sandbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Sandbox {
    /// Its identity.
    pub id: SandboxId,
    /// Whose it is.
    pub pod: PodRef,
    /// As configured.
    pub attempt: u32,
    /// Whether its process lives.
    pub ready: bool,
    /// When it was made.
    pub created_at: WallTime,
    /// The network namespace it was given.
    pub netns: Option<PathBuf>,
    /// As configured.
    pub labels: BTreeMap<String, String>,
    /// Its container instances, oldest first.
    pub containers: Vec<Container>,
}

/// Everything the runtime knows of one container instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Its identity.
    pub id: ContainerId,
    /// Its name in the Pod.
    pub name: String,
    /// As configured.
    pub attempt: u32,
    /// What it is doing.
    pub state: ContainerState,
    /// When it was made.
    pub created_at: WallTime,
    /// Where its log is.
    pub log_path: PathBuf,
    /// As configured.
    pub labels: BTreeMap<String, String>,
}

/// A container instance's state.
#[derive(Clone, Debug, PartialEq)]
pub enum ContainerState {
    /// Prepared, no process yet.
    Created,
    /// The process runs.
    Running {
        /// When it was started.
        started_at: WallTime,
        /// Its process id on the node.
        pid: i32,
    },
    /// The process ended, or could not be started (`StartError`).
    Exited(Exit),
    /// The sandbox process died and took the truth with it.
    Unknown,
}

/// How a container instance ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    /// The process's code; 128 + n for signal n; 128 for a process that could not be started (R5.32).
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// `None` if it never started.
    pub started_at: Option<WallTime>,
    /// When it ended.
    pub finished_at: WallTime,
    /// Whether its memory cgroup killed it (R9.30).
    pub oom_killed: bool,
    /// Why it could not be started; empty for a process that ran.
    pub start_error: String,
}

/// Something changed; look again. A hint, never the truth itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeEvent {
    /// Whose sandbox changed.
    pub pod_uid: String,
}

/// A process run inside a container by exec, or a container's own streams by attach.
pub struct ProcessIo {
    /// Present if asked for.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Present if asked for.
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Present if asked for and not a tty.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Present with a tty: (columns, rows).
    pub resize: Option<mpsc::Sender<(u16, u16)>>,
    /// The exit code, or `None` for an attach session that ended without the process ending.
    pub exit: BoxFuture<'static, Result<Option<i32>, RuntimeError>>,
}

impl fmt::Debug for ProcessIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessIo").finish_non_exhaustive()
    }
}

/// Which streams an exec or attach wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoOptions {
    /// Towards the process.
    pub stdin: bool,
    /// From the process.
    pub stdout: bool,
    /// From the process; not with a tty.
    pub stderr: bool,
    /// On a terminal.
    pub tty: bool,
}

/// Why the runtime could not do as told.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No such sandbox or container.
    #[error("{0} not found")]
    NotFound(String),
    /// It is not running.
    #[error("container {0} is not running")]
    NotRunning(ContainerId),
    /// The process could not be executed; the text names the path.
    #[error("{0}")]
    CannotExecute(String),
    /// A step failed; `doing` names it and its object.
    #[error("{doing}: {source}")]
    Io {
        /// `mount overlay on …`
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// What shall be taken away is in use.
    #[error("{0}")]
    InUse(String),
    /// The sandbox process does not answer.
    #[error("the sandbox process of pod {0} is gone")]
    SandboxGone(String),
}

/// The runtime's verbs. All are idempotent where CRI's are: stopping a stopped thing succeeds.
#[async_trait]
pub trait Runtime: Send + Sync + fmt::Debug {
    /// Starts the sandbox process. On return it is ready.
    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<(), RuntimeError>;

    /// Kills what still runs in the sandbox, and its process. Records stay until removal.
    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError>;

    /// Removes a stopped sandbox with all its records, cgroups and writable layers. Logs stay.
    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError>;

    /// Prepares a container; no process yet.
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<(), RuntimeError>;

    /// Starts its process. A process that cannot be executed is an exited instance (R5.32) and an error here.
    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError>;

    /// Sends a signal to its main process; no error if it has ended.
    async fn signal_container(&self, id: &ContainerId, signal: i32) -> Result<(), RuntimeError>;

    /// Forgets an ended instance and deletes its writable layer.
    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError>;

    /// Changes cgroup values of a running container and adds labels to it. Values that are `None` stay.
    ///
    /// Lowering memory below what is in use is refused, because the kernel would kill for it.
    async fn update_resources(
        &self,
        id: &ContainerId,
        resources: &Resources,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), RuntimeError>;

    /// The same for a sandbox's whole Pod.
    async fn update_pod_resources(
        &self,
        id: &SandboxId,
        resources: &Resources,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), RuntimeError>;

    /// Runs a command in a running container. Dropping the result kills the process.
    async fn exec(
        &self,
        id: &ContainerId,
        command: &[String],
        io: IoOptions,
    ) -> Result<ProcessIo, RuntimeError>;

    /// Joins a running container's own streams.
    async fn attach(&self, id: &ContainerId, io: IoOptions) -> Result<ProcessIo, RuntimeError>;

    /// Connects to a TCP port on the loopback address inside the sandbox's network namespace.
    async fn port_forward(
        &self,
        sandbox: &SandboxId,
        port: u16,
    ) -> Result<tokio::net::TcpStream, RuntimeError>;

    /// Tells the sandbox process to go on writing to fresh files after the log was renamed (rotation).
    async fn reopen_log(&self, id: &ContainerId) -> Result<(), RuntimeError>;

    /// Everything there is, found anew after a restart.
    async fn list(&self) -> Result<Vec<Sandbox>, RuntimeError>;

    /// One Pod's sandboxes, newest last; cheap.
    async fn list_pod(&self, pod_uid: &str) -> Result<Vec<Sandbox>, RuntimeError>;

    /// What every sandbox and its running containers use at this moment; a runtime that counts nothing says nothing.
    /// Reads a dozen files per container.
    async fn stats(&self) -> Result<Vec<SandboxStats>, RuntimeError> {
        Ok(Vec::new())
    }

    /// Limits all Pods together: `cgroup` is the group above theirs (N16, `NodeAllocatableEnforced`).
    async fn limit_pods(&self, cgroup: &str, resources: &Resources) -> Result<(), RuntimeError> {
        let (_, _) = (cgroup, resources);
        Ok(())
    }

    /// Hints that something changed. Slow readers lose hints, never the newest one.
    fn events(&self) -> tokio::sync::broadcast::Receiver<RuntimeEvent>;
}
