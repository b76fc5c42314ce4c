//! What the workload controllers decide: objects in, writes out.
//!
//! Each module is one controller's decision as pure functions (sections N and 16 of the rule books). Every input is
//! an argument, the time included; nothing here knows a client, a cache or a clock. The `controllers` crate
//! gathers what a decision needs and carries it out.
//!
//! Decisions never assume that an earlier one was carried out: they see what exists and say what is missing.
//!
//! Start at a controller's `decide`; [`pods`] and [`claim`] are what they share.

pub mod claim;
pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod garbage;
pub mod hash;
pub mod job;
pub mod note;
pub mod pods;
pub mod replica_set;
pub mod revisions;
pub mod selector;
pub mod share;
pub mod stateful_set;
pub mod template;

pub use note::Note;
