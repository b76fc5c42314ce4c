//! A Pod being deleted: what still runs, how long it may, and who holds the object.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger_api::WallTime;
use outrigger_pod_lifecycle::StopSignal;

use super::{Cause, Standing, Told, View};
use crate::record::{HookKind, HookStep, What};
use crate::words::{list, span};

pub(super) fn answer(view: &View<'_>) -> Option<Told> {
    let meta = &view.pod.metadata;
    let due = meta.deletion_timestamp.as_ref()?.0;
    let grace = meta.deletion_grace_period_seconds.unwrap_or(0).max(0).unsigned_abs();
    let left = Duration::try_from(due.duration_since(view.now)).unwrap_or_default();
    let left = Duration::from_secs(left.as_secs());
    let summary = if left.is_zero() {
        format!("is being deleted; its grace of {} is over", span(Duration::from_secs(grace)))
    } else {
        format!("is being deleted; {} of {} grace are left", span(left), span(Duration::from_secs(grace)))
    };
    let mut causes = Vec::new();
    if let Some(problem) = node_problem(view) {
        let node = view.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let force = view.kubectl(&format!("delete pod {} --force --grace-period=0", view.name()));
        let what = format!("node {node} has to stop it, and {problem}");
        causes.push(Cause::new(what, format!("the node's agent must come back; {force} gives the Pod up")));
    }
    causes.extend(still_running(view));
    let held_by = meta.finalizers.as_deref().unwrap_or_default();
    if !held_by.is_empty() {
        causes.push(held(held_by));
    }
    if causes.is_empty() {
        let what = "its containers have stopped; the node cleans up and lets the object go";
        causes.push(Cause { chain: vec![what.to_owned()], help: None });
    }
    Some((Standing::Ending, summary, causes))
}

/// An object somebody asked to keep.
pub(super) fn held(finalizers: &[String]) -> Cause {
    let many = if finalizers.len() == 1 { "finalizer" } else { "finalizers" };
    Cause::new(
        format!(
            "{many} {} keep{} the object",
            list(finalizers),
            if finalizers.len() == 1 { "s" } else { "" }
        ),
        "whoever put them there removes them from metadata.finalizers when its work is done",
    )
}

/// Why the Pod's node does not answer, if so.
pub(super) fn node_problem(view: &View<'_>) -> Option<String> {
    let conditions = view.node?.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    let message = ready.message.as_deref().unwrap_or_default();
    let message = if message.is_empty() { String::new() } else { format!(": {message}") };
    (ready.status != "True").then(|| format!("it is not Ready{message}"))
}

/// How far the stop of one container is.
#[derive(Default)]
struct Stop {
    runs: bool,
    hook: Option<WallTime>,
    term: Option<WallTime>,
    begun: Option<(WallTime, u64)>,
}

fn still_running(view: &View<'_>) -> Vec<Cause> {
    let Some(report) = view.report else { return by_status(view) };
    let mut stops: BTreeMap<&str, Stop> = BTreeMap::new();
    for entry in &report.entries {
        match &entry.what {
            What::Running { container, .. } => {
                stops.insert(container, Stop { runs: true, ..Stop::default() });
            }
            What::Exited { container, .. } => drop(stops.remove(container.as_str())),
            What::Stop { container, grace_seconds, .. } => {
                if let Some(stop) = stops.get_mut(container.as_str()) {
                    stop.begun = Some((entry.at, *grace_seconds));
                }
            }
            What::Hook { container, hook: HookKind::PreStop, step } => {
                if let Some(stop) = stops.get_mut(container.as_str()) {
                    stop.hook = (*step == HookStep::Begun).then_some(entry.at);
                }
            }
            What::Signal { container, signal: StopSignal::Term } => {
                if let Some(stop) = stops.get_mut(container.as_str()) {
                    (stop.term, stop.hook) = (Some(entry.at), None);
                }
            }
            _ => {}
        }
    }
    // Those that wait for others come last.
    let rows = view.rows.iter().filter_map(|row| Some((row, stops.get(row.name.as_str())?)));
    let mut running: Vec<_> = rows.filter(|(_, stop)| stop.runs).collect();
    running.sort_by_key(|(_, stop)| stop.hook.is_none() && stop.term.is_none());
    let mut chain = Vec::new();
    for (row, stop) in running {
        let name = format!("{} {}", row.kind.word(), row.name);
        chain.push(match (stop.hook, stop.term) {
            (Some(since), _) => format!("{name} runs its preStop hook, for {}", view.since(since)),
            (None, Some(at)) => {
                let kill = stop.begun.map(|(begun, grace)| {
                    let due = begun.saturating_add(Duration::from_secs(grace)).unwrap_or(at);
                    let floor = at.saturating_add(Duration::from_secs(2)).unwrap_or(at);
                    format!("; it gets KILL {}", view.until(due.max(floor)))
                });
                format!("{name} got TERM {} ago and still runs{}", view.since(at), kill.unwrap_or_default())
            }
            (None, None) => format!("{name} waits for its turn to stop"),
        });
    }
    let help = "it goes by itself when its containers have ended, at the latest when the grace is over";
    if chain.is_empty() { Vec::new() } else { vec![Cause { chain, help: Some(help.to_owned()) }] }
}

fn by_status(view: &View<'_>) -> Vec<Cause> {
    let runs = |name: &str| {
        view.status_of(name)
            .and_then(|status| status.state.as_ref())
            .is_some_and(|state| state.running.is_some())
    };
    let running: Vec<String> =
        view.rows.iter().filter(|row| runs(&row.name)).map(|row| row.name.clone()).collect();
    if running.is_empty() {
        return Vec::new();
    }
    let many = if running.len() == 1 { "runs" } else { "run" };
    let help = "it goes by itself when its containers have ended, at the latest when the grace is over";
    vec![Cause::new(format!("{} still {many}", list(&running)), help)]
}
