//! The status to publish (section 9).

mod conditions;
mod containers;
mod phase;
mod resources;

use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::memory::{Cause, Worker};
use crate::turn::{Entry, Turn};

pub(crate) use phase::Phase;

impl Turn<'_> {
    /// The Pod's whole status as this turn sees it.
    pub(crate) fn status(&mut self) -> PodStatus {
        let old = self.pod().status.clone().unwrap_or_default();
        let final_state = matches!(self.memory.worker, Worker::Terminated(_));
        let mut status = PodStatus {
            qos_class: old.qos_class.clone(),
            nominated_node_name: old.nominated_node_name.clone(),
            resource_claim_statuses: old.resource_claim_statuses.clone(),
            observed_generation: self.pod().metadata.generation,
            start_time: self.memory.start_time.map(|at| Time(whole_seconds(at))),
            ..PodStatus::default()
        };
        if let Worker::Terminated(termination) = &self.memory.worker
            && matches!(termination.cause, Cause::Rejected { .. })
        {
            // R1.52: a Pod that was never taken in has nothing else to show.
            status.phase = Some(Phase::Failed.as_str().to_owned());
            self.explain(&mut status, &old, Phase::Failed);
            return status;
        }
        status.init_container_statuses = self.init_statuses(final_state);
        status.container_statuses = self.app_statuses(final_state);
        status.ephemeral_container_statuses = self.ephemeral_statuses();
        if self.is_stopping_on() {
            self.keep_states(&mut status);
        }
        let computed = self.phase(final_state);
        let shown = self.shown_phase(computed, final_state, old.phase.as_deref());
        status.phase = Some(shown.as_str().to_owned());
        self.explain(&mut status, &old, shown);
        self.addresses(&mut status, &old);
        self.pod_resources(&mut status);
        status.conditions = Some(self.conditions(&status, &old, computed));
        status
    }

    /// Whether the Pod was being stopped in the turn before, too, and still is. Its last containers' end is shown at
    /// once, but for the deletion of an initialised Pod, where the phase comes with it.
    pub(super) fn is_stopping_on(&self) -> bool {
        let (Worker::Terminating(_), Worker::Terminating(now)) =
            (&self.input.memory.worker, &self.memory.worker)
        else {
            return false;
        };
        let with_phase = now.cause == Cause::Deleted && self.memory.initialized;
        with_phase || self.entries.iter().any(Entry::is_alive)
    }

    /// R8.20: while containers are being stopped nothing changes in their statuses but readiness.
    fn keep_states(&self, status: &mut PodStatus) {
        let Some(last) = self.input.memory.status.as_deref() else { return };
        let pairs = [
            (&mut status.init_container_statuses, &last.init_container_statuses),
            (&mut status.container_statuses, &last.container_statuses),
            (&mut status.ephemeral_container_statuses, &last.ephemeral_container_statuses),
        ];
        for (new, last) in pairs {
            for status in new.iter_mut().flatten() {
                let Some(last) = last.iter().flatten().find(|last| last.name == status.name) else {
                    continue;
                };
                let entry = self.entries.iter().find(|entry| entry.name() == status.name);
                let alive = entry.is_some_and(Entry::is_alive);
                let ready = if alive { status.ready } else { last.ready };
                *status = ContainerStatus { ready, ..last.clone() };
            }
        }
    }

    /// R8.23, R9.10: a terminal phase is shown only when nothing runs, and then stays.
    fn shown_phase(&self, computed: Phase, final_state: bool, old: Option<&str>) -> Phase {
        match old {
            Some("Succeeded") => return Phase::Succeeded,
            Some("Failed") => return Phase::Failed,
            _ => {}
        }
        if final_state {
            return self.final_phase(computed);
        }
        match self.input.memory.status.as_deref().and_then(|last| last.phase.as_deref()) {
            Some("Running") if self.is_stopping_on() => return Phase::Running,
            Some("Pending") if self.is_stopping_on() => return Phase::Pending,
            _ => {}
        }
        if computed.is_terminal() {
            return match old {
                Some("Running") => Phase::Running,
                _ if self.apps().iter().any(|entry| entry.newest().is_some()) => Phase::Running,
                _ => Phase::Pending,
            };
        }
        computed
    }

    /// R8.21, R8.26, R8.27, R1.52: how a Pod that was stopped ends.
    fn final_phase(&self, computed: Phase) -> Phase {
        let Worker::Terminated(termination) = &self.memory.worker else { return computed };
        match termination.cause {
            Cause::Rejected { .. }
            | Cause::DeadlineExceeded
            | Cause::Evicted { .. }
            | Cause::Preempted { .. } => Phase::Failed,
            Cause::Deleted | Cause::Finished | Cause::Shutdown => {
                let apps = self.apps();
                let good = !apps.is_empty()
                    && apps.iter().all(|entry| entry.exited().is_some_and(|(_, exit)| exit.code == 0));
                if self.input.gates.static_pod && !computed.is_terminal() {
                    computed
                } else if good {
                    Phase::Succeeded
                } else {
                    Phase::Failed
                }
            }
        }
    }

    /// `reason` and `message` of the Pod.
    fn explain(&self, status: &mut PodStatus, old: &PodStatus, shown: Phase) {
        if old.phase.as_deref() == Some(shown.as_str()) {
            status.reason.clone_from(&old.reason);
            status.message.clone_from(&old.message);
        }
        let Worker::Terminated(termination) = &self.memory.worker else { return };
        if old.phase.as_deref() == Some(shown.as_str()) {
            return;
        }
        let (reason, message) = match &termination.cause {
            Cause::Deleted | Cause::Finished => return,
            Cause::DeadlineExceeded => (
                "DeadlineExceeded".to_owned(),
                "Pod was active on the node longer than the specified deadline".to_owned(),
            ),
            Cause::Evicted { message, .. } => ("Evicted".to_owned(), message.clone()),
            Cause::Preempted { message } => ("Preempting".to_owned(), message.clone()),
            Cause::Shutdown if shown == Phase::Succeeded => return,
            Cause::Shutdown => (
                "Terminated".to_owned(),
                "Pod was terminated in response to imminent node shutdown.".to_owned(),
            ),
            Cause::Rejected { reason, message } => (reason.clone(), format!("Pod was rejected: {message}")),
        };
        status.reason = Some(reason);
        status.message = Some(message);
    }

    /// R9.35, R9.36.
    fn addresses(&self, status: &mut PodStatus, old: &PodStatus) {
        let node = &self.input.node.ips;
        status.host_ip = node.first().map(ToString::to_string).or_else(|| old.host_ip.clone());
        status.host_ips = if node.is_empty() {
            old.host_ips.clone()
        } else {
            Some(node.iter().map(|ip| HostIP { ip: ip.to_string() }).collect())
        };
        let ready = self.newest_sandbox().filter(|sandbox| sandbox.ready);
        let own = match ready {
            Some(sandbox) if sandbox.host_network => node.clone(),
            Some(sandbox) => sandbox.ips.clone(),
            None => Vec::new(),
        };
        let last = self.input.memory.status.as_deref();
        if own.is_empty() {
            let kept = last.filter(|last| last.pod_ip.is_some()).unwrap_or(old);
            status.pod_ip.clone_from(&kept.pod_ip);
            status.pod_ips.clone_from(&kept.pod_ips);
        } else {
            status.pod_ip = own.first().map(ToString::to_string);
            status.pod_ips = Some(own.iter().map(|ip| PodIP { ip: ip.to_string() }).collect());
        }
    }
}

/// Status times have second precision (R9.25).
pub(crate) fn whole_seconds(at: outrigger_api::WallTime) -> outrigger_api::WallTime {
    outrigger_api::WallTime::from_second(at.as_second()).unwrap_or(at)
}
