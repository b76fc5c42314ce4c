//! Pods of any shape, and what their containers do.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use outrigger_pod_lifecycle::{FailureReason, Verdict};
use serde_json::{Value, json};

use crate::random::Rng;
use crate::script::{Health, Hook, Instance, Script};

/// A drawn Pod with its scripts.
pub(super) struct Drawn {
    pub(super) pod: Pod,
    pub(super) scripts: BTreeMap<String, Script>,
}

/// The exit code that restart rules are about.
const SPECIAL: i32 = 42;

pub(super) fn draw(rng: &mut Rng, number: usize) -> Drawn {
    let mut scripts = BTreeMap::new();
    let mut inits = Vec::new();
    for at in 0..rng.below(4) {
        let sidecar = rng.chance(500);
        let name = format!("{}{at}", if sidecar { "s" } else { "i" });
        inits.push(container(rng, &name, sidecar, !sidecar));
        scripts.insert(name, script(rng, !sidecar));
    }
    let mut apps = Vec::new();
    for at in 0..rng.between(1, 3) {
        let name = format!("a{at}");
        apps.push(container(rng, &name, false, false));
        scripts.insert(name, script(rng, false));
    }
    let mut spec = json!({
        "restartPolicy": rng.pick(&["Always", "OnFailure", "Never"]),
        "terminationGracePeriodSeconds": rng.pick(&[1, 2, 5, 10, 30]),
        "containers": apps,
    });
    if !inits.is_empty() {
        spec["initContainers"] = json!(inits);
    }
    if rng.chance(100) {
        spec["hostNetwork"] = json!(true);
    }
    if rng.chance(70) {
        spec["activeDeadlineSeconds"] = json!(rng.between(1, 200));
    }
    let mut metadata = json!({
        "name": format!("p{number}"), "namespace": "ns", "uid": format!("u{number}"), "generation": 1,
    });
    if rng.chance(70) {
        metadata["finalizers"] = json!(["example.com/hold"]);
    }
    let pod = json!({"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}});
    Drawn { pod: serde_json::from_value(pod).unwrap_or_default(), scripts }
}

fn container(rng: &mut Rng, name: &str, sidecar: bool, plain_init: bool) -> Value {
    let mut container = json!({"name": name, "image": rng.pick(&["one", "two"])});
    let hook = json!({"exec": {"command": ["x"]}});
    if sidecar {
        container["restartPolicy"] = json!("Always");
    } else if rng.chance(200) {
        container["restartPolicy"] = json!(rng.pick(&["Never", "OnFailure"]));
    }
    let rules = rng.chance(150) && !container["restartPolicy"].is_null();
    if rules && !sidecar {
        let action = *rng.pick(&["Restart", "RestartAllContainers"]);
        container["restartPolicyRules"] =
            json!([{"action": action, "exitCodes": {"operator": "In", "values": [SPECIAL]}}]);
    }
    if plain_init {
        return container;
    }
    for kind in ["startupProbe", "livenessProbe", "readinessProbe"] {
        if !rng.chance(300) {
            continue;
        }
        let mut probe = json!({
            "exec": {"command": ["x"]},
            "periodSeconds": rng.between(1, 10),
            "failureThreshold": rng.between(1, 4),
            "initialDelaySeconds": rng.pick(&[0, 0, 3]),
        });
        if kind != "readinessProbe" && rng.chance(200) {
            probe["terminationGracePeriodSeconds"] = json!(rng.between(1, 20));
        }
        container[kind] = probe;
    }
    if rng.chance(250) {
        container["lifecycle"]["postStart"] = hook.clone();
    }
    if rng.chance(250) {
        container["lifecycle"]["preStop"] = hook;
    }
    container
}

fn seconds(rng: &mut Rng, low: u64, high: u64) -> Duration {
    // Not whole seconds: things rarely happen together.
    Duration::from_millis(rng.between(low * 1000, high * 1000))
}

fn script(rng: &mut Rng, ends: bool) -> Script {
    let count = rng.between(1, 4);
    let instances = (0..count).map(|at| instance(rng, ends && at + 1 == count, ends)).collect();
    let mut failures = Vec::new();
    if rng.chance(200) {
        let reasons = [
            FailureReason::ErrImagePull,
            FailureReason::CreateContainerConfigError,
            FailureReason::CreateContainerError,
        ];
        let reason = *rng.pick(&reasons);
        failures.extend((0..rng.between(1, 4)).map(|_| (reason, "no luck".to_owned())));
    }
    let pull = if rng.chance(300) { seconds(rng, 0, 20) } else { Duration::ZERO };
    Script { instances, failures, pull }
}

fn instance(rng: &mut Rng, succeeds: bool, ends: bool) -> Instance {
    let code = if succeeds { 0 } else { *rng.pick(&[0, 0, 1, 1, 137, SPECIAL]) };
    let lives = if ends || rng.chance(400) { Some((seconds(rng, 0, 40), code)) } else { None };
    let on_term = match rng.below(6) {
        0 => None,
        1 => Some((seconds(rng, 0, 40), *rng.pick(&[0, 143]))),
        _ => Some((seconds(rng, 0, 3), *rng.pick(&[0, 143, 7]))),
    };
    Instance {
        exit: lives,
        on_term,
        oom_killed: code == 137 && rng.chance(300),
        start_error: (!succeeds && rng.chance(40)).then(|| "no such file".to_owned()),
        message: String::new(),
        startup: health(rng, true),
        liveness: health(rng, false),
        readiness: health(rng, false),
        post_start: hook(rng),
        pre_stop: hook(rng),
    }
}

fn health(rng: &mut Rng, at_first: bool) -> Health {
    match rng.below(10) {
        0 => Health::until(seconds(rng, 1, 60)),
        1 | 2 if at_first => Health::after(seconds(rng, 0, 15)),
        3 if !at_first => Health::Fails {
            from: seconds(rng, 0, 30),
            until: Some(seconds(rng, 31, 60)),
            output: "busy".into(),
        },
        4 if at_first => Health::Verdict(seconds(rng, 0, 10), Verdict::Failure),
        _ => Health::Good,
    }
}

fn hook(rng: &mut Rng) -> Hook {
    let takes = if rng.chance(50) { seconds(rng, 20, 60) } else { seconds(rng, 0, 5) };
    Hook { takes: Some(takes), error: rng.chance(150).then(|| "exit code 1".to_owned()) }
}
