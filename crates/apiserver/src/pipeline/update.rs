//! PUT and PATCH on an object or one of its subresources (D2-D8, C12, F1).

use outrigger_admission::strategy::{completes_deletion, is_no_op};
use outrigger_admission::{Endpoint, Patch, UpdateContext, admit_update, apply_patch};
use outrigger_api::{Object, StatusError};
use serde_json::Value;

use super::lookup::Fetched;
use super::{RACES, Write, Written, contended, create, services};
use crate::codec;
use crate::storage::{Stored, encode, to_version};

/// Replaces an object by a decoded body.
///
/// # Errors
/// What admission refuses; 404; 409 if the body names another version than the stored one.
pub(crate) async fn put(write: &Write<'_>, body: Object) -> Result<Written, StatusError> {
    let conditional = !matches!(body.resource_version(), "" | "0");
    let may_create = write.kind.strategy.create_on_update && write.endpoint == Endpoint::Main;
    let body = &body;
    let outcome = change(write, true, conditional, |_| Ok((body.clone(), Vec::new()))).await;
    match outcome {
        Err(error) if error.code == 404 && may_create && !conditional => create(write, body.clone()).await,
        outcome => outcome,
    }
}

/// Applies a patch.
///
/// # Errors
/// As [`put`], and what does not fit (F1).
pub(crate) async fn patch(write: &Write<'_>, patch: &Patch) -> Result<Written, StatusError> {
    change(write, false, patch.is_conditional(), |current| {
        let result = apply_patch(write.kind, &Value::Object(current.0.clone()), patch)?;
        let decoded = codec::patched(write.kind, result, write.options.validation)?;
        let mut object = decoded.object;
        // A patch may not move an object (F1e).
        codec::agree_with_url(write.kind, &mut object, write.namespace, write.name)?;
        Ok((object, decoded.warnings))
    })
    .await
}

/// Changes an object by a function of its present state; for subresources that are verbs of their own.
///
/// # Errors
/// What `edit` and admission refuse; 404.
pub(crate) async fn edit(
    write: &Write<'_>,
    edit: impl Fn(&Object) -> Result<Object, StatusError>,
) -> Result<Written, StatusError> {
    change(write, false, false, |current| Ok((edit(current)?, Vec::new()))).await
}

/// The compare-and-set loop. `conditional` writes fail on the first race, others are made again on the new state (D7).
async fn change(
    write: &Write<'_>,
    is_put: bool,
    conditional: bool,
    make: impl Fn(&Object) -> Result<(Object, Vec<String>), StatusError>,
) -> Result<Written, StatusError> {
    let Write { api, kind, namespace, name, endpoint, options } = *write;
    let mut old = api.storage.get(kind, namespace, name).await?;
    for _ in 0..RACES {
        let current = to_version(old.object()?, &kind.kind, &kind.group, &kind.version);
        let (mut new, mut warnings) = make(&current)?;
        let mut lookup = Fetched::of(api, kind, namespace, &new).await?;
        if endpoint == Endpoint::Resize {
            lookup = lookup.with_node(api, &current).await?;
        }
        let context = UpdateContext { now: api.now(), is_put, lookup: &lookup };
        warnings.extend(admit_update(kind, endpoint, &mut new, &current, &context)?);
        let _addresses = services::allocate(api, kind, &mut new, Some(&current), options.dry_run).await?;
        if is_no_op(&new, &current) {
            return Ok(Written { stored: old, created: false, warnings });
        }
        if options.dry_run {
            let stored = Stored::from_parts(old.key.clone(), encode(&new), old.revision)?;
            return Ok(Written { stored, created: false, warnings });
        }
        let outcome = if completes_deletion(kind, &new) {
            finish_deletion(write, &old, &new).await?
        } else {
            api.storage.update(kind, &old, &new).await?
        };
        match outcome {
            Ok(stored) => return Ok(Written { stored, created: false, warnings }),
            Err(None) => return Err(StatusError::not_found(&kind.plural, &kind.group, name)),
            Err(Some(_)) if conditional => return Err(contended(kind, name)),
            Err(Some(newest)) => old = newest,
        }
    }
    Err(contended(kind, name))
}

/// C12: the update took away the last thing that kept the object; the answer is the object as submitted.
async fn finish_deletion(
    write: &Write<'_>,
    old: &Stored,
    new: &Object,
) -> Result<Result<Stored, Option<Stored>>, StatusError> {
    match write.api.storage.delete(write.kind, old).await? {
        Ok(_) => Ok(Ok(Stored::from_parts(old.key.clone(), encode(new), old.revision)?)),
        Err(newest) => Ok(Err(newest)),
    }
}
