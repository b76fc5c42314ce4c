//! The decision itself: one function, and the worker's three phases (R2.1-R2.4).

use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;

use crate::decision::{Action, Decision, WaitingFor};
use crate::input::{Desired, Input, VolumesState};
use crate::memory::{Cause, Termination, Worker};
use crate::reason::{EventReason, FailureReason};
use crate::sandbox::Sandbox;
use crate::turn::{Entry, Turn};

/// The shortest time after which an eviction is overdue (R8.31).
const OVERDUE_FLOOR: Duration = Duration::from_secs(10);

/// Looks at everything known about one Pod and says what to do, what to publish and when to look again.
///
/// Calling it again with the same input gives the same answer; calling it with the memory of its last answer and
/// unchanged facts asks again for what has not shown up in the facts yet.
pub fn decide(input: &Input<'_>) -> Decision {
    let mut turn = Turn::new(input);
    turn.observe();
    turn.note_causes();
    if turn.memory.worker == Worker::Syncing && turn.sync() {
        turn.terminate(Cause::Finished, None);
        // R2.2: what was to be started before this was known is not.
        let starts = |it: &Action| matches!(it, Action::StartContainer { .. } | Action::RunPostStart { .. });
        turn.actions.retain(|action| !starts(action));
    }
    if let Worker::Terminating(termination) = turn.memory.worker.clone() {
        turn.stop_pod(&termination);
    }
    turn.drive_stops();
    if let Worker::Terminated(_) = turn.memory.worker {
        turn.clean_up();
    }
    let status = turn.last_words().unwrap_or_else(|| turn.status());
    turn.memory.status = Some(Box::new(status.clone()));
    let lists =
        |status: &PodStatus| (status.init_container_statuses.clone(), status.container_statuses.clone());
    let changed = input.memory.status.as_deref().map(lists) != Some(lists(&status));
    let probes = turn.probe_targets(changed);
    let waiting = turn.reasons();
    Decision {
        actions: turn.actions,
        status,
        waiting,
        events: turn.events,
        probes,
        wake_at: turn.wake_at,
        memory: turn.memory,
    }
}

impl Turn<'_> {
    /// R2.2: what ends the Pod from outside.
    fn note_causes(&mut self) {
        let metadata = &self.pod().metadata;
        let asked = metadata.deletion_grace_period_seconds.map(|grace| u64::try_from(grace).unwrap_or(1));
        match self.input.desired.clone() {
            Desired::Run => {}
            Desired::Gone => self.terminate(Cause::Deleted, asked),
            Desired::Evict { message, grace_seconds, disruption } => {
                if !self.is_ending() {
                    self.warn(EventReason::Evicted, "", message.clone());
                }
                self.terminate(Cause::Evicted { message, disruption }, grace_seconds);
            }
            Desired::Shutdown { grace_seconds } => self.terminate(Cause::Shutdown, Some(grace_seconds)),
            Desired::Preempt { message } => {
                if !self.is_ending() {
                    self.warn(EventReason::Preempting, "", message.clone());
                }
                self.terminate(Cause::Preempted { message }, None);
            }
            Desired::Reject { reason, message } => {
                if !self.is_ending() {
                    self.warn(EventReason::Rejected, "", message.clone());
                    if let Some(event) = self.events.last_mut() {
                        event.rejection = Some(reason.clone());
                    }
                }
                self.terminate(Cause::Rejected { reason, message }, None);
            }
        }
        if metadata.deletion_timestamp.is_some() {
            self.terminate(Cause::Deleted, asked);
        }
        let phase = self.pod().status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Failed" | "Succeeded")) {
            self.terminate(Cause::Finished, None);
        }
        self.check_deadline();
    }

    fn is_ending(&self) -> bool {
        self.memory.worker != Worker::Syncing
    }

    /// R8.26.
    fn check_deadline(&mut self) {
        let spec = self.pod().spec.as_ref();
        let Some(limit) = spec.and_then(|spec| spec.active_deadline_seconds) else { return };
        let Some(start) = self.memory.start_time else { return };
        if self.is_ending() {
            return;
        }
        let now = self.input.now;
        let passed = now.wall.duration_since(start).as_secs();
        if passed >= limit {
            let text = "Pod was active on the node longer than the specified deadline";
            self.normal(EventReason::DeadlineExceeded, "", text);
            self.terminate(Cause::DeadlineExceeded, None);
        } else {
            self.wake(now.mono + Duration::from_secs((limit - passed).unsigned_abs()));
        }
    }

    /// Begins to terminate, or shortens the grace of a termination under way (R8.6).
    fn terminate(&mut self, cause: Cause, grace_seconds: Option<u64>) {
        let own = self.spec_grace().unwrap_or(1);
        let now = self.input.now.mono;
        match &mut self.memory.worker {
            Worker::Syncing => {
                let grace_seconds = grace_seconds.unwrap_or(own).max(1);
                self.memory.worker = Worker::Terminating(Termination { since: now, cause, grace_seconds });
            }
            Worker::Terminating(termination) | Worker::Terminated(termination) => {
                if let Some(shorter) = grace_seconds {
                    termination.grace_seconds = termination.grace_seconds.min(shorter.max(1));
                }
            }
        }
    }

    /// R2.3, R2.4. Says whether the Pod has come to its end by itself.
    fn sync(&mut self) -> bool {
        if self.memory.finishing {
            return true;
        }
        match self.input.volumes {
            VolumesState::Mounted => {}
            VolumesState::Unmounted | VolumesState::Unknown => {
                self.actions.push(Action::MountVolumes);
                self.wait_for_volumes(None);
                return false;
            }
            VolumesState::Mounting { problem } => {
                self.wait_for_volumes(problem.clone());
                return false;
            }
            VolumesState::Unmounting => {
                self.wait_for_volumes(None);
                return false;
            }
        }
        match self.sandbox() {
            Sandbox::Ready(sandbox) => {
                self.memory.probing_since.get_or_insert(self.input.now.mono);
                self.collect_sandboxes();
                self.run_containers(&sandbox) || self.memory.finishing
            }
            Sandbox::NotYet => false,
            Sandbox::Over => true,
        }
    }

    /// Once the object is gone the records go too; the last status stays what is said of the Pod.
    fn last_words(&self) -> Option<PodStatus> {
        let gone =
            *self.input.desired == Desired::Gone && matches!(self.memory.worker, Worker::Terminated(_));
        let last = self.input.memory.status.as_deref().filter(|_| gone)?;
        matches!(last.phase.as_deref(), Some("Succeeded" | "Failed")).then(|| last.clone())
    }

    /// R2.17: of the dead sandboxes the newest is kept, and those that hold the last record of a container.
    fn collect_sandboxes(&mut self) {
        if self.input.sandbox_operation.is_some() {
            return;
        }
        let spare = self.input.sandboxes.len().saturating_sub(2);
        for sandbox in self.input.sandboxes.iter().take(spare).filter(|sandbox| !sandbox.ready) {
            let holds = |entry: &Entry<'_>| entry.newest().is_some_and(|it| it.sandbox == sandbox.id);
            if !self.entries.iter().any(holds) {
                self.actions.push(Action::RemoveSandbox { sandbox: sandbox.id.clone() });
            }
        }
    }

    fn wait_for_volumes(&mut self, problem: Option<String>) {
        for entry in self.entries.clone().iter().filter(|entry| !entry.is_alive()) {
            self.wait(entry.name(), WaitingFor::Volumes { problem: problem.clone() });
        }
    }

    /// R8.19: told once for each time it fails; the stop is tried again in any case.
    fn tell_kill_failure(&mut self) {
        let failure = self.input.sandbox_failure.filter(|it| it.reason == FailureReason::KillPodError);
        if let Some(failure) = failure
            && self.memory.reported_sandbox_failure != Some(failure.at_wall)
        {
            self.memory.reported_sandbox_failure = Some(failure.at_wall);
            let text = format!("error killing pod: {}", failure.message);
            self.warn(EventReason::FailedKillPod, "", text);
        }
    }

    /// R8.31: an eviction that takes half as long again as it may, and ten seconds at least.
    fn tell_overdue(&mut self, termination: &Termination) {
        if !matches!(termination.cause, Cause::Evicted { .. }) || self.memory.told_overdue {
            return;
        }
        let half_again = Duration::from_secs(termination.grace_seconds) * 3 / 2;
        let due = termination.since + half_again.max(OVERDUE_FLOOR);
        if self.input.now.mono >= due {
            self.memory.told_overdue = true;
            let text = "Container runtime did not kill the pod within specified grace period.";
            self.warn(EventReason::ExceededGracePeriod, "", text);
        } else {
            self.wake(due);
        }
    }

    /// Section 8C and 8D, until nothing runs and no sandbox stands.
    fn stop_pod(&mut self, termination: &Termination) {
        self.tell_kill_failure();
        let mut left = self.stop_everything(termination.grace_seconds);
        match self.input.sandbox_operation {
            Some(_) => left = true,
            None if !left => {
                for sandbox in self.input.sandboxes.iter().filter(|sandbox| sandbox.ready) {
                    left = true;
                    self.actions.push(Action::StopSandbox { sandbox: sandbox.id.clone() });
                }
            }
            None => {}
        }
        if left {
            self.tell_overdue(termination);
        } else {
            self.memory.worker = Worker::Terminated(termination.clone());
        }
    }

    /// R8.20 steps 4 to 6.
    fn clean_up(&mut self) {
        match self.input.volumes {
            VolumesState::Unmounted => {}
            VolumesState::Mounted | VolumesState::Mounting { .. } | VolumesState::Unknown => {
                self.actions.push(Action::UnmountVolumes);
                return;
            }
            VolumesState::Unmounting => return,
        }
        if *self.input.desired == Desired::Gone {
            let busy = self.input.sandbox_operation.is_some();
            let left: Vec<String> =
                self.input.sandboxes.iter().map(|sandbox| sandbox.id.clone()).filter(|_| !busy).collect();
            if left.is_empty() && !busy {
                self.actions.push(Action::Forget);
            }
            for sandbox in left {
                self.actions.push(Action::RemoveSandbox { sandbox });
            }
            return;
        }
        let metadata = &self.pod().metadata;
        // A grace of 0 was confirmed already; what is still there then is held by a finalizer.
        let confirmed = metadata.deletion_grace_period_seconds == Some(0);
        if metadata.deletion_timestamp.is_some() && !confirmed {
            self.actions.push(Action::ConfirmDeletion);
        }
    }
}
