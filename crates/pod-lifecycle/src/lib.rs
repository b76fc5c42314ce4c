//! The Pod decision: a pure function from facts to actions, status and the next wake-up.
//!
//! [`decide`] looks at everything known about one Pod ([`Input`]) and says what to do next, what to publish, why
//! each waiting container waits and when to look again ([`Decision`]). It reads no clock, holds no state and awaits
//! nothing, so the kubelet runs it, the simulator in the tests explores it and `outrigger explain` shows it, and all
//! three see the same Pod.
//!
//! This crate refuses to do anything: no I/O, no async, no logging, no hidden input. What it needs to remember it
//! hands back as [`PodMemory`], to be made durable before any action is begun.

mod backoff;
mod decide;
mod decision;
mod input;
mod memory;
mod message;
mod observe;
mod probes;
mod reason;
mod resize;
mod restart;
mod sandbox;
mod spec;
mod start;
mod status;
mod stop;
mod turn;
mod waiting;

pub use decide::decide;
pub use decision::*;
pub use input::*;
pub use memory::*;
pub use message::{go_duration, termination_message};
pub use probes::probe_period;
pub use reason::{EventReason, FailureReason};
pub use resize::ResizeSummary;
pub use spec::{Role, definition_hash, field_path, init_role, pod_words};
