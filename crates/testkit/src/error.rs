//! What keeps a fixture from being made.

use std::io;
use std::path::PathBuf;

/// A fixture that could not be made or a program that did not behave.
#[derive(Debug, thiserror::Error)]
pub enum TestkitError {
    /// A program the fixture is made of or with is not on this machine.
    #[error("{program} not found; on Debian it comes with the package {package}")]
    Missing {
        /// The program.
        program: String,
        /// Where to get it.
        package: &'static str,
    },
    /// A file or process could not be used.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("{program} failed: {detail}")]
    Failed {
        /// The program.
        program: String,
        /// What it said, or did not say.
        detail: String,
    },
    /// A registry answered other than it should.
    #[error("the registry answered {answer} to {request}")]
    Registry {
        /// Method and path.
        request: String,
        /// Status or transport error.
        answer: String,
    },
}

impl TestkitError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn failed(program: &str, detail: impl ToString) -> Self {
        Self::Failed { program: program.to_owned(), detail: detail.to_string() }
    }
}
