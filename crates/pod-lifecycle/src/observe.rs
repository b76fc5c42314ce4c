//! What a turn learns from the facts before it decides: who started, who is ready, which counts have moved.

use crate::decision::Action;
use crate::input::{Exit, HookState, InstanceState, Verdict};
use crate::memory::{RemovedExit, RemovedWhy};
use crate::reason::EventReason;
use crate::spec::Role;
use crate::turn::{Entry, Turn};

/// Instances kept of each container: the newest, and the one before it for `--previous` (R2.17).
const KEPT: usize = 2;

impl Turn<'_> {
    /// Brings the memory up to date.
    pub(crate) fn observe(&mut self) {
        if self.memory.start_time.is_none() {
            let told = self.pod().status.as_ref().and_then(|status| status.start_time.as_ref());
            self.memory.start_time = Some(told.map_or(self.input.now.wall, |told| told.0));
        }
        for entry in self.entries.clone() {
            self.observe_attempts(&entry);
            self.observe_post_start(&entry);
            self.observe_started(&entry);
            if let Some(failure) = &entry.facts.failure {
                self.report_failure(&entry, failure);
            }
            self.prune(&entry);
        }
        let app_ran = self.apps().iter().any(|entry| {
            entry.newest().is_some_and(|instance| !matches!(instance.state, InstanceState::Created))
        });
        let none = self.inits().is_empty();
        let all_done = self.inits().iter().all(|entry| match entry.role {
            Role::Sidecar => self.is_started(entry),
            _ => entry.exited().is_some_and(|(_, exit)| exit.code == 0),
        });
        self.memory.initialized |= none || app_ran || all_done;
    }

    /// I9: the count never goes back, whatever records are lost.
    fn observe_attempts(&mut self, entry: &Entry<'_>) {
        let Some(newest) = entry.newest() else { return };
        let next = newest.attempt + 1;
        let id = newest.id.clone();
        let memory = self.remember(entry.name());
        memory.next_attempt = memory.next_attempt.max(next);
        if memory.stop.as_ref().is_some_and(|stop| stop.instance != id) {
            memory.stop = None;
        }
        if memory.post_start_failed.as_ref().is_some_and(|(instance, _)| *instance != id) {
            memory.post_start_failed = None;
        }
    }

    fn observe_post_start(&mut self, entry: &Entry<'_>) {
        let Some(instance) = entry.running() else { return };
        if !entry.definition.has_post_start() {
            return;
        }
        match &entry.facts.post_start {
            HookState::Succeeded => {
                self.remember(entry.name()).post_start_done = Some(instance.id.clone());
            }
            HookState::Failed { message } => {
                let known = self.memory_of(entry.name()).post_start_failed.as_ref();
                if known.is_none_or(|(of, _)| *of != instance.id) {
                    self.warn(EventReason::FailedPostStartHook, entry.field_path(), "PostStartHook failed");
                    self.remember(entry.name()).post_start_failed =
                        Some((instance.id.clone(), message.clone()));
                }
            }
            HookState::Idle | HookState::Running => {}
        }
    }

    /// R4.2, R6.4, R6.13, R6.14.
    fn observe_started(&mut self, entry: &Entry<'_>) {
        let Some(instance) = entry.running() else {
            let memory = self.remember(entry.name());
            (memory.started, memory.ready) = (None, None);
            return;
        };
        let id = instance.id.clone();
        let hook_done = !entry.definition.has_post_start()
            || self.memory_of(entry.name()).post_start_done.as_ref() == Some(&id);
        let startup = entry.definition.startup_probe().is_none()
            || entry.verdict(|facts| facts.probes.startup) == Some(Verdict::Success);
        let already = self.memory_of(entry.name()).started.as_ref() == Some(&id);
        let started = already || (hook_done && startup);
        let readiness = entry.verdict(|facts| facts.probes.readiness);
        let was_ready = self.memory_of(entry.name()).ready.as_ref() == Some(&id);
        let ready = started
            && match (entry.definition.readiness_probe(), readiness) {
                (None, _) | (Some(_), Some(Verdict::Success)) => true,
                (Some(_), Some(Verdict::Failure)) => false,
                (Some(_), None) => was_ready,
            };
        let memory = self.remember(entry.name());
        memory.started = started.then(|| id.clone());
        memory.ready = ready.then_some(id);
    }

    /// R2.17: old records go; the exit a status still shows is remembered.
    fn prune(&mut self, entry: &Entry<'_>) {
        let spare = entry.facts.instances.len().saturating_sub(KEPT);
        for instance in &entry.facts.instances[..spare] {
            self.actions.push(Action::RemoveInstance {
                container: entry.name().to_owned(),
                instance: instance.id.clone(),
            });
        }
        if let Some((instance, exit)) = entry.exited() {
            let removed = RemovedExit {
                instance: instance.id.clone(),
                attempt: instance.attempt,
                exit: exit.clone(),
                why: RemovedWhy::Pruned,
            };
            let memory = self.remember(entry.name());
            let known = memory.removed_exit.replace(removed);
            if let Some(known) = known.filter(|known| known.instance != instance.id) {
                memory.exit_before = Some(known).filter(|known| known.attempt + 1 == instance.attempt);
            }
        } else if entry.newest().is_none() && !self.memory.restarting_all && self.ran_last(entry) {
            let now = self.input.now.wall;
            let memory = self.remember(entry.name());
            memory.removed_exit = Some(RemovedExit {
                instance: String::new(),
                attempt: memory.next_attempt.saturating_sub(1),
                exit: Exit {
                    code: 137,
                    signal: None,
                    oom_killed: false,
                    start_error: None,
                    started_at: None,
                    finished_at: now,
                    message: String::new(),
                },
                why: RemovedWhy::Vanished,
            });
        }
    }

    /// Whether the last status showed it running.
    fn ran_last(&self, entry: &Entry<'_>) -> bool {
        let Some(status) = &self.input.memory.status else { return false };
        let inits = status.init_container_statuses.iter().flatten();
        let mut all = inits.chain(status.container_statuses.iter().flatten());
        let last = all.find(|status| status.name == entry.name());
        last.and_then(|status| status.state.as_ref()).is_some_and(|state| state.running.is_some())
    }
}
