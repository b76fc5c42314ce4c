//! Which probe workers shall exist (R6.1-R6.4, R6.7, R6.10, R6.12).

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;
use outrigger_api::Now;

use crate::decision::{ProbeKind, ProbeTarget};
use crate::input::{InstanceState, Verdict};
use crate::memory::Worker;
use crate::spec::Role;
use crate::status::whole_seconds;
use crate::turn::Turn;

impl ProbeTarget {
    /// How long after `now` the first try of this instance is due.
    ///
    /// Ticks come a period apart from where they are counted, whichever instance runs; the very first finds no
    /// container (R6.5). One that comes before `initialDelaySeconds` are over does nothing (R6.3); what a container
    /// started within a second counts as started at its beginning.
    pub fn first_try(&self, probe: &Probe, now: Now) -> Duration {
        let period = probe_period(probe);
        let delay = probe.initial_delay_seconds.filter(|seconds| *seconds > 0).map_or(0, i32::unsigned_abs);
        let age = now.wall.duration_since(whole_seconds(self.started_at));
        let age = Duration::try_from(age).unwrap_or_default();
        let delayed = Duration::from_secs(delay.into()).saturating_sub(age);
        let (since, earliest) =
            if self.at_once { (Duration::ZERO, 0) } else { (now.mono.since(self.ticks_from), 1) };
        let ticks = (since + delayed).as_nanos().div_ceil(period.as_nanos()).max(earliest);
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        period.saturating_mul(ticks).saturating_sub(since)
    }
}

/// R1.4: 0 becomes the default.
pub fn probe_period(probe: &Probe) -> Duration {
    let seconds = probe.period_seconds.filter(|seconds| *seconds > 0).map_or(10, i32::unsigned_abs);
    Duration::from_secs(seconds.into())
}

impl Turn<'_> {
    /// `changed`: whether the containers' statuses are others than those of the turn before.
    pub(crate) fn probe_targets(&self, changed: bool) -> Vec<ProbeTarget> {
        let mut targets = Vec::new();
        if matches!(self.memory.worker, Worker::Terminated(_)) {
            return targets;
        }
        // R6.12, R4.24: a stopping Pod is only asked whether it still serves.
        let stopping = matches!(self.memory.worker, Worker::Terminating(_));
        for entry in self.entries.iter().filter(|entry| matches!(entry.role, Role::Sidecar | Role::App)) {
            let Some(instance) = entry.running() else { continue };
            let InstanceState::Running { started_at } = instance.state else { continue };
            let memory = self.memory_of(entry.name());
            let started = memory.started.as_deref() == Some(&instance.id);
            let mut add = |kind: ProbeKind, at_once: bool| {
                targets.push(ProbeTarget {
                    container: entry.name().to_owned(),
                    instance: instance.id.clone(),
                    started_at,
                    kind,
                    ticks_from: self.memory.probing_since.unwrap_or(self.input.now.mono),
                    at_once,
                });
            };
            if !started {
                let settled = entry.verdict(|facts| facts.probes.startup).is_some();
                if entry.definition.startup_probe().is_some() && !stopping && !settled {
                    add(ProbeKind::Startup, false);
                }
                continue;
            }
            let failed = entry.verdict(|facts| facts.probes.liveness) == Some(Verdict::Failure);
            if entry.definition.liveness_probe().is_some() && !stopping && !failed {
                add(ProbeKind::Liveness, false);
            }
            if entry.definition.readiness_probe().is_some() {
                let ready = memory.ready.as_deref() == Some(&instance.id);
                add(ProbeKind::Readiness, !ready && changed && !stopping);
            }
        }
        targets
    }
}

#[cfg(test)]
mod tests {
    use outrigger_api::{MonoTime, WallTime};

    use super::*;

    /// R6.3, R6.5, R6.10
    #[test]
    fn tries_fall_on_ticks() {
        let at = |millis: u64| Now {
            wall: WallTime::from_millisecond(1_000_000 + i64::try_from(millis).unwrap()).unwrap(),
            mono: MonoTime::default() + Duration::from_millis(millis),
        };
        let probe =
            |delay| Probe { period_seconds: Some(4), initial_delay_seconds: Some(delay), ..Probe::default() };
        let mut target = ProbeTarget {
            container: "a".into(),
            instance: "1".into(),
            started_at: at(300).wall,
            kind: ProbeKind::Liveness,
            ticks_from: at(0).mono,
            at_once: false,
        };
        let millis = |target: &ProbeTarget, delay, now| target.first_try(&probe(delay), at(now)).as_millis();
        assert_eq!(millis(&target, 0, 0), 4000, "the first tick finds no container");
        assert_eq!(millis(&target, 0, 300), 3700);
        assert_eq!(millis(&target, 4, 300), 3700, "a start counts from its whole second");
        assert_eq!(millis(&target, 5, 300), 7700);
        assert_eq!(millis(&target, 0, 4100), 3900, "a later instance");
        target.at_once = true;
        assert_eq!(millis(&target, 0, 300), 0);
        assert_eq!(millis(&target, 2, 300), 4000);
    }
}
