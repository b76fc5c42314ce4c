//! Why a measurement could not be taken.

use std::path::PathBuf;

/// A step that failed; there is no number then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The operating system refused.
    #[error("cannot {doing}")]
    Io { doing: String, source: std::io::Error },
    /// The connection failed.
    #[error("the API server's connection failed")]
    Http(#[from] hyper::Error),
    /// The server refused a request.
    #[error("{request}: the server answered {status}: {body}")]
    Refused { request: String, status: u16, body: String },
    /// A helper of the tests failed.
    #[error(transparent)]
    Testkit(#[from] outrigger_testkit::TestkitError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] outrigger_store::Error),
    /// A file is not what it should be.
    #[error("{path}: {cause}")]
    File { path: PathBuf, cause: String },
    /// Something did not happen in time, or differently than it must.
    #[error("{0}")]
    Unexpected(String),
}

impl Error {
    /// For `map_err` on I/O.
    pub(crate) fn doing(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// For `map_err` on system calls.
    pub(crate) fn system(doing: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> Self {
        let doing = doing.into();
        move |errno| Self::Io { doing, source: errno.into() }
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
