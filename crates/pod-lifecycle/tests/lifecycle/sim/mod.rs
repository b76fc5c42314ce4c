//! One Pod on the simulated node, with the words the tests here are written in. What happens is a line of the
//! timeline, `<second> <what>`; invariants are checked all along.

mod asks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use outrigger_pod_lifecycle::*;
pub(crate) use outrigger_simulator::Death;
use outrigger_simulator::{Health, Hook, Instance, Node, PodIndex, Script, What, seconds};

/// How one instance behaves. All times are seconds after its start, or after what asks for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) exit: Option<(u64, i32)>,
    /// `None`: TERM is ignored.
    pub(crate) on_term: Option<(u64, i32)>,
    pub(crate) startup: Option<(u64, bool)>,
    pub(crate) liveness_fails: Option<u64>,
    pub(crate) ready_after: Option<u64>,
    pub(crate) post_start: (u64, bool),
    pub(crate) pre_stop: u64,
    pub(crate) message: &'static str,
}

/// Runs until stopped, and leaves TERM with 143 at once.
pub(crate) fn serve() -> Run {
    Run { on_term: Some((0, 143)), post_start: (0, true), ..Run::default() }
}

/// Ends by itself.
pub(crate) fn exits(after: u64, code: i32) -> Run {
    Run { exit: Some((after, code)), ..serve() }
}

impl Run {
    fn instance(&self) -> Instance {
        let timed = |(after, code)| (Duration::from_secs(after), code);
        let verdict = |after, good| {
            let verdict = if good { Verdict::Success } else { Verdict::Failure };
            Health::Verdict(Duration::from_secs(after), verdict)
        };
        let never = Health::Verdict(Duration::from_secs(1_000_000), Verdict::Success);
        let (takes, ok) = self.post_start;
        Instance {
            exit: self.exit.map(timed),
            on_term: self.on_term.map(timed),
            message: self.message.into(),
            startup: self.startup.map_or(never.clone(), |(after, good)| verdict(after, good)),
            liveness: self.liveness_fails.map_or(Health::Good, |after| verdict(after, false)),
            readiness: self.ready_after.map_or(never, |after| verdict(after, true)),
            post_start: Hook {
                takes: Some(Duration::from_secs(takes)),
                error: (!ok).then(|| "hook failed".to_owned()),
            },
            pre_stop: Hook { takes: Some(Duration::from_secs(self.pre_stop)), error: None },
            ..Instance::default()
        }
    }
}

pub(crate) struct Sim {
    pub(crate) node: Node,
    pub(crate) index: PodIndex,
    /// Containers whose scripts are not handed over yet.
    names: BTreeSet<String>,
    scripts: BTreeMap<String, Script>,
    /// Seconds a start takes.
    pub(crate) start_takes: u64,
}

impl Sim {
    pub(crate) fn new(spec: serde_json::Value) -> Self {
        let pod = serde_json::json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u1", "generation": 1},
            "spec": spec,
            "status": {"phase": "Pending", "qosClass": "BestEffort"},
        });
        let pod: Pod = serde_json::from_value(pod).expect("a Pod");
        let spec = pod.spec.clone().unwrap_or_default();
        let names =
            spec.init_containers.into_iter().flatten().chain(spec.containers).map(|it| it.name).collect();
        let mut node = Node::default();
        let index = node.create(pod, BTreeMap::new());
        Self { node, index, names, scripts: BTreeMap::new(), start_takes: 0 }
    }

    /// The instances of a container, one after another; the last one is repeated.
    pub(crate) fn script(mut self, container: &str, runs: impl IntoIterator<Item = Run>) -> Self {
        self.names.insert(container.into());
        let script = self.scripts.entry(container.into()).or_default();
        script.instances = runs.into_iter().map(|run| run.instance()).collect();
        self
    }

    /// The first attempts to start it fail so.
    pub(crate) fn fails(mut self, container: &str, reasons: impl IntoIterator<Item = FailureReason>) -> Self {
        let script = self.scripts.entry(container.into()).or_default();
        script.failures = reasons.into_iter().map(|reason| (reason, "no luck".to_owned())).collect();
        self
    }

    pub(crate) fn delete(&mut self, grace: u64) {
        self.node.delete(self.index, Some(grace));
        self.node.run(self.node.now());
    }

    pub(crate) fn desire(&mut self, desired: Desired) {
        self.node.desire(self.index, desired);
    }

    /// The agent process is replaced: what only it knew is gone.
    pub(crate) fn restart_agent(&mut self) {
        self.node.kill_agent(Duration::ZERO);
    }

    pub(crate) fn die(&mut self, at: Option<(u64, Death)>) {
        self.node.chaos.die_at = at.map(|(turn, death)| (self.node.decisions() + turn, death));
    }

    /// Lets time pass until `until` (seconds since the beginning), or the end of the Pod.
    pub(crate) fn run(&mut self, until: u64) -> &mut Self {
        for name in std::mem::take(&mut self.names) {
            let mut script = self.scripts.remove(&name).unwrap_or_default();
            script.pull = Duration::from_secs(self.start_takes);
            self.node.set_script(self.index, &name, script);
        }
        self.node.run(Duration::from_secs(until));
        let broken: Vec<_> = self.node.violations().map(|(_, it)| it.clone()).collect();
        assert_eq!(broken, [], "{:#?}", self.timeline());
        self
    }

    /// What the node did: without what clients see of it, and without the words of the test.
    pub(crate) fn timeline(&self) -> Vec<String> {
        let wanted = |what: &What| {
            matches!(
                what,
                What::CreateSandbox { .. }
                    | What::StopSandbox
                    | What::Start { .. }
                    | What::PreStop { .. }
                    | What::Signal { .. }
                    | What::Exit { .. }
                    | What::Resize
                    | What::Unmount
                    | What::ConfirmDeletion
                    | What::Forget
            )
        };
        let all = self.node.timeline(self.index).iter().filter(|entry| wanted(&entry.what));
        all.map(ToString::to_string).collect()
    }

    pub(crate) fn events(&self) -> Vec<String> {
        let all = self.node.timeline(self.index).iter();
        all.filter_map(|entry| match &entry.what {
            What::Event(event) => {
                Some(format!("{} {}: {}", seconds(entry.at), event.reason_word(), event.message))
            }
            _ => None,
        })
        .collect()
    }
}
