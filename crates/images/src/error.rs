//! Why a pull failed: typed for those who decide, chained for those who read.

use std::error::Error;
use std::sync::Arc;

use crate::{InvalidImageName, LayerError, StoreError};

/// A failed pull. Cheap to clone, because everyone who waited for the same pull gets it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("failed to pull and unpack image \"{image}\"")]
pub struct PullError {
    /// The normalised reference.
    pub image: String,
    /// What went wrong.
    #[source]
    pub cause: Arc<PullCause>,
}

impl PullError {
    /// What kind of failure this is; picks the waiting reason (R5.26).
    pub fn kind(&self) -> FailureKind {
        self.cause.kind()
    }

    /// The whole chain in one line: the message of `ErrImagePull` (R5.24, R5.25).
    pub fn message(&self) -> String {
        match self.cause.as_ref() {
            PullCause::Invalid(error) => error.to_string(),
            _ => chain_text(self),
        }
    }
}

/// What went wrong in a pull.
#[derive(Debug, thiserror::Error)]
pub enum PullCause {
    /// Not a reference.
    #[error(transparent)]
    Invalid(#[from] InvalidImageName),
    /// No registry would tell what the name stands for.
    #[error("failed to resolve reference \"{image}\"")]
    Resolve {
        /// The normalised reference.
        image: String,
        /// The registry's answer.
        source: RegistryError,
    },
    /// A manifest, config or layer could not be fetched.
    #[error("failed to copy \"{digest}\"")]
    Fetch {
        /// Which blob.
        digest: String,
        /// The registry's answer.
        source: RegistryError,
    },
    /// What came is not a usable image for this machine.
    #[error("no match for platform in manifest {digest}: wanted {wanted}, offered {offered}")]
    Platform {
        /// The index asked.
        digest: String,
        /// `linux/amd64`.
        wanted: String,
        /// The platforms in it, comma separated.
        offered: String,
    },
    /// A layer's archive was refused or could not be written.
    #[error("failed to extract layer {digest}")]
    Extract {
        /// The compressed layer's digest.
        digest: String,
        /// Why.
        source: LayerError,
    },
    /// The store itself failed.
    #[error("failed to store the image")]
    Store(#[from] StoreError),
}

impl PullCause {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Invalid(_) => FailureKind::Invalid,
            Self::Resolve { source, .. } | Self::Fetch { source, .. } => source.kind(),
            Self::Platform { .. } => FailureKind::NotFound,
            Self::Extract { source, .. } => source.kind(),
            Self::Store(_) => FailureKind::Disk,
        }
    }
}

/// What a registry, or the lack of one, had to say.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry answers, and has no such thing.
    #[error("{what}: not found (registry {host} answered: {answer})")]
    NotFound {
        /// The reference or digest.
        what: String,
        /// Who said so.
        host: String,
        /// Its words.
        answer: String,
    },
    /// The registry wants credentials, or other ones.
    #[error(
        "pull access denied, repository does not exist or may require authorization: \
         registry {host} answered: {answer}"
    )]
    Unauthorized {
        /// Who said so.
        host: String,
        /// Its words, and what the credential files lack if that is known.
        answer: String,
    },
    /// No answer at all.
    #[error("failed to do request: Head \"{url}\": dial tcp {host}: {answer}")]
    Unreachable {
        /// Whom we asked.
        host: String,
        /// What for.
        url: String,
        /// What happened.
        answer: String,
    },
    /// An answer that promises one later (5xx, 429), or one that breaks off.
    #[error("registry {host} is unavailable: {answer}")]
    Unavailable {
        /// Whom we asked.
        host: String,
        /// What happened.
        answer: String,
    },
    /// The answer breaks the protocol or does not match its digest.
    #[error("registry {host} sent something unusable: {answer}")]
    Corrupt {
        /// Who sent it.
        host: String,
        /// What is wrong with it.
        answer: String,
    },
    /// Nobody was asked: the mirror configuration cannot be used.
    #[error("registry configuration cannot be used")]
    Config(#[from] crate::HostsError),
}

impl RegistryError {
    /// What kind of failure this is.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::NotFound { .. } => FailureKind::NotFound,
            Self::Unauthorized { .. } => FailureKind::Unauthorized,
            Self::Unavailable { .. } | Self::Unreachable { .. } => FailureKind::Unavailable,
            Self::Corrupt { .. } => FailureKind::Corrupt,
            Self::Config(_) => FailureKind::Invalid,
        }
    }
}

/// The kinds of failure a caller may tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// Not a reference, or a configuration file that cannot be used: `InvalidImageName` for the former.
    Invalid,
    /// The registry has no such image.
    NotFound,
    /// The registry wants credentials.
    Unauthorized,
    /// The registry does not answer.
    Unavailable,
    /// What came does not match its digest or cannot be read.
    Corrupt,
    /// What came tries to break out or to exhaust the node.
    Hostile,
    /// The node's disk or kernel refused.
    Disk,
}

/// An error and its sources, joined by `: `, as one line.
pub fn chain_text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        // Some libraries repeat their source in their own text.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = source.source();
    }
    text
}
