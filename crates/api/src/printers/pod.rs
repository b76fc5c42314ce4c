//! Pods (G14): what one word says of a Pod is a walk over all of its containers.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::tree::Tree;
use super::{AGE, Column, NAME, Printer, text};
use crate::age::age;

pub(super) const POD: Printer = Printer {
    columns: &[
        NAME,
        Column { description: "The containers that are ready, and all that should be.", ..text("Ready") },
        Column { description: "What the Pod is doing, or why it cannot.", ..text("Status") },
        Column { description: "How often containers were restarted, and when last.", ..text("Restarts") },
        AGE,
        text("IP").wide(),
        text("Node").wide(),
        text("Nominated Node").wide(),
        text("Readiness Gates").wide(),
    ],
    cells,
};

/// What the walk finds out.
#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

fn cells(pod: Tree<'_>, now: Timestamp) -> Vec<Value> {
    let summary = summarise(pod);
    let restarts = match summary.last_restart {
        Some(last) if summary.restarts > 0 => format!("{} ({} ago)", summary.restarts, age(Some(last), now)),
        _ => summary.restarts.to_string(),
    };
    let address = pod.list("status.podIPs").next().map_or(pod.text("status.podIP"), |first| first.text("ip"));
    let or_none = |text: &str| if text.is_empty() { json!("<none>") } else { json!(text) };
    vec![
        json!(format!("{}/{}", summary.ready, summary.total)),
        json!(summary.reason),
        json!(restarts),
        pod.age(now),
        or_none(address),
        or_none(pod.text("spec.nodeName")),
        or_none(pod.text("status.nominatedNodeName")),
        json!(gates(pod)),
    ]
}

fn summarise(pod: Tree<'_>) -> Summary {
    let mut summary = Summary {
        reason: pod.text_or("status.reason", pod.text("status.phase")).to_owned(),
        ..Summary::default()
    };
    let gated = pod.condition("PodScheduled").is_some_and(|it| it.text("reason") == "SchedulingGated");
    if gated {
        summary.reason = "SchedulingGated".to_owned();
    }
    let sidecars: Vec<&str> = pod
        .list("spec.initContainers")
        .filter(|container| container.text("restartPolicy") == "Always")
        .map(|container| container.text("name"))
        .collect();
    summary.total = pod.count("spec.containers") + sidecars.len();
    let mut sidecar_restarts = (0, None);
    let pending = walk_init(pod, &sidecars, &mut summary, &mut sidecar_restarts);
    let initialized = pod.condition("Initialized").is_some_and(|it| it.text("status") == "True");
    if !pending || initialized {
        (summary.restarts, summary.last_restart) = sidecar_restarts;
        walk_containers(pod, &mut summary);
    }
    if !pod.at("metadata.deletionTimestamp").is_null() {
        let phase = pod.text("status.phase");
        if pod.text("status.reason") == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

fn last_end(status: Tree<'_>) -> Option<Timestamp> {
    status.time("lastState.terminated.finishedAt")
}

/// G14. Whether an init container is still pending.
fn walk_init(
    pod: Tree<'_>,
    sidecars: &[&str],
    summary: &mut Summary,
    of_sidecars: &mut (i64, Option<Timestamp>),
) -> bool {
    for (index, status) in pod.list("status.initContainerStatuses").enumerate() {
        let is_sidecar = sidecars.contains(&status.text("name"));
        let restarts = status.int("restartCount");
        summary.restarts += restarts;
        summary.last_restart = summary.last_restart.max(last_end(status));
        if is_sidecar {
            of_sidecars.0 += restarts;
            of_sidecars.1 = of_sidecars.1.max(last_end(status));
        }
        let terminated = status.at("state.terminated");
        if !terminated.is_null() && terminated.int("exitCode") == 0 {
            continue;
        }
        if is_sidecar && status.flag("started") {
            summary.ready += usize::from(status.flag("ready"));
            continue;
        }
        summary.reason = if !terminated.is_null() {
            format!("Init:{}", ending(terminated))
        } else {
            match status.text("state.waiting.reason") {
                "" | "PodInitializing" => format!("Init:{index}/{}", pod.count("spec.initContainers")),
                reason => format!("Init:{reason}"),
            }
        };
        return true;
    }
    false
}

/// The reason, or the signal, or the exit code of a terminated container.
fn ending(terminated: Tree<'_>) -> String {
    match (terminated.text("reason"), terminated.int("signal")) {
        ("", 0) => format!("ExitCode:{}", terminated.int("exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// G14a.
fn walk_containers(pod: Tree<'_>, summary: &mut Summary) {
    let (mut running, mut error) = (false, String::new());
    for status in pod.list("status.containerStatuses").rev() {
        summary.restarts += status.int("restartCount");
        summary.last_restart = summary.last_restart.max(last_end(status));
        let terminated = status.at("state.terminated");
        let waiting = status.text("state.waiting.reason");
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if !terminated.is_null() {
            summary.reason = ending(terminated);
            if terminated.int("exitCode") != 0 {
                error.clone_from(&summary.reason);
            }
        } else if status.flag("ready") && !status.at("state.running").is_null() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason != "Completed" {
        return;
    }
    let is_ready = pod.condition("Ready").is_some_and(|it| it.text("status") == "True");
    if running && is_ready {
        summary.reason = "Running".to_owned();
    } else if !error.is_empty() {
        summary.reason = error;
    } else if running {
        summary.reason = "NotReady".to_owned();
    }
}

/// G14d.
fn gates(pod: Tree<'_>) -> String {
    let total = pod.count("spec.readinessGates");
    if total == 0 {
        return "<none>".to_owned();
    }
    let holds = |gate: &Tree<'_>| {
        pod.condition(gate.text("conditionType")).is_some_and(|condition| condition.text("status") == "True")
    };
    format!("{}/{total}", pod.list("spec.readinessGates").filter(holds).count())
}
