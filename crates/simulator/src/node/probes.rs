//! Probe workers on the virtual clock: delay, period, thresholds (R6.3 to R6.7, R6.10).

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;
use outrigger_pod_lifecycle::{
    EventReason, PodEvent, ProbeKind, ProbeTarget, Verdict, field_path, probe_period,
};

use super::{Event, Node, PodIndex, Slot};
use crate::script::Health;
use crate::timeline::What;

/// One probe of one instance.
#[derive(Debug)]
pub(crate) struct ProbeWorker {
    instance: String,
    started: Duration,
    /// The next try.
    due: (Duration, u64),
    /// Equal results in a row.
    run: Option<(Verdict, u32)>,
    /// It said all it will.
    over: bool,
}

/// How one probe of one container stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRun {
    /// Whose.
    pub container: String,
    /// Which.
    pub kind: ProbeKind,
    /// The newest result, and how many in a row were equal.
    pub run: Option<(Verdict, u32)>,
    /// What a failing try says now.
    pub output: String,
    /// So many equal results make a verdict.
    pub needed: u32,
    /// When it is tried next, since the beginning of the simulation; `None` if it is not.
    pub due: Option<Duration>,
}

impl Node {
    /// How the probes of a Pod stand that are being made.
    pub fn probe_runs(&self, pod: PodIndex) -> Vec<ProbeRun> {
        let slot = &self.slots[pod.0];
        let probes = slot.worker.iter().flat_map(|worker| &worker.probes);
        let run = |((container, kind), probe): (&(String, ProbeKind), &ProbeWorker)| {
            let health = slot.health(container, &probe.instance, *kind);
            let output = health.try_at(self.now.saturating_sub(probe.started)).err().unwrap_or_default();
            let spec = slot.probe_of(container, *kind)?;
            let needed = match probe.run.map_or(Verdict::Failure, |(verdict, _)| verdict) {
                Verdict::Success => positive(spec.success_threshold, 1),
                Verdict::Failure => positive(spec.failure_threshold, 3),
            };
            let due = (!probe.over).then_some(probe.due.0);
            let (container, output) = (container.clone(), output.to_owned());
            Some(ProbeRun { container, kind: *kind, run: probe.run, output, needed, due })
        };
        probes.filter_map(run).collect()
    }

    /// Starts missing workers and ends others.
    pub(super) fn adjust_probes(&mut self, pod: PodIndex, targets: &[ProbeTarget]) {
        let Some(worker) = &mut self.slots[pod.0].worker else { return };
        let mut ended = Vec::new();
        worker.probes.retain(|(container, kind), probe| {
            let wanted = |target: &ProbeTarget| {
                target.container == *container && target.kind == *kind && target.instance == probe.instance
            };
            let stays = targets.iter().any(wanted);
            if !stays {
                ended.push(probe.due);
            }
            stays
        });
        for due in ended {
            self.queue.remove(&due);
        }
        for target in targets {
            self.adjust_probe(pod, target);
        }
    }

    fn adjust_probe(&mut self, pod: PodIndex, target: &ProbeTarget) {
        let key = (target.container.clone(), target.kind);
        let now = self.now;
        let Some(worker) = &self.slots[pod.0].worker else { return };
        if let Some(probe) = worker.probes.get(&key) {
            // A probe asked for while it has just been made would be made for ever.
            if target.at_once && !probe.over && probe.run.is_some() && probe.due.0 > now {
                let due = probe.due;
                self.queue.remove(&due);
                self.try_at(pod, target, Duration::ZERO);
            }
            return;
        }
        let clocks = self.clocks();
        let age = clocks.wall.duration_since(target.started_at);
        let age = Duration::try_from(age).unwrap_or_default();
        let slot = &self.slots[pod.0];
        let Some(probe) = slot.probe_of(&target.container, target.kind) else { return };
        let wait = match slot.health(&target.container, &target.instance, target.kind) {
            Health::Verdict(at, _) => at.saturating_sub(age),
            Health::Good | Health::Fails { .. } => target.first_try(probe, clocks),
        };
        let started = now.saturating_sub(age);
        let fresh =
            ProbeWorker { instance: target.instance.clone(), started, due: (now, 0), run: None, over: false };
        if let Some(worker) = &mut self.slot(pod).worker {
            worker.probes.insert(key, fresh);
        }
        self.try_at(pod, target, wait);
    }

    fn try_at(&mut self, pod: PodIndex, target: &ProbeTarget, wait: Duration) {
        let (container, instance, kind) = (target.container.clone(), target.instance.clone(), target.kind);
        let due = self.expect(pod, wait, Event::Probe { container, kind, instance });
        let key = (target.container.clone(), target.kind);
        if let Some(probe) = self.slot(pod).worker.as_mut().and_then(|worker| worker.probes.get_mut(&key)) {
            probe.due = due;
        }
    }

    /// One try. Says whether the verdict changed.
    pub(super) fn probe(&mut self, pod: PodIndex, container: &str, kind: ProbeKind, instance: &str) -> bool {
        let now = self.now;
        let slot = self.slot(pod);
        let health = slot.health(container, instance, kind);
        let Some(spec) = slot.probe_of(container, kind).cloned() else { return false };
        let key = (container.to_owned(), kind);
        let Some(probe) = slot.worker.as_mut().and_then(|worker| worker.probes.get_mut(&key)) else {
            return false;
        };
        let outcome = health.try_at(now.saturating_sub(probe.started));
        let verdict = match health {
            Health::Verdict(_, verdict) => Some(verdict),
            Health::Good | Health::Fails { .. } => {
                let result = if outcome.is_ok() { Verdict::Success } else { Verdict::Failure };
                let length =
                    probe.run.filter(|(last, _)| *last == result).map_or(1, |(_, length)| length + 1);
                probe.run = Some((result, length));
                let needed = match result {
                    Verdict::Success => positive(spec.success_threshold, 1),
                    Verdict::Failure => positive(spec.failure_threshold, 3),
                };
                (length >= needed).then_some(result)
            }
        };
        let ends = match (kind, verdict) {
            (_, None) => false,
            (ProbeKind::Startup, Some(_)) | (ProbeKind::Liveness, Some(Verdict::Failure)) => true,
            (ProbeKind::Liveness | ProbeKind::Readiness, _) => matches!(health, Health::Verdict(..)),
        };
        probe.over = ends;
        let output = outcome.err().map(str::to_owned);
        if !ends {
            let period = probe_period(&spec);
            let (container, instance) = (container.to_owned(), instance.to_owned());
            let due = self.expect(pod, period, Event::Probe { container, kind, instance });
            if let Some(probe) = self.slot(pod).worker.as_mut().and_then(|worker| worker.probes.get_mut(&key))
            {
                probe.due = due;
            }
        }
        if let Some(output) = output {
            self.tell_failure(pod, container, kind, &output);
        }
        verdict.is_some_and(|verdict| self.conclude(pod, container, kind, instance, verdict))
    }

    /// R6.9.
    fn tell_failure(&mut self, pod: PodIndex, container: &str, kind: ProbeKind, output: &str) {
        let role = self.slot(pod).role_of(container);
        self.note(pod, || {
            let text = format!("{} probe failed: {output}", kind.as_str());
            What::Event(PodEvent::warning(EventReason::Unhealthy, field_path(role, container), text))
        });
    }

    fn conclude(
        &mut self,
        pod: PodIndex,
        container: &str,
        kind: ProbeKind,
        instance: &str,
        verdict: Verdict,
    ) -> bool {
        let slot = self.slot(pod);
        let facts = slot.containers.entry(container.to_owned()).or_default();
        if facts.newest().is_none_or(|newest| newest.id != instance) {
            return false;
        }
        facts.probes.instance = instance.to_owned();
        let place = match kind {
            ProbeKind::Startup => &mut facts.probes.startup,
            ProbeKind::Liveness => &mut facts.probes.liveness,
            ProbeKind::Readiness => &mut facts.probes.readiness,
        };
        let changed = place.replace(verdict) != Some(verdict);
        if kind == ProbeKind::Startup && verdict == Verdict::Success {
            slot.checker.startup_passed(instance);
        }
        // A probe that simply goes well is not worth a line.
        if changed && (verdict == Verdict::Failure || kind != ProbeKind::Liveness) {
            let good = verdict == Verdict::Success;
            self.note(pod, || What::Probe { container: container.to_owned(), kind, good });
        }
        changed
    }
}

impl Slot {
    fn probe_of(&self, container: &str, kind: ProbeKind) -> Option<&Probe> {
        let container = self.container(container)?;
        match kind {
            ProbeKind::Startup => container.startup_probe.as_ref(),
            ProbeKind::Liveness => container.liveness_probe.as_ref(),
            ProbeKind::Readiness => container.readiness_probe.as_ref(),
        }
    }

    fn health(&self, container: &str, instance: &str, kind: ProbeKind) -> Health {
        let run = self.behaviour(container, instance);
        match kind {
            ProbeKind::Startup => run.startup,
            ProbeKind::Liveness => run.liveness,
            ProbeKind::Readiness => run.readiness,
        }
    }
}

/// R1.4: 0 becomes the default.
fn positive(value: Option<i32>, default: u32) -> u32 {
    value.filter(|value| *value > 0).map_or(default, i32::unsigned_abs)
}
