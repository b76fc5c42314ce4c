//! The environment a container's process finds (R11.1-R11.13), as pure functions of the Pod and of the objects it
//! names. Fetching those objects is the caller's business. Start at [`build`].

mod build;
mod env_file;
mod expand;
mod fields;
mod services;

pub(crate) use build::{EnvInput, build};
pub(crate) use env_file::EnvFileError;
pub(crate) use expand::expand;
pub(crate) use fields::{FieldError, NodeAllocatable, PodAddresses, field_value, go_quote, resource_value};
pub(crate) use services::service_variables;

use outrigger_api::StatusError;

/// Why a container's configuration cannot be made; its text is the waiting message of `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// R11.6.
    #[error("configmap \"{0}\" not found")]
    ConfigMapNotFound(String),
    /// R11.6.
    #[error("secret \"{0}\" not found")]
    SecretNotFound(String),
    /// R11.6; kind is `ConfigMap` or `Secret`.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    KeyNotFound {
        /// The key asked for.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// The object's namespace.
        namespace: String,
        /// The object's name.
        name: String,
    },
    /// R11.8, R11.9.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// R11.7.
    #[error(transparent)]
    EnvFile(#[from] EnvFileError),
    /// R12.3.
    #[error("cannot find volume \"{volume}\" to mount into container \"{container}\"")]
    VolumeNotFound {
        /// The volume's name.
        volume: String,
        /// The container's name.
        container: String,
    },
    /// R12.29: nothing of the node is named in the text.
    #[error("failed to prepare subPath for volumeMount \"{volume}\" of container \"{container}\"")]
    SubPath {
        /// The volume's name.
        volume: String,
        /// The container's name.
        container: String,
    },
    /// R12.29: the missing target lies behind a link that leaves the volume.
    #[error("failed to create subPath directory for volumeMount \"{volume}\" of container \"{container}\"")]
    SubPathCreate {
        /// The volume's name.
        volume: String,
        /// The container's name.
        container: String,
    },
    /// R12.30.
    #[error("missing value for {0}")]
    SubPathVariables(String),
    /// R12.30.
    #[error("subPath {0}")]
    SubPathInvalid(&'static str),
    /// R13.18-R13.24.
    #[error(transparent)]
    Security(#[from] crate::container::SecurityError),
    /// R14.3.
    #[error("unable to find target container {0}")]
    TargetContainer(String),
    /// The image names no command and neither does the container.
    #[error("no command specified")]
    NoCommand,
    /// The API server did not answer.
    #[error("{0}")]
    Api(#[source] StatusError),
    /// A file of the Pod could not be written.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
}
