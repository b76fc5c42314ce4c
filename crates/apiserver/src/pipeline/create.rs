//! POST, and the create half of PUT (D1, D2, C3).

use outrigger_admission::rules::Operation;
use outrigger_admission::strategy::stamp_requester;
use outrigger_admission::{CreateContext, Notes, Ownership, finish_create, mutate_create, remutate_create};
use outrigger_api::status::Reason;
use outrigger_api::{Object, StatusError};

use super::lookup::Fetched;
use super::{NAMES, Write, Written, quota, services, suffix};
use crate::guards;
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
    let mut notes = Notes::default();
    let mut mutated = decoded;
    stamp_requester(kind, &mut mutated, &guards::user(write).to_value());
    let lookup = Fetched::for_create(api, kind, namespace, &mutated).await?;
    let (uid, suffix) = (uuid::Uuid::new_v4().to_string(), suffix());
    let context = CreateContext {
        namespace,
        now: api.now(),
        uid: &uid,
        suffix: &suffix,
        dry_run: options.dry_run,
        lookup: &lookup,
        ownership,
    };
    mutate_create(kind, &mut mutated, &context, &mut notes)?;
    let again = |object: &mut Object| remutate_create(kind, object, &context);
    guards::mutate(write, Operation::Create, &mut mutated, None, &again, &mut notes).await?;
    let mut last = None;
    for attempt in 0..if generated { NAMES } else { 1 } {
        let (mut object, mut notes) = (mutated.clone(), notes.clone());
        let (uid, suffix) = (uuid::Uuid::new_v4().to_string(), super::suffix());
        let context =
            if attempt == 0 { context } else { CreateContext { uid: &uid, suffix: &suffix, ..context } };
        finish_create(kind, &mut object, &context, &mut notes)?;
        write.check_escalation(&object, None).await?;
        guards::validate(write, Operation::Create, Some(&object), None, &mut notes).await?;
        match store(write, object).await? {
            Ok(stored) => return Ok(Written::new(stored, true, notes)),
            Err(Some(existing)) => last = Some(existing),
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

/// Writes an admitted object; the error of a name that is taken is left to the caller.
async fn store(
    write: &Write<'_>,
    mut object: Object,
) -> Result<Result<Stored, Option<StatusError>>, StatusError> {
    let Write { api, kind, namespace, options, .. } = *write;
    let _addresses = services::allocate(api, kind, &mut object, None, options.dry_run).await?;
    let charge = quota::charge(write, &object, None).await?;
    if options.dry_run {
        return match api.storage.find(kind, namespace, object.name()).await? {
            Some(existing) => Ok(Err(Some(exists(write, object.name(), &existing)))),
            None => {
                let key = kind.key(namespace, object.name());
                Ok(Ok(Stored::from_parts(key.into(), encode(&object), 0)?))
            }
        };
    }
    match api.storage.create(kind, &object).await? {
        Ok(stored) => {
            guards::changed(api, kind);
            Ok(Ok(stored))
        }
        Err(existing) => {
            charge.give_back(api).await;
            Ok(Err(existing.map(|existing| exists(write, object.name(), &existing))))
        }
    }
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
