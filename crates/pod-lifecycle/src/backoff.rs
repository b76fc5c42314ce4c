//! Delays before another try: after a crash (R5.10-R5.16), after a failed pull (R5.25), after any other failed start
//! (R2.19).

use std::time::Duration;

use outrigger_api::{MonoTime, WallTime};

use crate::decision::WaitingFor;
use crate::input::Failure;
use crate::memory::CrashBackOff;
use crate::message::go_duration;
use crate::reason::{EventReason, FailureReason};
use crate::turn::{Entry, Turn};

/// The first delay of both series.
const FIRST: u64 = 10;
/// The longest delay between pulls.
const PULL_CAP: u64 = 300;
/// A series is forgotten after so long without a failure.
const FORGET: u64 = 600;
/// The delay after an error that has no series: somewhere between 10 and 15 seconds (R2.19).
pub(crate) const RETRY: Duration = Duration::from_secs(12);

/// How long a failed pull or an exit is shown before the wait for the next try is (R5.14, R5.25).
const SHOWN: Duration = Duration::from_secs(1);

/// What stands in the way of a start.
pub(crate) enum Hindrance {
    /// Nothing.
    None,
    /// A delay; why and until when is recorded.
    Delayed,
}

fn seconds_between(earlier: WallTime, later: WallTime) -> i64 {
    later.duration_since(earlier).as_secs()
}

impl Turn<'_> {
    /// The delay in front of the next start after the newest exit, if one is needed and has not passed; the series
    /// moves when it has.
    pub(crate) fn crash_back_off(&mut self, entry: &Entry<'_>) -> Hindrance {
        let Some((instance, exit)) = entry.exited() else { return Hindrance::None };
        let memory = self.memory_of(entry.name());
        let mut crash = memory.crash.clone();
        let key = back_off_key(entry);
        if crash.granted.as_deref() == Some(&instance.id) && crash.key == key {
            return Hindrance::None;
        }
        let exempt = memory.stop.as_ref().is_some_and(|stop| stop.exempt && stop.instance == instance.id);
        // R5.15: a probe's kill looks at the exit before it.
        let finished_at = if exempt {
            let older = entry.facts.instances.iter().rev().nth(1);
            match older.map(|older| &older.state) {
                Some(crate::input::InstanceState::Exited(exit)) => exit.finished_at,
                _ => {
                    crash.granted = Some(instance.id.clone());
                    crash.key = key;
                    self.remember(entry.name()).crash = crash;
                    return Hindrance::None;
                }
            }
        } else {
            exit.finished_at
        };
        let fresh = crash.key != key
            || crash.advanced_at.is_none_or(|at| seconds_between(at, finished_at) > FORGET.cast_signed());
        let delay = if fresh { 0 } else { crash.delay_seconds };
        let now = self.input.now;
        let passed = seconds_between(finished_at, now.wall).max(0).unsigned_abs();
        if passed < delay {
            let until = now.mono + Duration::from_secs(delay - passed);
            self.refuse_crashed(entry, delay, exit.finished_at, until);
            return Hindrance::Delayed;
        }
        let cap = self.input.gates.max_crash_back_off_seconds.max(1);
        let next = if delay == 0 { FIRST.min(cap) } else { (delay * 2).min(cap) };
        self.remember(entry.name()).crash = CrashBackOff {
            delay_seconds: next,
            advanced_at: Some(now.wall),
            key,
            granted: Some(instance.id.clone()),
        };
        Hindrance::None
    }

    /// R5.13.
    fn refuse_crashed(&mut self, entry: &Entry<'_>, delay: u64, finished_at: WallTime, until: MonoTime) {
        self.wake(until);
        self.wait(entry.name(), WaitingFor::CrashBackOff { delay_seconds: delay, until });
        if self.memory_of(entry.name()).reported_back_off != Some(finished_at) {
            let text =
                format!("Back-off restarting failed container {} in pod {}", entry.name(), self.words());
            self.warn(EventReason::BackOff, entry.field_path(), text);
            let now = self.input.now.mono;
            let memory = self.remember(entry.name());
            memory.reported_back_off = Some(finished_at);
            memory.back_off_since = Some(now);
        }
        if !self.shows_crash_loop(entry)
            && let Some(since) = self.memory_of(entry.name()).back_off_since
        {
            self.wake(since + SHOWN);
        }
    }

    /// R5.14: the exit itself is shown first, then that its container waits.
    pub(crate) fn shows_crash_loop(&self, entry: &Entry<'_>) -> bool {
        let since = self.memory_of(entry.name()).back_off_since;
        since.is_none_or(|since| self.input.now.mono >= since + SHOWN)
    }

    /// `back-off 10s restarting failed container=a pod=p_ns(uid)`.
    pub(crate) fn crash_message(&self, container: &str, delay: u64) -> String {
        let delay = go_duration(delay);
        format!("back-off {delay} restarting failed container={container} pod={}", self.words())
    }

    /// Tells a failure once, and says how long to wait after it.
    pub(crate) fn failure_back_off(&mut self, entry: &Entry<'_>) -> Hindrance {
        let Some(failure) = &entry.facts.failure else { return Hindrance::None };
        self.report_failure(entry, failure);
        // R5.32, S44: it left an exit, which the crash back-off goes by.
        if failure.reason == FailureReason::RunContainerError && entry.exited().is_some() {
            return Hindrance::None;
        }
        let delay = if failure.reason.is_pull() {
            let image = entry.definition.image();
            Duration::from_secs(self.memory.pulls.get(image).map_or(FIRST, |pull| pull.delay_seconds))
        } else {
            RETRY
        };
        let until = failure.at + delay;
        if self.input.now.mono >= until {
            return Hindrance::None;
        }
        self.wake(until);
        self.wait(entry.name(), WaitingFor::Retry { reason: failure.reason, until });
        if failure.reason.is_pull() {
            self.report_pull_back_off(entry, failure);
        }
        Hindrance::Delayed
    }

    /// Also of a container that is not tried again.
    pub(crate) fn report_failure(&mut self, entry: &Entry<'_>, failure: &Failure) {
        if self.memory_of(entry.name()).reported_failure == Some(failure.at_wall) {
            return;
        }
        let image = entry.definition.image().to_owned();
        let (path, message) = (entry.field_path(), &failure.message);
        if failure.reason.is_pull() {
            let now = failure.at_wall;
            let pull = self.memory.pulls.entry(image.clone()).or_default();
            let fresh = pull.failed_at.is_none_or(|at| seconds_between(at, now) > FORGET.cast_signed());
            pull.delay_seconds = if fresh { FIRST } else { (pull.delay_seconds * 2).min(PULL_CAP) };
            pull.failed_at = Some(now);
        }
        match failure.reason {
            FailureReason::ErrImagePull
            | FailureReason::RegistryUnavailable
            | FailureReason::SignatureValidationFailed => {
                let text = format!("Failed to pull image \"{image}\": {message}");
                self.warn(EventReason::Failed, path.clone(), text);
                self.warn(EventReason::Failed, path, format!("Error: {}", failure.reason));
            }
            FailureReason::ErrImageNeverPull => {
                let text = format!("Container image \"{image}\" is not present with pull policy of Never");
                self.warn(EventReason::ErrImageNeverPull, path.clone(), text);
                self.warn(EventReason::Failed, path, format!("Error: {}", failure.reason));
            }
            FailureReason::InvalidImageName => {
                let known = "Failed to apply default image tag";
                let text = if message.starts_with(known) {
                    message.clone()
                } else {
                    format!("{known} \"{image}\": {message}")
                };
                self.warn(EventReason::InspectFailed, path.clone(), text);
                self.warn(EventReason::Failed, path, format!("Error: {}", failure.reason));
            }
            FailureReason::ImageInspectError => {
                let text = format!("Failed to inspect image \"{image}\": {message}");
                self.warn(EventReason::InspectFailed, path.clone(), text);
                self.warn(EventReason::Failed, path, format!("Error: {}", failure.reason));
            }
            FailureReason::CreateContainerConfigError
            | FailureReason::CreateContainerError
            | FailureReason::PreCreateHookError
            | FailureReason::PreStartHookError
            | FailureReason::RunContainerError => {
                self.warn(EventReason::Failed, path, format!("Error: {message}"));
            }
            // Told where they happen.
            FailureReason::PostStartHookError
            | FailureReason::CreatePodSandboxError
            | FailureReason::KillPodError => {}
        }
        self.remember(entry.name()).reported_failure = Some(failure.at_wall);
    }

    /// R5.25.
    fn report_pull_back_off(&mut self, entry: &Entry<'_>, failure: &Failure) {
        if self.memory_of(entry.name()).reported_pull_back_off == Some(failure.at_wall) {
            return;
        }
        let text = format!("Back-off pulling image \"{}\"", entry.definition.image());
        self.normal(EventReason::BackOff, entry.field_path(), text);
        self.warn(EventReason::Failed, entry.field_path(), "Error: ImagePullBackOff");
        self.remember(entry.name()).reported_pull_back_off = Some(failure.at_wall);
        // The failure itself is shown for a moment, then that the next try is delayed.
        self.wake(self.input.now.mono + SHOWN);
    }
}

/// R5.12: another image or other resources begin anew.
fn back_off_key(entry: &Entry<'_>) -> String {
    let resources = entry.full().and_then(|container| container.resources.as_ref());
    let resources = resources.and_then(|it| serde_json::to_string(it).ok()).unwrap_or_default();
    format!("{} {resources}", entry.definition.image())
}
