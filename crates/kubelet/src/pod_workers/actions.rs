//! Beginning actions as operations, and taking in how they ended.

use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use outrigger_pod_lifecycle::{
    Action, FailureReason, HookState, Operation, SandboxOperation, StopSignal, VolumesState,
};
use outrigger_runtime::ContainerState;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::start::{Start, StartFailure};
use super::{EXIT_SHOWN, Outcome, PodWorker, RETRY, SmallKey, Starting, is_kill, sandbox};
use crate::container::{Entry, find, labels};
use crate::hooks::run_hook;
use crate::status;
use crate::volumes;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

impl PodWorker {
    pub(super) fn begin(&mut self, pod: &Arc<Pod>, action: &Action, status: &PodStatus) {
        match action {
            Action::MountVolumes => self.mount_volumes(pod),
            Action::UnmountVolumes => self.unmount_volumes(),
            Action::CreateSandbox { attempt } => self.create_sandbox(pod, *attempt),
            Action::StopSandbox { sandbox } => self.stop_sandbox(sandbox),
            Action::RemoveSandbox { sandbox } => self.remove_sandbox(sandbox),
            Action::StartContainer { container, attempt, sandbox } => {
                self.start(pod, container, *attempt, sandbox, status);
            }
            Action::CancelStart { container } => {
                if let Some(starting) = self.local.starting.get(container) {
                    starting.cancel.cancel();
                }
            }
            Action::RunPostStart { container, instance } => {
                self.hook(pod, container, instance, false, status);
            }
            Action::RunPreStop { container, instance, .. } => {
                self.hook(pod, container, instance, true, status);
            }
            Action::Signal { instance, signal, .. } => self.signal(pod, instance, *signal),
            Action::Resize => self.resize(pod),
            Action::RemoveInstance { instance, .. } => self.remove_instance(instance),
            Action::ConfirmDeletion => self.confirm_deletion(status),
            // The caller ends the task.
            Action::Forget => {}
        }
    }

    fn mount_volumes(&mut self, pod: &Arc<Pod>) {
        if self.local.mounting.is_some() {
            return;
        }
        let cancel = CancellationToken::new();
        self.local.mounting = Some(cancel.clone());
        self.local.volumes = VolumesState::Mounting { problem: None };
        let (context, pod) = (self.context.clone(), pod.clone());
        let (problem, changed) = (self.local.volume_problem.clone(), self.changed.clone());
        let addresses = self.addresses(&pod);
        self.operations.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = volumes::mount_all(&context, &pod, &addresses, &problem, &changed) => {}
            }
            Outcome::Mounted
        });
    }

    fn unmount_volumes(&mut self) {
        if let Some(cancel) = &self.local.mounting {
            cancel.cancel();
            return;
        }
        if self.local.volumes == VolumesState::Unmounting {
            return;
        }
        self.local.volumes = VolumesState::Unmounting;
        let (context, uid) = (self.context.clone(), self.key.uid.clone());
        self.operations.spawn(async move {
            let work = tokio::task::spawn_blocking(move || volumes::unmount_all(&context, &uid));
            let problem = match work.await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if problem.is_some() {
                tokio::time::sleep(RETRY).await;
            }
            Outcome::Unmounted { problem }
        });
    }

    fn create_sandbox(&mut self, pod: &Arc<Pod>, attempt: u32) {
        if self.local.sandbox_operation.is_some() {
            return;
        }
        self.local.sandbox_operation = Some(SandboxOperation::Creating);
        let (context, pod) = (self.context.clone(), pod.clone());
        self.operations.spawn(async move {
            let result = sandbox::create(&context, &pod, attempt).await;
            context.metrics.sandbox_started(result.is_ok());
            Outcome::Sandbox { result }
        });
    }

    fn stop_sandbox(&mut self, id: &str) {
        if self.local.sandbox_operation.is_some() {
            return;
        }
        self.local.sandbox_operation = Some(SandboxOperation::Stopping);
        let found = self.local.sandboxes.iter().find(|sandbox| sandbox.id == id);
        let attempt = found.filter(|s| s.netns.is_some()).map(|sandbox| sandbox.attempt);
        let (context, uid, id) = (self.context.clone(), self.key.uid.clone(), id.to_owned());
        self.operations.spawn(async move {
            let result = sandbox::stop(&context, &uid, &id, attempt).await;
            if result.is_err() {
                tokio::time::sleep(RETRY).await;
            }
            Outcome::SandboxStopped { result }
        });
    }

    fn remove_sandbox(&mut self, id: &str) {
        if self.local.sandbox_operation.is_some() {
            return;
        }
        self.local.sandbox_operation = Some(SandboxOperation::Removing);
        let (context, id) = (self.context.clone(), id.to_owned());
        self.operations.spawn(async move {
            let result = context.runtime.remove_pod_sandbox(&id).await.map_err(|error| error.to_string());
            if result.is_err() {
                tokio::time::sleep(RETRY).await;
            }
            Outcome::SandboxEnded { result }
        });
    }

    fn start(&mut self, pod: &Arc<Pod>, name: &str, attempt: u32, sandbox: &str, status: &PodStatus) {
        let Some(entry) = find(pod, name) else { return };
        if self.local.starting.contains_key(name) {
            return;
        }
        let operation = Arc::new(Mutex::new(Operation::Pulling));
        let cancel = CancellationToken::new();
        let starting = Starting { operation: operation.clone(), cancel: cancel.clone() };
        self.local.starting.insert(name.to_owned(), starting);
        let start = Start {
            context: self.context.clone(),
            pod: pod.clone(),
            target: entry.target.as_ref().and_then(|target| self.running(target)),
            entry: entry.into_owned(),
            attempt,
            sandbox: sandbox.to_owned(),
            pod_ips: self.pod_ips(sandbox, status),
            operation,
            cancel,
        };
        let container = name.to_owned();
        self.operations.spawn(async move { Outcome::Start { container, result: start.run().await } });
    }

    /// The sandbox's own addresses, because the status may not show them yet (R11.8).
    fn pod_ips(&self, sandbox: &str, status: &PodStatus) -> Vec<String> {
        let found = self.local.sandboxes.iter().find(|s| s.id == sandbox);
        let label = found.and_then(|sandbox| sandbox.labels.get(labels::IPS));
        match label {
            Some(ips) => ips.split(',').map(str::to_owned).collect(),
            None => status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect(),
        }
    }

    fn running(&self, container: &str) -> Option<String> {
        let all = self.local.sandboxes.iter().flat_map(|sandbox| &sandbox.containers);
        let mut running =
            all.filter(|c| c.name == container && matches!(c.state, ContainerState::Running { .. }));
        running.next_back().map(|container| container.id.clone())
    }

    fn hook(&mut self, pod: &Arc<Pod>, name: &str, instance: &str, pre_stop: bool, status: &PodStatus) {
        let key = (instance.to_owned(), pre_stop);
        let Some(entry) = find(pod, name).map(Entry::into_owned) else { return };
        let lifecycle = entry.container.lifecycle.clone().unwrap_or_default();
        let handler = if pre_stop { lifecycle.pre_stop } else { lifecycle.post_start };
        let Some(handler) = handler else { return };
        if self.local.hooks.contains_key(&key) {
            return;
        }
        self.local.hooks.insert(key, HookState::Running);
        let (context, pod, ip) = (self.context.clone(), pod.clone(), self.probe_ip(status));
        let instance = instance.to_owned();
        self.operations.spawn(async move {
            let result = run_hook(&context, &pod, &entry.container, &handler, &instance, &ip).await;
            if pre_stop {
                Outcome::PreStop { instance, result }
            } else {
                Outcome::PostStart { instance, result }
            }
        });
    }

    fn signal(&mut self, pod: &Pod, instance: &str, signal: StopSignal) {
        let key = SmallKey::Signal(instance.to_owned(), is_kill(signal));
        if !self.local.small.insert(key.clone()) {
            return;
        }
        let number = match signal {
            StopSignal::Kill => SIGKILL,
            StopSignal::Term => self.stop_signal(pod, instance),
        };
        let (context, instance) = (self.context.clone(), instance.to_owned());
        self.operations.spawn(async move {
            if let Err(error) = context.runtime.signal_container(&instance, number).await {
                warn!(instance, number, error = &error as &dyn std::error::Error, "signal not sent");
            }
            Outcome::Small { key }
        });
    }

    /// R7.11.
    fn stop_signal(&self, pod: &Pod, instance: &str) -> i32 {
        let all = self.local.sandboxes.iter().flat_map(|sandbox| &sandbox.containers);
        let Some(container) = all.into_iter().find(|container| container.id == instance) else {
            return SIGTERM;
        };
        let lifecycle = find(pod, &container.name).and_then(|entry| entry.container.lifecycle.clone());
        let own = lifecycle.and_then(|lifecycle| lifecycle.stop_signal);
        let image = container.labels.get(labels::STOP_SIGNAL).filter(|signal| !signal.is_empty());
        own.as_ref().or(image).and_then(|text| signal_number(text)).unwrap_or(SIGTERM)
    }

    fn remove_instance(&mut self, instance: &str) {
        let key = SmallKey::Remove(instance.to_owned());
        if !self.local.small.insert(key.clone()) {
            return;
        }
        self.local.messages.remove(instance);
        self.local.hooks.retain(|(of, _), _| of != instance);
        let (context, instance) = (self.context.clone(), instance.to_owned());
        self.operations.spawn(async move {
            if let Err(error) = context.runtime.remove_container(&instance).await {
                warn!(instance, error = &error as &dyn std::error::Error, "instance not removed");
                tokio::time::sleep(RETRY).await;
            }
            Outcome::Small { key }
        });
    }

    /// R8.20 step 5: only once the API server has the final status.
    fn confirm_deletion(&mut self, status: &PodStatus) {
        // R14.6: a static Pod has no object that could be deleted.
        if self.is_static || self.local.confirming || self.published.status.as_ref() != Some(status) {
            return;
        }
        self.local.confirming = true;
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.key.namespace);
        let (name, uid) = (self.key.name.clone(), self.key.uid.clone());
        self.operations.spawn(async move {
            let preconditions = Preconditions { uid: Some(uid), resource_version: None };
            let parameters = DeleteParams::default().grace_period(0).preconditions(preconditions);
            match api.delete(&name, &parameters).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
                Err(error) => {
                    warn!(pod = name, %error, "deletion not confirmed");
                    tokio::time::sleep(RETRY).await;
                }
            }
            Outcome::Confirmed
        });
    }

    pub(super) fn take(&mut self, outcome: Result<Outcome, JoinError>) {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(problem) => {
                error!(pod = %self.key.name, %problem, "an operation was lost");
                return;
            }
        };
        match outcome {
            Outcome::Sandbox { result } => {
                self.local.sandbox_operation = None;
                let reason = FailureReason::CreatePodSandboxError;
                self.local.sandbox_failure = result.err().map(|message| self.failure(reason, message));
            }
            Outcome::SandboxEnded { result } => {
                self.local.sandbox_operation = None;
                if let Err(problem) = result {
                    warn!(pod = %self.key.name, problem, "a sandbox was not removed");
                }
            }
            Outcome::SandboxStopped { result } => {
                self.local.sandbox_operation = None;
                let reason = FailureReason::KillPodError;
                self.local.sandbox_failure = result.err().map(|message| self.failure(reason, message));
            }
            Outcome::Start { container, result } => {
                self.local.starting.remove(&container);
                match result {
                    Ok(()) => drop(self.local.failures.remove(&container)),
                    Err(StartFailure::Cancelled) => {}
                    Err(StartFailure::Failed { reason, message }) => {
                        let failure = self.failure(reason, message);
                        self.local.failures.insert(container, failure);
                    }
                }
            }
            Outcome::PostStart { instance, result } => self.hook_ended((instance, false), result),
            Outcome::PreStop { instance, result } => self.hook_ended((instance, true), result),
            Outcome::Small { key } => drop(self.local.small.remove(&key)),
            Outcome::Mounted => {
                let cancelled = self.local.mounting.take().is_some_and(|token| token.is_cancelled());
                // What a cancelled attempt left is still there to be taken down.
                self.local.volumes =
                    if cancelled { VolumesState::Mounting { problem: None } } else { VolumesState::Mounted };
            }
            Outcome::Unmounted { problem } => {
                if let Some(problem) = &problem {
                    warn!(pod = %self.key.name, problem, "volumes not taken down");
                }
                self.local.volumes =
                    if problem.is_none() { VolumesState::Unmounted } else { VolumesState::Mounted };
            }
            Outcome::Refreshed => self.local.refreshing = false,
            Outcome::Resized { result } => self.resized(result),
            Outcome::Published { status, accepted, gone } => {
                self.published.in_flight = false;
                self.published.gone |= gone;
                if accepted {
                    let pod = self.assignment.borrow().pod.clone();
                    if status::tells_an_exit(&pod, self.published.status.as_ref(), &status) {
                        self.published.exit_until = Some(self.context.clock.now().mono + EXIT_SHOWN);
                    }
                    self.published.status = Some(*status);
                }
            }
            Outcome::Confirmed => self.local.confirming = false,
        }
    }

    fn hook_ended(&mut self, key: (String, bool), result: Result<(), String>) {
        let state = match result {
            Ok(()) => HookState::Succeeded,
            Err(message) => HookState::Failed { message },
        };
        self.local.hooks.insert(key, state);
    }
}

/// `SIGTERM`, `TERM` or `15`.
fn signal_number(text: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let plain = text.strip_prefix("SIG").unwrap_or(text);
    if let Some(offset) = plain.strip_prefix("RTMIN") {
        return Some(34 + offset.trim_start_matches('+').parse().unwrap_or(0));
    }
    NAMES.iter().position(|name| *name == plain).and_then(|at| i32::try_from(at + 1).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R7.11
    #[test]
    fn signals_by_name_and_number() {
        let numbers = ["SIGTERM", "QUIT", "9", "SIGRTMIN+3", "x"].map(signal_number);
        assert_eq!(numbers, [Some(15), Some(3), Some(9), Some(37), None]);
    }
}
