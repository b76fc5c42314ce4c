//! Stopping containers: preStop, TERM, KILL, and whose turn it is (section 8B, 8C).
//!
//! ```text
//! begun ──► preStop (if any) ──► [sidecars of a whole-Pod stop: wait for a turn] ──► TERM ──► KILL
//!   └────────────────────── one grace window, counted from `begun` ──────────────────────┘
//! ```

use std::time::Duration;

use outrigger_api::MonoTime;

use crate::decision::{Action, StopSignal};
use crate::input::HookState;
use crate::memory::{HookProgress, StopRecord, StopScope, TermSent};
use crate::reason::EventReason;
use crate::spec::Role;
use crate::turn::{Entry, Turn};

/// Every TERM is followed by KILL no sooner than this (R8.7).
const FLOOR: u64 = 2;
/// A process that survives KILL this long gets another.
const KILL_AGAIN: Duration = Duration::from_secs(2);

impl Turn<'_> {
    /// Begins to stop a container unless that was begun already, and says so (R8.10).
    pub(crate) fn begin_stop(
        &mut self,
        entry: &Entry<'_>,
        scope: StopScope,
        grace_seconds: u64,
        message: &str,
        exempt: bool,
    ) {
        let Some(instance) = entry.newest() else { return };
        let known = self.memory_of(entry.name()).stop.as_ref();
        if known.is_some_and(|stop| stop.instance == instance.id) {
            return;
        }
        self.normal(EventReason::Killing, entry.field_path(), message);
        let hook = entry.running().is_some() && entry.definition.has_pre_stop() && grace_seconds > 0;
        self.remember(entry.name()).stop = Some(StopRecord {
            instance: instance.id.clone(),
            begun: self.input.now.mono,
            grace_seconds,
            scope,
            hook: if hook { HookProgress::Running } else { HookProgress::None },
            term: None,
            kill: None,
            exempt,
            repeat_term: false,
        });
    }

    /// Whether a stop of its newest instance is under way.
    pub(crate) fn is_stopping(&self, entry: &Entry<'_>) -> bool {
        let id = entry.newest().map(|instance| instance.id.as_str());
        let stop = self.memory.containers.get(entry.name()).and_then(|memory| memory.stop.as_ref());
        entry.is_alive() && id.is_some() && stop.map(|stop| stop.instance.as_str()) == id
    }

    /// Moves every stop under way as far as it goes now.
    pub(crate) fn drive_stops(&mut self) {
        for entry in self.entries.clone() {
            self.settle_abandoned_hook(&entry);
            if self.is_stopping(&entry) {
                self.drive_stop(&entry);
            }
        }
    }

    /// R7.6: what became of hooks that were left to themselves. The end of its container breaks an exec.
    fn settle_abandoned_hook(&mut self, entry: &Entry<'_>) {
        let Some(stop) = &self.memory_of(entry.name()).stop else { return };
        let HookProgress::Abandoned(at) = stop.hook else { return };
        let exec = entry.full().is_some_and(|container| {
            let hook = container.lifecycle.as_ref().and_then(|hooks| hooks.pre_stop.as_ref());
            hook.is_some_and(|hook| hook.exec.is_some())
        });
        let broken = match &entry.facts.pre_stop {
            HookState::Succeeded => false,
            HookState::Failed { .. } => true,
            HookState::Idle | HookState::Running if entry.is_alive() => return,
            HookState::Idle | HookState::Running => exec,
        };
        if broken {
            self.warn(EventReason::FailedPreStopHook, entry.field_path(), "PreStopHook failed");
        }
        if let Some(stop) = &mut self.remember(entry.name()).stop {
            stop.hook = HookProgress::Ended(at);
        }
    }

    fn drive_stop(&mut self, entry: &Entry<'_>) {
        let Some(mut stop) = self.memory_of(entry.name()).stop.clone() else { return };
        let now = self.input.now.mono;
        let window_end = stop.begun + Duration::from_secs(stop.grace_seconds);
        if stop.hook == HookProgress::Running {
            self.drive_hook(entry, &mut stop, window_end);
        }
        if stop.hook != HookProgress::Running && stop.term.is_none() {
            let window_used = now >= window_end;
            if window_used || self.may_stop_now(entry, stop.scope) {
                let used_seconds = now.since(stop.begun).as_secs();
                stop.term = Some(TermSent { at: now, used_seconds });
                self.signal(entry, &stop, StopSignal::Term);
            } else {
                self.wake(window_end);
            }
        }
        if std::mem::take(&mut stop.repeat_term) {
            // R8.7: the process may hear of it only now, however late it is.
            let used_seconds = now.since(stop.begun).as_secs();
            stop.term = Some(TermSent { at: now, used_seconds });
            self.signal(entry, &stop, StopSignal::Term);
        }
        if let Some(term) = stop.term {
            self.drive_kill(entry, &mut stop, term);
        }
        self.remember(entry.name()).stop = Some(stop);
    }

    fn drive_hook(&mut self, entry: &Entry<'_>, stop: &mut StopRecord, deadline: MonoTime) {
        let now = self.input.now.mono;
        match &entry.facts.pre_stop {
            HookState::Succeeded => stop.hook = HookProgress::Ended(now),
            HookState::Failed { .. } => {
                self.warn(EventReason::FailedPreStopHook, entry.field_path(), "PreStopHook failed");
                stop.hook = HookProgress::Ended(now);
            }
            // R7.6: out of time.
            HookState::Idle | HookState::Running if now >= deadline => {
                stop.hook = HookProgress::Abandoned(now);
            }
            HookState::Running => self.wake(deadline),
            HookState::Idle => {
                self.actions.push(Action::RunPreStop {
                    container: entry.name().to_owned(),
                    instance: stop.instance.clone(),
                    deadline,
                });
                self.wake(deadline);
            }
        }
    }

    fn drive_kill(&mut self, entry: &Entry<'_>, stop: &mut StopRecord, term: TermSent) {
        let now = self.input.now.mono;
        let left = stop.grace_seconds.saturating_sub(term.used_seconds).max(FLOOR);
        let due = match stop.kill {
            None => term.at + Duration::from_secs(left),
            Some(last) => last + KILL_AGAIN,
        };
        if now >= due {
            stop.kill = Some(now);
            self.signal(entry, stop, StopSignal::Kill);
            self.wake(now + KILL_AGAIN);
        } else {
            self.wake(due);
        }
    }

    fn signal(&mut self, entry: &Entry<'_>, stop: &StopRecord, signal: StopSignal) {
        self.actions.push(Action::Signal {
            container: entry.name().to_owned(),
            instance: stop.instance.clone(),
            signal,
        });
    }

    /// R8.12: sidecars leave last, in reverse order; all others at once.
    fn may_stop_now(&self, entry: &Entry<'_>, scope: StopScope) -> bool {
        if scope == StopScope::Container || entry.role != Role::Sidecar {
            return true;
        }
        let own = self.entries.iter().position(|other| other.name() == entry.name()).unwrap_or(0);
        let waits_for = |(index, other): (usize, &Entry<'_>)| match other.role {
            Role::App => other.is_alive(),
            Role::Sidecar => index > own && other.is_alive(),
            Role::Init | Role::Ephemeral => false,
        };
        !self.entries.iter().enumerate().any(waits_for)
    }

    /// Stops everything that runs, with the ordering of a whole-Pod stop (R8.10, R8.17). Says whether anything is left.
    pub(crate) fn stop_everything(&mut self, grace_seconds: u64) -> bool {
        let mut left = false;
        for entry in self.entries.clone() {
            if entry.facts.operation.is_some() {
                left = true;
                self.actions.push(Action::CancelStart { container: entry.name().to_owned() });
            }
            if !entry.is_alive() {
                continue;
            }
            left = true;
            let message = format!("Stopping container {}", entry.name());
            self.begin_stop(&entry, StopScope::Pod, grace_seconds, &message, false);
            if let Some(stop) = &mut self.remember(entry.name()).stop {
                // R8.8: a shorter grace shortens what is under way.
                stop.grace_seconds = stop.grace_seconds.min(grace_seconds);
            }
        }
        left
    }
}
