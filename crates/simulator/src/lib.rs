//! A node in memory: an API server, an agent, a disk and a runtime that carry out what [`outrigger_pod_lifecycle::decide`]
//! says, with scripted containers, on a clock that only moves when nothing is left to do.
//!
//! Three users, one machine:
//!
//! | user | starts at |
//! |---|---|
//! | text cases (`crates/pod-lifecycle/tests/cases`) | [`Node`] with scripts and no faults |
//! | the seeded simulation (`cargo xtask simulate`) | [`seeds::simulate`], which draws Pods, scripts and faults from one number |
//! | `outrigger explain` | [`Node`] with the user's own Pod |
//!
//! It refuses to do any I/O, to read a clock and to draw a number that does not come from a seed, so that the same
//! input always plays the same way. It decides nothing about a Pod either: what may happen is the core's business, the
//! simulator only makes it happen, well or badly, and looks on ([`Violation`]).
//!
//! ```text
//!            ┌── store ── watch ──► agent (one worker per Pod) ──► decide ──┐
//!  create,   │    ▲                  │ ▲                                    │
//!  delete ───┘    └─ status, delete ─┘ └─ facts ── runtime ◄── actions ─────┘
//!                                      memory ── disk
//! ```
//!
//! The agent dies with everything above the line of disk and runtime; both survive it.

mod chaos;
mod invariants;
pub mod language;
mod node;
mod random;
mod script;
pub mod seeds;
mod story;
mod timeline;

pub use chaos::{Chaos, Death, Odds};
pub use invariants::Violation;
pub use node::{Decide, Node, PodIndex, ProbeRun};
pub use random::Rng;
pub use script::{Health, Hook, Instance, Script};
pub use story::story;
pub use timeline::{Entry, What, seconds};
