//! Termination: order, hooks, grace, the end of the object.

use serde_json::json;

use crate::sim::{Run, Sim, exits, serve};
use outrigger_pod_lifecycle::Desired;

fn ordered() -> Sim {
    Sim::new(json!({
        "terminationGracePeriodSeconds": 30,
        "initContainers": [
            {"name": "s0", "image": "img", "restartPolicy": "Always"},
            {"name": "s1", "image": "img", "restartPolicy": "Always"},
        ],
        "containers": [{"name": "a", "image": "img"}, {"name": "b", "image": "img"}],
    }))
}

fn leaves(after: u64, code: i32) -> Run {
    Run { on_term: Some((after, code)), ..serve() }
}

// R8.10-R8.13, R8.20, R8.21, I11
#[test]
fn app_containers_leave_before_sidecars() {
    let mut sim = ordered()
        .script("a", [leaves(3, 0)])
        .script("b", [leaves(5, 0)])
        .script("s1", [leaves(1, 0)])
        .script("s0", [leaves(1, 1)]);
    sim.run(100);
    sim.delete(30);
    sim.run(200);
    assert_eq!(
        sim.timeline()[5..],
        [
            "100 TERM a",
            "100 TERM b",
            "103 exit a 0",
            "105 exit b 0",
            "105 TERM s1",
            "106 exit s1 0",
            "106 TERM s0",
            "107 exit s0 1",
            "107 stop sandbox",
            "107 unmount",
            "107 confirm",
            "107 forget",
        ]
    );
    assert_eq!(sim.events_with("Killing").len(), 4);
    assert!(sim.events_with("Killing").iter().all(|line| line.starts_with("100 ")));
    assert_eq!(sim.phase(), "Succeeded");
}

// R8.7, R8.14: everything ignores TERM.
#[test]
fn a_stop_lasts_at_most_the_grace_and_two_seconds() {
    let stubborn = || Run { on_term: None, ..serve() };
    let mut sim = ordered()
        .script("a", [stubborn()])
        .script("b", [stubborn()])
        .script("s0", [stubborn()])
        .script("s1", [stubborn()]);
    sim.run(100);
    sim.delete(10);
    sim.run(200);
    assert_eq!(
        sim.lines(&["TERM", "KILL", "forget"]),
        [
            "100 TERM a",
            "100 TERM b",
            "110 TERM s0",
            "110 TERM s1",
            "110 KILL a",
            "110 KILL b",
            "112 KILL s0",
            "112 KILL s1",
            "112 forget",
        ]
    );
    assert_eq!(sim.phase(), "Failed");
}

// R7.4, R7.10, R8.11
#[test]
fn a_pre_stop_hook_counts_against_the_grace() {
    let mut sim = Sim::new(json!({
        "containers": [
            {"name": "a", "image": "img", "lifecycle": {"preStop": {"sleep": {"seconds": 4}}}},
            {"name": "b", "image": "img", "lifecycle": {"preStop": {"sleep": {"seconds": 99}}}},
        ],
    }))
    .script("a", [Run { pre_stop: 4, on_term: None, ..serve() }])
    .script("b", [Run { pre_stop: 99, on_term: None, ..serve() }]);
    sim.run(100);
    sim.delete(10);
    sim.run(200);
    assert_eq!(
        sim.lines(&["preStop", "TERM", "KILL"]),
        ["100 preStop a", "100 preStop b", "104 TERM a", "110 KILL a", "110 TERM b", "112 KILL b"]
    );
}

// R8.6, R8.8: a second deletion shortens, never lengthens.
#[test]
fn a_shorter_grace_shortens_a_stop() {
    let mut sim = Sim::new(json!({"containers": [{"name": "a", "image": "img"}]}))
        .script("a", [Run { on_term: None, ..serve() }]);
    sim.run(100);
    sim.delete(60);
    sim.run(110);
    sim.delete(15);
    sim.run(112);
    sim.delete(500);
    sim.run(300);
    assert_eq!(sim.lines(&["TERM", "KILL"]), ["100 TERM a", "115 KILL a"]);
}

// R8.5: the object is gone at once.
#[test]
fn a_forced_deletion_still_stops() {
    let mut sim = Sim::new(json!({
        "terminationGracePeriodSeconds": 7, "containers": [{"name": "a", "image": "img"}],
    }))
    .script("a", [Run { on_term: None, ..serve() }]);
    sim.run(100);
    sim.desire(Desired::Gone);
    sim.run(300);
    assert_eq!(sim.lines(&["TERM", "KILL", "confirm", "forget"]), ["100 TERM a", "107 KILL a", "107 forget"]);
}

// R8.15, R8.21, R8.22: deleted while it initialises.
#[test]
fn a_pod_deleted_during_init_fails() {
    let mut sim = Sim::new(json!({
        "initContainers": [
            {"name": "s", "image": "img", "restartPolicy": "Always"},
            {"name": "i", "image": "img"},
        ],
        "containers": [{"name": "a", "image": "img"}],
    }));
    sim.run(10);
    sim.delete(30);
    sim.run(100);
    assert!(sim.forgotten());
    assert_eq!(sim.lines(&["start"]).len(), 2);
    assert_eq!(sim.phase(), "Failed");
    assert_eq!(sim.state_of("a"), "waiting:PodInitializing");
    assert_eq!(sim.state_of("i"), "terminated:Error/143");
}

// R2.7: a start in flight is given up.
#[test]
fn a_pull_is_given_up_on_deletion() {
    let mut sim =
        Sim::new(json!({"containers": [{"name": "a", "image": "img"}, {"name": "b", "image": "img"}]}));
    sim.start_takes = 50;
    sim.run(10);
    sim.delete(30);
    sim.run(12);
    assert!(sim.forgotten());
    assert_eq!(sim.lines(&["start"]), ["0 start a#0"]);
}

// R8.25
#[test]
fn a_pod_deleted_before_it_was_seen_goes() {
    let mut sim = ordered();
    sim.delete(30);
    sim.run(10);
    assert_eq!(sim.timeline(), ["0 confirm", "0 forget"]);
    assert_eq!(sim.phase(), "Failed");
}

// R8.26
#[test]
fn the_active_deadline_ends_a_pod() {
    let mut sim = Sim::new(json!({
        "activeDeadlineSeconds": 25, "containers": [{"name": "a", "image": "img"}],
    }))
    .script("a", [leaves(2, 0)]);
    sim.run(100);
    assert_eq!(sim.lines(&["TERM", "exit"]), ["25 TERM a", "27 exit a 0"]);
    let status = sim.status();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    assert_eq!(sim.events_with("DeadlineExceeded").len(), 1);
    assert!(!sim.forgotten(), "the object stays");
}

// R8.27
#[test]
fn an_evicted_pod_fails() {
    let mut sim = ordered().script("a", [leaves(0, 0)]).script("b", [leaves(0, 0)]);
    sim.run(10);
    sim.desire(Desired::Evict {
        message: "The node was low".into(),
        grace_seconds: Some(1),
        disruption: true,
    });
    sim.run(60);
    let status = sim.status();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Evicted")));
    assert_eq!(sim.condition("DisruptionTarget"), "True");
    assert_eq!(sim.events_with("Evicted").len(), 1);
}

// R2.1, R5.5: a finished Pod is deleted without running again.
#[test]
fn a_finished_pod_goes_at_once() {
    let mut sim = Sim::new(json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "img"}]}))
        .script("a", [exits(5, 0)]);
    sim.run(50);
    assert_eq!(sim.phase(), "Succeeded");
    sim.delete(0);
    sim.run(60);
    assert!(sim.forgotten());
    assert_eq!(sim.lines(&["start"]).len(), 1);
}

// R7.5
#[test]
fn a_failed_post_start_hook_stops_and_restarts() {
    let mut sim = Sim::new(json!({
        "containers": [{"name": "a", "image": "img", "lifecycle": {"postStart": {"exec": {"command": ["x"]}}}}],
    }))
    .script("a", [Run { post_start: (1, false), ..serve() }, serve()]);
    sim.run(60);
    assert_eq!(sim.lines(&["start", "TERM"]), ["0 start a#0", "1 TERM a", "1 start a#1"]);
    assert_eq!(
        sim.events_with("FailedPostStartHook"),
        ["1 FailedPostStartHook: PostStartHook failed", "1 Killing: FailedPostStartHook",]
    );
    assert_eq!(sim.state_of("a"), "running");
}
