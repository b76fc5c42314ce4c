//! From a container of the spec to what the runtime is told: command, user, resources, mounts. Deciding is pure and
//! in one file per subject; [`prepare`] gathers, writes the Pod's files and returns the finished configuration.

mod capabilities;
mod command;
mod entry;
mod mounts;
mod prepare;
mod resources;
mod security;

pub use command::command_line;
pub use entry::{Entry, entries, find};
pub use mounts::{ManagedFiles, mounts};
pub use prepare::{Prepared, StartRequest, labels, prepare};
pub use resources::{Qos, container_resources, oom_score_adj, pod_cgroup, pod_resources, qos};
pub use security::{SecurityError, SecurityInput, User, security};
