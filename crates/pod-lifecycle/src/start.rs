//! Starting containers: init entries in order, sidecars beside them, app containers one after another, ephemeral ones
//! whenever asked (sections 3 to 5).

use crate::backoff::Hindrance;
use crate::decision::{Action, StartedLack, WaitingFor};
use crate::input::{HookState, InstanceState, Operation, Verdict};
use crate::memory::{RemovedWhy, StopScope};
use crate::spec::{Role, definition_hash};
use crate::turn::{Entry, Turn};

/// How far the init entries are.
enum InitProgress {
    /// All done: app containers may start.
    Done,
    /// Not yet.
    Pending,
    /// One failed for good (R3.7).
    Failed,
}

impl Turn<'_> {
    /// One turn of a Pod whose sandbox is ready. Says whether the Pod is finished.
    pub(crate) fn run_containers(&mut self, sandbox: &str) -> bool {
        if self.drive_restart_all() {
            return false;
        }
        for entry in self.of_role(|role| role == Role::Ephemeral) {
            if entry.newest().is_none() {
                self.start(&entry, sandbox);
            }
        }
        self.run_post_start_hooks();
        let progress = self.advance_init(sandbox);
        if !matches!(progress, InitProgress::Failed) {
            self.drive_resize();
        }
        match progress {
            InitProgress::Failed => true,
            InitProgress::Pending => false,
            InitProgress::Done => self.advance_apps(sandbox),
        }
    }

    /// R7.2: hooks of instances that run and have not had theirs.
    fn run_post_start_hooks(&mut self) {
        for entry in self.entries.clone() {
            let Some(instance) = entry.running() else { continue };
            let memory = self.memory_of(entry.name());
            let done = memory.post_start_done.as_deref() == Some(&instance.id);
            let failed = memory.post_start_failed.as_ref().is_some_and(|(of, _)| *of == instance.id);
            if !entry.definition.has_post_start() || done {
                continue;
            }
            if failed {
                let grace = self.spec_grace().unwrap_or(2);
                self.begin_stop(&entry, StopScope::Container, grace, "FailedPostStartHook", false);
            } else if entry.facts.post_start == HookState::Idle && !self.is_stopping(&entry) {
                self.actions.push(Action::RunPostStart {
                    container: entry.name().to_owned(),
                    instance: instance.id.clone(),
                });
            }
        }
    }

    /// R3.1-R3.12, R4.1-R4.10.
    fn advance_init(&mut self, sandbox: &str) -> InitProgress {
        let inits = self.inits();
        let apps_exist = self.apps().iter().any(|entry| {
            // R3.8: only what exists in this sandbox proves anything, and an exit may predate it.
            let newest = entry.newest().filter(|instance| instance.sandbox == sandbox);
            newest.is_some_and(|instance| {
                matches!(instance.state, InstanceState::Created | InstanceState::Running { .. })
                    || self.memory.initialized
            })
        });
        let in_flight = self.apps().iter().any(|entry| entry.facts.operation.is_some());
        let all_done = apps_exist || in_flight;
        let reached = if all_done {
            inits.len()
        } else {
            // R3.8: a start under way proves as much as a record, should an earlier record be lost meanwhile.
            let begun = |entry: &Entry<'_>| entry.newest().is_some() || entry.facts.operation.is_some();
            inits.iter().rposition(begun).map_or(0, |at| at + 1)
        };
        for (index, entry) in inits.iter().enumerate().take(reached) {
            let is_latest = !all_done && index + 1 == reached;
            if entry.role == Role::Sidecar {
                self.keep_sidecar(entry, sandbox);
            } else if is_latest && let Some(progress) = self.settle_init(entry, sandbox) {
                return self.mark_later(&inits, index, progress);
            }
            if is_latest && entry.role == Role::Sidecar && !self.lets_go(entry) {
                return self.mark_later(&inits, index, InitProgress::Pending);
            }
        }
        let Some(next) = inits.get(reached) else { return InitProgress::Done };
        self.start(next, sandbox);
        self.mark_later(&inits, reached, InitProgress::Pending)
    }

    /// What the latest plain init container means for the ones after it; `None` if it is done.
    fn settle_init(&mut self, entry: &Entry<'_>, sandbox: &str) -> Option<InitProgress> {
        match entry.newest().map(|instance| &instance.state) {
            Some(InstanceState::Running { .. }) => Some(InitProgress::Pending),
            Some(InstanceState::Exited(exit)) if exit.code == 0 && !exit.oom_killed => None,
            Some(InstanceState::Exited(exit)) => {
                if self.restarts(entry, exit.code) {
                    self.start(entry, sandbox);
                    Some(InitProgress::Pending)
                } else {
                    Some(InitProgress::Failed)
                }
            }
            Some(InstanceState::Unknown) if self.policy() == "Never" => Some(InitProgress::Failed),
            Some(InstanceState::Unknown) => {
                self.replace_unknown(entry);
                Some(InitProgress::Pending)
            }
            Some(InstanceState::Created) | None => {
                self.start(entry, sandbox);
                Some(InitProgress::Pending)
            }
        }
    }

    /// R4.4, R4.8-R4.11: a sidecar runs, or is made to.
    fn keep_sidecar(&mut self, entry: &Entry<'_>, sandbox: &str) {
        match entry.newest().map(|instance| &instance.state) {
            Some(InstanceState::Running { .. }) => {
                let name = entry.name();
                if self.has_changed(entry) {
                    let message = format!("Init container {name} definition changed");
                    self.stop_one(entry, None, &message);
                } else if entry.verdict(|facts| facts.probes.liveness) == Some(Verdict::Failure) {
                    let message = format!("Init container {name} failed liveness probe");
                    self.stop_one(entry, self.probe_grace(entry, false), &message);
                } else if entry.verdict(|facts| facts.probes.startup) == Some(Verdict::Failure) {
                    let message = format!("Init container {name} failed startup probe");
                    self.stop_one(entry, self.probe_grace(entry, true), &message);
                }
            }
            Some(InstanceState::Unknown) => self.replace_unknown(entry),
            Some(InstanceState::Created | InstanceState::Exited(_)) | None => {
                self.start(entry, sandbox);
            }
        }
    }

    /// What everything after the entry at `index` waits for, app containers included.
    fn mark_later(&mut self, inits: &[Entry<'_>], index: usize, progress: InitProgress) -> InitProgress {
        let why = inits.get(index).map(|entry| self.gate(entry));
        if let (InitProgress::Pending, Some(why)) = (&progress, why) {
            for later in inits.iter().skip(index + 1) {
                self.wait(later.name(), why.clone());
            }
            let returns =
                |app: &Entry<'_>| app.exited().is_none_or(|(_, exit)| self.restarts(app, exit.code));
            let apps: Vec<Entry<'_>> = self.apps().into_iter().filter(returns).collect();
            for app in apps.iter().filter(|app| !app.is_alive()) {
                self.wait(app.name(), why.clone());
            }
        }
        progress
    }

    /// What it takes for `entry` to let others go.
    fn gate(&self, entry: &Entry<'_>) -> WaitingFor {
        let container = entry.name().to_owned();
        if entry.role == Role::Init {
            return WaitingFor::InitContainer { container };
        }
        let hook_done = entry.running().is_some_and(|instance| {
            !entry.definition.has_post_start()
                || self.memory_of(entry.name()).post_start_done.as_deref() == Some(&instance.id)
        });
        let lacks = match (entry.running(), hook_done) {
            (None, _) => StartedLack::Running,
            (Some(_), false) => StartedLack::PostStart,
            (Some(_), true) => StartedLack::StartupProbe,
        };
        WaitingFor::SidecarStarted { container, lacks }
    }

    /// R2.5, R5.1-R5.7. Says whether nothing runs and nothing will.
    fn advance_apps(&mut self, sandbox: &str) -> bool {
        let (mut keep, mut busy) = (false, None::<String>);
        for entry in self.apps() {
            let turn_of = busy.clone();
            let wants_start = match entry.newest().map(|instance| &instance.state) {
                None | Some(InstanceState::Created) => true,
                Some(InstanceState::Exited(exit)) => self.restarts_now(&entry, exit.code),
                Some(InstanceState::Unknown) => {
                    keep = true;
                    self.replace_unknown(&entry);
                    false
                }
                Some(InstanceState::Running { .. }) => {
                    keep = true;
                    self.check_running_app(&entry);
                    if self.post_start_runs(&entry) {
                        busy.get_or_insert(entry.name().to_owned());
                    }
                    false
                }
            };
            if !wants_start {
                continue;
            }
            keep = true;
            match turn_of {
                Some(container) if entry.facts.operation.is_none() => {
                    self.wait(entry.name(), WaitingFor::Turn { container });
                }
                _ => {
                    if self.start(&entry, sandbox) {
                        busy.get_or_insert(entry.name().to_owned());
                    }
                }
            }
        }
        !keep
    }

    fn post_start_runs(&self, entry: &Entry<'_>) -> bool {
        let Some(instance) = entry.running() else { return false };
        let memory = self.memory_of(entry.name());
        entry.definition.has_post_start()
            && memory.post_start_done.as_deref() != Some(&instance.id)
            && memory.post_start_failed.is_none()
    }

    /// R5.3, R5.4: a probe's kill does not ask exit-code rules.
    fn restarts_now(&self, entry: &Entry<'_>, code: i32) -> bool {
        let stop = self.memory_of(entry.name()).stop.as_ref();
        let instance = entry.newest().map(|instance| instance.id.as_str());
        let by_probe = stop.is_some_and(|stop| stop.exempt && Some(stop.instance.as_str()) == instance);
        if by_probe && !self.has_changed(entry) {
            self.restarts_after_probe(entry)
        } else {
            by_probe || self.restarts(entry, code)
        }
    }

    /// R5.2.
    fn check_running_app(&mut self, entry: &Entry<'_>) {
        let name = entry.name();
        let (message, grace, restarts) = if self.has_changed(entry) {
            (format!("Container {name} definition changed"), None, true)
        } else if entry.verdict(|facts| facts.probes.liveness) == Some(Verdict::Failure) {
            let grace = self.probe_grace(entry, false);
            (format!("Container {name} failed liveness probe"), grace, self.restarts_after_probe(entry))
        } else if entry.verdict(|facts| facts.probes.startup) == Some(Verdict::Failure) {
            let grace = self.probe_grace(entry, true);
            (format!("Container {name} failed startup probe"), grace, self.restarts_after_probe(entry))
        } else {
            return;
        };
        if restarts {
            self.stop_one(entry, grace, &format!("{message}, will be restarted"));
        } else if self.is_last_app(entry) {
            // R5.3: not a container's end but the Pod's.
            self.memory.finishing = true;
        } else {
            self.stop_one(entry, grace, &message);
        }
    }

    /// Whether no other app container runs, waits or comes back.
    fn is_last_app(&self, entry: &Entry<'_>) -> bool {
        self.apps()
            .iter()
            .filter(|other| other.name() != entry.name())
            .all(|other| other.exited().is_some_and(|(_, exit)| !self.restarts(other, exit.code)))
    }

    pub(crate) fn stop_one(&mut self, entry: &Entry<'_>, grace: Option<u64>, message: &str) {
        let grace = grace.or(self.spec_grace()).unwrap_or(2);
        self.begin_stop(entry, StopScope::Container, grace, message, true);
    }

    /// R6.22.
    fn probe_grace(&self, entry: &Entry<'_>, startup: bool) -> Option<u64> {
        let definition = entry.definition;
        let probe = if startup { definition.startup_probe() } else { definition.liveness_probe() };
        probe?.termination_grace_period_seconds.and_then(|seconds| u64::try_from(seconds).ok())
    }

    /// R2.20.
    fn has_changed(&self, entry: &Entry<'_>) -> bool {
        let hash = definition_hash(entry.name(), entry.definition.image());
        entry
            .newest()
            .is_some_and(|instance| !instance.definition_hash.is_empty() && instance.definition_hash != hash)
    }

    /// R5.1: killed first.
    fn replace_unknown(&mut self, entry: &Entry<'_>) {
        let grace = self.spec_grace().unwrap_or(2);
        let message = "Container is in \"unknown\" state, try killing it before restart";
        self.begin_stop(entry, StopScope::Container, grace, message, true);
    }

    /// Asks for a start unless something stands in its way. Says whether a start is under way.
    fn start(&mut self, entry: &Entry<'_>, sandbox: &str) -> bool {
        if let Some(operation) = &entry.facts.operation {
            let why = match operation {
                Operation::Pulling => WaitingFor::Image,
                Operation::Starting => WaitingFor::Starting,
            };
            self.wait(entry.name(), why);
            return true;
        }
        if matches!(self.failure_back_off(entry), Hindrance::Delayed) {
            return false;
        }
        if matches!(self.crash_back_off(entry), Hindrance::Delayed) {
            return false;
        }
        let memory = self.memory_of(entry.name());
        // R5.31: records first, then the logs on disk.
        let attempt = match entry.newest() {
            Some(newest) => memory.next_attempt.max(newest.attempt + 1),
            None if memory.next_attempt > 0 => memory.next_attempt,
            None => entry.facts.next_log,
        };
        self.wait(entry.name(), WaitingFor::Starting);
        self.actions.push(Action::StartContainer {
            container: entry.name().to_owned(),
            attempt,
            sandbox: sandbox.to_owned(),
        });
        true
    }

    /// R5.17-R5.21. Says whether a restart of everything is under way.
    fn drive_restart_all(&mut self) -> bool {
        if !self.memory.restarting_all {
            let entries = self.entries.clone();
            if !entries.iter().any(|entry| self.triggers_restart_all(entry)) {
                return false;
            }
            self.memory.restarting_all = true;
        }
        let mut left = false;
        for entry in self.restart_order() {
            self.wait(entry.name(), WaitingFor::RestartAllContainers);
            // R5.18: one after the other, each removed before the next is killed.
            left = left || self.take_down(&entry);
        }
        self.memory.restarting_all = left;
        left
    }

    /// One step of making a container as if it had never been. Says whether anything is left of it.
    fn take_down(&mut self, entry: &Entry<'_>) -> bool {
        let container = entry.name().to_owned();
        if entry.facts.operation.is_some() {
            self.actions.push(Action::CancelStart { container });
            return true;
        }
        if entry.is_alive() {
            self.begin_stop(entry, StopScope::Container, 0, "killing", true);
            return true;
        }
        if let Some(removed) = &mut self.remember(entry.name()).removed_exit {
            removed.why = RemovedWhy::RestartAllContainers;
        }
        for instance in &entry.facts.instances {
            let (container, instance) = (container.clone(), instance.id.clone());
            self.actions.push(Action::RemoveInstance { container, instance });
        }
        !entry.facts.instances.is_empty()
    }
}

impl<'a> Turn<'a> {
    /// R5.18: those that did not trigger it first, app containers before init entries.
    fn restart_order(&self) -> Vec<Entry<'a>> {
        let mut all: Vec<Entry<'a>> =
            self.entries.iter().filter(|entry| entry.role != Role::Ephemeral).copied().collect();
        all.sort_by_key(|entry| (self.triggers_restart_all(entry), entry.role.is_init_entry()));
        all
    }
}
