//! Defaults, validation, patches and built-in plug-ins as pure functions over API objects.
//!
//! Everything the API server must decide about a write before it reaches the store is decided here, and nothing
//! is done here: no I/O, no clock, no randomness, no async. Time, identifiers, random suffixes and the stored
//! objects a rule looks at are arguments, so a write can be replayed and every rule tested in microseconds.
//!
//! One write passes through the modules in this order:
//!
//! ```text
//! [patch, apply] -> defaults -> apply::record -> plugins::admit -> (webhooks) -> strategy::prepare_create
//!                -> validation -> plugins::validate -> (webhooks) -> store
//! ```
//!
//! Start reading at [`admit_create`], [`admit_update`] and [`admit_delete`] (the whole pipeline for one request),
//! then [`strategy`] (what the server does to metadata and status), then follow the list above.

pub mod apply;
pub mod defaults;
pub mod field;
pub mod patch;
mod pipeline;
pub mod plugins;
pub mod pod_security;
pub mod quota;
pub mod rules;
pub mod strategy;
mod tree;
pub mod validation;
pub mod warnings;
pub mod webhook;

pub use apply::{Ownership, Writer};
pub use patch::{Patch, PatchType, apply_patch};
pub use pipeline::{
    CreateContext, DeleteContext, Notes, UpdateContext, admit_create, admit_delete, admit_status_update,
    admit_update, finish_create, finish_update, mutate_create, mutate_update, remutate_create,
    remutate_update,
};
pub use plugins::{Lookup, NoLookup};
pub use strategy::{DeleteDecision, DeleteOptions, Endpoint, Propagation};
pub use warnings::Warning;
