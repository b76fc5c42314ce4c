//! What comes of operations, and how scripted containers live and end.

use std::sync::Arc;

use outrigger_pod_lifecycle::{
    ContainerFacts, Exit, Failure, FailureReason, HookState, Instance, InstanceState, Operation,
    VolumesState, definition_hash,
};

use super::{Event, Node, Planned, PodIndex, Slot, Small};
use crate::script;
use crate::timeline::What;

impl Event {
    /// Whether the runtime, the disk or the network does it: an agent that dies does not take it back.
    pub(super) const fn is_an_effect(&self) -> bool {
        matches!(
            self,
            Self::Mounted
                | Self::Unmounted { .. }
                | Self::SandboxMade { .. }
                | Self::SandboxStopped { .. }
                | Self::SandboxRemoved { .. }
                | Self::Started { .. }
                | Self::Small { .. }
        )
    }
}

impl Slot {
    /// The script of an instance, by its number.
    pub(super) fn behaviour(&self, container: &str, instance: &str) -> script::Instance {
        let attempt = instance.rsplit('-').next().and_then(|it| it.parse().ok()).unwrap_or(0);
        self.scripts.get(container).map_or_else(script::Instance::serving, |script| script.instance(attempt))
    }

    fn facts(&mut self, container: &str) -> &mut ContainerFacts {
        self.containers.entry(container.to_owned()).or_default()
    }
}

impl Node {
    /// Says whether the Pod's worker has a reason to look.
    pub(super) fn apply(&mut self, pod: PodIndex, event: Event) -> bool {
        match event {
            Event::Wake => true,
            Event::Deliver(version, object) => self.deliver(pod, version, object),
            Event::DeliverGone => self.deliver_gone(pod),
            Event::MountFailed { problem } => {
                let Some(worker) = &mut self.slot(pod).worker else { return false };
                worker.volumes = VolumesState::Mounting { problem: Some(problem) };
                true
            }
            Event::Mounted => self.mounted(pod, true),
            Event::Unmounted { problem } => self.mounted(pod, problem),
            Event::SandboxMade { attempt, fails } => self.sandbox_made(pod, attempt, fails),
            Event::SandboxStopped { sandbox, fails } => self.sandbox_ended(pod, &sandbox, fails, false),
            Event::SandboxRemoved { sandbox, fails } => self.sandbox_ended(pod, &sandbox, fails, true),
            Event::Pulled { container } => {
                self.slot(pod).facts(&container).operation = Some(Operation::Starting);
                false
            }
            Event::Started { planned, fails } => self.started(pod, &planned, fails),
            Event::StartCancelled { container } => {
                self.slot(pod).facts(&container).operation = None;
                true
            }
            Event::PostStart { container, instance } => self.hook_ended(pod, &container, &instance, false),
            Event::PreStop { container, instance } => self.hook_ended(pod, &container, &instance, true),
            Event::Small { container, instance, what, fails } => {
                self.small_done(pod, &container, &instance, what, fails)
            }
            Event::Probe { container, kind, instance } => self.probe(pod, &container, kind, &instance),
            Event::Published { status, accepted } => self.published(pod, *status, accepted),
            Event::Confirmed => {
                let Some(worker) = &mut self.slot(pod).worker else { return false };
                worker.confirming = false;
                true
            }
            Event::Resized => self.resized(pod),
            Event::Exit { container, instance, code } => self.exit(pod, &container, &instance, code),
            Event::AgentStarts => {
                self.start_agent();
                false
            }
        }
    }

    fn mounted(&mut self, pod: PodIndex, mounted: bool) -> bool {
        let slot = self.slot(pod);
        slot.mounted = mounted;
        let state = if mounted { VolumesState::Mounted } else { VolumesState::Unmounted };
        slot.worker.as_mut().map(|worker| worker.volumes = state).is_some()
    }

    /// Everything that runs has what the spec says, or nothing has changed.
    fn resized(&mut self, pod: PodIndex) -> bool {
        let now = self.clocks().mono;
        let slot = self.slot(pod);
        let failure = slot.resize_failure.clone();
        let Some(worker) = &mut slot.worker else { return false };
        worker.resize.operation = false;
        worker.resize.failure = failure.map(|message| (message, now));
        if worker.resize.failure.is_some() {
            return true;
        }
        worker.resize.pod = worker.seen.spec.as_ref().and_then(|spec| spec.resources.clone());
        let names: Vec<String> = slot.containers.keys().cloned().collect();
        for name in names {
            let resources = slot.container(&name).and_then(|it| it.resources.clone());
            if let Some(newest) = slot.facts(&name).instances.last_mut() {
                newest.resources = resources;
            }
        }
        true
    }

    fn failure(&self, reason: FailureReason, message: &str) -> Failure {
        let now = self.clocks();
        Failure { reason, message: message.to_owned(), at: now.mono, at_wall: now.wall }
    }

    fn sandbox_made(&mut self, pod: PodIndex, attempt: u32, fails: bool) -> bool {
        let failure = fails.then(|| self.failure(FailureReason::CreatePodSandboxError, "no luck"));
        let host_network = self.slot(pod).uses_host_network();
        let slot = self.slot(pod);
        if let Some(worker) = &mut slot.worker {
            worker.sandbox_operation = None;
            worker.sandbox_failure = failure;
        }
        if fails {
            slot.sandboxes.retain(|sandbox| sandbox.attempt != attempt);
        } else if let Some(made) = slot.sandboxes.iter_mut().find(|sandbox| sandbox.attempt == attempt) {
            let address = std::net::Ipv4Addr::new(10, 1, 0, 2).into();
            made.ready = true;
            made.ips = if host_network { Vec::new() } else { vec![address] };
        }
        true
    }

    fn sandbox_ended(&mut self, pod: PodIndex, sandbox: &str, fails: bool, removed: bool) -> bool {
        let failure = self.failure(FailureReason::KillPodError, "no luck");
        if let Some(worker) = &mut self.slot(pod).worker {
            worker.sandbox_operation = None;
            if !removed {
                worker.sandbox_failure = fails.then_some(failure);
            }
        }
        if fails {
            return true;
        }
        self.end_instances_in(pod, sandbox);
        let slot = self.slot(pod);
        slot.sandboxes.iter_mut().filter(|it| it.id == sandbox).for_each(|it| it.ready = false);
        if removed {
            slot.sandboxes.retain(|it| it.id != sandbox);
            for facts in slot.containers.values_mut() {
                facts.instances.retain(|it| it.sandbox != sandbox);
            }
        }
        true
    }

    /// The sandbox and everything in it dies, as when its processes are killed or the machine restarts.
    pub fn kill_sandbox(&mut self, pod: PodIndex) {
        let Some(sandbox) = self.slot(pod).sandboxes.last_mut() else { return };
        sandbox.ready = false;
        let id = sandbox.id.clone();
        self.note(pod, || What::Fault("the sandbox dies".into()));
        self.end_instances_in(pod, &id);
        self.look(pod);
    }

    /// Volumes cannot be mounted from now on (R12.1); the executor goes on trying.
    pub fn fail_mounts(&mut self, pod: PodIndex, problem: &str) {
        self.note(pod, || What::Fault(format!("mounts fail: {problem}")));
        self.slot(pod).mount_problem = Some(problem.to_owned());
    }

    /// Volumes can be mounted again: a try that is under way succeeds.
    pub fn mend_mounts(&mut self, pod: PodIndex) {
        self.note(pod, || What::Fault("mounts work".into()));
        self.slot(pod).mount_problem = None;
        self.expect(pod, std::time::Duration::ZERO, Event::Mounted);
    }

    /// A record of the newest instance vanishes from the runtime.
    pub fn lose_record(&mut self, pod: PodIndex, container: &str) {
        self.note(pod, || What::Fault(format!("the runtime loses {container}")));
        let slot = self.slot(pod);
        if let Some(lost) = slot.containers.get_mut(container).and_then(|facts| facts.instances.pop()) {
            slot.checker.vanished(&lost.id);
        }
        self.look(pod);
    }

    fn look(&mut self, pod: PodIndex) {
        self.expect(pod, std::time::Duration::ZERO, Event::Wake);
    }

    fn end_instances_in(&mut self, pod: PodIndex, sandbox: &str) {
        let all = self.slot(pod).containers.iter();
        let inside = all.flat_map(|(name, facts)| facts.instances.iter().map(move |it| (name, it)));
        let ends: Vec<(String, String)> = inside
            .filter(|(_, it)| it.sandbox == sandbox && matches!(it.state, InstanceState::Running { .. }))
            .map(|(name, it)| (name.clone(), it.id.clone()))
            .collect();
        for (container, instance) in ends {
            self.exit(pod, &container, &instance, 137);
        }
    }

    fn started(&mut self, pod: PodIndex, planned: &Planned, fails: bool) -> bool {
        let (container, sandbox) = (planned.container.as_str(), planned.sandbox.as_str());
        let scripted = self.slot(pod).scripts.get_mut(container).filter(|script| !script.failures.is_empty());
        let scripted = scripted.map(|script| script.failures.remove(0));
        let failure = match scripted {
            Some((reason, message)) => Some(self.failure(reason, &message)),
            None if fails => Some(self.failure(FailureReason::CreateContainerError, "no luck")),
            None if !self.slot(pod).sandboxes.iter().any(|it| it.id == sandbox && it.ready) => {
                Some(self.failure(FailureReason::CreateContainerError, "the sandbox is gone"))
            }
            None => None,
        };
        if let Some(failure) = failure {
            let reason = failure.reason.as_str();
            self.note(pod, || What::StartFailed { container: container.to_owned(), reason });
            let facts = self.slot(pod).facts(container);
            facts.operation = None;
            facts.failure = Some(failure);
            return true;
        }
        self.instance(pod, planned);
        true
    }

    fn instance(&mut self, pod: PodIndex, planned: &Planned) {
        let Planned { container, attempt, sandbox, image } = planned;
        let (attempt, image) = (*attempt, image.clone());
        self.serial += 1;
        let id = format!("{container}-{}-{attempt}", self.serial);
        let (now, wall) = (self.now, self.clocks().wall);
        let slot = self.slot(pod);
        let resources = slot.container(container).and_then(|it| it.resources.clone());
        let run = slot.behaviour(container, &id);
        let state = match &run.start_error {
            None => InstanceState::Running { started_at: wall },
            Some(error) => InstanceState::Exited(Exit {
                code: 128,
                signal: None,
                oom_killed: false,
                start_error: Some(error.clone()),
                started_at: None,
                finished_at: wall,
                message: String::new(),
            }),
        };
        let failed =
            run.start_error.as_ref().map(|error| self.failure(FailureReason::RunContainerError, error));
        let slot = self.slot(pod);
        let facts = slot.facts(container);
        facts.operation = None;
        facts.failure = failed;
        facts.post_start = HookState::Idle;
        facts.pre_stop = HookState::Idle;
        facts.probes = outrigger_pod_lifecycle::ProbeVerdicts { instance: id.clone(), ..Default::default() };
        facts.next_log = facts.next_log.max(attempt + 1);
        facts.instances.push(Instance {
            id: id.clone(),
            sandbox: sandbox.to_owned(),
            attempt,
            state,
            definition_hash: definition_hash(container, &image),
            image,
            image_id: "sha256:1".into(),
            user: None,
            resources,
        });
        let object = slot.disk.as_ref().map(|(pod, _)| Arc::clone(pod));
        slot.checker.began((now, wall), object.as_deref(), &slot.containers, container);
        if run.start_error.is_some() {
            slot.checker.ended(wall, &id, 128, false);
        } else if let Some((after, code)) = run.exit {
            self.will(pod, after, Event::Exit { container: container.to_owned(), instance: id, code });
        }
    }

    fn exit(&mut self, pod: PodIndex, container: &str, instance: &str, code: i32) -> bool {
        let wall = self.clocks().wall;
        let slot = self.slot(pod);
        let run = slot.behaviour(container, instance);
        let facts = slot.facts(container);
        let Some(found) = facts.instances.iter_mut().find(|it| it.id == instance) else { return false };
        let InstanceState::Running { started_at } = found.state else { return false };
        let by_itself = run.exit.is_some_and(|(_, own)| own == code);
        found.state = InstanceState::Exited(Exit {
            code,
            signal: None,
            oom_killed: run.oom_killed && by_itself,
            start_error: None,
            started_at: Some(started_at),
            finished_at: wall,
            message: run.message,
        });
        slot.checker.ended(wall, instance, code, run.oom_killed && by_itself);
        self.note(pod, || What::Exit { container: container.to_owned(), code });
        self.agent_is_up
    }

    fn hook_ended(&mut self, pod: PodIndex, container: &str, instance: &str, pre_stop: bool) -> bool {
        let slot = self.slot(pod);
        let run = slot.behaviour(container, instance);
        let hook = if pre_stop { run.pre_stop } else { run.post_start };
        let facts = slot.facts(container);
        if facts.newest().is_none_or(|newest| newest.id != instance) {
            return false;
        }
        let state = match hook.error {
            None => HookState::Succeeded,
            Some(message) => HookState::Failed { message },
        };
        if pre_stop {
            facts.pre_stop = state;
        } else {
            let good = state == HookState::Succeeded;
            facts.post_start = state;
            if good {
                slot.checker.post_start_done(instance);
            }
        }
        true
    }

    fn small_done(
        &mut self,
        pod: PodIndex,
        container: &str,
        instance: &str,
        what: Small,
        fails: bool,
    ) -> bool {
        if let Some(worker) = &mut self.slot(pod).worker {
            worker.small.remove(&(instance.to_owned(), what));
        }
        if fails {
            return true;
        }
        match what {
            Small::Kill => {
                self.exit(pod, container, instance, 137);
            }
            Small::Term => {
                if let Some((after, code)) = self.slot(pod).behaviour(container, instance).on_term {
                    let (container, instance) = (container.to_owned(), instance.to_owned());
                    self.will(pod, after, Event::Exit { container, instance, code });
                }
            }
            Small::Remove => self.slot(pod).facts(container).instances.retain(|it| it.id != instance),
        }
        true
    }
}
