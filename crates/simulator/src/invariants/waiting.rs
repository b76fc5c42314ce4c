//! W1: a decision names one reason for every container that does not run, and none for one that does.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use outrigger_pod_lifecycle::{ContainerFacts, Decision, InstanceState, WaitingFor};

use super::{Checker, containers};

impl Checker {
    pub(super) fn check_waiting(
        &mut self,
        now: Duration,
        pod: &Pod,
        facts: &BTreeMap<String, ContainerFacts>,
        decision: &Decision,
    ) {
        for (container, _) in containers(pod) {
            let name = &container.name;
            let mut reasons = decision.waiting.iter().filter(|(of, _)| of == name).map(|(_, why)| why);
            let (reason, another) = (reasons.next(), reasons.next());
            let newest = facts.get(name).and_then(|facts| facts.newest());
            let runs = newest
                .is_some_and(|it| matches!(it.state, InstanceState::Running { .. } | InstanceState::Unknown));
            // A record the runtime lost may hide behind an older one; then both answers are right.
            let lost = decision
                .memory
                .containers
                .get(name)
                .is_some_and(|memory| newest.is_some_and(|it| it.attempt + 1 < memory.next_attempt));
            let hook = reason == Some(&WaitingFor::PostStart);
            if another.is_some() {
                self.complain(now, "W1", format!("{name} has two reasons to wait"));
            } else if runs && !lost && reason.is_some() && !hook {
                self.complain(now, "W1", format!("{name} runs and waits for {reason:?}"));
            } else if !runs && reason.is_none() {
                self.complain(now, "W1", format!("{name} does not run, and no reason is given"));
            }
        }
    }
}
