//! Single decisions about facts that a played node never gets to: records the runtime cannot read, sandboxes that
//! are not as they should be, processes that survive KILL.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use outrigger_api::{MonoTime, Now, WallTime};
use outrigger_pod_lifecycle::*;
use serde_json::{Value, json};

/// A Pod with its volumes mounted and one good sandbox `s0`, in second 100.
struct Turn {
    pod: Pod,
    desired: Desired,
    sandboxes: Vec<SandboxFacts>,
    containers: BTreeMap<String, ContainerFacts>,
    memory: PodMemory,
    volumes: VolumesState,
    second: u64,
}

fn sandbox(id: &str, attempt: u32, ready: bool) -> SandboxFacts {
    let ips = vec![std::net::Ipv4Addr::new(10, 1, 0, 2).into()];
    SandboxFacts { id: id.into(), attempt, ready, ips, host_network: false }
}

impl Turn {
    fn of(spec: Value) -> Self {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u1", "generation": 3},
            "spec": spec,
            "status": {"phase": "Pending", "qosClass": "Burstable"},
        });
        Self {
            pod: serde_json::from_value(pod).expect("a Pod"),
            desired: Desired::Run,
            sandboxes: vec![sandbox("s0", 0, true)],
            containers: BTreeMap::new(),
            memory: PodMemory::default(),
            volumes: VolumesState::Mounted,
            second: 100,
        }
    }

    fn has(mut self, container: &str, state: InstanceState) -> Self {
        let instance = Instance {
            id: format!("{container}-0"),
            sandbox: "s0".into(),
            attempt: 0,
            state,
            definition_hash: String::new(),
            image: "img".into(),
            image_id: "sha256:1".into(),
            user: None,
            resources: None,
        };
        let facts = ContainerFacts { instances: vec![instance], ..ContainerFacts::default() };
        self.containers.insert(container.into(), facts);
        self
    }

    fn decide(&self) -> Decision {
        let wall = second(self.second);
        let node = NodeFacts { name: "n".into(), ips: Vec::new(), network_problem: None };
        decide(&Input {
            pod: &self.pod,
            desired: &self.desired,
            node: &node,
            sandboxes: &self.sandboxes,
            sandbox_operation: None,
            sandbox_failure: None,
            containers: &self.containers,
            volumes: &self.volumes,
            resize: &ResizeFacts::default(),
            memory: &self.memory,
            gates: &Gates::default(),
            now: Now { wall, mono: MonoTime::from_boot(Duration::from_secs(self.second)) },
        })
    }
}

fn second(second: u64) -> WallTime {
    WallTime::from_second(1_777_593_600).expect("a time") + Duration::from_secs(second)
}

fn running() -> InstanceState {
    InstanceState::Running { started_at: second(50) }
}

fn exited(code: i32) -> InstanceState {
    InstanceState::Exited(Exit {
        code,
        signal: None,
        oom_killed: false,
        start_error: None,
        started_at: None,
        finished_at: second(90),
        message: String::new(),
    })
}

fn words(decision: &Decision) -> Vec<String> {
    let actions = decision.actions.iter().map(|action| match action {
        Action::CreateSandbox { attempt } => format!("create sandbox {attempt}"),
        Action::StopSandbox { sandbox } => format!("stop sandbox {sandbox}"),
        Action::StartContainer { container, .. } => format!("start {container}"),
        Action::Signal { container, signal, .. } => format!("{signal:?} {container}"),
        other => format!("{other:?}"),
    });
    let events = decision.events.iter().map(|event| format!("{}: {}", event.reason.as_str(), event.message));
    events.chain(actions).collect()
}

fn condition(decision: &Decision, ty: &str) -> String {
    let all = decision.status.conditions.iter().flatten();
    all.filter(|it| it.type_ == ty).map(|it| it.status.clone()).collect()
}

fn status_of(decision: &Decision, name: &str) -> ContainerStatus {
    let init = decision.status.init_container_statuses.iter().flatten();
    let mut all = init.chain(decision.status.container_statuses.iter().flatten());
    all.find(|status| status.name == name).cloned().expect("a status")
}

fn one_app() -> Turn {
    Turn::of(json!({"containers": [{"name": "a", "image": "img"}]}))
}

/// R2.8, R9.16: each reason for a new sandbox.
#[test]
fn when_a_new_sandbox_is_needed() {
    const CHANGED: &str = "SandboxChanged: Pod sandbox changed, it will be killed and re-created.";
    let with = |sandboxes: Vec<SandboxFacts>| Turn { sandboxes, ..one_app() }.decide();
    let good = with(vec![sandbox("s0", 0, true)]);
    assert_eq!(
        (condition(&good, "PodReadyToStartContainers").as_str(), words(&good)),
        ("True", vec!["start a".into()])
    );
    let without_ip = SandboxFacts { ips: Vec::new(), ..sandbox("s0", 0, true) };
    let of_the_host = SandboxFacts { host_network: true, ..sandbox("s0", 0, true) };
    for (why, sandboxes, expected) in [
        ("none", vec![], vec!["create sandbox 0"]),
        (
            "two",
            vec![sandbox("s0", 0, true), sandbox("s1", 1, true)],
            vec![CHANGED, "stop sandbox s0", "stop sandbox s1"],
        ),
        ("dead", vec![sandbox("s0", 0, false)], vec![CHANGED, "create sandbox 1"]),
        ("no address", vec![without_ip.clone()], vec![CHANGED, "stop sandbox s0"]),
        ("the host's network", vec![of_the_host], vec![CHANGED, "stop sandbox s0"]),
    ] {
        let decision = with(sandboxes);
        assert_eq!(words(&decision), expected, "{why}");
        assert_eq!(condition(&decision, "PodReadyToStartContainers"), "False", "{why}");
    }
    let mut host = one_app();
    host.pod.spec.as_mut().expect("a spec").host_network = Some(true);
    host.sandboxes = vec![SandboxFacts { host_network: true, ..without_ip }];
    assert_eq!(words(&host.decide()), ["start a"], "the host's network needs no address");
}

/// R3.11, R5.1: prepared ones are started, unreadable ones killed first, whatever the policy says of app containers.
#[test]
fn records_that_are_neither_running_nor_ended() {
    const KILL_FIRST: &str = "Killing: Container is in \"unknown\" state, try killing it before restart";
    let with_init = |policy: &str, state| {
        let spec = json!({"restartPolicy": policy, "initContainers": [{"name": "i", "image": "img"}],
            "containers": [{"name": "a", "image": "img"}]});
        Turn::of(spec).has("i", state).decide()
    };
    let app = |policy: &str, state| {
        let spec = json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "img"}]});
        Turn::of(spec).has("a", state).decide()
    };
    assert_eq!(words(&with_init("Always", InstanceState::Created)), ["start i"]);
    assert_eq!(words(&with_init("Always", InstanceState::Unknown)), [KILL_FIRST, "Term i"]);
    let failed = with_init("Never", InstanceState::Unknown);
    assert_eq!(words(&failed), ["Killing: Stopping container i", "Term i"]);
    for policy in ["Always", "OnFailure", "Never"] {
        assert_eq!(words(&app(policy, InstanceState::Created)), ["start a"], "{policy}");
        assert_eq!(words(&app(policy, InstanceState::Unknown)), [KILL_FIRST, "Term a"], "{policy}");
    }
    assert_eq!(words(&app("Never", running())), Vec::<String>::new(), "kept");
}

/// R3.15, R9.29: `ready` of a plain init container means done, `started` means running.
#[test]
fn what_ready_and_started_mean_of_an_init_container() {
    for (state, ready, started) in [
        (running(), false, true),
        (exited(0), true, false),
        (exited(1), false, false),
        (InstanceState::Created, false, false),
    ] {
        let spec = json!({"initContainers": [{"name": "i", "image": "img"}],
            "containers": [{"name": "a", "image": "img"}]});
        let status = status_of(&Turn::of(spec).has("i", state.clone()).decide(), "i");
        assert_eq!((status.ready, status.started), (ready, Some(started)), "{state:?}");
    }
}

/// R3.8, R3.16: what nobody can read any more, beside an app container that runs.
#[test]
fn an_init_container_without_a_record_counts_as_done() {
    let spec = json!({"initContainers": [{"name": "i", "image": "img"}],
        "containers": [{"name": "a", "image": "img"}]});
    let decision = Turn::of(spec).has("a", running()).decide();
    assert_eq!(words(&decision), Vec::<String>::new());
    let status = status_of(&decision, "i");
    let ended = status.state.and_then(|state| state.terminated).expect("terminated");
    assert_eq!((ended.exit_code, ended.reason.as_deref()), (0, Some("Completed")));
    let text = "Unable to get init container status from container runtime and pod has been initialized, treat it as \
                exit normally";
    assert_eq!(ended.message.as_deref(), Some(text));
    assert!(status.ready && status.restart_count == 0);
    assert_eq!(condition(&decision, "Initialized"), "True");
}

/// R8.31, R10.19: an eviction that does not come to an end is told of, once.
#[test]
fn an_overdue_eviction_is_told_once() {
    let mut turn = one_app().has("a", running());
    let evict = |grace| Desired::Evict { message: "m".into(), grace_seconds: Some(grace), disruption: true };
    turn.desired = evict(1);
    let overdue = |turn: &mut Turn, second| {
        turn.second = second;
        let decision = turn.decide();
        turn.memory = decision.memory.clone();
        words(&decision)
            .into_iter()
            .filter(|line| line.starts_with("ExceededGracePeriod"))
            .collect::<Vec<_>>()
    };
    let text = "ExceededGracePeriod: Container runtime did not kill the pod within specified grace period.";
    assert_eq!(overdue(&mut turn, 100), Vec::<String>::new());
    assert_eq!(overdue(&mut turn, 109), Vec::<String>::new(), "ten seconds at least");
    assert_eq!(overdue(&mut turn, 110), [text]);
    assert_eq!(overdue(&mut turn, 200), Vec::<String>::new());
    let mut slow = one_app().has("a", running());
    slow.desired = evict(60);
    assert_eq!(overdue(&mut slow, 100), Vec::<String>::new());
    assert_eq!(overdue(&mut slow, 189), Vec::<String>::new());
    assert_eq!(overdue(&mut slow, 190), [text], "half as long again");
}

/// R9.9: nothing runs, nothing stopped, or nobody knows.
#[test]
fn a_pod_nobody_can_tell_about_is_pending() {
    for turn in
        [one_app(), one_app().has("a", InstanceState::Unknown), one_app().has("a", InstanceState::Created)]
    {
        assert_eq!(turn.decide().status.phase.as_deref(), Some("Pending"));
    }
}

/// A sidecar `s` and an app container `a`, each with all three probes, beside a plain init container.
fn probed(policy: &str) -> Turn {
    let probe = json!({"exec": {"command": ["x"]}});
    let all = |name: &str, policy: Option<&str>| {
        json!({"name": name, "image": "img", "restartPolicy": policy,
            "startupProbe": probe, "livenessProbe": probe, "readinessProbe": probe})
    };
    let inits = json!([{"name": "i", "image": "img"}, all("s", Some("Always"))]);
    Turn::of(json!({"restartPolicy": policy, "initContainers": inits, "containers": [all("a", None)]}))
        .has("i", exited(0))
}

fn asked(decision: &Decision) -> Vec<String> {
    decision.probes.iter().map(|probe| format!("{} {}", probe.container, probe.kind.as_str())).collect()
}

fn verdicts(turn: &mut Turn, container: &str, startup: Verdict) {
    let facts = turn.containers.get_mut(container).expect("has run");
    facts.probes =
        ProbeVerdicts { instance: format!("{container}-0"), startup: Some(startup), ..Default::default() };
}

/// R6.1, R6.2, R6.4: each probe of app containers and sidecars by itself, none of plain init containers, and none
/// before the volumes are there. A new instance is not started, not ready and not sick.
#[test]
fn who_is_probed() {
    let mut turn = probed("Always").has("s", running()).has("a", running());
    let first = turn.decide();
    assert_eq!(asked(&first), ["s Startup", "a Startup"]);
    assert_eq!(words(&first), Vec::<String>::new());
    for name in ["s", "a"] {
        let status = status_of(&first, name);
        assert_eq!((status.ready, status.started), (false, Some(false)), "{name}");
    }
    verdicts(&mut turn, "s", Verdict::Success);
    verdicts(&mut turn, "a", Verdict::Success);
    let second = turn.decide();
    assert_eq!(asked(&second), ["s Liveness", "s Readiness", "a Liveness", "a Readiness"]);
    assert_eq!(words(&second), Vec::<String>::new());
    assert!(!status_of(&second, "a").ready, "until it is asked");
    let waiting = Turn { volumes: VolumesState::Mounting { problem: None }, ..probed("Always") };
    assert_eq!(asked(&waiting.decide()), Vec::<String>::new());
}

/// R6.11: what does not run is not asked and is neither started nor ready; when the Pod is over nothing is.
#[test]
fn what_has_ended_is_not_probed() {
    let mut turn = probed("Never").has("s", running()).has("a", running());
    verdicts(&mut turn, "s", Verdict::Success);
    verdicts(&mut turn, "a", Verdict::Success);
    turn.memory = turn.decide().memory;
    for policy in ["Always", "Never"] {
        turn.pod.spec.as_mut().expect("a spec").restart_policy = Some(policy.into());
        let ended =
            Turn { containers: turn.containers.clone(), memory: turn.memory.clone(), ..probed(policy) };
        let ended = ended.has("a", exited(1)).decide();
        assert!(asked(&ended).iter().all(|probe| probe.starts_with("s ")), "{policy} {:?}", asked(&ended));
        let status = status_of(&ended, "a");
        assert_eq!((status.ready, status.started), (false, Some(false)), "{policy}");
    }
    turn.pod.status.get_or_insert_default().phase = Some("Failed".into());
    let mut over = turn.has("s", exited(0)).has("a", exited(1));
    over.sandboxes = Vec::new();
    over.memory = over.decide().memory;
    assert_eq!(asked(&over.decide()), Vec::<String>::new());
}
