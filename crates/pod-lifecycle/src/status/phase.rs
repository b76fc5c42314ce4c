//! The phase: first match wins (section 9A).

use crate::input::InstanceState;
use crate::spec::Role;
use crate::turn::{Entry, Turn};

/// `status.phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    pub(crate) const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

impl Turn<'_> {
    /// The phase as the containers have it, whether or not it may be shown yet.
    pub(crate) fn phase(&self, final_state: bool) -> Phase {
        let apps = self.apps();
        let sandbox = self.newest_sandbox().map(|sandbox| sandbox.id.as_str());
        let init_done =
            apps.iter().any(|entry| entry.newest().is_some_and(|it| Some(it.sandbox.as_str()) == sandbox));
        if !init_done && let Some(early) = self.init_phase() {
            return early;
        }
        let (mut running, mut waiting) = (0, 0);
        let mut stopped: Vec<&Entry<'_>> = Vec::new();
        for entry in self.entries.iter().filter(|entry| matches!(entry.role, Role::App | Role::Sidecar)) {
            match entry.newest().map(|instance| &instance.state) {
                Some(InstanceState::Running { .. }) if self.shows_running(entry) => running += 1,
                Some(InstanceState::Exited(_)) if entry.role == Role::App => stopped.push(entry),
                Some(InstanceState::Exited(_)) => {}
                None if self.memory_of(entry.name()).removed_exit.is_some() => {
                    if entry.role == Role::App {
                        stopped.push(entry);
                    }
                }
                Some(InstanceState::Unknown) => return Phase::Pending,
                // An instance before the newest one ended: it ran once (R9.4 is about those that never did).
                Some(InstanceState::Running { .. } | InstanceState::Created)
                    if entry.facts.instances.len() > 1
                        || self.memory_of(entry.name()).removed_exit.is_some() =>
                {
                    if entry.role == Role::App {
                        stopped.push(entry);
                    }
                }
                Some(InstanceState::Running { .. } | InstanceState::Created) | None => waiting += 1,
            }
        }
        if waiting > 0 {
            return Phase::Pending;
        }
        if running > 0 {
            return Phase::Running;
        }
        if stopped.is_empty() {
            return Phase::Pending;
        }
        let comes_back = |entry: &&&Entry<'_>| match entry.exited() {
            Some((_, exit)) => self.restarts(entry, exit.code),
            None => true,
        };
        if !final_state && stopped.iter().any(|entry| comes_back(&entry)) {
            return Phase::Running;
        }
        let good = stopped.iter().all(|entry| entry.exited().is_some_and(|(_, exit)| exit.code == 0));
        if good { Phase::Succeeded } else { Phase::Failed }
    }

    /// R9.3 [Q]: whether the sidecar counted as started before this turn.
    fn was_started(&self, entry: &Entry<'_>) -> bool {
        let before = self.input.memory.containers.get(entry.name());
        let started = before.and_then(|memory| memory.started.as_ref());
        started.is_some() && started == entry.running().map(|instance| &instance.id)
    }

    /// R9.1-R9.3.
    fn init_phase(&self) -> Option<Phase> {
        for entry in self.inits() {
            match (entry.role, entry.newest().map(|instance| &instance.state)) {
                (Role::Sidecar, Some(InstanceState::Running { .. })) if !self.was_started(&entry) => {
                    return Some(Phase::Pending);
                }
                (Role::Sidecar, None) if self.memory_of(entry.name()).removed_exit.is_none() => {
                    return Some(Phase::Pending);
                }
                (Role::Sidecar, _) => {}
                (_, Some(InstanceState::Exited(exit))) if exit.code == 0 => {}
                (_, Some(InstanceState::Exited(exit))) => {
                    let again = self.restarts(&entry, exit.code);
                    return Some(if again { Phase::Pending } else { Phase::Failed });
                }
                _ => return Some(Phase::Pending),
            }
        }
        None
    }
}
