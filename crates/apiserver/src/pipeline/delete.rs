//! DELETE of one object and of collections (D17-D27).

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _};
use outrigger_admission::rules::Operation;
use outrigger_admission::{DeleteContext, DeleteDecision, DeleteOptions, Notes, admit_delete};
use outrigger_api::{KindInfo, StatusError};

use super::{RACES, Write, contended};
use crate::guards;
use crate::server::Api;
use crate::storage::{ListRequest, Page, Stored, encode};

/// What a delete led to.
#[derive(Debug)]
pub(crate) struct Deleted {
    /// The object as it was last seen.
    pub(crate) last: Stored,
    /// Whether it is gone.
    pub(crate) gone: bool,
    pub(crate) warnings: Vec<String>,
    /// For the audit log: annotations by key.
    pub(crate) audit: BTreeMap<String, String>,
}

/// Deletes one object as its kind and the options say.
///
/// # Errors
/// 404; 409 if a precondition does not hold; 403 for what must stay.
pub(crate) async fn delete(write: &Write<'_>, options: &DeleteOptions) -> Result<Deleted, StatusError> {
    let Write { api, kind, namespace, name, .. } = *write;
    let mut old = api.storage.get(kind, namespace, name).await?;
    for _ in 0..RACES {
        let object = old.object()?;
        let context = DeleteContext { now: api.now(), options };
        let (decision, warnings) = admit_delete(kind, &object, &context)?;
        let mut notes = Notes { warnings, ..Notes::default() };
        guards::validate(write, Operation::Delete, None, Some(&object), &mut notes).await?;
        let outcome = if options.dry_run {
            Ok(dry_run(&old, decision)?)
        } else {
            carry_out(api, kind, &old, decision).await?
        };
        match outcome {
            Ok((last, gone)) => {
                guards::changed(api, kind);
                return Ok(Deleted { last, gone, warnings: notes.warnings, audit: notes.audit });
            }
            Err(Some(newest)) => old = newest,
            Err(None) => return Err(StatusError::not_found(&kind.plural, &kind.group, name)),
        }
    }
    Err(contended(kind, name))
}

/// The last state and whether the object is gone, or what was there instead of the expected state.
type Outcome = Result<(Stored, bool), Option<Stored>>;

async fn carry_out(
    api: &Api,
    kind: &KindInfo,
    old: &Stored,
    decision: DeleteDecision,
) -> Result<Outcome, StatusError> {
    match decision {
        DeleteDecision::Unchanged => Ok(Ok((old.clone(), false))),
        DeleteDecision::MarkDeleting(marked) => {
            Ok(api.storage.update(kind, old, &marked).await?.map(|stored| (stored, false)))
        }
        DeleteDecision::RemoveNow => Ok(remove(api, kind, old).await?),
        DeleteDecision::MarkThenRemove(marked) => match api.storage.update(kind, old, &marked).await? {
            Ok(stored) => Ok(match remove(api, kind, &stored).await? {
                // Whoever saw the mark may have been quicker, as the kubelet is with Pods that have ended.
                Err(None) => Ok((stored, true)),
                outcome => outcome,
            }),
            Err(newest) => Ok(Err(newest)),
        },
    }
}

async fn remove(api: &Api, kind: &KindInfo, old: &Stored) -> Result<Outcome, StatusError> {
    Ok(api.storage.delete(kind, old).await?.map(|revision| (old.at_revision(revision), true)))
}

fn dry_run(old: &Stored, decision: DeleteDecision) -> Result<(Stored, bool), StatusError> {
    Ok(match decision {
        DeleteDecision::Unchanged => (old.clone(), false),
        DeleteDecision::RemoveNow => (old.clone(), true),
        DeleteDecision::MarkDeleting(marked) => {
            (Stored::from_parts(old.key.clone(), encode(&marked), old.revision)?, false)
        }
        DeleteDecision::MarkThenRemove(marked) => {
            (Stored::from_parts(old.key.clone(), encode(&marked), old.revision)?, true)
        }
    })
}

/// How many objects of a collection are being deleted at once, so that they share syncs of the store.
const AT_ONCE: usize = 32;

/// Deletes what a list finds, each by itself (D27). The answer is the list.
///
/// # Errors
/// The first failure, in the list's order, other than an object that is gone already; what comes behind it may be
/// deleted or not.
pub(crate) async fn delete_collection(
    write: &Write<'_>,
    request: &ListRequest,
    options: &DeleteOptions,
) -> Result<(Page, Vec<String>), StatusError> {
    let page = write.api.storage.list(write.kind, request).await?;
    let one = |item: Stored| async move {
        let object = item.object()?;
        let write = Write { namespace: object.namespace(), name: object.name(), ..*write };
        match delete(&write, options).await {
            Ok(deleted) => Ok(deleted.warnings),
            Err(error) if error.code == 404 => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    };
    let deletions = futures::stream::iter(page.items.clone()).map(one).buffered(AT_ONCE);
    let mut warnings = deletions.try_concat().await?;
    warnings.dedup();
    Ok((page, warnings))
}
