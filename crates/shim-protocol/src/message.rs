//! What is said. Paths are absolute and of the node unless a field says otherwise; times are nanoseconds since 1970.

use serde::{Deserialize, Serialize};

/// One frame's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// A request's number, repeated in its response; for events their own monotonic number.
    pub id: u64,
    /// Descriptors sent along.
    #[serde(default)]
    pub fds: usize,
    /// The message.
    pub message: Message,
}

/// The three kinds of message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Agent to shim.
    Request(Request),
    /// Shim to agent, one for each request, not always in their order.
    Response(Response),
    /// Shim to every connected agent.
    Event(Event),
}

/// What the agent asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// First of all: become the sandbox. Answered by [`Response::State`].
    Init(Box<Init>),
    /// Everything known. Answered by [`Response::State`].
    State,
    /// Start a container. Descriptors: one for each shared mount, then the seccomp programs if `seccomp` is set.
    /// Answered by [`Response::Started`] or [`Response::StartFailed`].
    Start(Box<Start>),
    /// Signal a container's main process; fine if it has ended. Answered by [`Response::Done`].
    Kill {
        /// Which.
        container: String,
        /// The signal's number.
        signal: i32,
    },
    /// Forget an ended container and its exit record. Answered by [`Response::Done`].
    Forget {
        /// Which.
        container: String,
    },
    /// Run a process in a container. Without a tty the descriptors are its standard streams, as many as
    /// `streams` says, in order; missing ones are `/dev/null`. Answered by [`Response::ExecStarted`]
    /// (with a tty: and the terminal's master as descriptor), later followed by [`Event::ExecExited`].
    Exec(Box<Exec>),
    /// Kill an exec process; fine if it has ended. Answered by [`Response::Done`].
    KillExec {
        /// As in [`Response::ExecStarted`].
        exec: u64,
    },
    /// Copy a container's output to the given descriptors. Answered by [`Response::Attached`] with the stream to
    /// write to (pipe or terminal master) as descriptor if `stdin` is asked for and the container has one.
    Attach {
        /// Which.
        container: String,
        /// Give me the input side.
        stdin: bool,
        /// A descriptor for standard output was sent.
        stdout: bool,
        /// A descriptor for standard error was sent.
        stderr: bool,
    },
    /// An attach session with standard input ended: if the container has `stdinOnce`, close its input (R11.14).
    /// Answered by [`Response::Done`].
    Detach {
        /// Which.
        container: String,
    },
    /// Go on in a new log file. Answered by [`Response::Done`].
    ReopenLog {
        /// Which.
        container: String,
    },
    /// A fresh TCP socket of the sandbox's network namespace, sent as descriptor with [`Response::Done`].
    Socket {
        /// IPv6 rather than IPv4.
        v6: bool,
    },
    /// Kill all, answer with [`Response::State`], exit.
    Stop,
}

/// What a sandbox shall be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Init {
    /// The agent's [`crate::PROTOCOL_VERSION`].
    pub version: u32,
    /// The folder the shim's socket and exit records are in.
    pub state_dir: String,
    /// Files of cgroups to enter (`cgroup.procs` or v1's `tasks`).
    pub cgroup_procs: Vec<String>,
    /// A network namespace to join; `None` keeps the node's.
    pub netns: Option<String>,
    /// The sandbox's host name; `None` keeps the node's UTS namespace.
    pub hostname: Option<String>,
    /// Have an own IPC namespace.
    pub private_ipc: bool,
    /// Have one process namespace for all containers, with a pause process as its process 1.
    pub shared_pid: bool,
    /// Files under `/proc/sys` and what to write.
    pub sysctls: Vec<(String, String)>,
    /// Have a user namespace whose ids 0 to `size` are these of the node.
    pub user_namespace: Option<IdRange>,
    /// Size of the Pod's `/dev/shm` in bytes; 0 with the node's IPC namespace.
    pub shm_bytes: u64,
}

/// Ids of a user namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The node's id of user and group 0.
    pub base: u32,
    /// How many.
    pub size: u32,
}

/// A container to start; everything is resolved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Start {
    /// Its identity.
    pub container: String,
    /// Its root.
    pub rootfs: Rootfs,
    /// Bind mounts in order.
    pub mounts: Vec<Mount>,
    /// Device nodes beyond the default ones; paths equal inside and outside.
    pub devices: Vec<String>,
    /// All of the node's devices.
    pub all_devices: bool,
    /// Paths inside to hide.
    pub masked_paths: Vec<String>,
    /// Paths inside to protect.
    pub readonly_paths: Vec<String>,
    /// `/sys` and its cgroups stay writable.
    pub writable_sys: bool,
    /// What to run, where, as whom.
    pub process: Process,
    /// Which process namespace.
    pub pid: PidNamespace,
    /// cgroups.
    pub cgroup: Cgroup,
    /// Have a standard input.
    pub stdin: bool,
    /// Close it after the first attach session.
    pub stdin_once: bool,
    /// The CRI log file; its folder exists.
    pub log_path: String,
}

/// A process: an exec or a container's main one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the API")]
pub struct Process {
    /// Never empty. A first argument without a slash is looked up in `PATH` of `env`.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Inside the container.
    pub cwd: String,
    /// Make `cwd` if it is missing.
    pub make_cwd: bool,
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Bit per capability: the bounding set, and for user 0 the permitted and effective sets (R13.21).
    pub capabilities: u64,
    /// R13.22.
    pub no_new_privileges: bool,
    /// A descriptor with seccomp programs was sent as the request's last.
    pub seccomp: bool,
    /// The AppArmor profile to run under; empty for none (R13.24). It must be loaded.
    pub app_armor: String,
    /// R13.15; best effort.
    pub oom_score_adj: Option<i32>,
    /// Run on a terminal.
    pub tty: bool,
}

/// An overlay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rootfs {
    /// Topmost first.
    pub lower: Vec<String>,
    /// Exists.
    pub upper: String,
    /// Exists.
    pub work: String,
    /// An empty folder to mount on, in the container's namespace only.
    pub mount_point: String,
    /// R13.23.
    pub readonly: bool,
}

/// One recursive bind mount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// On the node.
    pub source: String,
    /// Inside.
    pub target: String,
    /// The top mount only.
    pub readonly: bool,
    /// Submounts too.
    pub recursive_readonly: bool,
    /// R12.5. For [`Propagation::Shared`] a detached copy of the source, made in the node's mount namespace, was sent as
    /// a descriptor: one for each such mount, in order, before the seccomp programs.
    pub propagation: Propagation,
    /// A relative path inside the source that is mounted instead, as long as it stays inside (R12.29).
    pub beneath: String,
    /// Folders of an image that are mounted read-only instead of the source, topmost first.
    pub layers: Vec<String>,
    /// With `layers`: an empty folder to put them together on.
    pub scratch: String,
}

/// Mount propagation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    /// None.
    #[default]
    Private,
    /// From the node.
    Slave,
    /// Both ways.
    Shared,
}

/// Which process namespace a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PidNamespace {
    /// A new one.
    #[default]
    Own,
    /// The sandbox's: the shared one if it has one, else the node's.
    Sandbox,
    /// That of another container.
    Of(String),
}

/// Where a container's processes are counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cgroup {
    /// A v2 folder to be born in.
    pub v2_dir: Option<String>,
    /// Files of v1 cgroups to enter (`cgroup.procs` or `tasks`).
    pub procs: Vec<String>,
    /// The file whose `oom_kill` line counts (v1 `memory.oom_control`, v2 `memory.events`).
    pub oom_file: Option<String>,
    /// Shown read-only under `/sys/fs/cgroup`: source on the node and name there; an empty name is the folder itself.
    pub mounts: Vec<(String, String)>,
}

/// A process to run in a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exec {
    /// Where.
    pub container: String,
    /// What.
    pub process: Process,
    /// Which standard streams (input, output, error) were sent.
    pub streams: [bool; 3],
}

/// Answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It is so.
    Done,
    /// The whole truth.
    State(State),
    /// The container's program runs.
    Started {
        /// On the node.
        pid: i32,
        /// When.
        at: i64,
    },
    /// It could not be started; the instance is an exited one (R5.32).
    StartFailed(Failure),
    /// The process runs.
    ExecStarted {
        /// Its number in this shim.
        exec: u64,
        /// On the node.
        pid: i32,
    },
    /// The session is on.
    Attached,
    /// It could not be done.
    Failed(Failure),
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// One line for the user.
    pub message: String,
    /// The system's error number; 0 if none.
    #[serde(default)]
    pub errno: i32,
}

/// What a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No such container.
    NotFound,
    /// It is not running.
    NotRunning,
    /// The program cannot be executed.
    CannotExecute,
    /// A step failed.
    System,
    /// The request makes no sense here.
    #[serde(other)]
    Refused,
}

/// Everything a shim knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The shim's protocol version.
    pub version: u32,
    /// The shim's process id.
    pub pid: i32,
    /// The number of the last event before this answer.
    pub last_event: u64,
    /// Containers that were ever started and not forgotten.
    pub containers: Vec<ContainerRecord>,
}

/// One container as the shim knows it; also the form of the exit record on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerRecord {
    /// Its identity.
    pub container: String,
    /// Its process on the node; 0 if it never had one.
    pub pid: i32,
    /// 0 if it never ran.
    pub started_at: i64,
    /// How it ended, if it did.
    pub exit: Option<ExitRecord>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExitRecord {
    /// 128 + n for signal n; 128 if it never started.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When.
    pub at: i64,
    /// R9.30.
    pub oom_killed: bool,
    /// Why it could not be started; empty for a process that ran.
    pub start_error: String,
}

/// News.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A container's main process ended and its log is complete.
    Exited(ContainerRecord),
    /// An exec process ended.
    ExecExited {
        /// Its number.
        exec: u64,
        /// 128 + n for signal n.
        code: i32,
    },
}
