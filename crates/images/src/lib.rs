//! Images: from a reference to folders a container can be mounted from.
//!
//! This crate parses references, talks to registries (mirrors, credentials, platforms), unpacks layers under
//! suspicion and keeps the result in a content-addressed store. It knows nothing of Pods, pull policies, back-off or
//! events: callers decide *when* to pull, this crate answers *what came of it*, in types. It never mounts anything
//! and never runs anything from an image.
//!
//! Start at [`ImageStore`]: `open`, then `resolve` or `pull`. [`Keyring`] holds credentials, [`RegistryConfig`] the
//! mirrors. Hostile layers are the business of the `unpack` module.

#![warn(missing_docs)]

mod archive;
mod build;
mod error;
mod image;
mod layer;
mod manifest;
mod progress;
mod pull;
mod reference;
mod registry;
mod store;
mod unpack;
mod users;

pub use archive::ImportError;
pub use build::{BuildError, BuildOptions};
pub use error::{FailureKind, PullCause, PullError, RegistryError, chain_text};
pub use image::{Image, ImageConfig};
pub use progress::{Phase, Progress, PullEvent};
pub use reference::{InvalidImageName, Reference};
pub use registry::credentials::{Auth, CredentialError, Keyring};
pub use registry::hosts::{Host, HostsError, RegistryConfig};
pub use store::{ImageStore, Removed, StoreError, StoreOptions};
pub use unpack::{LayerError, Limits};
pub use users::{ResolvedUser, UserError};
