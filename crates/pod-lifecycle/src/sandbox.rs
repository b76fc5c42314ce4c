//! The sandbox: when a new one is needed, and how an old one is replaced (R2.8-R2.13).

use std::time::Duration;

use crate::backoff::RETRY;
use crate::decision::{Action, WaitingFor};
use crate::input::{InstanceState, SandboxOperation};
use crate::reason::{EventReason, FailureReason};
use crate::turn::Turn;

/// How often a node without a network says so (R2.19).
const NETWORK_RETRY: Duration = Duration::from_secs(1);

/// Where a Pod stands with its sandbox.
pub(crate) enum Sandbox {
    /// Containers can be started in it.
    Ready(String),
    /// Nothing can be started yet.
    NotYet,
    /// It is gone and is not made anew: what is left is to be stopped (R2.11).
    Over,
}

impl Turn<'_> {
    /// R2.8.
    pub(crate) fn needs_sandbox(&self) -> bool {
        let ready = self.input.sandboxes.iter().filter(|sandbox| sandbox.ready).count();
        let Some(newest) = self.newest_sandbox() else { return true };
        ready > 1
            || !newest.ready
            || newest.host_network != self.host_network()
            || (!newest.host_network && newest.ips.is_empty())
    }

    /// Makes sure of a sandbox, as far as one turn goes.
    pub(crate) fn sandbox(&mut self) -> Sandbox {
        // One that is being made may be listed before it is ready; that is no change (R2.10).
        if self.input.sandbox_operation == Some(SandboxOperation::Creating) {
            self.wait_for_sandbox();
            return Sandbox::NotYet;
        }
        let Some(newest) = self.newest_sandbox() else { return self.create_sandbox(0) };
        if !self.needs_sandbox() {
            self.memory.replacing_sandbox = false;
            return Sandbox::Ready(newest.id.clone());
        }
        if !self.memory.replacing_sandbox && self.is_over() {
            return Sandbox::Over;
        }
        if !self.memory.replacing_sandbox {
            self.memory.replacing_sandbox = true;
            let text = "Pod sandbox changed, it will be killed and re-created.";
            self.normal(EventReason::SandboxChanged, "", text);
        }
        self.wait_for_sandbox();
        let grace = self.spec_grace().unwrap_or(2);
        if self.stop_everything(grace) || self.input.sandbox_operation.is_some() {
            return Sandbox::NotYet;
        }
        let mut left = false;
        for sandbox in self.input.sandboxes.iter().filter(|sandbox| sandbox.ready) {
            left = true;
            self.actions.push(Action::StopSandbox { sandbox: sandbox.id.clone() });
        }
        // R3.9: all init containers run again.
        for entry in self.inits() {
            for instance in &entry.facts.instances {
                left = true;
                self.actions.push(Action::RemoveInstance {
                    container: entry.name().to_owned(),
                    instance: instance.id.clone(),
                });
            }
        }
        if left { Sandbox::NotYet } else { self.create_sandbox(newest.attempt + 1) }
    }

    /// R2.11, R2.12.
    fn is_over(&self) -> bool {
        let any_record = self.entries.iter().any(|entry| entry.newest().is_some());
        if self.policy() == "Never" && any_record {
            return true;
        }
        let apps = self.apps();
        let any_app = apps.iter().any(|entry| entry.newest().is_some());
        let needs_start = apps.iter().any(|entry| match entry.newest().map(|instance| &instance.state) {
            None => true,
            Some(InstanceState::Exited(exit)) => self.restarts(entry, exit.code),
            Some(InstanceState::Created | InstanceState::Running { .. } | InstanceState::Unknown) => {
                self.policy() != "Never"
            }
        });
        any_app && !needs_start
    }

    fn create_sandbox(&mut self, attempt: u32) -> Sandbox {
        let now = self.input.now;
        if let Some(problem) = self.input.node.network_problem.clone().filter(|_| !self.host_network()) {
            let due = self.memory.reported_network.is_none_or(|last| now.mono >= last + NETWORK_RETRY);
            if due {
                self.memory.reported_network = Some(now.mono);
                self.warn(EventReason::NetworkNotReady, "", format!("network is not ready: {problem}"));
            }
            self.wake(now.mono + NETWORK_RETRY);
            for entry in self.entries.clone().iter().filter(|entry| entry.newest().is_none()) {
                self.wait(entry.name(), WaitingFor::Network);
            }
            return Sandbox::NotYet;
        }
        self.wait_for_sandbox();
        if self.input.sandbox_operation.is_some() {
            return Sandbox::NotYet;
        }
        let failure = self.input.sandbox_failure;
        if let Some(failure) = failure.filter(|it| it.reason == FailureReason::CreatePodSandboxError) {
            if self.memory.reported_sandbox_failure != Some(failure.at_wall) {
                self.memory.reported_sandbox_failure = Some(failure.at_wall);
                let text = format!("Failed to create pod sandbox: {}", failure.message);
                self.warn(EventReason::FailedCreatePodSandBox, "", text);
            }
            if now.mono < failure.at + RETRY {
                self.wake(failure.at + RETRY);
                return Sandbox::NotYet;
            }
        }
        self.actions.push(Action::CreateSandbox { attempt });
        Sandbox::NotYet
    }

    fn wait_for_sandbox(&mut self) {
        let problem = self.input.sandbox_failure.map(|failure| failure.message.clone());
        for entry in self.entries.clone().iter().filter(|entry| !entry.is_alive()) {
            self.wait(entry.name(), WaitingFor::Sandbox { problem: problem.clone() });
        }
    }
}
