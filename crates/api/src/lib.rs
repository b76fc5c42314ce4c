//! The vocabulary every other crate speaks: kinds, objects, quantities, selectors, status errors and clocks.
//!
//! Nothing here does I/O except [`clock::SystemClock`], the one place in the workspace that reads the time.
//! The typed Kubernetes API comes from `k8s-openapi` and is re-exported as [`k8s`], so that all crates agree
//! on one version of it.
//!
//! Start reading at [`kind`] (what a resource is) and [`object`] (how an object travels).

pub mod age;
pub mod clock;
pub mod kind;
pub mod object;
pub mod printers;
pub mod quantity;
pub mod registry;
pub mod selector;
pub mod status;

pub use clock::{Clock, MonoTime, Now, WallTime};
pub use kind::KindInfo;
pub use object::Object;
pub use quantity::Quantity;
pub use registry::Registry;
pub use status::StatusError;

/// The typed API of the Kubernetes version we serve.
pub use k8s_openapi::api as k8s;
/// Metadata types shared by all kinds (`ObjectMeta`, `Time`, `LabelSelector`, …).
pub use k8s_openapi::apimachinery::pkg as k8s_meta;
