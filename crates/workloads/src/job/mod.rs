//! The Job controller (N6, R16.1-R16.6): runs Pods until enough of them have succeeded, or too much has failed.
//!
//! A Pod is counted once, whatever dies in between: its finalizer keeps it until its uid stands in
//! `status.uncountedTerminatedPods`, and the uid stands there until the finalizer is gone.
//!
//! ```text
//!   Pod ended ──► uid written to the status ──► finalizer removed ──► uid replaced by a count
//!   running ──► SuccessCriteriaMet │ FailureTarget ──► (no Pod left running or uncounted) ──► Complete │ Failed
//! ```
//!
//! Each arrow is one turn, and each turn only relies on what an earlier one has already written.
//! Start at [`decide`].

mod backoff;
mod count;
mod indexes;
mod manage;
mod names;
mod policy;
#[cfg(test)]
mod tests;
pub mod ttl;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_api::WallTime;

pub use backoff::Backoff;
pub use indexes::Indexes;

use self::count::Census;
use crate::note::Note;
use crate::pods;

/// The finalizer that keeps a Pod until it is counted.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// The controller's name in `spec.managedBy`.
pub const CONTROLLER: &str = "kubernetes.io/job-controller";
/// Annotation and label with a Pod's completion index.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURE_COUNT: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED_FAILURE_COUNT: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// All that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The Job as stored.
    pub job: &'a Job,
    /// Its Pods, whatever state they are in.
    pub pods: &'a [Arc<Pod>],
    /// Failures in a row as the last decision left them; `None` if nothing is remembered.
    pub backoff: Option<Backoff>,
    /// The time.
    pub now: WallTime,
}

/// What to do, in the order of the fields; a step that fails leaves out those after it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Pods whose finalizer is removed.
    pub untrack: Vec<Arc<Pod>>,
    /// Pods to delete.
    pub delete: Vec<Arc<Pod>>,
    /// Pods to create.
    pub create: Vec<Pod>,
    /// The status to write; `None` if it is as it should be.
    pub status: Option<JobStatus>,
    /// What to tell once the status is written.
    pub notes: Vec<Note>,
    /// When to decide again even if nothing happens.
    pub again: Option<Duration>,
    /// To be remembered for the next decision.
    pub backoff: Backoff,
}

/// The condition that says how the Job ended; `None` while it has not.
pub fn finish(job: &Job) -> Option<&JobCondition> {
    held(job.status.as_ref()?, &["Complete", "Failed"])
}

/// Decides one turn of one Job.
pub fn decide(input: &Input<'_>) -> Decision {
    let Some(spec) = &input.job.spec else { return Decision::default() };
    if spec.managed_by.as_deref().is_some_and(|by| by != CONTROLLER) {
        return Decision::default();
    }
    let before = input.job.status.clone().unwrap_or_default();
    if finish(input.job).is_some() || input.job.metadata.deletion_timestamp.is_some() {
        return let_go(input);
    }
    let interim = held(&before, &["SuccessCriteriaMet", "FailureTarget"]).cloned();
    let mut census = count::count(input, spec, before.clone(), interim.as_ref());
    let mut decision = Decision { backoff: census.backoff, ..Decision::default() };
    let suspended = spec.suspend == Some(true);
    if census.status.start_time.is_none() && !suspended {
        census.status.start_time = Some(Time(input.now));
    }
    let goal = interim.clone().or_else(|| manage::failure(input, spec, &census));
    let goal = goal.or_else(|| manage::success_policy(input, &census));
    match goal {
        Some(goal) => {
            decision.delete = census.active.clone();
            pursue(&mut census, goal, interim.is_some(), &mut decision.notes, input.now);
        }
        None => run(input, spec, &mut census, &mut decision),
    }
    let waits = decision.again.into_iter().chain(deadline(spec, &census.status, input.now));
    decision.again = waits.min();
    decision.untrack.append(&mut census.untrack);
    decision.status = (census.status != before).then_some(census.status);
    decision
}

/// How long the Job may still be active (`activeDeadlineSeconds`).
fn deadline(spec: &JobSpec, status: &JobStatus, now: WallTime) -> Option<Duration> {
    let limit = Duration::from_secs(u64::try_from(spec.active_deadline_seconds?).unwrap_or(0));
    if spec.suspend == Some(true) || held(status, &["SuccessCriteriaMet", "FailureTarget"]).is_some() {
        return None;
    }
    let passed = now.duration_since(status.start_time.as_ref()?.0);
    Some(limit.saturating_sub(Duration::try_from(passed).unwrap_or_default()))
}

/// The Job goes on: Pods come and go, and perhaps this was enough.
fn run(input: &Input<'_>, spec: &JobSpec, census: &mut Census, decision: &mut Decision) {
    manage::manage(input, spec, census, decision);
    let active = census.active() - size(&decision.delete) + size(&decision.create);
    census.status.active = some(active);
    let goal = manage::completion(spec, census, active);
    match goal {
        Some((kind, reason, message)) => {
            let goal = condition(kind, reason, message, input.now);
            census.status.conditions.get_or_insert_default().push(goal);
        }
        None => suspension(spec, &mut census.status, &mut decision.notes, input.now),
    }
}

/// The end is decided: wait until no Pod runs or is uncounted, then say so.
fn pursue(census: &mut Census, goal: JobCondition, stored: bool, notes: &mut Vec<Note>, now: WallTime) {
    let leaving = size(&census.active);
    let status = &mut census.status;
    status.active = None;
    status.terminating = Some(census.terminating + leaving);
    status.ready = Some(0);
    if !stored {
        status.conditions.get_or_insert_default().push(goal);
        return;
    }
    if leaving + census.terminating > 0 || !census.is_settled {
        return;
    }
    let complete = goal.type_ == "SuccessCriteriaMet";
    let (reason, message) = (goal.reason.unwrap_or_default(), goal.message.unwrap_or_default());
    let kind = if complete { "Complete" } else { "Failed" };
    notes.push(if complete {
        Note::normal("Completed", "Job completed")
    } else {
        Note::warning(reason.clone(), message.clone())
    });
    status.conditions.get_or_insert_default().push(condition(kind, &reason, message, now));
    if complete {
        status.completion_time = Some(Time(now));
    }
}

/// Condition Suspended follows `spec.suspend`; a resumed Job starts anew.
fn suspension(spec: &JobSpec, status: &mut JobStatus, notes: &mut Vec<Note>, now: WallTime) {
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter_mut().find(|one| one.type_ == "Suspended");
    let suspended = spec.suspend == Some(true);
    match known {
        None if suspended => {
            conditions.push(condition("Suspended", "JobSuspended", "Job suspended".into(), now));
        }
        Some(known) if (known.status == "True") != suspended => {
            let (value, reason, message) = if suspended {
                ("True", "JobSuspended", "Job suspended")
            } else {
                ("False", "JobResumed", "Job resumed")
            };
            *known = JobCondition {
                status: value.to_owned(),
                ..condition("Suspended", reason, message.into(), now)
            };
        }
        None | Some(_) => {
            if conditions.is_empty() {
                status.conditions = None;
            }
            return;
        }
    }
    if suspended {
        status.start_time = None;
        notes.push(Note::normal("Suspended", "Job suspended"));
    } else {
        status.start_time = Some(Time(now));
        notes.push(Note::normal("Resumed", "Job resumed"));
    }
}

/// A Job that has ended or is being deleted holds no Pod back.
fn let_go(input: &Input<'_>) -> Decision {
    let free = |pod: &&Arc<Pod>| is_tracked(pod) && !pods::is_active(pod);
    Decision {
        untrack: input.pods.iter().filter(free).cloned().collect(),
        backoff: input.backoff.unwrap_or_default(),
        ..Decision::default()
    }
}

/// Whether the Pod still has the finalizer.
pub fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|one| one == TRACKING)
}

fn held<'a>(status: &'a JobStatus, kinds: &[&str]) -> Option<&'a JobCondition> {
    let mut all = status.conditions.iter().flatten();
    all.find(|one| one.status == "True" && kinds.contains(&one.type_.as_str()))
}

fn condition(kind: &str, reason: &str, message: String, now: WallTime) -> JobCondition {
    JobCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// Zero is left out of a status.
fn some(number: i32) -> Option<i32> {
    (number != 0).then_some(number)
}

fn size<T>(list: &[T]) -> i32 {
    i32::try_from(list.len()).unwrap_or(i32::MAX)
}
