//! The agent dies at every turn in turn; the Pod must not notice.

use serde_json::json;

use crate::sim::{Death, Run, Sim, exits, serve};

/// A Pod with everything: init, sidecar with hooks and probe, two app containers of which one crashes once.
fn eventful() -> Sim {
    Sim::new(json!({
        "restartPolicy": "OnFailure",
        "terminationGracePeriodSeconds": 20,
        "initContainers": [
            {"name": "i", "image": "img"},
            {
                "name": "s", "image": "img", "restartPolicy": "Always",
                "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
                "startupProbe": {"exec": {"command": ["x"]}},
            },
        ],
        "containers": [{"name": "a", "image": "img"}, {"name": "b", "image": "img"}],
    }))
    .script("i", [exits(2, 1), exits(2, 0)])
    .script("s", [Run { startup: Some((1, true)), pre_stop: 1, on_term: Some((1, 0)), ..serve() }])
    .script("a", [exits(5, 1), exits(40, 0)])
    .script("b", [exits(20, 0)])
}

const DEATHS: [Death; 4] =
    [Death::BeforePersisting, Death::BeforeActing, Death::WhileActing, Death::AfterActing];

fn outcome(sim: &Sim) -> (String, Vec<(String, i32, String)>) {
    let names = ["i", "s", "a", "b"];
    let counts = names.map(|name| (name.to_owned(), sim.status_of(name).restart_count, sim.state_of(name)));
    (sim.phase(), counts.to_vec())
}

// R2.1, R3.8, R3.10, I1-I11: wherever the agent dies, the same containers run as often and the Pod ends the same.
#[test]
fn the_agent_may_die_at_any_turn() {
    let mut calm = eventful();
    calm.run(300);
    assert_eq!(calm.phase(), "Succeeded");
    let turns = calm.node.decisions();
    for turn in 1..=turns {
        for death in DEATHS {
            let mut sim = eventful();
            sim.die(Some((turn, death)));
            sim.run(300);
            assert_eq!(outcome(&sim), outcome(&calm), "{death:?} at {turn}: {:#?}", sim.timeline());
        }
    }
}

// R8.20: a deletion under way goes on.
#[test]
fn the_agent_may_die_while_it_stops_a_pod() {
    let stop = |die: Option<(u64, Death)>| {
        let mut sim = eventful().script("a", [serve()]).script("b", [Run { on_term: None, ..serve() }]);
        sim.run(20);
        sim.die(die);
        sim.delete(15);
        sim.run(100);
        sim
    };
    let calm = stop(None);
    assert!(calm.forgotten());
    for turn in 1..=calm.node.decisions() {
        for death in DEATHS {
            let sim = stop(Some((turn, death)));
            assert!(sim.forgotten(), "{death:?} at {turn}: {:#?}", sim.timeline());
            assert_eq!(outcome(&sim), outcome(&calm), "{death:?} at {turn}: {:#?}", sim.timeline());
            // R8.7: one grace window, and two seconds more where TERM had to be sent again at its end.
            let kill = |sim: &Sim| {
                let line = sim.lines(&["KILL b"]).first().cloned().unwrap_or_default();
                line.split(' ').next().and_then(|second| second.parse::<u64>().ok()).unwrap_or(0)
            };
            let window = kill(&calm)..=kill(&calm) + 2;
            assert!(window.contains(&kill(&sim)), "{death:?} at {turn}: {:#?}", sim.timeline());
        }
    }
}
