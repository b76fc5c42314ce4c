//! Who is active, who has ended, and who has been counted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use outrigger_api::WallTime;

use super::backoff::Backoff;
use super::indexes::Indexes;
use super::names::Attempt;
use super::policy::{self, Verdict};
use super::{FAILURE_COUNT, IGNORED_FAILURE_COUNT, INDEX, Input, is_tracked, size, some};
use crate::pods;

/// How many uids a status holds at most; further Pods wait their turn.
const MAX_UNCOUNTED: usize = 500;

/// The Job's Pods by state, and the status as far as it follows from them.
#[derive(Debug, Default)]
pub(super) struct Census {
    pub(super) active: Vec<Arc<Pod>>,
    pub(super) terminating: i32,
    /// All that have succeeded, counted or not; by index where there are indexes.
    pub(super) succeeded: i32,
    /// All that have failed, counted or not.
    pub(super) failed: i32,
    pub(super) completed: Indexes,
    pub(super) failed_indexes: Indexes,
    /// Per index the newest failure that its replacement must know of.
    pub(super) last_failures: HashMap<i32, (Arc<Pod>, Attempt)>,
    pub(super) untrack: Vec<Arc<Pod>>,
    /// No Pod is left that will have to be counted.
    pub(super) is_settled: bool,
    pub(super) backoff: Backoff,
    pub(super) status: JobStatus,
}

impl Census {
    pub(super) fn active(&self) -> i32 {
        size(&self.active)
    }
}

/// Whether the Job numbers its Pods.
pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// Whether only what has really failed is replaced (R16.6).
pub(super) fn only_replaces_failed(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

/// R16.6.
pub(super) fn has_failed(spec: &JobSpec, pod: &Pod) -> bool {
    pods::phase(pod) == "Failed"
        || (!only_replaces_failed(spec) && pods::is_deleting(pod) && pods::phase(pod) != "Succeeded")
}

/// The index a Pod works on.
pub(super) fn index_of(pod: &Pod) -> Option<i32> {
    pods::annotation(&pod.metadata, INDEX)?.parse().ok()
}

/// Takes the census. `interim` is the condition that has already decided how the Job ends.
pub(super) fn count(
    input: &Input<'_>,
    spec: &JobSpec,
    stored: JobStatus,
    interim: Option<&JobCondition>,
) -> Census {
    let completions = spec.completions.unwrap_or(i32::MAX);
    let mut census = Census {
        completed: Indexes::parse(stored.completed_indexes.as_deref().unwrap_or_default(), completions),
        failed_indexes: Indexes::parse(stored.failed_indexes.as_deref().unwrap_or_default(), completions),
        is_settled: true,
        status: stored,
        ..Census::default()
    };
    for pod in input.pods {
        if pods::is_active(pod) {
            census.active.push(Arc::clone(pod));
        } else if pods::is_terminating(pod) {
            census.terminating += 1;
        }
    }
    let counted = settle(input.pods, &mut census);
    if is_indexed(spec) && spec.backoff_limit_per_index.is_some() {
        failures_by_index(input, spec, &counted, &mut census);
    }
    let mut ends = Vec::new();
    let fresh = input.pods.iter().filter(|pod| is_tracked(pod) && !counted.contains(pods::uid(pod)));
    for pod in fresh {
        let failing = interim.is_some_and(|interim| interim.type_ == "FailureTarget");
        let failed =
            has_failed(spec, pod) || (failing && !pods::is_active(pod) && pods::phase(pod) != "Succeeded");
        if failed || pods::phase(pod) == "Succeeded" {
            ends.push((pods::finished_at(pod).unwrap_or(input.now), !failed));
            count_one(input.job, spec, pod, !failed, interim.is_some(), &mut census);
        }
        census.is_settled = false;
    }
    census.backoff = remember(input, ends);
    finish_status(spec, &mut census);
    census
}

/// What an earlier turn has written down is counted once the finalizer is gone. The uids that are still there.
fn settle(all: &[Arc<Pod>], census: &mut Census) -> HashSet<String> {
    let tracked: HashMap<&str, &Arc<Pod>> =
        all.iter().filter(|pod| is_tracked(pod)).map(|pod| (pods::uid(pod), pod)).collect();
    let before = census.status.uncounted_terminated_pods.take().unwrap_or_default();
    let mut counted = HashSet::new();
    let mut keep = |uids: Option<Vec<String>>, count: &mut Option<i32>| {
        let (kept, gone): (Vec<String>, Vec<String>) =
            uids.unwrap_or_default().into_iter().partition(|uid| tracked.contains_key(uid.as_str()));
        *count = some(count.unwrap_or(0).saturating_add(size(&gone)));
        census
            .untrack
            .extend(kept.iter().filter_map(|uid| tracked.get(uid.as_str())).map(|pod| Arc::clone(pod)));
        counted.extend(kept.iter().cloned());
        (!kept.is_empty()).then_some(kept)
    };
    let succeeded = keep(before.succeeded, &mut census.status.succeeded);
    let failed = keep(before.failed, &mut census.status.failed);
    census.is_settled = counted.is_empty();
    census.status.uncounted_terminated_pods = Some(UncountedTerminatedPods { succeeded, failed });
    counted
}

/// One Pod that has ended and is in no list yet.
fn count_one(job: &Job, spec: &JobSpec, pod: &Arc<Pod>, well: bool, ending: bool, census: &mut Census) {
    let index =
        index_of(pod).filter(|index| is_indexed(spec) && (0..spec.completions.unwrap_or(0)).contains(index));
    if is_indexed(spec) && index.is_none() {
        census.untrack.push(Arc::clone(pod));
        return;
    }
    if well && let Some(index) = index {
        if census.completed.contains(index) {
            census.untrack.push(Arc::clone(pod));
        } else {
            census.completed.insert(index);
        }
        return;
    }
    if !well && !ending && is_awaited(pod, index, census) {
        return;
    }
    if !well && policy::verdict(job, pod) == Verdict::Ignore {
        census.untrack.push(Arc::clone(pod));
        return;
    }
    let lists = census.status.uncounted_terminated_pods.get_or_insert_default();
    if size(lists.succeeded.as_deref().unwrap_or_default())
        + size(lists.failed.as_deref().unwrap_or_default())
        < i32::try_from(MAX_UNCOUNTED).unwrap_or(i32::MAX)
    {
        let list = if well { &mut lists.succeeded } else { &mut lists.failed };
        list.get_or_insert_default().push(pods::uid(pod).to_owned());
    }
}

/// Whether a failure is kept until the Pod that replaces it knows how often its index has failed.
fn is_awaited(pod: &Pod, index: Option<i32>, census: &Census) -> bool {
    let Some(index) = index else { return false };
    let Some((last, attempt)) = census.last_failures.get(&index) else { return false };
    let replaced = census.active.iter().any(|active| {
        index_of(active) == Some(index)
            && failures(active, FAILURE_COUNT) + failures(active, IGNORED_FAILURE_COUNT)
                >= attempt.failures.unwrap_or(0) + attempt.ignored
    });
    pods::uid(last) == pods::uid(pod)
        && !replaced
        && !census.failed_indexes.contains(index)
        && !census.completed.contains(index)
}

fn failures(pod: &Pod, annotation: &str) -> i32 {
    pods::annotation(&pod.metadata, annotation).and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// `backoffLimitPerIndex`: which indexes have failed for good, and what their next Pods have to know.
fn failures_by_index(input: &Input<'_>, spec: &JobSpec, counted: &HashSet<String>, census: &mut Census) {
    let limit = spec.backoff_limit_per_index.unwrap_or(i32::MAX);
    for pod in input.pods.iter().filter(|pod| is_tracked(pod) && has_failed(spec, pod)) {
        let Some(index) = index_of(pod).filter(|index| (0..spec.completions.unwrap_or(0)).contains(index))
        else {
            continue;
        };
        let verdict = policy::verdict(input.job, pod);
        let ignored = verdict == Verdict::Ignore;
        let attempt = Attempt {
            index,
            failures: Some(failures(pod, FAILURE_COUNT) + i32::from(!ignored)),
            ignored: failures(pod, IGNORED_FAILURE_COUNT) + i32::from(ignored),
        };
        if (verdict == Verdict::FailIndex || attempt.failures.is_some_and(|count| count > limit))
            && !census.completed.contains(index)
        {
            census.failed_indexes.insert(index);
        }
        let rank = |attempt: &Attempt| attempt.failures.unwrap_or(0) + attempt.ignored;
        let newer = census.last_failures.get(&index).is_none_or(|(_, known)| rank(known) < rank(&attempt));
        if newer && !counted.contains(pods::uid(pod)) {
            census.last_failures.insert(index, (Arc::clone(pod), attempt));
        }
    }
}

/// After a restart nothing is remembered, but the Pods that ended are still there.
fn remember(input: &Input<'_>, fresh: Vec<(WallTime, bool)>) -> Backoff {
    if let Some(known) = input.backoff {
        return known.after(fresh);
    }
    let old = input.pods.iter().filter(|pod| pods::is_finished(pod) && !is_tracked(pod));
    let old = old.filter_map(|pod| Some((pods::finished_at(pod)?, pods::phase(pod) == "Succeeded")));
    Backoff::default().after(old.chain(fresh).collect())
}

fn finish_status(spec: &JobSpec, census: &mut Census) {
    let status = &mut census.status;
    let lists = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let listed = |list: &Option<Vec<String>>| size(list.as_deref().unwrap_or_default());
    census.failed = status.failed.unwrap_or(0).saturating_add(listed(&lists.failed));
    census.succeeded = status.succeeded.unwrap_or(0).saturating_add(listed(&lists.succeeded));
    if is_indexed(spec) {
        census.succeeded = census.completed.count();
        status.succeeded = some(census.succeeded);
        let text = census.completed.to_string();
        status.completed_indexes = (!text.is_empty()).then_some(text);
        if spec.backoff_limit_per_index.is_some() {
            status.failed_indexes = Some(census.failed_indexes.to_string());
        }
    }
    status.active = some(size(&census.active));
    let ready = census.active.iter().filter(|pod| pods::is_ready(pod)).count();
    status.ready = Some(i32::try_from(ready).unwrap_or(i32::MAX));
    status.terminating = Some(census.terminating);
}
