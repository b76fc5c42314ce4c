//! The CronJob controller (N7): starts Jobs at their times and clears away old ones.
//!
//! A start is a Job whose name tells its minute, so the same start is never made twice, whatever dies in between.
//! Start at [`decide`].

mod schedule;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use outrigger_api::WallTime;

pub use schedule::{Calendar, Schedule};

use crate::job;
use crate::note::Note;
use crate::{claim, pods};

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Missed starts beyond which somebody is told.
const MANY: i64 = 100;

/// All that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The CronJob as stored.
    pub cron: &'a CronJob,
    /// The Jobs it controls.
    pub jobs: &'a [Arc<Job>],
    /// The zone that `spec.timeZone` names; `None` if there is no such zone.
    pub zone: Option<&'a TimeZone>,
    /// The time.
    pub now: WallTime,
}

/// What to do, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Jobs to delete: replaced, or too old.
    pub delete: Vec<Arc<Job>>,
    /// The Job to start. Its reference is added to `status.active` once it is there.
    pub create: Option<Box<Job>>,
    /// The status as it is to be.
    pub status: CronJobStatus,
    /// What to tell.
    pub notes: Vec<Note>,
    /// When to decide again.
    pub again: Option<Duration>,
}

/// Decides one turn of one CronJob.
pub fn decide(input: &Input<'_>) -> Decision {
    let mut decision =
        Decision { status: input.cron.status.clone().unwrap_or_default(), ..Decision::default() };
    let spec = &input.cron.spec;
    review(input, &mut decision);
    clear_away(input, spec, &mut decision);
    if input.cron.metadata.deletion_timestamp.is_some() {
        return decision;
    }
    let Some(zone) = input.zone else {
        let name = spec.time_zone.as_deref().unwrap_or_default();
        let text = format!("invalid timeZone: {name:?}: unknown time zone {name}");
        decision.notes.push(Note::warning("UnknownTimeZone", text));
        return decision;
    };
    if spec.suspend == Some(true) {
        return decision;
    }
    let Some(schedule) = Schedule::parse(&spec.schedule) else {
        let text = format!("unparseable schedule: {:?} : not a schedule", spec.schedule);
        decision.notes.push(Note::warning("UnparseableSchedule", text));
        return decision;
    };
    if let Some(next) = schedule.next(input.now, zone) {
        decision.again = Duration::try_from(next.duration_since(input.now)).ok();
    }
    if let Some(due) = due(input, spec, &schedule, zone, &mut decision.notes) {
        start(input, spec, due, zone, &mut decision);
    }
    decision
}

/// Which Jobs are active, which have ended, which are not there any more.
fn review(input: &Input<'_>, decision: &mut Decision) {
    let mut active = decision.status.active.take().unwrap_or_default();
    for job in input.jobs {
        let name = name(job);
        let listed = active.iter().position(|one| one.uid == job.metadata.uid);
        let end = job::finish(job);
        match (listed, end) {
            (Some(at), Some(end)) => {
                active.remove(at);
                let text = format!("Saw completed job: {name}, condition: {}", end.type_);
                decision.notes.push(Note::normal("SawCompletedJob", text));
            }
            (None, None) if last_started(input, job) => active.push(reference(job)),
            (None, None) => {
                let text = format!("Saw a job that the controller did not create or forgot: {name}");
                decision.notes.push(Note::warning("UnexpectedJob", text));
            }
            (Some(_), None) | (None, Some(_)) => {}
        }
        let completed = job.status.as_ref().and_then(|status| status.completion_time.clone());
        if end.is_some_and(|end| end.type_ == "Complete")
            && completed.as_ref().map(|time| time.0)
                > decision.status.last_successful_time.as_ref().map(|time| time.0)
        {
            decision.status.last_successful_time = completed;
        }
    }
    active.retain(|one| {
        let there = input.jobs.iter().any(|job| job.metadata.uid == one.uid);
        if !there {
            let text = format!("Active job went missing: {}", one.name.clone().unwrap_or_default());
            decision.notes.push(Note::normal("MissingJob", text));
        }
        there
    });
    decision.status.active = (!active.is_empty()).then_some(active);
}

/// A Job that was started before its start could be written down.
fn last_started(input: &Input<'_>, job: &Job) -> bool {
    let last = input.cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    let at = pods::annotation(&job.metadata, SCHEDULED).and_then(|text| text.parse::<WallTime>().ok());
    at.is_some_and(|at| last.is_none_or(|last| at > last.0) && name(job) == job_name(input.cron, at))
}

/// Old Jobs beyond the limits, oldest first.
fn clear_away(input: &Input<'_>, spec: &CronJobSpec, decision: &mut Decision) {
    for (kind, limit) in
        [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)]
    {
        let Some(limit) = limit else { continue };
        let ended = |job: &&Arc<Job>| {
            job.metadata.deletion_timestamp.is_none() && job::finish(job).is_some_and(|end| end.type_ == kind)
        };
        let mut ended: Vec<&Arc<Job>> = input.jobs.iter().filter(ended).collect();
        ended.sort_by_key(|job| {
            let started = job.status.as_ref().and_then(|status| status.start_time.as_ref());
            (started.map(|time| time.0), name(job).to_owned())
        });
        let surplus = ended.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        for job in ended.into_iter().take(surplus) {
            decision.notes.push(Note::normal("SuccessfulDelete", format!("Deleted job {}", name(job))));
            decision.delete.push(Arc::clone(job));
        }
    }
}

/// The latest time that has passed and was not used; earlier ones are lost.
fn due(
    input: &Input<'_>,
    spec: &CronJobSpec,
    schedule: &Schedule,
    zone: &TimeZone,
    notes: &mut Vec<Note>,
) -> Option<WallTime> {
    let created = input.cron.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let last =
        input.cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref()).map(|time| time.0);
    let mut earliest = last.or(created)?;
    if let Some(deadline) = spec.starting_deadline_seconds {
        let window = input.now.checked_sub(jiff::SignedDuration::from_secs(deadline)).ok()?;
        earliest = earliest.max(window);
    }
    let first = schedule.next(earliest, zone).filter(|first| *first <= input.now)?;
    let Some(second) = schedule.next(first, zone).filter(|second| *second <= input.now) else {
        return Some(first);
    };
    // Long ago and often missed: jump close to the end instead of counting every one.
    let between = second.duration_since(first).as_secs().max(1);
    let missed = input.now.duration_since(first).as_secs() / between + 1;
    if missed > MANY {
        let text =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        notes.push(Note::warning("TooManyMissedTimes", text));
    }
    let near = first.checked_add(jiff::SignedDuration::from_secs(between * (missed - 2).max(0))).ok()?;
    let mut latest = first;
    let mut next = schedule.next(near.checked_sub(jiff::SignedDuration::from_secs(1)).ok()?, zone);
    while let Some(at) = next.filter(|at| *at <= input.now) {
        latest = at;
        next = schedule.next(at, zone);
    }
    Some(latest)
}

/// Starts the Job of a time, unless it is too late, was started, or another one is in the way.
fn start(input: &Input<'_>, spec: &CronJobSpec, due: WallTime, zone: &TimeZone, decision: &mut Decision) {
    let late =
        spec.starting_deadline_seconds.is_some_and(|limit| input.now.duration_since(due).as_secs() > limit);
    if late {
        let text = format!("Missed scheduled time to start a job: {due}");
        decision.notes.push(Note::warning("MissSchedule", text));
        return;
    }
    let job = job(input.cron, spec, due, zone);
    if input.jobs.iter().any(|known| name(known) == name(&job)) {
        decision.status.last_schedule_time = Some(Time(due));
        return;
    }
    let active = decision.status.active.clone().unwrap_or_default();
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
            decision.notes.push(Note::normal("JobAlreadyActive", text));
            return;
        }
        Some("Replace") => {
            for job in input.jobs.iter().filter(|job| active.iter().any(|one| one.uid == job.metadata.uid)) {
                decision.notes.push(Note::normal("SuccessfulDelete", format!("Deleted job {}", name(job))));
                decision.delete.push(Arc::clone(job));
            }
            decision.status.active = None;
        }
        _ => {}
    }
    decision.notes.push(Note::normal("SuccessfulCreate", format!("Created job {}", name(&job))));
    decision.status.last_schedule_time = Some(Time(due));
    decision.create = Some(Box::new(job));
}

fn job(cron: &CronJob, spec: &CronJobSpec, due: WallTime, zone: &TimeZone) -> Job {
    let from = spec.job_template.metadata.clone().unwrap_or_default();
    let mut annotations = from.annotations.unwrap_or_default();
    let at = due.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    annotations.insert(SCHEDULED.to_owned(), at.replace("+00:00", "Z"));
    let labels: BTreeMap<String, String> = from.labels.unwrap_or_default();
    Job {
        metadata: ObjectMeta {
            name: Some(job_name(cron, due)),
            namespace: cron.metadata.namespace.clone(),
            labels: (!labels.is_empty()).then_some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![claim::reference("batch/v1", "CronJob", &cron.metadata)]),
            ..ObjectMeta::default()
        },
        spec: spec.job_template.spec.clone(),
        status: None,
    }
}

fn job_name(cron: &CronJob, due: WallTime) -> String {
    format!("{}-{}", cron.metadata.name.as_deref().unwrap_or_default(), due.as_second().div_euclid(60))
}

fn name(job: &Job) -> &str {
    job.metadata.name.as_deref().unwrap_or_default()
}

/// How `status.active` names a Job.
pub fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        api_version: Some("batch/v1".to_owned()),
        kind: Some("Job".to_owned()),
        name: job.metadata.name.clone(),
        namespace: job.metadata.namespace.clone(),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        field_path: None,
    }
}
