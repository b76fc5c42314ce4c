//! What a delete request does to an object: remove it now, mark it and wait, or nothing (D17-D25, R8.1-R8.4, C13).
//!
//! ```text
//!            no finalizers, no grace
//!   live ───────────────────────────────► gone        RemoveNow
//!     │      Pod, grace 0                   ▲
//!     ├──────────────────────────────────►──┤          MarkThenRemove: watchers see the mark, then DELETED
//!     │      grace > 0, or finalizers       │
//!     └────► terminating ──► shorter grace ─┘          MarkDeleting, then any of the above
//!                 └────────► same or longer: Unchanged
//! ```

use outrigger_api::status::{Cause, Reason};
use outrigger_api::{KindInfo, Object, StatusError, WallTime};
use serde_json::{Value, json};

use super::seconds;

/// The finalizer that makes the collector orphan dependents (D21).
const ORPHAN: &str = "orphan";
/// The finalizer that makes the collector delete dependents first (D21).
const FOREGROUND: &str = "foregroundDeletion";

/// A delete request's options, read from its body or query (D17). The default is a plain delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds; `None` leaves it to the object.
    pub grace_period_seconds: Option<i64>,
    /// Only delete the object with this uid.
    pub precondition_uid: Option<String>,
    /// Only delete this version of the object.
    pub precondition_resource_version: Option<String>,
    /// What happens to dependents; `None` leaves it to the object's finalizers, then its kind.
    pub propagation: Option<Propagation>,
    /// Decide, but write nothing.
    pub dry_run: bool,
}

/// What happens to the dependents of a deleted object (D20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Propagation {
    /// The object goes first; the collector removes dependents afterwards.
    Background,
    /// Dependents go first.
    Foreground,
    /// Dependents stay, without their owner.
    Orphan,
}

/// What the caller must do with the object.
#[derive(Clone, Debug, PartialEq)]
pub enum DeleteDecision {
    /// Remove the stored object.
    RemoveNow,
    /// Write this object, then remove it: two watch events, and the answer is this object (R8.2).
    MarkThenRemove(Object),
    /// Write this object; it stays until its finalizers are gone or the node confirms.
    MarkDeleting(Object),
    /// The object is already on its way; answer with it as stored.
    Unchanged,
}

impl DeleteOptions {
    /// Reads a `DeleteOptions` body. Unknown members are ignored (D18).
    ///
    /// # Errors
    /// 422 if the policy is unknown, or given twice in different words.
    pub fn from_body(body: &Value) -> Result<Self, StatusError> {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let preconditions = body.get("preconditions").cloned().unwrap_or_default();
        Ok(Self {
            grace_period_seconds: body.get("gracePeriodSeconds").and_then(Value::as_i64),
            precondition_uid: text(&preconditions, "uid"),
            precondition_resource_version: text(&preconditions, "resourceVersion"),
            propagation: propagation(
                body.get("propagationPolicy").and_then(Value::as_str),
                body.get("orphanDependents").and_then(Value::as_bool),
            )?,
            dry_run: body.get("dryRun").and_then(Value::as_array).is_some_and(|list| !list.is_empty()),
        })
    }

    /// Reads the query of a delete without a body (D17).
    ///
    /// # Errors
    /// As [`Self::from_body`]; 400 if the grace period is no number.
    pub fn from_query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, StatusError> {
        let mut options = Self::default();
        let (mut policy, mut orphan) = (None, None);
        for (key, value) in pairs {
            match key {
                "gracePeriodSeconds" => {
                    let seconds = value.parse().map_err(|_| {
                        StatusError::bad_request(format!(
                            "strconv.ParseInt: parsing \"{value}\": invalid syntax"
                        ))
                    })?;
                    options.grace_period_seconds = Some(seconds);
                }
                "propagationPolicy" => policy = Some(value),
                "orphanDependents" => orphan = Some(matches!(value, "true" | "1")),
                "dryRun" => options.dry_run = true,
                _ => {}
            }
        }
        options.propagation = propagation(policy, orphan)?;
        Ok(options)
    }
}

/// Decides a delete (D19-D25, R8.1-R8.4).
///
/// # Errors
/// 409 if a precondition does not hold (D19).
pub fn before_delete(
    kind: &KindInfo,
    object: &Object,
    options: &DeleteOptions,
    now: WallTime,
) -> Result<DeleteDecision, StatusError> {
    check_preconditions(kind, object, options)?;
    let mut marked = object.clone();
    let finalizers_changed = apply_propagation(kind, &mut marked, options.propagation);
    let change = if object.is_deleting() {
        shorten(&mut marked, options.grace_period_seconds, now)
    } else {
        let grace = if kind.strategy.graceful_delete { graceful_period(object, options) } else { 0 };
        mark(kind, &mut marked, grace, now);
        Change::Marked
    };
    let waits_for_grace = current_grace(&marked).is_some_and(|grace| grace > 0);
    let waits =
        waits_for_grace || marked.finalizers().next().is_some() || holds_namespace_content(kind, &marked);
    Ok(match (waits, change) {
        (true, Change::None) if !finalizers_changed => DeleteDecision::Unchanged,
        (true, _) => DeleteDecision::MarkDeleting(marked),
        (false, Change::None) => DeleteDecision::RemoveNow,
        (false, Change::Marked) if kind.strategy.graceful_delete => DeleteDecision::MarkThenRemove(marked),
        (false, Change::Marked) => DeleteDecision::RemoveNow,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Marked,
}

fn propagation(policy: Option<&str>, orphan: Option<bool>) -> Result<Option<Propagation>, StatusError> {
    let policy = policy.filter(|policy| !policy.is_empty());
    match (policy, orphan) {
        (Some(policy), Some(_)) => {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            Err(invalid_policy(&format!("Invalid value: \"{policy}\": {why}"), "FieldValueInvalid"))
        }
        (Some("Foreground"), None) => Ok(Some(Propagation::Foreground)),
        (Some("Background"), None) => Ok(Some(Propagation::Background)),
        (Some("Orphan"), None) => Ok(Some(Propagation::Orphan)),
        (Some(other), None) => {
            let supported = "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
            Err(invalid_policy(
                &format!("Unsupported value: \"{other}\": {supported}"),
                "FieldValueNotSupported",
            ))
        }
        (None, Some(true)) => Ok(Some(Propagation::Orphan)),
        (None, Some(false)) => Ok(Some(Propagation::Background)),
        (None, None) => Ok(None),
    }
}

fn invalid_policy(finding: &str, reason: &str) -> StatusError {
    let message = format!("DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: {finding}");
    let mut error = StatusError::new(422, Reason::Invalid, message).about("DeleteOptions", "meta.k8s.io", "");
    if let Some(details) = &mut error.details {
        details.causes = vec![Cause {
            reason: reason.to_owned(),
            message: finding.to_owned(),
            field: "propagationPolicy".to_owned(),
        }];
    }
    error
}

/// D19: the one conflict that names the Kind instead of the resource.
fn check_preconditions(kind: &KindInfo, object: &Object, options: &DeleteOptions) -> Result<(), StatusError> {
    let refuse = |what: &str, asked: &str, stored: &str, why: &str| {
        let cause = format!(
            "the {what} in the precondition ({asked}) does not match the {what} in record ({stored}). {why}"
        );
        Err(StatusError::conflict(&kind.kind, &kind.group, object.name(), &cause))
    };
    match (&options.precondition_uid, &options.precondition_resource_version) {
        (Some(uid), _) if uid != object.uid() => {
            refuse("UID", uid, object.uid(), "The object might have been deleted and then recreated")
        }
        (_, Some(version)) if version != object.resource_version() => refuse(
            "ResourceVersion",
            version,
            object.resource_version(),
            "The object might have been modified",
        ),
        _ => Ok(()),
    }
}

/// D20, D21: sets the collector finalizers; says whether the list changed.
fn apply_propagation(kind: &KindInfo, object: &mut Object, asked: Option<Propagation>) -> bool {
    let before: Vec<String> = object.finalizers().map(str::to_owned).collect();
    let has = |name: &str| before.iter().any(|finalizer| finalizer == name);
    let propagation = asked.unwrap_or(match (has(ORPHAN), has(FOREGROUND)) {
        (true, _) => Propagation::Orphan,
        (false, true) => Propagation::Foreground,
        (false, false) if kind.strategy.orphan_by_default => Propagation::Orphan,
        (false, false) => Propagation::Background,
    });
    let mut after: Vec<&str> =
        before.iter().map(String::as_str).filter(|name| !matches!(*name, ORPHAN | FOREGROUND)).collect();
    if &*kind.kind != "Event" {
        match propagation {
            Propagation::Background => {}
            Propagation::Foreground => after.push(FOREGROUND),
            Propagation::Orphan => after.push(ORPHAN),
        }
    }
    let same_set = after.len() == before.len() && after.iter().all(|name| has(name));
    if same_set {
        return false;
    }
    let list = json!(after);
    let empty = after.is_empty();
    let metadata = object.metadata_mut();
    if empty {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), list);
    }
    true
}

/// R8.1: how long a Pod may take to stop.
fn graceful_period(pod: &Object, options: &DeleteOptions) -> i64 {
    let spec = pod.at(&["spec", "terminationGracePeriodSeconds"]).and_then(Value::as_i64);
    let asked = options.grace_period_seconds.or(spec).unwrap_or(0);
    let finished = matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed");
    if pod.str_at(&["spec", "nodeName"]).is_empty() || finished {
        return 0;
    }
    if asked < 0 { 1 } else { asked }
}

/// C13, R8.2: the first mark.
fn mark(kind: &KindInfo, object: &mut Object, grace: i64, now: WallTime) {
    let at = now.checked_add(std::time::Duration::from_secs(grace.unsigned_abs())).unwrap_or(now);
    let generation = object.at(&["metadata", "generation"]).and_then(Value::as_i64);
    let metadata = object.metadata_mut();
    metadata.insert("deletionTimestamp".to_owned(), json!(seconds(at)));
    metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
    if let Some(generation) = generation.filter(|_| kind.strategy.generation) {
        metadata.insert("generation".to_owned(), json!(generation + 1));
    }
    if (&*kind.group, &*kind.kind) == ("", "Namespace") {
        *object.entry(&["status", "phase"]) = json!("Terminating");
    }
}

/// D25, R8.3: a later delete may only shorten the wait.
fn shorten(object: &mut Object, asked: Option<i64>, now: WallTime) -> Change {
    let Some(current) = current_grace(object).filter(|grace| *grace > 0) else { return Change::None };
    let Some(asked) = asked.map(|grace| if grace < 0 { 1 } else { grace }) else { return Change::None };
    if asked >= current {
        return Change::None;
    }
    let until: WallTime = object.str_at(&["metadata", "deletionTimestamp"]).parse().unwrap_or(now);
    let earlier = std::time::Duration::from_secs((current - asked).unsigned_abs());
    let moved = until.checked_sub(earlier).unwrap_or(now);
    let (until, grace) = if moved < now { (now, asked.min(1)) } else { (moved, asked) };
    let metadata = object.metadata_mut();
    metadata.insert("deletionTimestamp".to_owned(), json!(seconds(until)));
    metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
    Change::Marked
}

fn current_grace(object: &Object) -> Option<i64> {
    object.at(&["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64)
}

/// L10: a namespace stays until its content is gone.
fn holds_namespace_content(kind: &KindInfo, object: &Object) -> bool {
    (&*kind.group, &*kind.kind) == ("", "Namespace")
        && object.at(&["spec", "finalizers"]).and_then(Value::as_array).is_some_and(|list| !list.is_empty())
}
