//! What clients read when a program cannot be executed: the words they know from other runtimes around our own.

use outrigger_runtime::RuntimeError;

/// Why a container's own program does not run (R5.32).
pub(crate) fn cannot_start(why: impl std::fmt::Display) -> String {
    format!("OCI runtime create failed: unable to start container process: {why}: unknown")
}

/// The same of any failure to start.
pub(crate) fn start_failed(error: RuntimeError) -> String {
    match error {
        RuntimeError::CannotExecute(why) => cannot_start(why),
        other => other.to_string(),
    }
}

/// Why a command does not run in a container (R6.15, R14.18).
pub(crate) fn exec_failed(container: &str, error: &RuntimeError) -> String {
    match error {
        RuntimeError::CannotExecute(why) => format!(
            "failed to exec in container: failed to start exec \"{container}\": OCI runtime exec failed: exec failed: \
             unable to start container process: {why}: unknown"
        ),
        other => format!("failed to exec in container: {other}"),
    }
}
