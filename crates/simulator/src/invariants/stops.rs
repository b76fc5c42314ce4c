//! How a Pod stops: I4, I5, I6.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use outrigger_pod_lifecycle::{
    Action, ContainerFacts, Decision, InstanceState, StopScope, StopSignal, Termination, Worker,
};

use super::{Checker, Kind, containers, kind_of};
use crate::node::BOOT;

/// Between TERM and KILL (R8.7).
const FLOOR: Duration = Duration::from_secs(2);

/// What is known of stops so far.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    termination: Option<Termination>,
    /// Instances whose stop concerns them alone.
    single: BTreeSet<String>,
    /// Instances ended by a probe or a changed definition (R5.15).
    exempt: BTreeSet<String>,
    /// When each instance was first sent TERM, and what delays were excused by then.
    terms: BTreeMap<String, Duration>,
    /// Excuses when a stop began.
    excused: BTreeMap<String, Duration>,
    /// The grace of each stop, and since when it is that.
    graces: BTreeMap<String, (u64, Duration)>,
}

impl Stopping {
    pub(super) fn is_exempt(&self, instance: &str) -> bool {
        self.exempt.contains(instance)
    }
}

impl Checker {
    /// After a decision was made durable.
    pub(crate) fn decided(
        &mut self,
        now: Duration,
        pod: &Pod,
        facts: &BTreeMap<String, ContainerFacts>,
        decision: &Decision,
    ) {
        self.check_starts(now, pod, facts, decision);
        self.check_conditions(now, decision);
        self.check_waiting(now, pod, facts, decision);
        let termination = match &decision.memory.worker {
            Worker::Syncing => None,
            Worker::Terminating(termination) | Worker::Terminated(termination) => Some(termination.clone()),
        };
        if termination.is_none() && self.stopping.termination.is_some() {
            self.complain(now, "I4", "the Pod stopped and goes on".into());
        }
        self.stopping.termination = termination;
        let ending = self.stopping.termination.is_some() || pod.metadata.deletion_timestamp.is_some();
        let start = decision.actions.iter().find(|it| matches!(it, Action::StartContainer { .. }));
        if let (true, Some(start)) = (ending, start) {
            self.complain(now, "I4", format!("{start:?} while the Pod stops"));
        }
        self.check_windows(now, facts, decision);
    }

    /// I6: a stop lasts at most its grace, the floor, and what faults excuse.
    fn check_windows(
        &mut self,
        now: Duration,
        facts: &BTreeMap<String, ContainerFacts>,
        decision: &Decision,
    ) {
        for (container, memory) in &decision.memory.containers {
            let Some(stop) = &memory.stop else { continue };
            if stop.scope == StopScope::Container {
                self.stopping.single.insert(stop.instance.clone());
            }
            if stop.exempt {
                self.stopping.exempt.insert(stop.instance.clone());
            }
            let allowance = self.allowance;
            let excused = *self.stopping.excused.entry(stop.instance.clone()).or_insert(allowance);
            let alive = facts
                .get(container)
                .into_iter()
                .flat_map(|facts| &facts.instances)
                .any(|it| it.id == stop.instance && matches!(it.state, InstanceState::Running { .. }));
            let begun = stop.begun.since_boot().saturating_sub(BOOT);
            let window = Duration::from_secs(stop.grace_seconds) + FLOOR + (allowance - excused);
            let known =
                self.stopping.graces.entry(stop.instance.clone()).or_insert((stop.grace_seconds, begun));
            if known.0 != stop.grace_seconds {
                *known = (stop.grace_seconds, now);
            }
            // A window that was shortened may be over already; the floor begins then.
            let end = (begun + window).max(known.1 + FLOOR + (allowance - excused));
            if alive && now > end {
                let late = (now - begun).as_secs();
                let grace = stop.grace_seconds;
                self.complain(now, "I6", format!("{container} still runs after {late} s, grace {grace} s"));
            }
        }
    }

    /// A signal is begun: I5, I6.
    pub(crate) fn signalled(
        &mut self,
        now: Duration,
        pod: &Pod,
        facts: &BTreeMap<String, ContainerFacts>,
        (container, instance): (&str, &str),
        signal: StopSignal,
    ) {
        if signal == StopSignal::Kill {
            let term = self.stopping.terms.get(instance).copied();
            if term.is_none_or(|term| now < term + FLOOR) {
                let since = term.map(|term| (now - term).as_millis());
                self.complain(now, "I6", format!("KILL to {container}, TERM before it by {since:?} ms"));
            }
            return;
        }
        self.stopping.terms.entry(instance.to_owned()).or_insert(now);
        let Some(termination) = &self.stopping.termination else { return };
        let since = termination.since.since_boot().saturating_sub(BOOT);
        let open = now < since + Duration::from_secs(termination.grace_seconds);
        if kind_of(pod, container) != Some(Kind::Sidecar) || !open || self.stopping.single.contains(instance)
        {
            return;
        }
        let runs = |name: &str| {
            let newest = facts.get(name).and_then(ContainerFacts::newest);
            newest.filter(|it| matches!(it.state, InstanceState::Running { .. })).map(|it| it.id.clone())
        };
        let apps = containers(pod).filter(|(_, kind)| *kind == Kind::App);
        let mut left = apps.filter_map(|(app, _)| Some((&app.name, runs(&app.name)?)));
        let before = left.find(|(_, id)| self.life(id).is_some_and(|life| life.began <= since));
        if let Some((app, _)) = before {
            self.complain(now, "I5", format!("TERM to sidecar {container} while {app} runs"));
        }
    }
}
