//! TTL after finished (N15): a finished Job goes `ttlSecondsAfterFinished` after its end.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use outrigger_api::WallTime;

/// How long a finished Job has left; `None` if it stays, or is on its way already.
pub fn remaining(job: &Job, now: WallTime) -> Option<Duration> {
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let ended = super::finish(job)?.last_transition_time.as_ref()?.0;
    let passed = Duration::try_from(now.duration_since(ended)).unwrap_or_default();
    Some(Duration::from_secs(u64::try_from(ttl).unwrap_or(0)).saturating_sub(passed))
}
