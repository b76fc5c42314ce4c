//! Any Pod: scripts drawn by lot, an agent that dies once, a deletion at some time. The simulator checks the
//! invariants of section 20 on every turn; here it is checked that the Pod always comes to its end in time.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

use crate::sim::{Death, Run, Sim};

fn run() -> impl Strategy<Value = Run> {
    let exit = prop::option::of((0u64..40, prop::sample::select(vec![0, 1, 9])));
    let on_term = prop::option::of((0u64..8, prop::sample::select(vec![0, 143])));
    let startup = (0u64..10, prop::bool::weighted(0.8));
    let post_start = (0u64..4, prop::bool::weighted(0.8));
    (exit, on_term, startup, prop::option::weighted(0.2, 1u64..60), post_start, 0u64..15).prop_map(
        |(exit, on_term, startup, liveness_fails, post_start, pre_stop)| Run {
            exit,
            on_term,
            startup: Some(startup),
            liveness_fails,
            ready_after: Some(1),
            post_start,
            pre_stop,
            message: "",
        },
    )
}

fn spec(policy: &str) -> serde_json::Value {
    let hook = json!({"exec": {"command": ["x"]}});
    let probe = &hook;
    json!({
        "restartPolicy": policy,
        "terminationGracePeriodSeconds": 10,
        "initContainers": [
            {"name": "i", "image": "img"},
            {"name": "s", "image": "img", "restartPolicy": "Always", "startupProbe": probe},
            {"name": "t", "image": "img", "restartPolicy": "Always", "lifecycle": {"preStop": hook}},
        ],
        "containers": [
            {"name": "a", "image": "img", "lifecycle": {"preStop": hook, "postStart": hook}},
            {
                "name": "b", "image": "img", "livenessProbe": probe, "readinessProbe": probe,
                "restartPolicy": policy,
                "restartPolicyRules": [
                    {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [9]}},
                ],
            },
        ],
    })
}

// I1, I4, I6-I11
#[test]
fn comes_to_its_end() {
    let scripts = prop::collection::vec(prop::collection::vec(run(), 1..4), 5);
    let policy = prop::sample::select(vec!["Always", "OnFailure", "Never"]);
    let death = prop::sample::select(vec![Death::BeforePersisting, Death::BeforeActing, Death::AfterActing]);
    let drawn = (scripts, policy, death, 1u64..60, 0u64..200, 0u64..3);
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 80, failure_persistence: None, ..Config::default() },
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let outcome = runner.run(&drawn, |(scripts, policy, death, dies_at, deleted_at, start_takes)| {
        let mut sim = Sim::new(spec(policy));
        for (name, runs) in ["i", "s", "t", "a", "b"].iter().zip(scripts) {
            sim = sim.script(name, runs);
        }
        sim.die(Some((dies_at, death)));
        sim.start_takes = start_takes;
        sim.run(deleted_at);
        sim.delete(10);
        // R8.14: the grace and the floor; a start in flight may end first, and a stop of one container goes on.
        sim.run(deleted_at + 10 + 2 + 2);
        prop_assert!(sim.forgotten(), "{:#?}\n{:#?}", sim.timeline(), sim.node.last_decision(sim.index));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
