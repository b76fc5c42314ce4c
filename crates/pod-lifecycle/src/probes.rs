//! Which probe workers shall exist (R6.1-R6.4, R6.7, R6.10, R6.12).

use crate::decision::{ProbeKind, ProbeTarget};
use crate::input::{InstanceState, Verdict};
use crate::memory::Worker;
use crate::spec::Role;
use crate::turn::Turn;

impl Turn<'_> {
    pub(crate) fn probe_targets(&self) -> Vec<ProbeTarget> {
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
                add(ProbeKind::Readiness, memory.ready.as_deref() != Some(&instance.id));
            }
        }
        targets
    }
}
