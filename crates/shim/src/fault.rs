//! Failures with the step that failed in their text.

use std::io;

use outrigger_shim_protocol::{Failure, FailureKind};

/// What the shim's own functions return.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// Names the step that failed.
pub(crate) trait Doing<T> {
    /// `doing` reads like `mount /proc`.
    fn doing(self, doing: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Outcome<T> {
        self.map_err(|error| Failure {
            kind: FailureKind::System,
            message: format!("{}: {}", doing(), text(&error)),
            errno: error.raw_os_error().unwrap_or(0),
        })
    }
}

/// The system's words without the number, in lower case as they follow a colon.
pub(crate) fn text(error: &io::Error) -> String {
    let mut text = error.to_string();
    if let Some(at) = text.find(" (os error") {
        text.truncate(at);
    }
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text
}

/// A request that makes no sense now.
pub(crate) fn refused(message: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::Refused, message: message.into(), errno: 0 }
}

/// There is no such container.
pub(crate) fn not_found(container: &str) -> Failure {
    Failure { kind: FailureKind::NotFound, message: format!("container {container} not found"), errno: 0 }
}

/// The container has no process.
pub(crate) fn not_running(container: &str) -> Failure {
    Failure {
        kind: FailureKind::NotRunning,
        message: format!("container {container} is not running"),
        errno: 0,
    }
}
