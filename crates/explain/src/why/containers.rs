//! A Pod on its node: which containers wait, on whom, and what is at the end of each chain.

use std::collections::BTreeMap;

use outrigger_pod_lifecycle::WaitingFor;

use super::{Cause, Standing, Told, View, infer, roots};
use crate::record::Wait;
use crate::words::list;

pub(super) fn answer(view: &View<'_>) -> Told {
    let waits = match view.report {
        Some(report) => report.waiting.clone(),
        None => infer::waits(view),
    };
    let waits: Vec<Wait> = waits
        .into_iter()
        .filter(|it| !matches!(it.why, WaitingFor::Done | WaitingFor::PodStopping))
        .collect();
    let mut causes: Vec<Cause> = roots::of_pod(view, &waits).into_iter().collect();
    if causes.is_empty() {
        causes = of_containers(view, &waits);
    }
    causes.extend(gates(view));
    causes.extend(also_absent(view, &causes));
    let ready = view.condition("Ready").is_some_and(|(status, _)| status == "True");
    let phase = view.phase();
    let since = since(view, ready).map(|text| format!(", for {text}")).unwrap_or_default();
    let summary = match (phase, ready) {
        ("Running", true) => format!("is Running and Ready{since}"),
        ("Running", false) => format!("is Running and not Ready{since}"),
        (other, _) => format!("is {other}{since}"),
    };
    let standing = if causes.is_empty() { Standing::Fine } else { Standing::Blocked };
    (standing, summary, causes)
}

/// Since when it is ready, or since when its node has it.
fn since(view: &View<'_>, ready: bool) -> Option<String> {
    let status = view.pod.status.as_ref()?;
    let condition = status.conditions.as_ref()?.iter().find(|condition| condition.type_ == "Ready");
    let changed = condition.filter(|_| ready || status.phase.as_deref() == Some("Running"));
    let changed = changed.and_then(|condition| condition.last_transition_time.as_ref());
    changed.or(status.start_time.as_ref()).map(|at| view.since(at.0))
}

/// On which container a wait is, and how to say so of one and of several.
fn on(why: &WaitingFor) -> Option<(&str, String)> {
    match why {
        WaitingFor::InitContainer { container } => {
            Some((container, format!("for init container {container} to exit with 0")))
        }
        WaitingFor::SidecarStarted { container, .. } => {
            Some((container, format!("for sidecar {container} to start")))
        }
        WaitingFor::Turn { container } => {
            Some((container, format!("until the start of {container} is over")))
        }
        WaitingFor::Volumes { .. }
        | WaitingFor::Network
        | WaitingFor::Sandbox { .. }
        | WaitingFor::Image
        | WaitingFor::Starting
        | WaitingFor::PostStart
        | WaitingFor::CrashBackOff { .. }
        | WaitingFor::Retry { .. }
        | WaitingFor::RestartAllContainers
        | WaitingFor::Done
        | WaitingFor::PodStopping => None,
    }
}

fn of_containers(view: &View<'_>, waits: &[Wait]) -> Vec<Cause> {
    let edges: BTreeMap<&str, (&str, String)> =
        waits.iter().filter_map(|wait| Some((wait.container.as_str(), on(&wait.why)?))).collect();
    let own = |name: &str| waits.iter().find(|wait| wait.container == name && on(&wait.why).is_none());
    let mut causes = Vec::new();
    for row in &view.rows {
        let name = row.name.as_str();
        let waiters = edges.keys().any(|waiter| ends_at(&edges, waiter) == Some(name));
        let unready = roots::is_unready(view, row) && !edges.contains_key(name);
        let wait = own(name);
        if !waiters && wait.is_none() && !unready {
            continue;
        }
        let mut chain = waiting_lines(view, &edges, name);
        let (lines, help) = roots::describe(view, row, wait);
        chain.extend(lines);
        causes.push(Cause { chain, help });
    }
    causes
}

/// The container at the end of a chain of waits.
fn ends_at<'a>(edges: &'a BTreeMap<&str, (&'a str, String)>, from: &str) -> Option<&'a str> {
    let mut last = edges.get(from)?.0;
    // No chain is longer than there are containers.
    for _ in 0..edges.len() {
        match edges.get(last) {
            Some((next, _)) => last = next,
            None => return Some(last),
        }
    }
    None
}

/// `a and b wait for sidecar s to start`, from the far end of each chain to the one that ends at `root`.
fn waiting_lines(view: &View<'_>, edges: &BTreeMap<&str, (&str, String)>, root: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut targets = vec![root];
    let mut seen = vec![root];
    while let Some(target) = targets.pop() {
        let mine = view.rows.iter().filter_map(|row| {
            let (of, phrase) = edges.get(row.name.as_str())?;
            (*of == target).then_some((row.name.clone(), phrase))
        });
        let (names, phrases): (Vec<String>, Vec<&String>) = mine.unzip();
        if let Some(phrase) = phrases.first() {
            let waits = if names.len() == 1 { "waits" } else { "wait" };
            lines.insert(0, format!("{} {waits} {phrase}", list(&names)));
        }
        for name in
            view.rows.iter().map(|row| row.name.as_str()).filter(|name| names.iter().any(|it| it == name))
        {
            if !seen.contains(&name) {
                seen.push(name);
                targets.push(name);
            }
        }
    }
    lines
}

/// What will be in the way next.
fn also_absent(view: &View<'_>, causes: &[Cause]) -> Vec<Cause> {
    let told = |name: &String| {
        let short = name.rsplit('/').next().unwrap_or_default();
        causes.iter().flat_map(|cause| cause.chain.iter().chain(&cause.help)).any(|text| text.contains(short))
    };
    let left = view.absent.iter().filter(|name| !told(name));
    let help = |name: &String| format!("create {name} in namespace {}", view.namespace());
    left.map(|name| Cause::new(format!("{name} does not exist, and a container needs it"), help(name)))
        .collect()
}

/// R6.26.
fn gates(view: &View<'_>) -> Vec<Cause> {
    let Some(spec) = &view.pod.spec else { return Vec::new() };
    let ready = view.condition("ContainersReady").is_some_and(|(status, _)| status == "True");
    let open = |name: &String| view.condition(name).is_none_or(|(status, _)| status != "True");
    let closed: Vec<String> = spec
        .readiness_gates
        .iter()
        .flatten()
        .map(|gate| gate.condition_type.clone())
        .filter(|name| ready && open(name))
        .collect();
    closed
        .into_iter()
        .map(|name| {
            let is = match view.condition(&name) {
                None => "does not exist".to_owned(),
                Some((status, "")) => format!("is {status}"),
                Some((status, message)) => format!("is {status}: {message}"),
            };
            let what = format!("all containers are ready, and condition {name} of a readiness gate {is}");
            Cause::new(what, format!("whoever is responsible for {name} sets it to True in the Pod's status"))
        })
        .collect()
}
