//! The runtime's half: what comes of an action, and how scripted containers live.

use std::collections::VecDeque;

use outrigger_pod_lifecycle::*;

use super::{Effect, Sim};

impl Sim {
    pub(super) fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Mounted => self.volumes = VolumesState::Mounted,
            Effect::Unmounted => self.volumes = VolumesState::Unmounted,
            Effect::SandboxMade(attempt) => self.make_sandbox(attempt),
            Effect::SandboxStopped(id) => {
                self.sandbox_operation = None;
                self.sandboxes.iter_mut().filter(|it| it.id == id).for_each(|it| it.ready = false);
            }
            Effect::Started { container, attempt, sandbox } => self.started(&container, attempt, &sandbox),
            Effect::Exit { container, instance, code } => self.exit(&container, &instance, code),
            Effect::PostStart { container, instance, ok } => {
                let facts = self.containers.entry(container).or_default();
                if facts.newest().is_some_and(|it| it.id == instance) {
                    let failed = HookState::Failed { message: "hook failed".into() };
                    facts.post_start = if ok { HookState::Succeeded } else { failed };
                }
            }
            Effect::PreStop { container, instance } => {
                let facts = self.containers.entry(container).or_default();
                if facts.newest().is_some_and(|it| it.id == instance) {
                    facts.pre_stop = HookState::Succeeded;
                }
            }
            Effect::Verdict { container, instance, kind, verdict } => {
                let facts = self.containers.entry(container).or_default();
                if facts.newest().is_some_and(|it| it.id == instance) {
                    facts.probes.instance = instance;
                    match kind {
                        ProbeKind::Startup => facts.probes.startup = Some(verdict),
                        ProbeKind::Liveness => facts.probes.liveness = Some(verdict),
                        ProbeKind::Readiness => facts.probes.readiness = Some(verdict),
                    }
                }
            }
        }
    }

    fn make_sandbox(&mut self, attempt: u32) {
        self.sandbox_operation = None;
        if self.sandbox_failures > 0 {
            self.sandbox_failures -= 1;
            self.sandbox_failure = Some(self.failure(FailureReason::CreatePodSandboxError));
            return;
        }
        self.sandbox_failure = None;
        self.sandboxes.push(SandboxFacts {
            id: format!("s{attempt}"),
            attempt,
            ready: true,
            ips: vec!["10.1.0.2".parse().expect("an address")],
            host_network: false,
        });
    }

    fn failure(&self, reason: FailureReason) -> Failure {
        let now = self.now();
        Failure { reason, message: "no luck".into(), at: now.mono, at_wall: now.wall }
    }

    fn started(&mut self, container: &str, attempt: u32, sandbox: &str) {
        let failure = self.failures.get_mut(container).and_then(VecDeque::pop_front);
        let failure = failure.map(|reason| self.failure(reason));
        let now = self.now().wall;
        self.serial += 1;
        let id = format!("{container}-{}-{attempt}", self.serial);
        let facts = self.containers.entry(container.to_owned()).or_default();
        facts.operation = None;
        if failure.is_some() {
            facts.failure = failure;
            return;
        }
        facts.failure = None;
        facts.post_start = HookState::Idle;
        facts.pre_stop = HookState::Idle;
        facts.probes = ProbeVerdicts { instance: id.clone(), ..ProbeVerdicts::default() };
        facts.instances.push(Instance {
            id: id.clone(),
            sandbox: sandbox.to_owned(),
            attempt,
            state: InstanceState::Running { started_at: now },
            definition_hash: String::new(),
            image: "img".into(),
            image_id: "sha256:1".into(),
            user: None,
        });
        let run = self.script_of(container, &id);
        let name = container.to_owned();
        if let Some((after, code)) = run.exit {
            self.later(after, Effect::Exit { container: name.clone(), instance: id.clone(), code });
        }
        let mut verdict = |after: Option<(u64, bool)>, kind: ProbeKind| {
            if let Some((after, good)) = after {
                let verdict = if good { Verdict::Success } else { Verdict::Failure };
                let effect = Effect::Verdict { container: name.clone(), instance: id.clone(), kind, verdict };
                self.later(after, effect);
            }
        };
        verdict(run.startup, ProbeKind::Startup);
        verdict(run.liveness_fails.map(|after| (after, false)), ProbeKind::Liveness);
        verdict(run.ready_after.map(|after| (after, true)), ProbeKind::Readiness);
    }

    fn exit(&mut self, container: &str, instance: &str, code: i32) {
        let now = self.now().wall;
        let message = self.script_of(container, instance).message.to_owned();
        let facts = self.containers.entry(container.to_owned()).or_default();
        let Some(found) = facts.instances.iter_mut().find(|it| it.id == instance) else { return };
        let InstanceState::Running { started_at } = found.state else { return };
        found.state = InstanceState::Exited(Exit {
            code,
            signal: None,
            oom_killed: false,
            start_error: None,
            started_at: Some(started_at),
            finished_at: now,
            message,
        });
        self.note(format_args!("exit {container} {code}"));
    }

    /// The sandbox and everything in it dies.
    pub(crate) fn kill_sandbox(&mut self) {
        if let Some(sandbox) = self.sandboxes.last_mut() {
            sandbox.ready = false;
        }
        let running: Vec<(String, String)> = self
            .containers
            .iter()
            .filter_map(|(name, facts)| Some((name.clone(), facts.newest()?.id.clone())))
            .collect();
        for (container, instance) in running {
            self.exit(&container, &instance, 137);
        }
    }
}
