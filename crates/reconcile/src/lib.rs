//! The one loop every controller runs: watch → cache → key queue → read latest → decide → act → requeue.
//!
//! kube-rs supplies the machinery (one reconcile per key at a time, duplicate requests merged, earliest due time
//! kept); this crate fixes the choices, so that all loops look alike: bounded concurrency, exponential back-off per
//! object, shutdown by token. It decides nothing about any kind.
//!
//! A controller implements [`Reconciler`] and hands it to [`run`]. Components that need a whole picture instead of
//! single keys (the scheduler, the kubelet) consume [`changes`]; controllers that look at the same objects share a
//! [`Cache`].

mod cache;
mod changes;
mod controller;
pub mod events;

pub use cache::{Cache, Mark, number};
pub use changes::{Change, changes};
pub use controller::{Error, Next, Reconciler, run};
