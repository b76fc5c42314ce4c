//! What clients see: I7, I8, I10, I11, I12, I14.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use outrigger_pod_lifecycle::{ContainerFacts, Decision, InstanceState};

use super::{Checker, Kind, containers};
use crate::node::statuses;

/// What was published and decided so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Conditions of the newest decision.
    conditions: Vec<PodCondition>,
    /// A sandbox was lost or all containers restarted: the phase may go back once.
    pub(super) may_go_back: bool,
}

fn condition<'a>(status: &'a PodStatus, ty: &str) -> &'a str {
    let found = status.conditions.iter().flatten().find(|it| it.type_ == ty);
    found.map_or("", |it| it.status.as_str())
}

fn is_terminal(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

impl Checker {
    /// I12, from one decision to the next: what was decided in between and never published counts too.
    pub(super) fn check_conditions(&mut self, now: Duration, decision: &Decision) {
        let memory = &decision.memory;
        self.status.may_go_back |= memory.replacing_sandbox || memory.restarting_all;
        let new = decision.status.conditions.as_deref().unwrap_or_default();
        if self.status.conditions == new {
            return;
        }
        let mut broken = None;
        for condition in new {
            let Some(old) = self.status.conditions.iter().find(|old| old.type_ == condition.type_) else {
                continue;
            };
            let moved = old.last_transition_time != condition.last_transition_time;
            if moved && old.status == condition.status {
                broken = Some(format!("lastTransitionTime of {} moves without its status", old.type_));
            }
        }
        if let Some(what) = broken {
            self.complain(now, "I12", what);
        }
        self.status.conditions = new.to_vec();
    }

    /// A status reaches the API server.
    pub(crate) fn published(
        &mut self,
        now: Duration,
        facts: &BTreeMap<String, ContainerFacts>,
        before: &Pod,
        status: &PodStatus,
    ) {
        let empty = PodStatus::default();
        let old = before.status.as_ref().unwrap_or(&empty);
        let (was, is) = (old.phase.as_deref().unwrap_or(""), status.phase.as_deref().unwrap_or(""));
        self.check_phase(now, was, is);
        if is_terminal(is) {
            let all = facts.iter().flat_map(|(name, it)| it.instances.iter().map(move |it| (name, it)));
            let mut alive = all.filter(|(_, it)| matches!(it.state, InstanceState::Running { .. }));
            if let Some((name, _)) = alive.next() {
                self.complain(now, "I8", format!("phase {is} while {name} runs"));
            }
            if condition(status, "Ready") == "True" || condition(status, "ContainersReady") == "True" {
                self.complain(now, "I8", format!("phase {is} and Ready"));
            }
            if !is_terminal(was) {
                self.check_verdict(now, before, status, is);
            }
        }
        if condition(old, "Initialized") == "True" && condition(status, "Initialized") != "True" {
            self.complain(now, "I10", "Initialized goes back".into());
        }
        if status.observed_generation > before.metadata.generation {
            self.complain(now, "I12", "observedGeneration is ahead of generation".into());
        }
        for new in statuses(status) {
            let old = statuses(old).find(|old| old.name == new.name);
            if let Some(old) = old.filter(|old| old.restart_count > new.restart_count) {
                let what = format!(
                    "restartCount of {} from {} to {}",
                    new.name, old.restart_count, new.restart_count
                );
                self.complain(now, "I9", what);
            }
        }
    }

    /// I7.
    fn check_phase(&mut self, now: Duration, was: &str, is: &str) {
        let fine = match (was, is) {
            (was, is) if was == is => true,
            ("" | "Pending", _) => true,
            ("Running", "Pending") => self.status.may_go_back,
            ("Running", _) => true,
            _ => false,
        };
        if !fine {
            self.complain(now, "I7", format!("phase from {was} to {is}"));
        }
    }

    /// I14: the terminal phase follows from app containers alone, unless the node gave a reason of its own.
    fn check_verdict(&mut self, now: Duration, pod: &Pod, status: &PodStatus, is: &str) {
        if status.reason.is_some() {
            return;
        }
        let apps = containers(pod).filter(|(_, kind)| *kind == Kind::App);
        let good =
            apps.map(|(app, _)| self.newest_end(&app.name)).all(|end| end.is_some_and(|(code, _)| code == 0));
        let expected = if good { "Succeeded" } else { "Failed" };
        if is != expected {
            self.complain(now, "I14", format!("phase {is}, but its app containers say {expected}"));
        }
    }

    /// I11: the agent had the object removed.
    pub(crate) fn removed(&mut self, now: Duration, mounted: bool, facts: &BTreeMap<String, ContainerFacts>) {
        let all = facts.iter().flat_map(|(name, it)| it.instances.iter().map(move |it| (name, it)));
        let mut alive = all.filter(|(_, it)| matches!(it.state, InstanceState::Running { .. }));
        if let Some((name, _)) = alive.next() {
            self.complain(now, "I11", format!("the object goes while {name} runs"));
        } else if mounted {
            self.complain(now, "I11", "the object goes while volumes are mounted".into());
        }
    }
}
