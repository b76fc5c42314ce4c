//! The conditions of a Deployment, and how long it may go without progress (N2).

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentSpec, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_api::WallTime;

use super::{Work, bounds, replicas_of};
use crate::replica_set::REPLICA_FAILURE;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// Whether a deadline is set; without one there is no condition Progressing.
fn deadline(spec: &DeploymentSpec) -> Option<i32> {
    spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)
}

fn find<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|one| one.type_ == kind)
}

/// Sets a condition unless status and reason are already so; the time of the last transition belongs to the status.
fn set(status: &mut DeploymentStatus, kind: &str, value: &str, reason: &str, message: String, now: WallTime) {
    let all = status.conditions.get_or_insert_default();
    let known = all.iter().position(|one| one.type_ == kind);
    let before = known.map(|at| all[at].clone());
    if before.as_ref().is_some_and(|one| one.status == value && one.reason.as_deref() == Some(reason)) {
        return;
    }
    let since = before.filter(|one| one.status == value).and_then(|one| one.last_transition_time);
    let condition = DeploymentCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: since.or(Some(Time(now))),
    };
    all.retain(|one| one.type_ != kind);
    all.push(condition);
}

/// Progress of the same kind only moves the time.
fn renew(status: &mut DeploymentStatus, reason: &str, message: String, now: WallTime) {
    if let Some(all) = &mut status.conditions
        && let Some(at) =
            all.iter().position(|one| one.type_ == PROGRESSING && one.reason.as_deref() == Some(reason))
    {
        let mut known = all.remove(at);
        known.last_update_time = Some(Time(now));
        known.message = Some(message);
        all.push(known);
        return;
    }
    set(status, PROGRESSING, "True", reason, message, now);
}

/// Enough Pods are available.
pub(super) fn availability(
    spec: &DeploymentSpec,
    status: &mut DeploymentStatus,
    available: i32,
    now: WallTime,
) {
    if available >= replicas_of(spec) - bounds(spec).1 {
        let text = "Deployment has minimum availability.".to_owned();
        set(status, AVAILABLE, "True", "MinimumReplicasAvailable", text, now);
    } else {
        let text = "Deployment does not have minimum availability.".to_owned();
        set(status, AVAILABLE, "False", "MinimumReplicasUnavailable", text, now);
    }
}

pub(super) fn created(work: &mut Work<'_>, set_name: &str) {
    if deadline(work.spec).is_some() {
        let text = format!("Created new replica set \"{set_name}\"");
        set(&mut work.status, PROGRESSING, "True", "NewReplicaSetCreated", text, work.input.now);
    }
}

pub(super) fn found(work: &mut Work<'_>, set_name: &str) {
    if deadline(work.spec).is_some() && find(&work.status, PROGRESSING).is_none() {
        let text = format!("Found new replica set \"{set_name}\"");
        set(&mut work.status, PROGRESSING, "True", "FoundNewReplicaSet", text, work.input.now);
    }
}

/// While it is paused, time does not run.
pub(super) fn paused_or_resumed(work: &mut Work<'_>) {
    let reason = find(&work.status, PROGRESSING).and_then(|one| one.reason.clone());
    if deadline(work.spec).is_none() || reason.as_deref() == Some(TIMED_OUT) {
        return;
    }
    let paused = work.spec.paused == Some(true);
    let known = reason.as_deref() == Some(PAUSED);
    let now = work.input.now;
    if paused && !known {
        set(&mut work.status, PROGRESSING, "Unknown", PAUSED, "Deployment is paused".to_owned(), now);
    } else if !paused && known {
        let text = "Deployment is resumed".to_owned();
        set(&mut work.status, PROGRESSING, "Unknown", "DeploymentResumed", text, now);
    }
}

/// Everything is new, there and available.
pub(super) fn is_complete(work: &Work<'_>) -> bool {
    let wanted = replicas_of(work.spec);
    let is = |count: Option<i32>| count.unwrap_or(0) == wanted;
    let status = &work.status;
    is(status.updated_replicas) && is(status.replicas) && is(status.available_replicas)
}

/// Condition Progressing, and ReplicaFailure as the sets have it.
pub(super) fn judge(work: &mut Work<'_>) {
    let now = work.input.now;
    let before = work.input.deployment.status.clone().unwrap_or_default();
    let known = find(&work.status, PROGRESSING).cloned();
    let was_complete = work.status.replicas == work.status.updated_replicas
        && known.as_ref().is_some_and(|one| one.reason.as_deref() == Some(COMPLETE));
    match deadline(work.spec) {
        None => {
            if let Some(all) = &mut work.status.conditions {
                all.retain(|one| one.type_ != PROGRESSING);
            }
        }
        Some(_) if was_complete => {}
        Some(seconds) => {
            let name = work.new.as_ref().and_then(|set| set.metadata.name.clone());
            let about = name.map_or_else(
                || {
                    format!(
                        "Deployment \"{}\"",
                        work.input.deployment.metadata.name.clone().unwrap_or_default()
                    )
                },
                |name| format!("ReplicaSet \"{name}\""),
            );
            if is_complete(work) {
                let text = format!("{about} has successfully progressed.");
                set(&mut work.status, PROGRESSING, "True", COMPLETE, text, now);
            } else if has_progressed(&before, &work.status) {
                renew(&mut work.status, "ReplicaSetUpdated", format!("{about} is progressing."), now);
            } else {
                stuck(work, known.as_ref(), seconds, &about);
            }
        }
    }
    replica_failure(work);
}

fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let count = |number: Option<i32>| number.unwrap_or(0);
    let old = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(after.updated_replicas) > count(before.updated_replicas)
        || old(after) < old(before)
        || count(after.ready_replicas) > count(before.ready_replicas)
        || count(after.available_replicas) > count(before.available_replicas)
}

/// No progress in this turn: perhaps for too long, else look again when it will be.
fn stuck(work: &mut Work<'_>, known: Option<&DeploymentCondition>, seconds: i32, about: &str) {
    let Some(known) = known.filter(|one| !matches!(one.reason.as_deref(), Some(COMPLETE | TIMED_OUT))) else {
        return;
    };
    let Some(since) = &known.last_update_time else { return };
    let passed = work.input.now.duration_since(since.0);
    let left = SignedDuration::from_secs(i64::from(seconds)) - passed;
    if left.is_negative() {
        let text = format!("{about} has timed out progressing.");
        set(&mut work.status, PROGRESSING, "False", TIMED_OUT, text, work.input.now);
    } else {
        // Times are written in seconds, so the deadline is over one second later.
        work.decision.again = Duration::try_from(left + SignedDuration::from_secs(1)).ok();
    }
}

fn replica_failure(work: &mut Work<'_>) {
    let all = work.new.iter().chain(&work.old);
    let mut failures = all.filter_map(|set| {
        let conditions = set.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|one| one.type_ == REPLICA_FAILURE).cloned()
    });
    let failure = failures.next();
    match failure {
        Some(failure) => {
            let (reason, text) = (failure.reason.unwrap_or_default(), failure.message.unwrap_or_default());
            set(&mut work.status, REPLICA_FAILURE, &failure.status, &reason, text, work.input.now);
        }
        None => {
            if let Some(all) = &mut work.status.conditions {
                all.retain(|one| one.type_ != REPLICA_FAILURE);
            }
        }
    }
}
