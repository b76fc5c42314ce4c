//! The three patch formats of PATCH: JSON patch, merge patch, strategic merge patch (F1, F2, B14).
//!
//! A patch is parsed once ([`Patch::parse`]) and applied as often as write races make necessary
//! ([`apply_patch`]), to the versioned JSON of the stored object. What comes out is only a tree: decoding,
//! defaulting and validating it is the caller's next step, exactly as for a PUT. Server-side apply is a different
//! protocol (it needs field ownership, not only the object): [`crate::apply`].

mod go;
mod json;
mod merge;
mod schema;
mod strategic;
mod strategic_list;
#[cfg(test)]
mod tests;

use outrigger_api::status::{Cause, Details, Reason};
use outrigger_api::{KindInfo, StatusError};
use serde_json::{Map, Value};

pub(crate) use go::Printed;
pub use json::{MAX_COPIED_BYTES, MAX_OPERATIONS, Operation, unknown_members};

/// Which format a body is in; the media type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PatchType {
    /// `application/json-patch+json`.
    Json,
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`; built-in kinds only (F2a).
    Strategic,
}

/// A parsed patch.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch {
    /// RFC 6902 operations, in order.
    Json(Vec<Operation>),
    /// RFC 7386.
    Merge(Map<String, Value>),
    /// Kubernetes' own, driven by the schema's merge table (F2m).
    Strategic(Map<String, Value>),
}

impl Patch {
    /// Parses a request body.
    ///
    /// # Errors
    /// 400 if the body is not what its media type promises (F1a, F1b, F1f, F2l); 413 if a JSON patch has more
    /// than [`MAX_OPERATIONS`] operations (B14).
    pub fn parse(format: PatchType, body: &[u8]) -> Result<Self, StatusError> {
        match format {
            PatchType::Json => json::parse(body).map(Self::Json),
            PatchType::Merge => merge::parse(body).map(Self::Merge),
            PatchType::Strategic => merge::parse(body).map(Self::Strategic),
        }
    }

    /// The `metadata.resourceVersion` the patch insists on, if any: it then fails on a write race instead of
    /// being tried again (D7).
    pub fn is_conditional(&self) -> bool {
        match self {
            Self::Json(operations) => operations.iter().any(Operation::touches_resource_version),
            Self::Merge(body) | Self::Strategic(body) => {
                body.get("metadata").and_then(|metadata| metadata.get("resourceVersion")).is_some()
            }
        }
    }
}

/// Applies `patch` to `current`, the object as it is served to this client.
///
/// # Errors
/// 422 if a JSON patch does not fit the object; for strategic patches what F2c, F2e, F2f, F2h, F2i and F2l say.
pub fn apply_patch(kind: &KindInfo, current: &Value, patch: &Patch) -> Result<Value, StatusError> {
    match patch {
        Patch::Json(operations) => json::apply(current, operations),
        Patch::Merge(body) => Ok(merge::apply(current, body)),
        Patch::Strategic(body) => strategic::apply(schema::Schema::of(kind), current, body),
    }
}

/// The 422 of a patch that cannot be applied (D31). The cause stays out of the message, as upstream has it.
fn cannot_apply(cause: impl Into<String>) -> StatusError {
    let message = "the server rejected our request due to an error in our request";
    let mut error = StatusError::new(422, Reason::Invalid, message);
    let cause =
        Cause { reason: "UnexpectedServerResponse".to_owned(), message: cause.into(), field: String::new() };
    error.details = Some(Details { causes: vec![cause], ..Details::default() });
    error
}

/// A 500 without reason, as upstream answers where a patch contradicts itself (F2e, F2f, F2h).
fn contradiction(message: impl Into<String>) -> StatusError {
    StatusError { code: 500, reason: None, message: message.into(), details: None, continue_token: None }
}
