//! The invariants of section 20, checked after every step against what really ran, not against what the agent believes.
//!
//! A [`Checker`] watches one Pod. It keeps its own book of instances ([`Life`]) and of the crash back-off, so that it
//! cannot make the core's mistakes with it. It stops at the first broken rule; where a fault excuses a delay, it is
//! told so ([`Checker::allow`]), and where it cannot know, it says nothing.
//!
//! | file | rules |
//! |---|---|
//! | `lives` | I1, I2, I3, I9, I13: when an instance may begin |
//! | `stops` | I4, I5, I6: how a Pod stops |
//! | `waiting` | W1: why containers wait |
//! | `status` | I7, I8, I10, I11, I12, I14: what clients see |

mod lives;
mod status;
mod stops;
mod waiting;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use outrigger_api::WallTime;

use lives::{Life, Series};
use stops::Stopping;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Since the beginning of the simulation.
    pub at: Duration,
    /// `I1` to `I14`; `P1` and `P2` for a Pod that gets stuck or does not go; `W1` for a container that waits without
    /// a reason, or with one too many.
    pub rule: &'static str,
    /// What was seen.
    pub what: String,
}

/// Watches one Pod.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    violation: Option<Violation>,
    /// By container, oldest first.
    lives: BTreeMap<String, Vec<Life>>,
    series: BTreeMap<String, Series>,
    stopping: Stopping,
    status: status::Seen,
    /// How much slower than promised anything may be by now, because of injected faults.
    allowance: Duration,
}

impl Checker {
    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    pub(crate) fn complain(&mut self, at: Duration, rule: &'static str, what: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { at, rule, what });
        }
    }

    /// A fault excuses so much delay.
    pub(crate) fn allow(&mut self, delay: Duration) {
        self.allowance += delay;
    }

    /// The calendar jumped: gaps on it mean nothing.
    pub(crate) fn jumped(&mut self) {
        self.forget_ends();
    }
}

/// All containers but ephemeral ones: name, definition, whether it is an init entry.
fn containers(pod: &Pod) -> impl Iterator<Item = (&Container, Kind)> {
    let spec = pod.spec.as_ref();
    let inits = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
    let inits = inits.map(|container| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        (container, if sidecar { Kind::Sidecar } else { Kind::Init })
    });
    let apps = spec.map(|spec| spec.containers.iter()).into_iter().flatten();
    inits.chain(apps.map(|container| (container, Kind::App)))
}

/// What an entry of the spec is; read from the spec here, because the core's own reading may be what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Init,
    Sidecar,
    App,
}

fn kind_of(pod: &Pod, name: &str) -> Option<Kind> {
    containers(pod).find(|(container, _)| container.name == name).map(|(_, kind)| kind)
}

/// Seconds from `earlier` to `later` on the calendar; negative if it went back.
fn gap(earlier: WallTime, later: WallTime) -> i64 {
    later.duration_since(earlier).as_secs()
}
