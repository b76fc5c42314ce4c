//! A Pod without a node, or whose node has not taken it.

use super::{Cause, Standing, Told, View};
use crate::words::list;

pub(super) fn answer(view: &View<'_>) -> Option<Told> {
    let spec = view.pod.spec.as_ref()?;
    let waiting = |causes| Some((Standing::Blocked, format!("is Pending{}", age(view)), causes));
    let node = spec.node_name.as_deref().filter(|name| !name.is_empty());
    if let Some(node) = node {
        let taken = view.pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        return if taken { None } else { waiting(vec![not_taken(view, node)]) };
    }
    let gates: Vec<String> = spec.scheduling_gates.iter().flatten().map(|gate| gate.name.clone()).collect();
    if !gates.is_empty() {
        let (gate, is) = if gates.len() == 1 { ("gate", "is") } else { ("gates", "are") };
        let what = format!("it has no node: scheduling {gate} {} {is} set", list(&gates));
        let help =
            "whoever set them takes them out of spec.schedulingGates; then the scheduler looks at the Pod";
        return waiting(vec![Cause::new(what, help)]);
    }
    let said =
        view.condition("PodScheduled").filter(|(status, message)| *status == "False" && !message.is_empty());
    let event = view.event(&["FailedScheduling"], None).and_then(|event| event.message.as_deref());
    let Some(message) = said.map(|(_, message)| message).or(event) else {
        let scheduler = spec.scheduler_name.as_deref().unwrap_or("default-scheduler");
        let what = format!("it has no node: {scheduler} has not looked at it yet");
        let help = if scheduler == "default-scheduler" {
            "the scheduler must run; it looks at every Pod within moments".to_owned()
        } else {
            format!("a scheduler of the name {scheduler} must run, or spec.schedulerName must be another")
        };
        return waiting(vec![Cause::new(what, help)]);
    };
    let cause = Cause::new(format!("it has no node: {}", message.trim_end()), help(view, message));
    waiting(vec![cause])
}

fn age(view: &View<'_>) -> String {
    let created = view.pod.metadata.creation_timestamp.as_ref();
    created.map(|at| format!(", for {}", view.since(at.0))).unwrap_or_default()
}

/// What would make a node fit.
fn help(view: &View<'_>, message: &str) -> String {
    let lower = message.to_lowercase();
    let mut ways = Vec::new();
    if let Some(at) = lower.find("insufficient ") {
        let resource: String = message[at + "insufficient ".len()..]
            .chars()
            .take_while(|letter| !matches!(letter, ',' | ' ' | ')'))
            .collect();
        let resource = resource.trim_end_matches('.');
        ways.push(format!("a node with more {resource} free, or smaller requests for {resource}"));
    }
    if lower.contains("taint") {
        ways.push("a toleration of the taint, or the taint taken off".to_owned());
    }
    if lower.contains("affinity") || lower.contains("selector") {
        ways.push("a node with the labels that are asked for, or another selector".to_owned());
    }
    if lower.contains("free ports") {
        ways.push("another hostPort, or the Pod that has it gone".to_owned());
    }
    if lower.contains("persistentvolumeclaim") || lower.contains("persistent volume") {
        let absent = list(view.absent);
        ways.push(if absent.is_empty() {
            "the claim bound to a volume".to_owned()
        } else {
            format!("{absent} created")
        });
    }
    if lower.contains("unschedulable") {
        ways.push("a node uncordoned".to_owned());
    }
    if ways.is_empty() {
        return format!("{} shows what nodes offer", "`kubectl describe nodes`");
    }
    format!("it needs {}", ways.join("; or "))
}

fn not_taken(view: &View<'_>, node: &str) -> Cause {
    match super::ending::node_problem(view) {
        Some(problem) => Cause::new(
            format!("node {node} has not taken it: {problem}"),
            format!("the agent of node {node} must run and reach the API server"),
        ),
        None => Cause::new(
            format!("node {node} has not taken it yet"),
            "the node's agent takes new Pods within moments".to_owned(),
        ),
    }
}
