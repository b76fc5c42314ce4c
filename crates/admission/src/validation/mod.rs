//! Whether an object may be stored: names, metadata, and per kind its fields and what may change (C1, C2, C10-C14,
//! R1.11-R1.51, K9-K41). Values other objects decide about are the business of [`crate::plugins`].

mod meta;
pub mod names;

use outrigger_api::{KindInfo, Object, StatusError};

use crate::field::Findings;
use crate::strategy::Endpoint;

/// Validates a new object.
///
/// # Errors
/// 422 with all findings (D31).
pub fn create(kind: &KindInfo, object: &Object) -> Result<(), StatusError> {
    let mut findings = Findings::default();
    meta::create(kind, object, &mut findings);
    findings.into_result(kind, object.name())
}

/// Validates an update; `new` is what would be stored.
///
/// # Errors
/// 422 with all findings (D31).
pub fn update(kind: &KindInfo, endpoint: Endpoint, new: &Object, old: &Object) -> Result<(), StatusError> {
    let _ = endpoint;
    let mut findings = Findings::default();
    meta::update(kind, new, old, &mut findings);
    findings.into_result(kind, new.name())
}
