//! What tests and renderers ask of a played Pod.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodStatus};
use outrigger_pod_lifecycle::{
    ContainerFacts, Decision, InstanceState, PendingResize, PodMemory, Role, SandboxFacts, init_role,
};

use super::{Node, PodIndex, Slot};
use crate::invariants::Violation;
use crate::script::Script;
use crate::timeline::Entry;

impl Node {
    /// All Pods it ever had.
    pub fn pods(&self) -> impl Iterator<Item = PodIndex> + use<> {
        (0..self.slots.len()).map(PodIndex)
    }

    /// What happened to a Pod so far.
    pub fn timeline(&self, pod: PodIndex) -> &[Entry] {
        &self.slots[pod.0].timeline
    }

    /// The object in the store; `None` once it is gone.
    pub fn object(&self, pod: PodIndex) -> Option<&Pod> {
        self.slots[pod.0].object.as_deref()
    }

    /// What the agent remembers; the default if it has no worker.
    pub fn memory(&self, pod: PodIndex) -> PodMemory {
        let worker = self.slots[pod.0].worker.as_ref();
        worker.map(|worker| PodMemory::clone(&worker.memory)).unwrap_or_default()
    }

    /// The newest decision about a Pod, while it has a worker.
    pub fn last_decision(&self, pod: PodIndex) -> Option<&Decision> {
        self.slots[pod.0].worker.as_ref()?.last.as_ref()
    }

    /// The last status decided, also of a Pod whose object and worker are gone.
    pub fn last_status(&self, pod: PodIndex) -> Option<&PodStatus> {
        self.slots[pod.0].last_status.as_ref()
    }

    /// The Pod's sandboxes.
    pub fn sandboxes(&self, pod: PodIndex) -> &[SandboxFacts] {
        &self.slots[pod.0].sandboxes
    }

    /// The facts of one container.
    pub fn container(&self, pod: PodIndex, container: &str) -> Option<&ContainerFacts> {
        self.slots[pod.0].containers.get(container)
    }

    /// How a container behaves from now on, also instances that already run.
    pub fn set_script(&mut self, pod: PodIndex, container: &str, script: Script) {
        self.slot(pod).scripts.insert(container.to_owned(), script);
    }

    /// The next attempts to make a sandbox fail.
    pub fn fail_sandboxes(&mut self, pod: PodIndex, times: u32) {
        self.slot(pod).sandbox_failures = times;
    }

    /// The next attempts to stop a sandbox fail.
    pub fn fail_stops(&mut self, pod: PodIndex, times: u32) {
        self.slot(pod).stop_failures = times;
    }

    /// Changes of resources fail so from now on; `None`: they succeed.
    pub fn fail_resizes(&mut self, pod: PodIndex, why: Option<&str>) {
        self.slot(pod).resize_failure = why.map(str::to_owned);
    }

    /// The node's admission has not granted what the Pod asks for.
    pub fn hold_resize(&mut self, pod: PodIndex, pending: Option<PendingResize>) {
        self.slot(pod).pending_resize = pending;
        self.will(pod, std::time::Duration::ZERO, super::Event::Wake);
    }

    /// Whether the node has nothing left of the Pod.
    pub fn is_forgotten(&self, pod: PodIndex) -> bool {
        let slot = &self.slots[pod.0];
        // A Pod that came and went while no agent lived was never known to it.
        slot.forgotten || (slot.object.is_none() && slot.worker.is_none() && slot.disk.is_none())
    }

    /// Whether anything will happen to the Pod without anybody doing it.
    pub(crate) fn expects_anything(&self, pod: PodIndex) -> bool {
        self.queue.values().any(|it| it.pod == pod && it.epoch.is_none_or(|epoch| epoch == self.epoch))
    }

    /// Whether any process of the Pod runs.
    pub fn is_running(&self, pod: PodIndex) -> bool {
        let all = self.slots[pod.0].containers.values().flat_map(|facts| &facts.instances);
        all.into_iter().any(|it| matches!(it.state, InstanceState::Running { .. }))
    }

    /// The first broken invariant of each Pod.
    pub fn violations(&self) -> impl Iterator<Item = (PodIndex, &Violation)> {
        let all = self.slots.iter().enumerate();
        all.filter_map(|(index, slot)| Some((PodIndex(index), slot.checker.violation()?)))
    }
}

impl Slot {
    /// The Pod as the agent knows it.
    fn pod(&self) -> Option<&Pod> {
        let seen = self.worker.as_ref().map(|worker| &worker.seen);
        seen.or(self.disk.as_ref().map(|(pod, _)| pod)).or(self.object.as_ref()).map(Arc::as_ref)
    }

    pub(super) fn container(&self, name: &str) -> Option<&Container> {
        let spec = self.pod()?.spec.as_ref()?;
        let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
        all.find(|container| container.name == name)
    }

    pub(super) fn role_of(&self, name: &str) -> Role {
        let spec = self.pod().and_then(|pod| pod.spec.as_ref());
        let mut inits = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
        inits.find(|container| container.name == name).map_or(Role::App, init_role)
    }

    pub(super) fn image_of(&self, name: &str) -> String {
        if let Some(container) = self.container(name) {
            return container.image.clone().unwrap_or_default();
        }
        let spec = self.pod().and_then(|pod| pod.spec.as_ref());
        let mut all = spec.and_then(|spec| spec.ephemeral_containers.as_ref()).into_iter().flatten();
        all.find(|container| container.name == name).and_then(|it| it.image.clone()).unwrap_or_default()
    }

    pub(super) fn uses_host_network(&self) -> bool {
        self.pod().and_then(|pod| pod.spec.as_ref()?.host_network).unwrap_or(false)
    }
}

/// All container statuses: init entries, app containers, ephemeral ones.
pub(crate) fn statuses(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let init = status.init_container_statuses.iter().flatten();
    let all = init.chain(status.container_statuses.iter().flatten());
    all.chain(status.ephemeral_container_statuses.iter().flatten())
}

pub(crate) fn status_of<'a>(status: &'a PodStatus, container: &str) -> Option<&'a ContainerStatus> {
    statuses(status).find(|it| it.name == container)
}

/// `waiting CrashLoopBackOff`, `running`, `terminated Error 1`.
pub(crate) fn state_text(status: &ContainerStatus) -> String {
    let Some(state) = &status.state else { return "nothing".into() };
    let reason = |reason: &Option<String>| reason.clone().unwrap_or_default();
    match (&state.waiting, &state.running, &state.terminated) {
        (Some(waiting), _, _) => format!("waiting {}", reason(&waiting.reason)),
        (_, Some(_), _) => "running".into(),
        (_, _, Some(end)) => format!("terminated {} {}", reason(&end.reason), end.exit_code),
        _ => "nothing".into(),
    }
}
