//! In-place changes of cpu and memory (section 13D).

use outrigger_pod_lifecycle::{PendingResize, ResizeOutlook, ResizeSummary};
use serde_json::{Value, json};

use crate::sim::{Sim, serve};

fn resources(cpu: &str, memory: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": memory}})
}

/// Two app containers; memory of `a` asks for a restart.
fn pod() -> Sim {
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    let a = json!({"name": "a", "image": "img", "resources": resources("1", "1Gi"), "resizePolicy": policy});
    let spec = json!({"containers": [a, {"name": "b", "image": "img", "resources": resources("1", "1Gi")}]});
    Sim::new(spec).script("a", [serve()]).script("b", [serve()])
}

/// The node grants container `index` these.
fn grant(sim: &mut Sim, index: usize, resources: Value) {
    sim.node.change(sim.index, |pod| {
        if let Some(spec) = &mut pod.spec {
            spec.containers[index].resources = serde_json::from_value(resources).ok();
        }
        pod.metadata.generation = Some(2);
    });
}

/// The events from second 5 on.
fn events(sim: &Sim) -> Vec<String> {
    let early = ["0 ", "1 ", "2 ", "3 ", "4 "];
    sim.events().into_iter().filter(|event| !early.iter().any(|second| event.starts_with(second))).collect()
}

// R13.28, R13.30, R10.21: without a restart.
#[test]
fn cpu_changes_in_place() {
    let mut sim = pod();
    sim.run(5);
    grant(&mut sim, 0, resources("2", "1024Mi"));
    sim.run(10);
    assert_eq!(sim.lines(&["resize"]), ["5 resize"]);
    assert_eq!(sim.lines(&["TERM"]), Vec::<String>::new());
    let granted = r#"{"containers":[{"name":"a","resources":{"requests":{"cpu":"2","memory":"1024Mi"}}},{"name":"b","resources":{"requests":{"cpu":"1","memory":"1Gi"}}}],"generation":2}"#;
    assert_eq!(
        events(&sim),
        [
            format!("5 ResizeStarted: Pod resize started: {granted}"),
            format!("5 ResizeCompleted: Pod resize completed: {granted}")
        ]
    );
    assert_eq!(sim.condition("PodResizeInProgress"), "");
    let status = sim.status().container_statuses.unwrap_or_default();
    let requests = |at: usize| status[at].resources.clone().and_then(|it| it.requests).unwrap_or_default();
    assert_eq!(requests(0)["cpu"].0, "2");
    assert_eq!(status[0].allocated_resources, Some(requests(0)));
}

// R13.28, R5.15: memory of `a` restarts it alone, at once.
#[test]
fn a_resource_can_ask_for_a_restart() {
    let mut sim = pod();
    sim.run(5);
    grant(&mut sim, 0, resources("1", "2Gi"));
    sim.run(10);
    assert_eq!(sim.lines(&["TERM", "start", "resize"])[2..], ["5 TERM a", "5 start a#1"]);
    assert!(
        events(&sim).contains(&"5 Killing: Container a resize requires restart".to_owned()),
        "{:?}",
        events(&sim)
    );
    assert!(
        events(&sim).last().is_some_and(|event| event.starts_with("5 ResizeCompleted")),
        "{:?}",
        events(&sim)
    );
    assert_eq!(sim.condition("PodResizeInProgress"), "");
}

// R13.29: shown, told once, tried again.
#[test]
fn a_change_that_fails_is_tried_again() {
    let mut sim = pod();
    sim.run(5);
    sim.node.fail_resizes(sim.index, Some("cannot decrease memory limits: no"));
    grant(&mut sim, 1, resources("1", "512Mi"));
    sim.run(20);
    assert_eq!(sim.condition("PodResizeInProgress"), "True");
    let conditions = sim.status().conditions.unwrap_or_default();
    let found = conditions.iter().find(|it| it.type_ == "PodResizeInProgress").cloned().unwrap_or_default();
    assert_eq!(found.reason.as_deref(), Some("Error"));
    assert_eq!(found.message.as_deref(), Some("cannot decrease memory limits: no"));
    let errors: Vec<String> =
        events(&sim).into_iter().filter(|event| event.contains("ResizeError")).collect();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("5 ResizeError: Pod resize error: {\"containers\":["), "{}", errors[0]);
    let end = ",\"generation\":2,\"error\":\"cannot decrease memory limits: no\"}";
    assert!(errors[0].ends_with(end), "{}", errors[0]);
    assert_eq!(sim.lines(&["resize"]), ["5 resize", "15 resize"]);
    sim.node.fail_resizes(sim.index, None);
    sim.run(40);
    assert_eq!(sim.condition("PodResizeInProgress"), "");
}

// R13.27, R9.21, R10.21: what is not granted changes nothing.
#[test]
fn what_is_not_granted_is_told() {
    let mut sim = pod();
    sim.run(5);
    let asked = json!({"metadata": {"generation": 2}, "spec": {
        "initContainers": [{"name": "s", "restartPolicy": "Always"}],
        "containers": [{"name": "a", "resources": resources("8", "1Gi")}]}});
    let asked = ResizeSummary::of(&serde_json::from_value(asked).expect("a Pod"));
    let summary = r#"{"initContainers":[{"name":"s","resources":{}}],"containers":[{"name":"a","resources":{"requests":{"cpu":"8","memory":"1Gi"}}}],"generation":2"#;
    let pending =
        |outlook, message: &str| PendingResize { outlook, message: message.into(), asked: asked.clone() };
    sim.node.hold_resize(sim.index, Some(pending(ResizeOutlook::Deferred, "no cpu")));
    sim.run(10);
    let text = format!("5 ResizeDeferred: Pod resize Deferred: {summary},\"error\":\"no cpu\"}}");
    assert_eq!(events(&sim), [text]);
    assert_eq!(sim.condition("PodResizePending"), "True");
    sim.node.hold_resize(sim.index, Some(pending(ResizeOutlook::Infeasible, "never")));
    sim.run(15);
    let text = format!("10 ResizeInfeasible: Pod resize Infeasible: {summary},\"error\":\"never\"}}");
    assert_eq!(events(&sim)[1..], [text]);
    sim.node.hold_resize(sim.index, None);
    sim.run(20);
    assert_eq!(sim.condition("PodResizePending"), "");
    assert_eq!(sim.lines(&["resize", "TERM"]), Vec::<String>::new());
}
