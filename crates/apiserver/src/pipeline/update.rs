//! PUT and PATCH on an object or one of its subresources (D2-D8, C12, F1).

use outrigger_admission::apply::Managed;
use outrigger_admission::rules::Operation;
use outrigger_admission::strategy::{completes_deletion, is_no_op};
use outrigger_admission::{
    Endpoint, Notes, Ownership, Patch, UpdateContext, apply_patch, finish_update, mutate_update,
    pod_security, remutate_update,
};
use outrigger_api::{Object, StatusError};
use serde_json::Value;

use super::lookup::Fetched;
use super::{RACES, Write, Written, contended, create, lookup, quota, services};
use crate::codec;
use crate::guards;
use crate::storage::{Stored, encode, to_version};

/// Replaces an object by a decoded body.
///
/// # Errors
/// What admission refuses; 404; 409 if the body names another version than the stored one.
pub(crate) async fn put(write: &Write<'_>, body: Object) -> Result<Written, StatusError> {
    let conditional = !matches!(body.resource_version(), "" | "0");
    let may_create = write.kind.strategy.create_on_update && write.endpoint == Endpoint::Main;
    let body = &body;
    let outcome = change(write, None, Mode { is_put: true, conditional }, |_| Ok(body.clone().into())).await;
    match outcome {
        Err(error) if error.code == 404 && may_create && !conditional => create(write, body.clone()).await,
        outcome => outcome,
    }
}

/// Applies a patch; `strange` is what strict validation minds about the patch itself (D14).
///
/// # Errors
/// As [`put`], and what does not fit (F1).
pub(crate) async fn patch(
    write: &Write<'_>,
    patch: &Patch,
    strange: &[String],
) -> Result<Written, StatusError> {
    let mode = Mode { is_put: false, conditional: patch.is_conditional() };
    change(write, None, mode, |current| {
        let result = apply_patch(write.kind, &Value::Object(current.0.clone()), patch)?;
        let decoded = codec::patched(write.kind, result, strange.to_vec(), write.options.validation)?;
        let mut object = decoded.object;
        // A patch may not move an object (F1e).
        codec::agree_with_url(write.kind, &mut object, write.namespace, write.name)?;
        Ok(Made { object, warnings: decoded.warnings, managed: None })
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
    change(write, None, Mode::default(), |current| Ok(edit(current)?.into())).await
}

/// How an object is changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mode {
    /// The new state is the request's own body.
    pub(super) is_put: bool,
    /// The write fails on the first race instead of being made again on the new state (D7).
    pub(super) conditional: bool,
}

/// A new state, not admitted yet.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) object: Object,
    pub(super) warnings: Vec<String>,
    /// Who owns what, where that is known already.
    pub(super) managed: Option<Managed>,
}

impl From<Object> for Made {
    fn from(object: Object) -> Self {
        Self { object, warnings: Vec::new(), managed: None }
    }
}

/// The compare-and-set loop, from a state that was just read or from the stored one.
pub(super) async fn change(
    write: &Write<'_>,
    from: Option<Stored>,
    mode: Mode,
    make: impl Fn(&Object) -> Result<Made, StatusError>,
) -> Result<Written, StatusError> {
    let Write { api, kind, namespace, name, endpoint, options, .. } = *write;
    let mut old = match from {
        Some(old) => old,
        None => api.storage.get(kind, namespace, name).await?,
    };
    for _ in 0..RACES {
        let current = to_version(old.object()?, &kind.kind, &kind.group, &kind.version);
        let Made { object: mut new, warnings, managed } = make(&current)?;
        let mut notes = Notes { warnings, ..Notes::default() };
        let lookup = Fetched::for_update(api, kind, endpoint, &current).await?;
        let ownership = managed.as_ref().map_or(Ownership::Written(write.writer()), Ownership::Applied);
        let context = UpdateContext { now: api.now(), is_put: mode.is_put, lookup: &lookup, ownership };
        mutate_update(kind, endpoint, &mut new, &current, &context, &mut notes)?;
        let again = |object: &mut Object| remutate_update(kind, endpoint, object, &current, &context);
        guards::mutate(write, Operation::Update, &mut new, Some(&current), &again, &mut notes).await?;
        finish_update(kind, endpoint, &new, &current, &context, &mut notes)?;
        write.check_escalation(&new, Some(&current)).await?;
        guards::validate(write, Operation::Update, Some(&new), Some(&current), &mut notes).await?;
        notes.warnings.extend(existing_pods(write, &new, &current).await?);
        let _addresses = services::allocate(api, kind, &mut new, Some(&current), options.dry_run).await?;
        if is_no_op(&new, &current) {
            return Ok(Written::new(old, false, notes));
        }
        let charge = quota::charge(write, &new, Some(&current)).await?;
        if options.dry_run {
            let stored = Stored::from_parts(old.key.clone(), encode(&new), old.revision)?;
            return Ok(Written::new(stored, false, notes));
        }
        let outcome = if completes_deletion(kind, &new) {
            finish_deletion(write, &old, &new).await?
        } else {
            api.storage.update(kind, &old, &new).await?
        };
        match outcome {
            Ok(stored) => {
                guards::changed(api, kind);
                return Ok(Written::new(stored, false, notes));
            }
            Err(newest) => {
                charge.give_back(api).await;
                match newest {
                    None => return Err(StatusError::not_found(&kind.plural, &kind.group, name)),
                    Some(_) if mode.conditional => return Err(contended(kind, name)),
                    Some(newest) => old = newest,
                }
            }
        }
    }
    Err(contended(kind, name))
}

/// I39: what a namespace already holds of what it will not take from now on.
async fn existing_pods(write: &Write<'_>, new: &Object, old: &Object) -> Result<Vec<String>, StatusError> {
    let Write { api, kind, name, endpoint, .. } = *write;
    if (&*kind.group, &*kind.kind, endpoint) != ("", "Namespace", Endpoint::Main) {
        return Ok(Vec::new());
    }
    let Some(standard) = pod_security::stricter(new, old) else { return Ok(Vec::new()) };
    let mut pods = lookup::all_in(api, "", "pods", name).await?;
    let total = pods.len();
    pods.truncate(pod_security::PODS_LOOKED_AT);
    Ok(pod_security::judge_namespace(name, standard, &pods, total))
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
