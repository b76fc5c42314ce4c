//! Store failures in the API's words (E4, E5, M14, M15).

use outrigger_api::StatusError;
use outrigger_api::status::{Cause, Details, Reason};
use outrigger_store::{Error, Revision};

/// A failed store operation `op` (`get`, `list`, `create`, …) on `resource`.
pub(crate) fn store_error(error: &Error, op: &str, resource: &str) -> StatusError {
    match error {
        Error::Compacted { .. } => list_expired(),
        Error::Future { requested, current } => future(*requested, *current),
        Error::TooLarge => {
            let mut status = StatusError::new(500, Reason::InternalError, error.to_string());
            status.reason = None;
            status
        }
        Error::Lagged | Error::Unavailable(_) | Error::Corrupt { .. } => {
            tracing::error!(%error, op, resource, "the store failed");
            StatusError::new(
                500,
                Reason::ServerTimeout,
                format!(
                    "The {op} operation against {resource} could not be completed at this time, please try again."
                ),
            )
            .retry_after(2)
        }
    }
}

/// E5.
pub(crate) fn list_expired() -> StatusError {
    StatusError::new(410, Reason::Expired, "The resourceVersion for the provided list is too old.")
}

/// E4, without the hint to come back; see [`too_new`].
pub(crate) fn future(requested: Revision, current: Revision) -> StatusError {
    let message = format!("Timeout: Too large resource version: {requested}, current: {current}");
    let mut error = StatusError::new(504, Reason::Timeout, message);
    let cause = Cause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    };
    error.details = Some(Details { causes: vec![cause], ..Details::default() });
    error
}

/// E4: reflectors branch on the cause and come back after a second.
pub(crate) fn too_new(requested: Revision, current: Revision) -> StatusError {
    future(requested, current).retry_after(1)
}
