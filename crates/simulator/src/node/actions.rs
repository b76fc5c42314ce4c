//! Beginning actions, as the kubelet does: each is an operation that takes time and may fail.

use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;
use outrigger_pod_lifecycle::{
    Action, HookState, Operation, SandboxFacts, SandboxOperation, StopSignal, VolumesState,
};

use super::{Event, Node, Planned, PodIndex, Small};
use crate::timeline::What;

/// The wait of an operation that failed, before it says so.
const RETRY: Duration = Duration::from_secs(1);

impl Node {
    pub(super) fn begin(&mut self, pod: PodIndex, action: &Action, status: &PodStatus) {
        match action {
            Action::MountVolumes => self.mount(pod),
            Action::UnmountVolumes => self.unmount(pod),
            Action::CreateSandbox { attempt } => self.create_sandbox(pod, *attempt),
            Action::StopSandbox { sandbox } => self.end_sandbox(pod, sandbox, SandboxOperation::Stopping),
            Action::RemoveSandbox { sandbox } => self.end_sandbox(pod, sandbox, SandboxOperation::Removing),
            Action::StartContainer { container, attempt, sandbox } => {
                self.start(pod, container, *attempt, sandbox);
            }
            Action::CancelStart { container } => self.cancel_start(pod, container),
            Action::RunPostStart { container, instance } => self.post_start(pod, container, instance),
            Action::RunPreStop { container, instance, .. } => self.pre_stop(pod, container, instance),
            Action::Signal { container, instance, signal } => {
                let small = match signal {
                    StopSignal::Term => Small::Term,
                    StopSignal::Kill => Small::Kill,
                };
                self.small(pod, container, instance, small);
            }
            Action::RemoveInstance { container, instance } => {
                self.small(pod, container, instance, Small::Remove);
            }
            Action::Resize => self.resize(pod),
            Action::ConfirmDeletion => self.confirm_deletion(pod, status),
            Action::Forget => self.forget(pod),
        }
    }

    fn mount(&mut self, pod: PodIndex) {
        let Some(worker) = &mut self.slot(pod).worker else { return };
        if matches!(worker.volumes, VolumesState::Mounting { .. }) {
            return;
        }
        worker.volumes = VolumesState::Mounting { problem: None };
        match self.slot(pod).mount_problem.clone() {
            Some(problem) => self.expect(pod, Duration::ZERO, Event::MountFailed { problem }),
            None => {
                let wait = self.latency(pod);
                self.expect(pod, wait, Event::Mounted)
            }
        };
    }

    fn unmount(&mut self, pod: PodIndex) {
        let Some(worker) = &mut self.slot(pod).worker else { return };
        if worker.volumes == VolumesState::Unmounting {
            return;
        }
        worker.volumes = VolumesState::Unmounting;
        self.note(pod, || What::Unmount);
        let problem = self.fails(pod);
        let wait = self.latency(pod) + if problem { RETRY } else { Duration::ZERO };
        self.expect(pod, wait, Event::Unmounted { problem });
    }

    fn resize(&mut self, pod: PodIndex) {
        let Some(worker) = &mut self.slot(pod).worker else { return };
        if std::mem::replace(&mut worker.resize.operation, true) {
            return;
        }
        self.note(pod, || What::Resize);
        let wait = self.latency(pod);
        self.expect(pod, wait, Event::Resized);
    }

    fn create_sandbox(&mut self, pod: PodIndex, attempt: u32) {
        let Some(worker) = &mut self.slot(pod).worker else { return };
        if worker.sandbox_operation.is_some() {
            return;
        }
        worker.sandbox_operation = Some(SandboxOperation::Creating);
        self.note(pod, || What::CreateSandbox { attempt });
        let slot = self.slot(pod);
        // A runtime lists what it is still making.
        let host_network = slot.uses_host_network();
        let id = format!("s{attempt}");
        slot.sandboxes.retain(|sandbox| sandbox.id != id);
        slot.sandboxes.push(SandboxFacts { id, attempt, ready: false, ips: Vec::new(), host_network });
        let scripted = slot.sandbox_failures > 0;
        slot.sandbox_failures = slot.sandbox_failures.saturating_sub(1);
        let fails = self.fails(pod) || scripted;
        let wait = self.latency(pod);
        self.expect(pod, wait, Event::SandboxMade { attempt, fails });
    }

    fn end_sandbox(&mut self, pod: PodIndex, sandbox: &str, operation: SandboxOperation) {
        let Some(worker) = &mut self.slot(pod).worker else { return };
        if worker.sandbox_operation.is_some() {
            return;
        }
        worker.sandbox_operation = Some(operation);
        if operation == SandboxOperation::Stopping {
            self.note(pod, || What::StopSandbox);
        }
        let scripted = operation == SandboxOperation::Stopping && self.slot(pod).stop_failures > 0;
        if scripted {
            self.slot(pod).stop_failures -= 1;
        }
        let fails = self.fails(pod) || scripted;
        let wait = self.latency(pod) + if fails { RETRY } else { Duration::ZERO };
        let sandbox = sandbox.to_owned();
        let event = if operation == SandboxOperation::Stopping {
            Event::SandboxStopped { sandbox, fails }
        } else {
            Event::SandboxRemoved { sandbox, fails }
        };
        self.expect(pod, wait, event);
    }

    fn start(&mut self, pod: PodIndex, container: &str, attempt: u32, sandbox: &str) {
        let slot = self.slot(pod);
        let facts = slot.containers.entry(container.to_owned()).or_default();
        if facts.operation.is_some() {
            return;
        }
        facts.operation = Some(Operation::Pulling);
        let pull = slot.scripts.get(container).map(|script| script.pull).unwrap_or_default();
        self.note(pod, || What::Start { container: container.to_owned(), attempt });
        let (pull, create) = (pull + self.latency(pod), self.latency(pod));
        let fails = self.fails(pod);
        let container = container.to_owned();
        if !pull.is_zero() {
            self.expect(pod, pull, Event::Pulled { container: container.clone() });
        }
        let sandbox = sandbox.to_owned();
        let image = self.slot(pod).image_of(&container);
        let planned = Planned { container, attempt, sandbox, image };
        self.expect(pod, pull + create, Event::Started { planned, fails });
    }

    /// R2.7: a pull can be given up, what follows it cannot.
    fn cancel_start(&mut self, pod: PodIndex, container: &str) {
        let Some(facts) = self.slot(pod).containers.get(container) else { return };
        if facts.operation != Some(Operation::Pulling) {
            return;
        }
        self.note(pod, || What::CancelStart { container: container.to_owned() });
        let mine = Some(self.epoch);
        self.queue.retain(|_, scheduled| {
            let start = match &scheduled.event {
                Event::Pulled { container } => Some(container.as_str()),
                Event::Started { planned, .. } => Some(planned.container.as_str()),
                _ => None,
            };
            !(scheduled.epoch == mine && scheduled.pod == pod && start == Some(container))
        });
        self.expect(pod, Duration::ZERO, Event::StartCancelled { container: container.to_owned() });
    }

    fn post_start(&mut self, pod: PodIndex, container: &str, instance: &str) {
        let takes = self.slot(pod).behaviour(container, instance).post_start.takes;
        let facts = self.slot(pod).containers.entry(container.to_owned()).or_default();
        if facts.post_start != HookState::Idle {
            return;
        }
        facts.post_start = HookState::Running;
        self.note(pod, || What::PostStart { container: container.to_owned() });
        if let Some(takes) = takes {
            let wait = takes + self.latency(pod);
            let (container, instance) = (container.to_owned(), instance.to_owned());
            self.expect(pod, wait, Event::PostStart { container, instance });
        }
    }

    fn pre_stop(&mut self, pod: PodIndex, container: &str, instance: &str) {
        let takes = self.slot(pod).behaviour(container, instance).pre_stop.takes;
        let facts = self.slot(pod).containers.entry(container.to_owned()).or_default();
        if facts.pre_stop != HookState::Idle {
            return;
        }
        facts.pre_stop = HookState::Running;
        self.note(pod, || What::PreStop { container: container.to_owned() });
        if let Some(takes) = takes {
            let wait = takes + self.latency(pod);
            let (container, instance) = (container.to_owned(), instance.to_owned());
            self.expect(pod, wait, Event::PreStop { container, instance });
        }
    }

    fn small(&mut self, pod: PodIndex, container: &str, instance: &str, what: Small) {
        let now = self.now;
        let slot = self.slot(pod);
        let Some(worker) = &mut slot.worker else { return };
        if !worker.small.insert((instance.to_owned(), what)) {
            return;
        }
        let signal = match what {
            Small::Term => Some(StopSignal::Term),
            Small::Kill => Some(StopSignal::Kill),
            Small::Remove => None,
        };
        if let Some(signal) = signal {
            slot.checker.signalled(now, &worker.seen, &slot.containers, (container, instance), signal);
            self.note(pod, || What::Signal { container: container.to_owned(), signal });
        }
        let fails = self.fails(pod);
        let retry = if fails && what == Small::Remove { RETRY } else { Duration::ZERO };
        let wait = self.latency(pod) + retry;
        let (container, instance) = (container.to_owned(), instance.to_owned());
        self.expect(pod, wait, Event::Small { container, instance, what, fails });
    }
}
