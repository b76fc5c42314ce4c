//! What probe verdicts lead to.

use serde_json::json;

use crate::sim::{Run, Sim, exits, serve};
use outrigger_pod_lifecycle::ProbeKind;

fn probed(policy: &str) -> Sim {
    let probe = json!({"exec": {"command": ["x"]}});
    Sim::new(json!({
        "restartPolicy": policy,
        "terminationGracePeriodSeconds": 20,
        "containers": [{
            "name": "a", "image": "img",
            "startupProbe": probe, "livenessProbe": probe, "readinessProbe": probe,
        }],
    }))
}

fn kinds(sim: &Sim) -> Vec<ProbeKind> {
    let probes = sim.node.last_decision(sim.index).map(|last| last.probes.clone()).unwrap_or_default();
    probes.iter().map(|probe| probe.kind).collect()
}

// R6.4, R6.13, R6.14
#[test]
fn the_startup_probe_comes_first() {
    let run = Run { startup: Some((5, true)), ready_after: Some(8), ..serve() };
    let mut sim = probed("Always").script("a", [run]);
    sim.run(3);
    assert_eq!(kinds(&sim), [ProbeKind::Startup]);
    assert_eq!(sim.status_of("a").started, Some(false));
    sim.run(6);
    assert_eq!(kinds(&sim), [ProbeKind::Liveness, ProbeKind::Readiness]);
    assert_eq!((sim.status_of("a").started, sim.status_of("a").ready), (Some(true), false));
    sim.run(9);
    assert_eq!((sim.status_of("a").ready, sim.condition("Ready").as_str()), (true, "True"));
    // R6.13: an agent restart does not flip it.
    sim.restart_agent();
    sim.run(10);
    assert_eq!(sim.condition("Ready"), "True");
}

// R5.2, R5.3, R5.15, R10.11
#[test]
fn a_failed_liveness_probe_restarts() {
    let run = Run { startup: Some((1, true)), liveness_fails: Some(30), ..serve() };
    let mut sim = probed("Always").script("a", [run, Run { startup: Some((1, true)), ..serve() }]);
    sim.run(100);
    assert_eq!(
        sim.lines(&["start", "TERM", "exit"]),
        ["0 start a#0", "30 TERM a", "30 exit a 143", "30 start a#1"]
    );
    assert_eq!(
        sim.events_with("Killing"),
        ["30 Killing: Container a failed liveness probe, will be restarted"]
    );
}

// R6.22, R8.7: the probe's own grace period.
#[test]
fn a_failed_startup_probe_kills_with_its_own_grace() {
    let mut sim = Sim::new(json!({
        "containers": [{
            "name": "a", "image": "img",
            "startupProbe": {"exec": {"command": ["x"]}, "terminationGracePeriodSeconds": 5},
        }],
    }))
    .script("a", [Run { startup: Some((10, false)), on_term: None, ..serve() }, serve()]);
    sim.run(60);
    assert_eq!(
        sim.lines(&["TERM", "KILL", "exit", "start"]),
        ["0 start a#0", "10 TERM a", "15 KILL a", "15 exit a 137", "15 start a#1"]
    );
}

// R5.3: a probe's kill of the last app container ends a Never Pod as a whole.
#[test]
fn a_failed_probe_ends_a_never_pod() {
    let run = Run { startup: Some((1, true)), liveness_fails: Some(30), ..serve() };
    let mut sim = probed("Never").script("a", [run]);
    sim.run(100);
    assert_eq!(sim.lines(&["start"]).len(), 1);
    assert_eq!(sim.events_with("Killing"), ["30 Killing: Stopping container a"]);
    assert_eq!(sim.phase(), "Failed");
}

// R4.9, R4.11
#[test]
fn a_sidecar_that_never_starts_is_killed_and_blocks() {
    let mut sim = Sim::new(json!({
        "restartPolicy": "Never",
        "initContainers": [{
            "name": "s", "image": "img", "restartPolicy": "Always",
            "startupProbe": {"exec": {"command": ["x"]}},
        }],
        "containers": [{"name": "a", "image": "img"}],
    }))
    .script(
        "s",
        [
            Run { startup: Some((6, false)), ..serve() },
            Run { startup: Some((6, false)), ..serve() },
            Run { startup: Some((1, true)), ..serve() },
        ],
    );
    sim.run(60);
    assert_eq!(sim.lines(&["start"]), ["0 start s#0", "6 start s#1", "12 start s#2", "13 start a#0"]);
    assert_eq!(sim.events_with("Killing")[0], "6 Killing: Init container s failed startup probe");
}

fn targets(sim: &Sim) -> Vec<(String, ProbeKind)> {
    let probes = sim.node.last_decision(sim.index).map(|last| last.probes.clone()).unwrap_or_default();
    probes.into_iter().map(|probe| (probe.container, probe.kind)).collect()
}

/// R6.1, R6.2: app containers and sidecars have a worker for each probe; before the first verdict an instance lives and is
/// not ready.
#[test]
fn each_probe_has_a_worker_and_a_first_value() {
    let probe = json!({"exec": {"command": ["x"]}});
    let mut sim = Sim::new(json!({
        "initContainers": [
            {"name": "i", "image": "img"},
            {"name": "s", "image": "img", "restartPolicy": "Always", "livenessProbe": probe, "readinessProbe": probe},
        ],
        "containers": [
            {"name": "a", "image": "img", "livenessProbe": probe, "readinessProbe": probe},
            {"name": "plain", "image": "img"},
        ],
    }))
    .script("i", [exits(1, 0)])
    .script("s", [Run { ready_after: Some(50), ..serve() }])
    .script("a", [Run { ready_after: Some(50), ..serve() }]);
    sim.run(40);
    let of = |name: &str, kind| (name.to_owned(), kind);
    assert_eq!(
        targets(&sim),
        [
            of("s", ProbeKind::Liveness),
            of("s", ProbeKind::Readiness),
            of("a", ProbeKind::Liveness),
            of("a", ProbeKind::Readiness),
        ]
    );
    for name in ["s", "a"] {
        let status = sim.status_of(name);
        assert_eq!((status.started, status.ready, status.restart_count), (Some(true), false, 0), "{name}");
    }
    assert!(sim.status_of("plain").ready);
    sim.run(60);
    assert!(sim.status_of("a").ready && sim.status_of("s").ready);
}

/// R6.11: what does not run is not probed and not ready, and its next instance begins anew.
#[test]
fn an_ended_container_is_not_probed() {
    let mut sim =
        probed("Never").script("a", [Run { startup: Some((1, true)), ready_after: Some(3), ..exits(20, 0) }]);
    sim.run(10);
    assert!(sim.status_of("a").ready);
    assert_eq!(kinds(&sim), [ProbeKind::Liveness, ProbeKind::Readiness]);
    sim.run(30);
    assert_eq!((sim.status_of("a").ready, sim.phase().as_str()), (false, "Succeeded"));
    assert_eq!(kinds(&sim), []);

    let again = Run { startup: Some((500, true)), ..serve() };
    let first = Run { startup: Some((1, true)), ready_after: Some(3), ..exits(20, 1) };
    let mut sim = probed("Always").script("a", [first, again]);
    sim.run(30);
    assert_eq!(sim.lines(&["start"]), ["0 start a#0", "20 start a#1"]);
    let status = sim.status_of("a");
    assert_eq!((status.started, status.ready), (Some(false), false));
    assert_eq!(kinds(&sim), [ProbeKind::Startup]);
}
