//! The Pod's conditions (section 9B).

use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::phase::Phase;
use super::whole_seconds;
use crate::memory::{Cause, Worker};
use crate::spec::Role;
use crate::turn::Turn;

/// The types this node owns, in the order they are written (R9.13).
const OWNED: [&str; 8] = [
    "PodResizePending",
    "PodResizeInProgress",
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "AllContainersRestarting",
];

/// A condition before it has times.
struct Verdict {
    ty: &'static str,
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    fn yes(ty: &'static str) -> Self {
        Self { ty, status: true, reason: None, message: None }
    }

    fn no(ty: &'static str, reason: &'static str, message: Option<String>) -> Self {
        Self { ty, status: false, reason: Some(reason), message }
    }
}

impl Turn<'_> {
    /// All conditions: foreign ones as they were, then ours.
    pub(super) fn conditions(
        &self,
        status: &PodStatus,
        old: &PodStatus,
        computed: Phase,
    ) -> Vec<PodCondition> {
        let known = old.conditions.clone().unwrap_or_default();
        let mut all: Vec<PodCondition> =
            known.iter().filter(|condition| !OWNED.contains(&condition.type_.as_str())).cloned().collect();
        all.extend(self.resize_conditions().into_iter().map(|verdict| self.dated(verdict, &known)));
        if let Some(disruption) = self.disruption() {
            all.retain(|condition| condition.type_ != disruption.ty);
            all.push(self.dated(disruption, &known));
        }
        let terminal = self.terminal(status, old, computed);
        let containers = self.containers_ready(terminal, status);
        let ready = self.ready(&containers, &all);
        let mut own = vec![
            Verdict {
                ty: "PodReadyToStartContainers",
                status: !self.needs_sandbox(),
                reason: None,
                message: None,
            },
            self.initialized(terminal),
            ready,
            containers,
            Verdict::yes("PodScheduled"),
        ];
        if self.can_restart_all() {
            own.push(self.restarting(terminal));
        }
        let settled = self.settled();
        for verdict in own {
            let kept = settled.iter().find(|kept| kept.type_ == verdict.ty).cloned();
            all.push(kept.unwrap_or_else(|| self.dated(verdict, &known)));
        }
        all
    }

    /// The phase the conditions speak of, if the Pod is at its end. A Pod whose end is only that it was stopped, as
    /// one deleted while it was initialising, keeps saying what its containers lack (R8.20).
    fn terminal(&self, status: &PodStatus, old: &PodStatus, computed: Phase) -> Option<Phase> {
        let of = |phase: Option<&str>| match phase {
            Some("Succeeded") => Some(Phase::Succeeded),
            Some("Failed") => Some(Phase::Failed),
            _ => None,
        };
        let computed = Some(computed).filter(|phase| phase.is_terminal());
        let shown = of(status.phase.as_deref()).filter(|_| computed.is_some());
        shown.or(computed).or(of(old.phase.as_deref()))
    }

    /// What does not change any more: everything once nothing runs, and while containers are being stopped whether
    /// the Pod is initialised (R8.20).
    fn settled(&self) -> Vec<PodCondition> {
        let kept: &[&str] = match &self.input.memory.worker {
            Worker::Terminated(_) => &["Initialized", "Ready", "ContainersReady", "AllContainersRestarting"],
            _ if self.is_stopping_on() => &["Initialized"],
            _ => &[],
        };
        let last = self.input.memory.status.as_deref().and_then(|last| last.conditions.as_ref());
        let mut settled: Vec<_> = last.into_iter().flatten().cloned().collect();
        settled.retain(|condition| kept.contains(&condition.type_.as_str()));
        for condition in &mut settled {
            condition.observed_generation = self.pod().metadata.generation;
        }
        settled
    }

    /// R9.14.
    fn dated(&self, verdict: Verdict, known: &[PodCondition]) -> PodCondition {
        let status = if verdict.status { "True" } else { "False" };
        // What this node said last counts: a watch may still deliver something older.
        let last = self
            .input
            .memory
            .status
            .as_deref()
            .and_then(|last| last.conditions.as_deref())
            .unwrap_or_default();
        let same = |condition: &&PodCondition| condition.type_ == verdict.ty && condition.status == status;
        let since = last.iter().find(same).or_else(|| known.iter().find(same));
        let since = since.and_then(|condition| condition.last_transition_time.clone());
        PodCondition {
            type_: verdict.ty.to_owned(),
            status: status.to_owned(),
            reason: verdict.reason.map(str::to_owned),
            message: verdict.message,
            last_probe_time: None,
            last_transition_time: since.or(Some(Time(whole_seconds(self.input.now.wall)))),
            observed_generation: self.pod().metadata.generation,
        }
    }

    /// R9.17.
    fn initialized(&self, terminal: Option<Phase>) -> Verdict {
        const TYPE: &str = "Initialized";
        if terminal == Some(Phase::Succeeded) {
            return Verdict { reason: Some("PodCompleted"), ..Verdict::yes(TYPE) };
        }
        if self.memory.initialized {
            return Verdict::yes(TYPE);
        }
        let lacking: Vec<&str> = self
            .inits()
            .iter()
            .filter(|entry| match entry.role {
                Role::Sidecar => !self.is_started(entry),
                _ => entry.exited().is_none_or(|(_, exit)| exit.code != 0),
            })
            .map(super::super::turn::Entry::name)
            .collect();
        let message = format!("containers with incomplete status: [{}]", lacking.join(" "));
        Verdict::no(TYPE, "ContainersNotInitialized", Some(message))
    }

    /// R9.18.
    fn containers_ready(&self, terminal: Option<Phase>, status: &PodStatus) -> Verdict {
        const TYPE: &str = "ContainersReady";
        match terminal {
            Some(Phase::Succeeded) => return Verdict::no(TYPE, "PodCompleted", None),
            Some(Phase::Failed) => return Verdict::no(TYPE, "PodFailed", None),
            _ => {}
        }
        if let Worker::Terminating(termination) | Worker::Terminated(termination) = &self.memory.worker
            && termination.cause == Cause::DeadlineExceeded
        {
            return Verdict::no(TYPE, "PodFailed", None);
        }
        let counted = self.entries.iter().filter(|entry| matches!(entry.role, Role::Sidecar | Role::App));
        let unready: Vec<&str> = counted
            .filter(|entry| {
                let inits = status.init_container_statuses.iter().flatten();
                let mut all = inits.chain(status.container_statuses.iter().flatten());
                all.find(|status| status.name == entry.name()).is_none_or(|status| !status.ready)
            })
            .map(super::super::turn::Entry::name)
            .collect();
        if unready.is_empty() {
            return Verdict::yes(TYPE);
        }
        let message = format!("containers with unready status: [{}]", unready.join(" "));
        Verdict::no(TYPE, "ContainersNotReady", Some(message))
    }

    /// R9.19, R6.26.
    fn ready(&self, containers: &Verdict, foreign: &[PodCondition]) -> Verdict {
        const TYPE: &str = "Ready";
        if !containers.status {
            return Verdict {
                ty: TYPE,
                status: false,
                reason: containers.reason,
                message: containers.message.clone(),
            };
        }
        let gates = self.pod().spec.as_ref().and_then(|spec| spec.readiness_gates.as_ref());
        let mut problems = Vec::new();
        for gate in gates.into_iter().flatten() {
            let ty = &gate.condition_type;
            match foreign.iter().find(|condition| condition.type_ == *ty) {
                None => problems
                    .push(format!("corresponding condition of pod readiness gate \"{ty}\" does not exist.")),
                Some(condition) if condition.status != "True" => problems.push(format!(
                    "the status of pod readiness gate \"{ty}\" is not \"True\", but {}",
                    condition.status
                )),
                Some(_) => {}
            }
        }
        if problems.is_empty() {
            Verdict::yes(TYPE)
        } else {
            Verdict::no(TYPE, "ReadinessGatesNotReady", Some(problems.join(", ")))
        }
    }

    /// R5.22.
    fn restarting(&self, terminal: Option<Phase>) -> Verdict {
        const TYPE: &str = "AllContainersRestarting";
        match terminal {
            Some(Phase::Succeeded) => Verdict::no(TYPE, "PodCompleted", None),
            Some(Phase::Failed) => Verdict::no(TYPE, "PodFailed", None),
            _ if self.memory.restarting_all => Verdict {
                ty: TYPE,
                status: true,
                reason: Some("RestartAllContainersStarted"),
                message: Some("container exited with restart policy rule".to_owned()),
            },
            _ => Verdict { ty: TYPE, status: false, reason: None, message: None },
        }
    }

    /// R9.21.
    fn resize_conditions(&self) -> Vec<Verdict> {
        let mut all = Vec::new();
        if self.memory.worker != Worker::Syncing {
            return all;
        }
        if let Some(pending) = &self.input.resize.pending {
            let reason = Some(pending.outlook.as_str());
            let message = Some(pending.message.clone());
            all.push(Verdict { reason, message, ..Verdict::yes("PodResizePending") });
        }
        if self.is_resizing() {
            let failure = self.input.resize.failure.as_ref().map(|(message, _)| message.clone());
            let reason = failure.is_some().then_some("Error");
            all.push(Verdict { reason, message: failure, ..Verdict::yes("PodResizeInProgress") });
        }
        all
    }

    /// R8.27, R8.29.
    fn disruption(&self) -> Option<Verdict> {
        let Worker::Terminated(termination) = &self.memory.worker else { return None };
        let message = match &termination.cause {
            Cause::Evicted { message, disruption: true } | Cause::Preempted { message } => message.clone(),
            Cause::Shutdown => "Pod was terminated in response to imminent node shutdown.".to_owned(),
            _ => return None,
        };
        Some(Verdict {
            ty: "DisruptionTarget",
            status: true,
            reason: Some("TerminationByKubelet"),
            message: Some(message),
        })
    }
}
