//! From a container of the spec to what the runtime is told: command, user, resources, mounts. Deciding is pure and
//! in one file per subject; [`prepare()`] gathers, writes the Pod's files and returns the finished configuration.

mod capabilities;
mod command;
mod entry;
mod mounts;
mod prepare;
mod resources;
mod security;

pub(crate) use command::command_line;
pub(crate) use entry::{Entry, entries, find};
pub(crate) use prepare::{StartRequest, is_host_network, labels, prepare};
pub(crate) use resources::{container_resources, oom_score_adj, pod_cgroup, pod_resources};
pub(crate) use security::{SecurityError, SecurityInput, User, security};
