//! POST, and the create half of PUT (D1, D2, C3).

use outrigger_admission::{CreateContext, Ownership, admit_create};
use outrigger_api::status::Reason;
use outrigger_api::{Object, StatusError};

use super::lookup::Fetched;
use super::{NAMES, Write, Written, services, suffix};
use crate::storage::{Stored, encode};

/// Admits and stores a new object.
///
/// # Errors
/// What admission refuses; 409 if the name is taken (D1, C3).
pub(crate) async fn create(write: &Write<'_>, decoded: Object) -> Result<Written, StatusError> {
    create_owned(write, decoded, Ownership::Written(write.writer())).await
}

/// The same, with the owners of its fields known already.
pub(super) async fn create_owned(
    write: &Write<'_>,
    decoded: Object,
    ownership: Ownership<'_>,
) -> Result<Written, StatusError> {
    let Write { api, kind, namespace, options, .. } = *write;
    let generated = decoded.name().is_empty();
    let lookup = Fetched::of(api, kind, namespace, &decoded).await?;
    let mut last = None;
    for _ in 0..if generated { NAMES } else { 1 } {
        let mut object = decoded.clone();
        let context = CreateContext {
            namespace,
            now: api.now(),
            uid: &uuid::Uuid::new_v4().to_string(),
            suffix: &suffix(),
            dry_run: options.dry_run,
            lookup: &lookup,
            ownership,
        };
        let warnings = admit_create(kind, &mut object, &context)?;
        let _addresses = services::allocate(api, kind, &mut object, None, options.dry_run).await?;
        if options.dry_run {
            let existing = api.storage.find(kind, namespace, object.name()).await?;
            match existing {
                Some(existing) => last = Some(exists(write, object.name(), &existing)),
                None => {
                    let key = kind.key(namespace, object.name());
                    let stored = Stored::from_parts(key.into(), encode(&object), 0)?;
                    return Ok(Written { stored, created: true, warnings });
                }
            }
            continue;
        }
        match api.storage.create(kind, &object).await? {
            Ok(stored) => return Ok(Written { stored, created: true, warnings }),
            Err(Some(existing)) => last = Some(exists(write, object.name(), &existing)),
            Err(None) => {}
        }
    }
    let mut error = last.unwrap_or_else(|| StatusError::internal("a name was taken and free at once"));
    if generated {
        error.message.push_str(", the server was not able to generate a unique name for the object");
        error = error.retry_after(1);
    }
    Err(error)
}

/// D1.
fn exists(write: &Write<'_>, name: &str, existing: &Stored) -> StatusError {
    let mut error = StatusError::already_exists(&write.kind.plural, &write.kind.group, name);
    debug_assert!(error.is(Reason::AlreadyExists));
    if existing.object().is_ok_and(|object| object.is_deleting()) {
        error.message = format!("object is being deleted: {}", error.message);
    }
    error
}
