//! How many Pods there should be, and what ends a Job.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{JobCondition, JobSpec};
use k8s_openapi::api::core::v1::Pod;
use outrigger_api::WallTime;

use super::backoff::Backoff;
use super::count::{Census, has_failed, index_of, is_indexed, only_replaces_failed};
use super::names::{self, Attempt};
use super::policy::{self, Verdict};
use super::{Decision, Input, condition, is_tracked, size};
use crate::pods;

/// How many Pods one turn creates or deletes at most.
const MAX_PER_TURN: i32 = 500;

/// Why the Job has failed, if it has; the first reason counts.
pub(super) fn failure(input: &Input<'_>, spec: &JobSpec, census: &Census) -> Option<JobCondition> {
    let failed = |reason: &str, message: String| Some(condition("FailureTarget", reason, message, input.now));
    let verdicts =
        input.pods.iter().filter(|pod| has_failed(spec, pod)).map(|pod| policy::verdict(input.job, pod));
    for verdict in verdicts {
        if let Verdict::FailJob(message) = verdict {
            return failed("PodFailurePolicy", message);
        }
    }
    let limit = spec.backoff_limit.unwrap_or(6);
    if census.failed > limit || restarted_too_often(input.pods, spec, limit) {
        return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit".into());
    }
    if is_overdue(spec, census, input.now) {
        return failed("DeadlineExceeded", "Job was active longer than specified deadline".into());
    }
    if spec.max_failed_indexes.is_some_and(|most| census.failed_indexes.count() > most) {
        let text = "Job has exceeded the specified maximal number of failed indexes";
        return failed("MaxFailedIndexesExceeded", text.into());
    }
    None
}

/// R16.4.
fn restarted_too_often(all: &[Arc<Pod>], spec: &JobSpec, limit: i32) -> bool {
    let template = spec.template.spec.as_ref();
    if template.and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let running = all.iter().filter(|pod| matches!(pods::phase(pod), "Running" | "Pending"));
    let sum = running.map(|pod| pods::restarts(pod)).fold(0, i32::saturating_add);
    if limit == 0 { sum > 0 } else { sum >= limit }
}

fn is_overdue(spec: &JobSpec, census: &Census, now: WallTime) -> bool {
    let (Some(limit), Some(start)) = (spec.active_deadline_seconds, &census.status.start_time) else {
        return false;
    };
    spec.suspend != Some(true) && now.duration_since(start.0).as_secs() >= limit
}

/// A rule of `successPolicy` that is met ends the Job, whatever still runs.
pub(super) fn success_policy(input: &Input<'_>, census: &Census) -> Option<JobCondition> {
    let completions = input.job.spec.as_ref()?.completions.unwrap_or(0);
    let rule = policy::success(input.job, &census.completed, completions)?;
    let message = format!("Matched rules at index {rule}");
    Some(condition("SuccessCriteriaMet", "SuccessPolicy", message, input.now))
}

/// How the Job ends of its own accord once `active` Pods are left: condition, reason, message.
pub(super) fn completion(
    spec: &JobSpec,
    census: &Census,
    active: i32,
) -> Option<(&'static str, &'static str, String)> {
    let enough = match spec.completions {
        None => census.succeeded > 0,
        Some(wanted) => census.succeeded >= wanted,
    };
    if active > 0 {
        return None;
    }
    if enough {
        let text = "Reached expected number of succeeded pods".to_owned();
        return Some(("SuccessCriteriaMet", "CompletionsReached", text));
    }
    let lost = census.failed_indexes.count();
    let over = lost > 0 && spec.completions.is_some_and(|wanted| census.succeeded + lost >= wanted);
    over.then(|| ("FailureTarget", "FailedIndexes", "Job has failed indexes".to_owned()))
}

/// Creates or deletes Pods, never both in one turn.
pub(super) fn manage(input: &Input<'_>, spec: &JobSpec, census: &Census, decision: &mut Decision) {
    let active = census.active();
    let wanted = if spec.suspend == Some(true) { 0 } else { wanted(spec, census, active) };
    let surplus = removal(input, spec, census, active - wanted);
    if !surplus.is_empty() {
        // Whom the Job itself removes is not counted as a failure.
        decision.untrack.extend(surplus.iter().filter(|pod| is_tracked(pod)).cloned());
        decision.delete = surplus;
        return;
    }
    let leaving = if only_replaces_failed(spec) { census.terminating } else { 0 };
    let missing = (wanted - leaving - active).min(MAX_PER_TURN);
    if missing <= 0 {
        return;
    }
    let per_index = is_indexed(spec) && spec.backoff_limit_per_index.is_some();
    let wait = decision.backoff.remaining(input.now);
    if !per_index && !wait.is_zero() {
        decision.again = Some(wait);
        return;
    }
    if is_indexed(spec) {
        let (attempts, wait) = attempts(input, spec, census, missing, per_index);
        decision.again = wait;
        decision.create = attempts.into_iter().map(|attempt| names::pod(input.job, Some(attempt))).collect();
    } else {
        decision.create = (0..missing).map(|_| names::pod(input.job, None)).collect();
    }
}

fn wanted(spec: &JobSpec, census: &Census, active: i32) -> i32 {
    let parallelism = spec.parallelism.unwrap_or(1);
    match spec.completions {
        // Work queues: after one success nobody new starts, and who runs decides when all is done.
        None if census.succeeded > 0 => active,
        None => parallelism,
        Some(completions) => {
            let left = completions - census.succeeded - census.failed_indexes.count();
            parallelism.min(left).max(0)
        }
    }
}

/// Pods that are too many: of an index that needs none or has two, then those that matter least.
fn removal(input: &Input<'_>, spec: &JobSpec, census: &Census, surplus: i32) -> Vec<Arc<Pod>> {
    let mut ranked = census.active.clone();
    pods::sort_for_removal(&mut ranked, &HashMap::new(), input.now);
    let mut gone: Vec<Arc<Pod>> = Vec::new();
    if is_indexed(spec) {
        let mut taken = HashSet::new();
        for pod in ranked.iter().rev() {
            let keeps =
                index_of(pod).is_some_and(|index| is_pending(index, spec, census) && taken.insert(index));
            if !keeps {
                gone.push(Arc::clone(pod));
            }
        }
    }
    for pod in ranked {
        if size(&gone) >= surplus.min(MAX_PER_TURN) {
            break;
        }
        if !gone.iter().any(|other| pods::uid(other) == pods::uid(&pod)) {
            gone.push(pod);
        }
    }
    gone
}

fn is_pending(index: i32, spec: &JobSpec, census: &Census) -> bool {
    (0..spec.completions.unwrap_or(0)).contains(&index)
        && !census.completed.contains(index)
        && !census.failed_indexes.contains(index)
}

/// The lowest indexes nobody works on, and how long the next one has to wait.
fn attempts(
    input: &Input<'_>,
    spec: &JobSpec,
    census: &Census,
    missing: i32,
    per_index: bool,
) -> (Vec<Attempt>, Option<Duration>) {
    let busy =
        |pod: &&Arc<Pod>| pods::is_active(pod) || (only_replaces_failed(spec) && pods::is_terminating(pod));
    let busy: HashSet<i32> = input.pods.iter().filter(busy).filter_map(|pod| index_of(pod)).collect();
    let (mut found, mut soonest) = (Vec::new(), None::<Duration>);
    for index in 0..spec.completions.unwrap_or(0) {
        if size(&found) >= missing {
            break;
        }
        if busy.contains(&index) || !is_pending(index, spec, census) {
            continue;
        }
        let fresh = Attempt { index, failures: per_index.then_some(0), ignored: 0 };
        let Some((pod, attempt)) = census.last_failures.get(&index) else {
            found.push(fresh);
            continue;
        };
        let failures = attempt.failures.unwrap_or(0) + attempt.ignored;
        let record = Backoff { failures: u32::try_from(failures).unwrap_or(0), last: pods::finished_at(pod) };
        match record.remaining(input.now) {
            Duration::ZERO => found.push(*attempt),
            wait => soonest = Some(soonest.map_or(wait, |known| known.min(wait))),
        }
    }
    (found, soonest)
}
