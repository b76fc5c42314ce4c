//! Restart decisions and the crash back-off.

use serde_json::json;

use crate::sim::{Sim, exits};

fn one(policy: &str) -> Sim {
    Sim::new(json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "img"}]}))
}

// R5.10, R5.11: 0, 10, 20, 40, 80, 160, 300, 300 after each exit.
#[test]
fn the_delay_doubles_to_five_minutes() {
    let mut sim = one("Always").script("a", [exits(1, 1)]);
    sim.run(2000);
    let seconds = |line: &String| line.split(' ').next().and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
    let starts: Vec<u64> = sim.lines(&["start a"]).iter().map(seconds).collect();
    let gaps: Vec<u64> = starts.windows(2).map(|pair| pair[1] - pair[0] - 1).collect();
    assert_eq!(gaps[..8], [0, 10, 20, 40, 80, 160, 300, 300]);
}

// R5.13, R9.11, R9.23
#[test]
fn a_crash_loop_is_shown() {
    let mut sim = one("Always").script("a", [exits(1, 3)]);
    sim.run(5);
    assert_eq!(sim.state_of("a"), "waiting:CrashLoopBackOff");
    let status = sim.status_of("a");
    let waiting = status.state.and_then(|it| it.waiting).and_then(|it| it.message).unwrap_or_default();
    assert_eq!(waiting, "back-off 10s restarting failed container=a pod=p_ns(u1)");
    let last = status.last_state.and_then(|it| it.terminated).map(|it| it.exit_code);
    assert_eq!((last, status.restart_count), (Some(3), 1));
    assert_eq!(
        sim.events_with("BackOff"),
        ["2 BackOff: Back-off restarting failed container a in pod p_ns(u1)"]
    );
    assert_eq!(sim.phase(), "Running");
    assert_eq!(sim.condition("Ready"), "False");
}

// R5.12
#[test]
fn a_long_life_forgets_the_series() {
    let mut sim = one("Always").script("a", [exits(1, 1), exits(1, 1), exits(700, 1), exits(1, 1)]);
    sim.run(800);
    assert_eq!(
        sim.lines(&["start a"]),
        [
            "0 start a#0",
            "1 start a#1",
            "12 start a#2",
            "712 start a#3",
            "723 start a#4",
            "744 start a#5",
            "785 start a#6"
        ]
    );
}

// R5.6, R5.7
#[test]
fn the_policy_decides_who_comes_back() {
    for (policy, code, starts, phase) in [
        ("Never", 0, 1, "Succeeded"),
        ("Never", 2, 1, "Failed"),
        ("OnFailure", 0, 1, "Succeeded"),
        ("OnFailure", 2, 2, "Running"),
        ("Always", 0, 2, "Running"),
    ] {
        let mut sim = one(policy).script("a", [exits(1, code)]);
        sim.run(8);
        assert_eq!(sim.lines(&["start a"]).len(), starts, "{policy} {code}");
        assert_eq!(sim.phase(), phase, "{policy} {code}");
    }
}

// R5.4
#[test]
fn a_container_rule_overrules_the_policy() {
    let mut sim = Sim::new(json!({
        "restartPolicy": "Never",
        "containers": [{
            "name": "a", "image": "img", "restartPolicy": "Never",
            "restartPolicyRules": [
                {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}},
            ],
        }],
    }))
    .script("a", [exits(1, 42), exits(1, 0)]);
    sim.run(60);
    assert_eq!(sim.lines(&["start a"]), ["0 start a#0", "1 start a#1"]);
    assert_eq!(sim.phase(), "Succeeded");
}

// R4.4, R4.5, R4.18, R3.10, R4.13
#[test]
fn a_sidecar_comes_back_alone() {
    let mut sim = Sim::new(json!({
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "s", "image": "img", "restartPolicy": "Always"},
            {"name": "i", "image": "img"},
        ],
        "containers": [{"name": "a", "image": "img"}],
    }))
    .script("s", [exits(2, 0), exits(3, 1), exits(500, 0)])
    .script("i", [exits(4, 0)])
    .script("a", [exits(60, 0)]);
    sim.run(6);
    assert_eq!(sim.condition("Ready"), "False");
    sim.run(30);
    assert_eq!(sim.condition("Ready"), "True");
    sim.run(200);
    assert_eq!(
        sim.lines(&["start"]),
        ["0 start s#0", "0 start i#0", "2 start s#1", "4 start a#0", "15 start s#2"]
    );
    assert_eq!(sim.phases(), ["Pending", "Running", "Succeeded"]);
}

// R4.17: a crash loop of the app keeps sidecars running.
#[test]
fn sidecars_wait_out_a_crash_loop() {
    let mut sim = Sim::new(json!({
        "restartPolicy": "OnFailure",
        "initContainers": [{"name": "s", "image": "img", "restartPolicy": "Always"}],
        "containers": [{"name": "a", "image": "img"}],
    }))
    .script("a", [exits(1, 1), exits(1, 1), exits(1, 0)]);
    sim.run(100);
    assert_eq!(sim.lines(&["TERM", "KILL"]), ["13 TERM s"]);
    assert_eq!(sim.phases(), ["Pending", "Running", "Succeeded"]);
}

// R5.17-R5.22
#[test]
fn one_exit_restarts_all_containers() {
    let mut sim = Sim::new(json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "i", "image": "img"}],
        "containers": [
            {
                "name": "a", "image": "img", "restartPolicy": "Never",
                "restartPolicyRules": [
                    {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [9]}},
                ],
            },
            {"name": "b", "image": "img"},
        ],
    }))
    .script("i", [exits(2, 0)])
    .script("a", [exits(5, 9), exits(50, 0)]);
    sim.run(1);
    assert_eq!(sim.condition("AllContainersRestarting"), "False");
    sim.run(8);
    assert_eq!(sim.state_of("b"), "waiting:PodInitializing");
    let last = sim.status_of("a").last_state.and_then(|it| it.terminated).unwrap_or_default();
    assert_eq!((last.exit_code, last.reason.as_deref()), (137, Some("RestartingAllContainers")));
    sim.run(20);
    assert_eq!(
        sim.lines(&["start"]),
        ["0 start i#0", "2 start a#0", "2 start b#0", "7 start i#1", "9 start a#1", "9 start b#1"]
    );
    assert_eq!(sim.lines(&["sandbox #"]).len(), 1, "R5.19");
    assert_eq!(sim.phases(), ["Pending", "Running", "Pending", "Running"]);
}

// R9.28: a running container that is nowhere any more is started again and its end is shown as unknown.
#[test]
fn a_vanished_container_comes_back() {
    let mut sim = one("Always");
    sim.run(10);
    sim.node.lose_record(sim.index, "a");
    sim.run(20);
    assert_eq!(sim.lines(&["start a"]), ["0 start a#0", "10 start a#1"]);
    let last = sim.status_of("a").last_state.and_then(|it| it.terminated).unwrap_or_default();
    assert_eq!((last.exit_code, last.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
    assert_eq!(sim.phases(), ["Pending", "Running"]);
}
