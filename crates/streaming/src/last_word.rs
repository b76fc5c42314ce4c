//! How a session's end is told, whatever carries it (H26).

use serde_json::{Value, json};

use crate::agent::SessionEnd;

/// What the error channel carries; `legacy` is for the protocols before v4, which say failures as text and success by
/// silence.
pub(crate) fn last_word(legacy: bool, end: &SessionEnd) -> Option<String> {
    match end {
        SessionEnd::Exited(0) | SessionEnd::Detached if legacy => None,
        SessionEnd::Exited(0) | SessionEnd::Detached => {
            Some(json!({"metadata": {}, "status": "Success"}).to_string())
        }
        SessionEnd::Exited(code) => {
            let message = format!("command terminated with non-zero exit code: exit code {code}");
            Some(if legacy { message } else { nonzero(*code, &message).to_string() })
        }
        SessionEnd::Failed(message) if legacy => Some(message.clone()),
        SessionEnd::Failed(message) => Some(failure(message).to_string()),
    }
}

fn nonzero(code: i32, message: &str) -> Value {
    let cause = json!({"reason": "ExitCode", "message": code.to_string()});
    json!({
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "NonZeroExitCode",
        "details": {"causes": [cause]},
    })
}

fn failure(message: &str) -> Value {
    json!({
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    })
}
