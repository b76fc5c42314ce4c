//! One status per container of the spec (section 9C).

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ResourceRequirements, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::whole_seconds;
use crate::decision::WaitingFor;
use crate::input::{Exit, Failure, Instance, InstanceState};
use crate::memory::{RemovedExit, RemovedWhy};
use crate::reason::FailureReason;
use crate::spec::Role;
use crate::turn::{Entry, Turn};

/// What container ids begin with (R9.24).
const RUNTIME: &str = "outrigger://";

impl Turn<'_> {
    pub(super) fn init_statuses(&self, final_state: bool) -> Option<Vec<ContainerStatus>> {
        let all: Vec<_> =
            self.inits().iter().map(|entry| self.container_status(entry, final_state)).collect();
        (!all.is_empty()).then_some(all)
    }

    /// R9.22.
    pub(super) fn app_statuses(&self, final_state: bool) -> Option<Vec<ContainerStatus>> {
        let mut all: Vec<_> =
            self.apps().iter().map(|entry| self.container_status(entry, final_state)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Some(all)
    }

    pub(super) fn ephemeral_statuses(&self) -> Option<Vec<ContainerStatus>> {
        let of_role = self.of_role(|role| role == Role::Ephemeral);
        let mut all: Vec<_> = of_role.iter().map(|entry| self.container_status(entry, false)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        (!all.is_empty()).then_some(all)
    }

    /// R7.3: a process whose postStart hook has not ended is not shown running.
    pub(crate) fn shows_running(&self, entry: &Entry<'_>) -> bool {
        let Some(instance) = entry.running() else { return false };
        !entry.definition.has_post_start()
            || self.memory_of(entry.name()).post_start_done.as_deref() == Some(&instance.id)
    }

    fn container_status(&self, entry: &Entry<'_>, final_state: bool) -> ContainerStatus {
        let memory = self.memory_of(entry.name());
        let newest = entry.newest();
        let started = self.shows_running(entry)
            && (entry.role == Role::Init || memory.started.as_deref() == newest.map(|it| it.id.as_str()));
        let ready = match entry.role {
            Role::Init => {
                // R5.20: it keeps its word while all containers are restarted.
                let removed = memory.removed_exit.as_ref().filter(|_| newest.is_none());
                let removed = removed.filter(|it| it.why == RemovedWhy::RestartAllContainers);
                let last = entry.exited().map(|(_, exit)| exit).or(removed.map(|it| &it.exit));
                last.is_some_and(|exit| exit.code == 0) || self.is_done_without_record(entry)
            }
            Role::Ephemeral => false,
            Role::App | Role::Sidecar => {
                started && memory.ready.as_deref() == newest.map(|instance| instance.id.as_str())
            }
        };
        let restart_count = match newest {
            Some(instance) => instance.attempt,
            // I9: it may have been told as about to run again before the app container proved that it need not.
            None if self.is_done_without_record(entry) => {
                let told = self.told(entry).and_then(|status| u32::try_from(status.restart_count).ok());
                told.unwrap_or(0).max(memory.next_attempt.saturating_sub(1))
            }
            None => memory.next_attempt,
        };
        let mut status = ContainerStatus {
            name: entry.name().to_owned(),
            image: newest.map_or(entry.definition.image(), |instance| &instance.image).to_owned(),
            image_id: newest.map(|instance| instance.image_id.clone()).unwrap_or_default(),
            container_id: newest.map(|instance| format!("{RUNTIME}{}", instance.id)),
            restart_count: i32::try_from(restart_count).unwrap_or(i32::MAX),
            ready,
            started: (entry.role != Role::Ephemeral).then_some(started),
            user: newest.and_then(|instance| instance.user.clone()),
            resources: Some(self.resources(entry)),
            allocated_resources: entry
                .full()
                .and_then(|container| container.resources.as_ref()?.requests.clone())
                .filter(|requests| !requests.is_empty()),
            volume_mounts: volume_mounts(entry),
            ..ContainerStatus::default()
        };
        if status.image.is_empty() {
            status.image = entry.definition.image().to_owned();
        }
        self.states(entry, final_state, &mut status);
        status
    }

    /// R9.23, R9.26, R9.28, R8.22.
    fn states(&self, entry: &Entry<'_>, final_state: bool, status: &mut ContainerStatus) {
        let previous = entry.facts.instances.iter().rev().nth(1).and_then(terminated);
        match entry.newest() {
            Some(instance) if self.shows_running(entry) => {
                if let InstanceState::Running { started_at } = instance.state {
                    status.state = Some(running(started_at));
                }
                status.last_state = Some(previous.or_else(|| self.removed_before(entry)).unwrap_or_default());
            }
            Some(instance) if entry.exited().is_some() => {
                let ended = terminated(instance).unwrap_or_default();
                match self.waiting_state(entry).filter(|_| !final_state && self.comes_back(entry)) {
                    Some(waiting) => {
                        status.state = Some(waiting);
                        status.last_state = Some(ended);
                    }
                    None => {
                        status.state = Some(ended);
                        let before = self.memory_of(entry.name()).exit_before.as_ref();
                        let before = before.filter(|before| before.attempt + 1 == instance.attempt);
                        let before = || before.map(removed_state);
                        status.last_state = Some(previous.or_else(before).unwrap_or_default());
                    }
                }
            }
            None if self.is_done_without_record(entry) => {
                status.state = Some(self.done_without_record(entry));
                status.last_state = Some(ContainerState::default());
            }
            _ => {
                let last = previous.or_else(|| self.removed_before(entry)).unwrap_or_default();
                let lost = final_state && self.ran_once(entry);
                status.state = Some(if lost {
                    lost_state(entry)
                } else {
                    self.waiting_state(entry).unwrap_or_else(|| self.default_waiting())
                });
                status.last_state = Some(last);
            }
        }
    }

    /// R3.8, R3.16: an init container nobody has a record of, beside an app container that proves it ended well.
    fn is_done_without_record(&self, entry: &Entry<'_>) -> bool {
        if entry.role != Role::Init || entry.newest().is_some() || self.memory.restarting_all {
            return false;
        }
        let Some(sandbox) = self.newest_sandbox().filter(|sandbox| sandbox.ready) else { return false };
        let here = |app: &Entry<'_>| app.newest().is_some_and(|instance| instance.sandbox == sandbox.id);
        self.apps().iter().any(here)
    }

    /// Its end as it was last seen, or as it must have been.
    fn done_without_record(&self, entry: &Entry<'_>) -> ContainerState {
        let removed = self.memory_of(entry.name()).removed_exit.as_ref();
        match removed.filter(|removed| removed.why == RemovedWhy::Pruned && removed.exit.code == 0) {
            Some(removed) => removed_state(removed),
            None => synthetic(
                0,
                "Completed",
                "Unable to get init container status from container runtime and pod has been initialized, treat it as \
                 exit normally",
            ),
        }
    }

    /// The exit before the newest instance, if its record is gone.
    fn removed_before(&self, entry: &Entry<'_>) -> Option<ContainerState> {
        let removed = self.memory_of(entry.name()).removed_exit.as_ref()?;
        let same = entry.newest().is_some_and(|instance| instance.id == removed.instance);
        (!same).then(|| removed_state(removed))
    }

    /// What is really applied, or will be once it runs (R13.30).
    fn resources(&self, entry: &Entry<'_>) -> ResourceRequirements {
        let actual = entry.running().and_then(|instance| instance.resources.clone());
        let asked = || entry.full().and_then(|container| container.resources.clone());
        actual.or_else(asked).unwrap_or_default()
    }

    /// R8.22: whether a container that is not there at the end was there before; for init entries it is enough that
    /// a later one was.
    fn ran_once(&self, entry: &Entry<'_>) -> bool {
        let ran = |entry: &Entry<'_>| self.memory_of(entry.name()).next_attempt > 0;
        match entry.role {
            Role::App => self.memory.initialized && ran(entry),
            Role::Init | Role::Sidecar => {
                let inits = self.inits();
                let own = inits.iter().position(|other| other.name() == entry.name()).unwrap_or(0);
                inits.iter().skip(own).any(ran)
            }
            Role::Ephemeral => false,
        }
    }

    fn comes_back(&self, entry: &Entry<'_>) -> bool {
        entry.exited().is_some_and(|(_, exit)| self.restarts(entry, exit.code))
    }

    /// R9.26: why a container that must be started is not, if there is more to say than that it is being started.
    fn waiting_state(&self, entry: &Entry<'_>) -> Option<ContainerState> {
        let why = self.waiting.iter().find(|(name, _)| name == entry.name()).map(|(_, why)| why);
        let memory = self.memory_of(entry.name());
        // R4.26: a sidecar that left with 0 is shown as it ended.
        let left_well = entry.role == Role::Sidecar && entry.exited().is_some_and(|(_, exit)| exit.code == 0);
        let starts = entry.facts.operation.is_some() || matches!(why, Some(WaitingFor::Starting));
        if left_well && !starts {
            return None;
        }
        if let Some(WaitingFor::CrashBackOff { delay_seconds, .. }) = why
            && self.shows_crash_loop(entry)
        {
            let message = self.crash_message(entry.name(), *delay_seconds);
            return Some(waiting("CrashLoopBackOff", Some(message)));
        }
        if let Some(shown) = self.shown_crash_loop(entry, why) {
            return Some(shown);
        }
        if let Some((_, message)) = &memory.post_start_failed {
            return Some(waiting(FailureReason::PostStartHookError.as_str(), Some(message.clone())));
        }
        match why {
            // R5.14: until then what the attempt before came to.
            Some(WaitingFor::CrashBackOff { .. }) => entry.facts.failure.as_ref().map(failed),
            Some(WaitingFor::Retry { reason, .. }) => {
                let failure = entry.facts.failure.as_ref()?;
                let delayed = reason.is_pull() && self.told_pull_back_off(entry);
                Some(if delayed { pull_back_off(entry, failure) } else { failed(failure) })
            }
            Some(WaitingFor::RestartAllContainers) if self.memory.restarting_all => {
                let text = "The container is removed because RestartAllContainers in place";
                entry.newest().is_none().then(|| waiting("RestartingAllContainers", Some(text.to_owned())))
            }
            _ => self.attempt_state(entry, why),
        }
    }

    /// What is shown of a container that is being tried again, or would be if it were its turn: the attempt before.
    fn attempt_state(&self, entry: &Entry<'_>, why: Option<&WaitingFor>) -> Option<ContainerState> {
        if let Some(failure) = &entry.facts.failure {
            // R5.25: on an actual attempt the failure itself, otherwise that the next one is delayed.
            let tries = entry.facts.operation.is_some() || matches!(why, Some(WaitingFor::Starting));
            let delayed = failure.reason.is_pull() && !tries && self.told_pull_back_off(entry);
            return Some(if delayed { pull_back_off(entry, failure) } else { failed(failure) });
        }
        None
    }

    /// R5.14: a crash loop is shown until its next instance runs.
    fn shown_crash_loop(&self, entry: &Entry<'_>, why: Option<&WaitingFor>) -> Option<ContainerState> {
        let shown = self.told(entry)?.state.clone()?;
        let looping =
            shown.waiting.as_ref().is_some_and(|it| it.reason.as_deref() == Some("CrashLoopBackOff"));
        let starts = matches!(why, Some(WaitingFor::Starting | WaitingFor::Image | WaitingFor::Turn { .. }));
        (looping && starts).then_some(shown)
    }

    /// What the status before this one said of it.
    fn told(&self, entry: &Entry<'_>) -> Option<&ContainerStatus> {
        let last = self.input.memory.status.as_deref()?;
        let mut all =
            last.init_container_statuses.iter().flatten().chain(last.container_statuses.iter().flatten());
        all.find(|status| status.name == entry.name())
    }

    /// The first status after a failed pull says so; later ones say that the next is delayed (R5.25).
    fn told_pull_back_off(&self, entry: &Entry<'_>) -> bool {
        let failed = entry.facts.failure.as_ref().map(|failure| failure.at_wall);
        let before = self.input.memory.containers.get(entry.name());
        before.and_then(|memory| memory.reported_pull_back_off) == failed && failed.is_some()
    }

    /// R9.26, R3.14.
    fn default_waiting(&self) -> ContainerState {
        let reason = if self.inits().is_empty() { "ContainerCreating" } else { "PodInitializing" };
        waiting(reason, None)
    }
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

/// R5.30.
fn failed(failure: &Failure) -> ContainerState {
    waiting(failure.reason.as_str(), Some(failure.message.clone()))
}

/// R5.25.
fn pull_back_off(entry: &Entry<'_>, failure: &Failure) -> ContainerState {
    let image = entry.definition.image();
    let text = format!("Back-off pulling image \"{image}\": {}: {}", failure.reason, failure.message);
    waiting("ImagePullBackOff", Some(text))
}

fn running(started_at: outrigger_api::WallTime) -> ContainerState {
    let running = ContainerStateRunning { started_at: Some(Time(whole_seconds(started_at))) };
    ContainerState { running: Some(running), ..ContainerState::default() }
}

/// R9.25, R9.30.
fn terminated(instance: &Instance) -> Option<ContainerState> {
    let InstanceState::Exited(exit) = &instance.state else { return None };
    Some(ended(exit, reason_of(exit), &instance.id))
}

fn reason_of(exit: &Exit) -> &'static str {
    if exit.start_error.is_some() {
        "StartError"
    } else if exit.oom_killed {
        "OOMKilled"
    } else if exit.code == 0 {
        "Completed"
    } else {
        "Error"
    }
}

fn ended(exit: &Exit, reason: &str, instance: &str) -> ContainerState {
    let message = match (&exit.start_error, exit.message.as_str()) {
        (Some(error), "") => Some(error.clone()),
        (Some(error), message) => Some(format!("{error}: {message}")),
        (None, "") => None,
        (None, message) => Some(message.to_owned()),
    };
    let epoch = outrigger_api::WallTime::UNIX_EPOCH;
    let terminated = ContainerStateTerminated {
        exit_code: exit.code,
        signal: None,
        reason: Some(reason.to_owned()),
        message,
        started_at: Some(Time(whole_seconds(exit.started_at.unwrap_or(epoch)))),
        finished_at: Some(Time(whole_seconds(exit.finished_at))),
        container_id: Some(format!("{RUNTIME}{instance}")),
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// R5.20, R9.28.
fn removed_state(removed: &RemovedExit) -> ContainerState {
    match removed.why {
        RemovedWhy::Pruned => ended(&removed.exit, reason_of(&removed.exit), &removed.instance),
        RemovedWhy::RestartAllContainers => synthetic(
            137,
            "RestartingAllContainers",
            "The container is removed because RestartAllContainers in place",
        ),
        RemovedWhy::Vanished => synthetic(
            137,
            "ContainerStatusUnknown",
            "The container could not be located when the pod was deleted.  The container used to be Running",
        ),
    }
}

/// R8.22.
fn lost_state(_entry: &Entry<'_>) -> ContainerState {
    synthetic(137, "ContainerStatusUnknown", "The container could not be located when the pod was terminated")
}

fn synthetic(exit_code: i32, reason: &str, message: &str) -> ContainerState {
    let terminated = ContainerStateTerminated {
        exit_code,
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// R12.6: what became of `recursiveReadOnly` is told of read-only mounts only. A node that cannot make one refuses the
/// container, so what was asked for is what there is.
fn volume_mounts(entry: &Entry<'_>) -> Option<Vec<VolumeMountStatus>> {
    let mounts = entry.full()?.volume_mounts.as_ref()?;
    let mounts = mounts.iter().map(|mount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: (mount.read_only == Some(true)).then(|| {
            let asked = mount.recursive_read_only.as_deref();
            if matches!(asked, Some("Enabled" | "IfPossible")) { "Enabled" } else { "Disabled" }.to_owned()
        }),
        ..VolumeMountStatus::default()
    });
    Some(mounts.collect())
}
