//! The container runtime: a seam in the shape of CRI, and the implementation that comes with the program.
//!
//! [`Runtime`] is what the kubelet speaks. [`EmbeddedRuntime`] keeps it with one sandbox process per Pod, which holds
//! the namespaces, starts and reaps the containers and writes their logs; this crate tells it what to do and survives
//! without it, as it survives without us. It pulls no images, wires no networks and knows no API object.
//!
//! Start at [`Runtime`], then [`EmbeddedRuntime`]; `client` is the wire between the two processes.

mod cgroup;
mod client;
mod cri;
mod embedded;
mod exec;
mod features;
mod prepare;
mod sandbox;
mod seccomp;
mod seccomp_profile;
mod seccomp_programs;
mod shim;
mod stats;

pub use cgroup::CgroupLayout;
pub use cri::*;
pub use embedded::{EmbeddedRuntime, RuntimeConfig};
pub use features::{Feature, features};
pub use stats::{ContainerStats, CpuUsage, Interface, IoUsage, MemoryUsage, SandboxStats, Usage, interfaces};
