//! Sandbox, init entries, sidecars, order of starts, the way to an end.

use serde_json::json;

use crate::sim::{Run, Sim, exits, serve};
use outrigger_pod_lifecycle::{Desired, FailureReason};
use outrigger_simulator::{Chaos, Odds, Rng, What};

fn full(policy: &str) -> Sim {
    Sim::new(json!({
        "restartPolicy": policy,
        "terminationGracePeriodSeconds": 30,
        "initContainers": [
            {"name": "i", "image": "img"},
            {"name": "s", "image": "img", "restartPolicy": "Always"},
        ],
        "containers": [{"name": "a", "image": "img"}],
    }))
}

// R3.1, R3.2, R4.15, R4.16, R9.17
#[test]
fn init_sidecar_and_app_run_to_succeeded() {
    let mut sim = full("Never").script("i", [exits(3, 0)]).script("a", [exits(10, 0)]);
    sim.run(100);
    assert_eq!(
        sim.timeline(),
        [
            "0 sandbox #0",
            "0 start i#0",
            "3 exit i 0",
            "3 start s#0",
            "3 start a#0",
            "13 exit a 0",
            "13 TERM s",
            "13 exit s 143",
            "13 stop sandbox",
            "13 unmount",
        ]
    );
    assert_eq!(sim.phases(), ["Pending", "Running", "Succeeded"]);
    assert_eq!(sim.state_of("i"), "terminated:Completed/0");
    assert_eq!(sim.state_of("a"), "terminated:Completed/0");
    assert_eq!(sim.state_of("s"), "terminated:Error/143");
    assert_eq!(sim.condition("Initialized"), "True");
    assert_eq!(sim.condition("Ready"), "False");
    assert_eq!(sim.condition("PodReadyToStartContainers"), "False");
}

// R9.26, R3.14, R9.17, R9.18, R9.35, R9.36
#[test]
fn a_pod_that_initialises_says_so() {
    let mut sim = full("Always").script("i", [exits(30, 0)]);
    sim.run(10);
    let status = sim.status();
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(status.pod_ip.as_deref(), Some("10.1.0.2"));
    assert_eq!(status.host_ip.as_deref(), Some("10.0.0.1"));
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(sim.state_of("i"), "running");
    assert_eq!(sim.state_of("s"), "waiting:PodInitializing");
    assert_eq!(sim.state_of("a"), "waiting:PodInitializing");
    assert_eq!(sim.condition("Initialized"), "False");
    assert_eq!(sim.condition("PodReadyToStartContainers"), "True");
    let initialized = status.conditions.unwrap_or_default().into_iter().find(|it| it.type_ == "Initialized");
    let message = initialized.and_then(|it| it.message).unwrap_or_default();
    assert_eq!(message, "containers with incomplete status: [i s]");
    sim.run(40);
    assert_eq!((sim.phase().as_str(), sim.condition("Ready").as_str()), ("Running", "True"));
}

// R3.4, R3.7, R5.8
#[test]
fn a_failed_init_container_fails_a_never_pod() {
    let mut sim = full("Never").script("i", [exits(1, 7)]);
    sim.run(100);
    assert_eq!(sim.phase(), "Failed");
    assert_eq!(sim.lines(&["start"]), ["0 start i#0"]);
    assert_eq!(sim.state_of("a"), "waiting:PodInitializing");
    assert_eq!(sim.status().reason, None);
}

// R3.5, R3.6
#[test]
fn a_failed_init_container_is_retried_with_back_off() {
    for policy in ["OnFailure", "Always"] {
        let mut sim = full(policy).script("i", [exits(1, 7), exits(1, 7), exits(1, 7), exits(1, 0)]);
        sim.run(100);
        let starts = sim.lines(&["start i", "start a"]);
        assert_eq!(starts, ["0 start i#0", "1 start i#1", "12 start i#2", "33 start i#3", "34 start a#0"]);
        assert_eq!(sim.phases(), ["Pending", "Running"]);
    }
}

// R4.2, R4.7: running, postStart done, startup probe passed.
#[test]
fn a_sidecar_lets_others_go_when_it_has_started() {
    let mut sim = Sim::new(json!({
        "initContainers": [{
            "name": "s", "image": "img", "restartPolicy": "Always",
            "lifecycle": {"postStart": {"exec": {"command": ["x"]}}},
            "startupProbe": {"exec": {"command": ["x"]}},
        }],
        "containers": [{"name": "a", "image": "img"}],
    }))
    .script("s", [Run { post_start: (2, true), startup: Some((7, true)), ..serve() }]);
    sim.run(1);
    assert_eq!(sim.state_of("s"), "waiting:PodInitializing", "R7.3");
    sim.run(3);
    assert_eq!(sim.state_of("s"), "running");
    assert_eq!(sim.status_of("s").started, Some(false));
    sim.run(20);
    assert_eq!(sim.lines(&["start"]), ["0 start s#0", "7 start a#0"]);
    assert_eq!(sim.condition("Ready"), "True");
}

// R2.5: an app container's postStart holds the next one back.
#[test]
fn app_containers_start_one_after_another() {
    let mut sim = Sim::new(json!({
        "containers": [
            {"name": "a", "image": "img", "lifecycle": {"postStart": {"sleep": {"seconds": 5}}}},
            {"name": "b", "image": "img"},
            {"name": "c", "image": "img"},
        ],
    }))
    .script("a", [Run { post_start: (5, true), ..serve() }])
    .fails("b", [FailureReason::CreateContainerConfigError]);
    sim.start_takes = 1;
    sim.run(60);
    assert_eq!(sim.lines(&["start"]), ["0 start a#0", "6 start b#0", "7 start c#0", "19 start b#0"]);
    assert_eq!(sim.events_with("Failed"), ["7 Failed: Error: no luck"]);
    assert_eq!(sim.phase(), "Running");
}

// R2.12, R2.13, R2.19, R10.16
#[test]
fn a_sandbox_is_tried_again() {
    let mut sim = full("Never").script("i", [exits(0, 0)]).script("a", [exits(1, 0)]);
    sim.node.fail_sandboxes(sim.index, 2);
    sim.run(60);
    assert_eq!(sim.lines(&["sandbox #"]), ["0 sandbox #0", "12 sandbox #0", "24 sandbox #0"]);
    assert_eq!(
        sim.events_with("FailedCreatePodSandBox"),
        ["0", "12"].map(|at| format!("{at} FailedCreatePodSandBox: Failed to create pod sandbox: no luck"))
    );
    assert_eq!(sim.phase(), "Succeeded");
}

// R2.10: looked at again while it is still being made, which runtimes list too, the first sandbox is no change.
#[test]
fn a_sandbox_in_the_making_is_no_change() {
    for seed in 0..20 {
        let mut sim = full("Always").script("i", [exits(1, 0)]);
        let slow = Odds { slow: 1000, slow_ms: 4000, repeated: 1000, ..Odds::default() };
        sim.node.chaos = Chaos::new(Rng::new(seed), slow);
        sim.run(60);
        assert_eq!(sim.lines(&["sandbox #"]).len(), 1, "seed {seed}");
        assert!(sim.events_with("SandboxChanged").is_empty(), "seed {seed}: {:?}", sim.events());
    }
}

// R2.9, R2.10, R3.9, I9, I10
#[test]
fn a_lost_sandbox_is_replaced_and_init_runs_again() {
    let mut sim = full("Always").script("i", [exits(1, 0)]);
    sim.run(50);
    sim.node.kill_sandbox(sim.index);
    sim.run(120);
    assert_eq!(sim.events_with("SandboxChanged").len(), 1);
    assert_eq!(
        sim.lines(&["sandbox #", "start"]),
        [
            "0 sandbox #0",
            "0 start i#0",
            "1 start s#0",
            "1 start a#0",
            "50 sandbox #1",
            "50 start i#1",
            "51 start s#1",
            "51 start a#1",
        ]
    );
    assert_eq!(sim.status_of("a").restart_count, 1);
    assert_eq!(sim.phases(), ["Pending", "Running", "Pending", "Running", "Pending", "Running"]);
}

// R2.17
#[test]
fn old_dead_sandboxes_are_collected() {
    let mut sim = full("Always").script("i", [exits(0, 0)]);
    for at in [1000, 3000, 5000] {
        sim.run(at);
        sim.node.kill_sandbox(sim.index);
    }
    sim.run(7000);
    let ids: Vec<_> = sim.node.sandboxes(sim.index).iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["s2", "s3"]);
    assert_eq!(sim.status_of("a").restart_count, 3);
}

// R2.11
#[test]
fn a_lost_sandbox_ends_a_never_pod() {
    let mut sim = full("Never").script("i", [exits(1, 0)]);
    sim.run(50);
    sim.node.kill_sandbox(sim.index);
    sim.run(120);
    assert_eq!(sim.lines(&["sandbox #"]), ["0 sandbox #0"]);
    assert_eq!(sim.phase(), "Failed");
}

// R1.52, R10.22
#[test]
fn a_rejected_pod_never_runs() {
    let mut sim = full("Always");
    sim.desire(Desired::Reject { reason: "OutOfcpu".into(), message: "no cpu".into() });
    sim.run(10);
    let status = sim.status();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("OutOfcpu"));
    assert_eq!(status.message.as_deref(), Some("Pod was rejected: no cpu"));
    assert_eq!(sim.events(), ["0 OutOfcpu: no cpu"]);
    assert_eq!((status.conditions, status.container_statuses, status.host_ip), (None, None, None));
    assert!(status.start_time.is_some());
    assert_eq!(sim.timeline(), Vec::<String>::new());
}

// R14.1: an ephemeral container starts whenever it is added, and is never started again.
#[test]
fn an_ephemeral_container_joins_and_leaves() {
    let mut sim = Sim::new(json!({"containers": [{"name": "a", "image": "img"}]})).script("e", [exits(4, 1)]);
    sim.run(10);
    let added = json!([{"name": "e", "image": "img"}]);
    sim.node.change(sim.index, |pod| {
        if let Some(spec) = &mut pod.spec {
            spec.ephemeral_containers = serde_json::from_value(added).ok();
        }
    });
    sim.run(60);
    assert_eq!(sim.lines(&["start"]), ["0 start a#0", "10 start e#0"]);
    assert_eq!(sim.state_of("e"), "terminated:Error/1");
    assert_eq!((sim.phase().as_str(), sim.condition("Ready").as_str()), ("Running", "True"));
}

/// R7.2: every instance has its postStart, at the moment it starts.
#[test]
fn every_instance_has_its_post_start() {
    let mut sim = Sim::new(json!({
        "containers": [{"name": "a", "image": "img", "lifecycle": {"postStart": {"exec": {"command": ["x"]}}}}],
    }))
    .script("a", [exits(5, 1), serve()]);
    sim.run(60);
    let hooks = sim.node.timeline(sim.index).iter().filter(|it| matches!(it.what, What::PostStart { .. }));
    let at: Vec<u64> = hooks.map(|it| it.at.as_secs()).collect();
    assert_eq!(sim.lines(&["start"]), ["0 start a#0", "5 start a#1"]);
    assert_eq!(at, [0, 5]);
}
