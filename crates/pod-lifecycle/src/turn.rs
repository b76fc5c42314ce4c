//! One turn's working state: the facts of the Pod by container, and what was decided so far.

use std::sync::LazyLock;

use k8s_openapi::api::core::v1::{Container, Pod};
use outrigger_api::MonoTime;

use crate::decision::{Action, PodEvent, WaitingFor};
use crate::input::{ContainerFacts, Exit, Input, Instance, InstanceState, SandboxFacts, Verdict};
use crate::memory::{ContainerMemory, PodMemory};
use crate::reason::EventReason;
use crate::spec::{Definition, Role, field_path, init_role, pod_words};

/// A container of the spec with everything known about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) definition: Definition<'a>,
    pub(crate) role: Role,
    pub(crate) facts: &'a ContainerFacts,
    /// The runtime has lost the newest instance, and an older record must not speak for it (R9.28).
    lost: bool,
}

/// What is decided in one turn.
pub(crate) struct Turn<'a> {
    pub(crate) input: &'a Input<'a>,
    /// As it will be after this turn; its status is decided last, until then look into the input's.
    pub(crate) memory: PodMemory,
    /// Init entries, app containers, ephemeral containers, each in spec order.
    pub(crate) entries: Vec<Entry<'a>>,
    pub(crate) actions: Vec<Action>,
    pub(crate) events: Vec<PodEvent>,
    pub(crate) waiting: Vec<(String, WaitingFor)>,
    pub(crate) wake_at: Option<MonoTime>,
}

static NO_FACTS: ContainerFacts = ContainerFacts {
    instances: Vec::new(),
    operation: None,
    failure: None,
    post_start: crate::input::HookState::Idle,
    pre_stop: crate::input::HookState::Idle,
    probes: crate::input::ProbeVerdicts {
        instance: String::new(),
        startup: None,
        liveness: None,
        readiness: None,
    },
    next_log: 0,
};

impl<'a> Entry<'a> {
    pub(crate) fn name(&self) -> &'a str {
        self.definition.name()
    }

    pub(crate) fn newest(&self) -> Option<&'a Instance> {
        self.facts.newest().filter(|_| !self.lost)
    }

    /// The newest instance, if its process runs.
    pub(crate) fn running(&self) -> Option<&'a Instance> {
        self.newest().filter(|instance| matches!(instance.state, InstanceState::Running { .. }))
    }

    /// The newest instance, if it ended.
    pub(crate) fn exited(&self) -> Option<(&'a Instance, &'a Exit)> {
        match self.newest() {
            Some(instance) => match &instance.state {
                InstanceState::Exited(exit) => Some((instance, exit)),
                InstanceState::Created | InstanceState::Running { .. } | InstanceState::Unknown => None,
            },
            None => None,
        }
    }

    /// Whether it runs or may run: what a stop has to end.
    pub(crate) fn is_alive(&self) -> bool {
        self.newest().is_some_and(|instance| {
            matches!(instance.state, InstanceState::Running { .. } | InstanceState::Unknown)
        })
    }

    /// A verdict about the newest instance; older ones do not count (R6.2).
    pub(crate) fn verdict(&self, of: impl Fn(&ContainerFacts) -> Option<Verdict>) -> Option<Verdict> {
        let current = self.newest().is_some_and(|instance| instance.id == self.facts.probes.instance);
        if current { of(self.facts) } else { None }
    }

    pub(crate) fn field_path(&self) -> String {
        field_path(self.role, self.name())
    }

    pub(crate) fn full(&self) -> Option<&'a Container> {
        self.definition.full()
    }
}

impl<'a> Turn<'a> {
    pub(crate) fn new(input: &'a Input<'a>) -> Self {
        Self {
            input,
            memory: input.memory.without_status(),
            entries: entries(input),
            actions: Vec::new(),
            events: Vec::new(),
            waiting: Vec::new(),
            wake_at: None,
        }
    }

    pub(crate) fn pod(&self) -> &'a Pod {
        self.input.pod
    }

    /// The Pod's restart policy; absent is `Always`.
    pub(crate) fn policy(&self) -> &'a str {
        let spec = self.input.pod.spec.as_ref();
        spec.and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
    }

    pub(crate) fn spec_grace(&self) -> Option<u64> {
        let spec = self.input.pod.spec.as_ref();
        let grace = spec.and_then(|spec| spec.termination_grace_period_seconds)?;
        Some(u64::try_from(grace).unwrap_or(1))
    }

    pub(crate) fn host_network(&self) -> bool {
        self.input.pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
    }

    pub(crate) fn memory_of(&self, container: &str) -> &ContainerMemory {
        static NOTHING: LazyLock<ContainerMemory> = LazyLock::new(ContainerMemory::default);
        self.memory.containers.get(container).unwrap_or(&NOTHING)
    }

    pub(crate) fn remember(&mut self, container: &str) -> &mut ContainerMemory {
        self.memory.containers.entry(container.to_owned()).or_default()
    }

    pub(crate) fn of_role(&self, wanted: impl Fn(Role) -> bool) -> Vec<Entry<'a>> {
        self.entries.iter().filter(|entry| wanted(entry.role)).copied().collect()
    }

    pub(crate) fn apps(&self) -> Vec<Entry<'a>> {
        self.of_role(|role| role == Role::App)
    }

    pub(crate) fn inits(&self) -> Vec<Entry<'a>> {
        self.of_role(Role::is_init_entry)
    }

    /// The newest sandbox.
    pub(crate) fn newest_sandbox(&self) -> Option<&'a SandboxFacts> {
        self.input.sandboxes.last()
    }

    pub(crate) fn wake(&mut self, at: MonoTime) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Says why a container waits; what is said last counts.
    pub(crate) fn wait(&mut self, container: &str, why: WaitingFor) {
        self.waiting.retain(|(name, _)| name != container);
        self.waiting.push((container.to_owned(), why));
    }

    pub(crate) fn normal(&mut self, reason: EventReason, at: impl Into<String>, message: impl Into<String>) {
        self.events.push(PodEvent::normal(reason, at, message));
    }

    pub(crate) fn warn(&mut self, reason: EventReason, at: impl Into<String>, message: impl Into<String>) {
        self.events.push(PodEvent::warning(reason, at, message));
    }

    pub(crate) fn words(&self) -> String {
        pod_words(self.input.pod)
    }

    /// Whether a sidecar lets the next entry go (R4.2, R4.7). One that has nothing to pass has done so once it ran, however
    /// short that was (S11).
    pub(crate) fn lets_go(&self, entry: &Entry<'_>) -> bool {
        let plain = !entry.definition.has_post_start() && entry.definition.startup_probe().is_none();
        let here = self.newest_sandbox().map(|sandbox| sandbox.id.as_str());
        let ran = entry.exited().is_some_and(|(instance, exit)| {
            exit.start_error.is_none() && exit.started_at.is_some() && Some(instance.sandbox.as_str()) == here
        });
        self.is_started(entry) || (plain && ran)
    }

    /// Whether the entry's newest instance counts as started (R4.2, R6.13). `observe` has made it so.
    pub(crate) fn is_started(&self, entry: &Entry<'_>) -> bool {
        let id = entry.running().map(|instance| &instance.id);
        id.is_some() && self.memory.containers.get(entry.name()).and_then(|it| it.started.as_ref()) == id
    }
}

fn entries<'a>(input: &'a Input<'a>) -> Vec<Entry<'a>> {
    let Some(spec) = &input.pod.spec else { return Vec::new() };
    let entry = |definition: Definition<'a>, role| {
        let facts = input.containers.get(definition.name()).unwrap_or(&NO_FACTS);
        let memory = input.memory.containers.get(definition.name());
        let next = memory.map_or(0, |memory| memory.next_attempt);
        let lost = facts.newest().is_some_and(|newest| newest.attempt + 1 < next);
        Entry { definition, role, facts, lost }
    };
    let init = spec.init_containers.iter().flatten();
    let init = init.map(|container| entry(Definition::Full(container), init_role(container)));
    let apps = spec.containers.iter().map(|container| entry(Definition::Full(container), Role::App));
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let ephemeral = ephemeral.map(|container| entry(Definition::Ephemeral(container), Role::Ephemeral));
    init.chain(apps).chain(ephemeral).collect()
}
