//! What a published status is made of (section 9), beyond what the cases show of it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use outrigger_pod_lifecycle::FailureReason;
use outrigger_simulator::{Node, What};
use serde_json::{Value, json};

use crate::sim::{Run, Sim, exits, serve};

/// R9.22, M17: app and ephemeral containers by name, init entries as in the spec, all from the first status on.
#[test]
fn the_order_of_container_statuses() {
    let mut sim = Sim::new(json!({
        "initContainers": [{"name": "z", "image": "img"}, {"name": "i", "image": "img"}],
        "containers": [{"name": "c", "image": "img"}, {"name": "a", "image": "img"}, {"name": "b", "image": "img"}],
        "ephemeralContainers": [{"name": "y", "image": "img"}, {"name": "x", "image": "img"}],
    }));
    sim.run(0);
    let status = sim.status();
    let names = |list: Option<Vec<k8s_openapi::api::core::v1::ContainerStatus>>| -> Vec<String> {
        list.unwrap_or_default().into_iter().map(|status| status.name).collect()
    };
    assert_eq!(names(status.init_container_statuses), ["z", "i"]);
    assert_eq!(names(status.container_statuses), ["a", "b", "c"]);
    assert_eq!(names(status.ephemeral_container_statuses), ["x", "y"]);
}

fn found(conditions: Option<&Vec<PodCondition>>, ty: &str) -> PodCondition {
    conditions.into_iter().flatten().find(|it| it.type_ == ty).cloned().expect("a condition")
}

/// R9.12, R9.14, R9.15, R9.37: times move with `status` alone, generations with the spec, the rest not at all.
#[test]
fn conditions_and_what_never_changes() {
    let mut sim = Sim::new(json!({
        "containers": [{"name": "a", "image": "img", "readinessProbe": {"exec": {"command": ["x"]}}}],
    }))
    .script("a", [Run { ready_after: Some(7), ..serve() }]);
    sim.run(1);
    let first = sim.status();
    sim.node.change(sim.index, |pod| pod.metadata.generation = Some(2));
    sim.run(5);
    let second = sim.status();
    sim.run(30);
    let third = sim.status();
    let since = |status: &k8s_openapi::api::core::v1::PodStatus, ty| {
        found(status.conditions.as_ref(), ty).last_transition_time.expect("a time")
    };
    assert_eq!(since(&first, "Ready"), since(&second, "Ready"), "still False");
    assert!(since(&third, "Ready") > since(&second, "Ready"));
    assert_eq!(since(&third, "Initialized"), since(&first, "Initialized"));
    let ready = found(third.conditions.as_ref(), "Ready");
    assert_eq!((ready.status.as_str(), &ready.reason, &ready.message), ("True", &None, &None));
    assert_eq!((ready.last_probe_time, ready.observed_generation), (None, Some(2)));
    let scheduled = found(third.conditions.as_ref(), "PodScheduled");
    assert_eq!((scheduled.status.as_str(), scheduled.reason), ("True", None));
    assert_eq!((first.observed_generation, third.observed_generation), (Some(1), Some(2)));
    assert!(first.start_time.is_some() && first.start_time == third.start_time);
    assert_eq!(third.qos_class.as_deref(), Some("BestEffort"), "as the API server had it");
}

/// R9.35, M24: a finished Pod keeps its address.
#[test]
fn a_finished_pod_keeps_its_address() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "img"}]});
    let mut sim = Sim::new(spec).script("a", [exits(3, 0)]);
    sim.run(20);
    assert_eq!(sim.phase(), "Succeeded");
    let status = sim.status();
    assert_eq!(status.pod_ip.as_deref(), Some("10.1.0.2"));
    assert_eq!(status.pod_ips.map(|ips| ips.len()), Some(1));
}

/// R3.19: another object of the same name begins with its first entry.
#[test]
fn another_pod_of_the_same_name_initialises() {
    let mut node = Node::default();
    for uid in ["u1", "u2"] {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": uid, "generation": 1},
            "spec": {"restartPolicy": "Never", "initContainers": [{"name": "i", "image": "img"}],
                "containers": [{"name": "a", "image": "img"}]},
            "status": {"phase": "Pending"},
        }))
        .expect("well formed");
        let done = outrigger_simulator::Script::parse("exit 0 after 1").expect("well formed");
        let scripts = BTreeMap::from([("i".to_owned(), done.clone()), ("a".to_owned(), done)]);
        let index = node.create(pod, scripts);
        node.run(node.now() + std::time::Duration::from_secs(10));
        let starts = node.timeline(index).iter().filter_map(|entry| match &entry.what {
            What::Start { container, attempt } => Some(format!("{container}#{attempt}")),
            _ => None,
        });
        assert_eq!(starts.collect::<Vec<_>>(), ["i#0", "a#0"], "{uid}");
    }
}

/// R9.27: the waiting reasons, as clients read them.
#[test]
fn the_words_of_failures() {
    use FailureReason::*;
    let all = [
        (ErrImagePull, "ErrImagePull"),
        (ErrImageNeverPull, "ErrImageNeverPull"),
        (ImageInspectError, "ImageInspectError"),
        (InvalidImageName, "InvalidImageName"),
        (RegistryUnavailable, "RegistryUnavailable"),
        (SignatureValidationFailed, "SignatureValidationFailed"),
        (CreateContainerConfigError, "CreateContainerConfigError"),
        (CreateContainerError, "CreateContainerError"),
        (PreCreateHookError, "PreCreateHookError"),
    ];
    for (reason, word) in all {
        let mut sim = Sim::new(json!({"containers": [{"name": "a", "image": "img"}]})).fails("a", [reason]);
        sim.run(0);
        let shown = |entry: &outrigger_simulator::Entry| match &entry.what {
            What::State { text, .. } => *text == format!("waiting {word}"),
            _ => false,
        };
        assert!(sim.node.timeline(sim.index).iter().any(shown), "{word}");
    }
}

/// R9.34: what one instance said is not what the next one says; R9.31: it is said after exit 0 too.
#[test]
fn a_message_belongs_to_one_instance() {
    let mut sim =
        Sim::new(json!({"restartPolicy": "OnFailure", "containers": [{"name": "a", "image": "img"}]}))
            .script(
                "a",
                [
                    Run { message: "first", ..exits(1, 1) },
                    Run { message: "", ..exits(1, 1) },
                    Run { message: "last", ..exits(1, 0) },
                ],
            );
    let said = |sim: &Sim| {
        let status = sim.status_of("a");
        let ended =
            status.state.and_then(|it| it.terminated).or(status.last_state.and_then(|it| it.terminated));
        ended.and_then(|it| it.message)
    };
    sim.run(1);
    assert_eq!(said(&sim).as_deref(), Some("first"));
    sim.run(2);
    assert_eq!(said(&sim), None);
    sim.run(30);
    assert_eq!((sim.phase().as_str(), said(&sim).as_deref()), ("Succeeded", Some("last")));
}

fn whole(sim: &Sim) -> (Value, Value) {
    let status = sim.status();
    (json!(status.allocated_resources), json!(status.resources))
}

/// R9.38, R13.1-R13.5: of the Pod as a whole, the aggregates; `{}` if there is nothing.
#[test]
fn what_the_pod_as_a_whole_has() {
    let cpu = |amount: &str| json!({"requests": {"cpu": amount}, "limits": {"cpu": amount}});
    let mut sim = Sim::new(json!({
        "initContainers": [
            {"name": "i", "image": "img", "resources": cpu("2")},
            {"name": "s", "image": "img", "restartPolicy": "Always", "resources": cpu("1")},
            {"name": "j", "image": "img", "resources": cpu("3")},
        ],
        "containers": [
            {"name": "a", "image": "img", "resources": {"requests": {"cpu": "500m", "memory": "64Mi"}}},
            {"name": "b", "image": "img", "resources": {"requests": {"cpu": "500m", "memory": "64Mi"}}},
        ],
        "overhead": {"memory": "8Mi"},
    }));
    sim.run(1);
    let expected = json!({"requests": {"cpu": "4", "memory": "136Mi"}, "limits": {"cpu": "4"}});
    assert_eq!(whole(&sim), (expected["requests"].clone(), expected));
    let mut none = Sim::new(json!({"containers": [{"name": "a", "image": "img"}]}));
    none.run(1);
    assert_eq!(whole(&none), (Value::Null, json!({})));
    let level = json!({"requests": {"cpu": "3"}, "limits": {"cpu": "5"}});
    let app = json!({"name": "a", "image": "img", "resources": cpu("1")});
    let mut pod_level = Sim::new(json!({"resources": level, "containers": [app]}));
    pod_level.run(1);
    assert_eq!(whole(&pod_level), (level["requests"].clone(), level));
}
