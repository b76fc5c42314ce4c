//! Defaults, validation, patches and built-in plug-ins as pure functions over API objects.
//!
//! Everything the API server must decide about a write before it reaches the store is decided here, and nothing
//! is done here: no I/O, no clock, no randomness, no async. Time, identifiers, random suffixes and the stored
//! objects a rule looks at are arguments, so a write can be replayed and every rule tested in microseconds.
//!
//! One write passes through the modules in this order:
//!
//! ```text
//! [patch] -> defaults -> strategy::prepare_* -> plugins::admit -> validation -> plugins::validate -> store
//! ```
//!
//! Start reading at [`strategy`] (what the server does to metadata and status) and then follow the list above.

pub mod defaults;
mod quantity;
pub mod patch;
pub mod plugins;
pub mod strategy;
mod tree;
pub mod validation;
pub mod warnings;

pub use patch::{Patch, apply_patch};
pub use strategy::Endpoint;
