//! A Pod whose phase is final: why it ended.

use k8s_openapi::api::core::v1::ContainerStateTerminated;

use super::{Cause, Standing, Told, View};
use crate::record::Kind;

pub(super) fn answer(view: &View<'_>) -> Option<Told> {
    let phase = view.phase();
    let failed = match phase {
        "Succeeded" => false,
        "Failed" => true,
        _ => return None,
    };
    let ended_at =
        view.rows.iter().filter_map(|row| end(view, &row.name)?.finished_at.as_ref().map(|at| at.0)).max();
    let ago = ended_at.map(|at| format!(", {} ago", view.since(at))).unwrap_or_default();
    let summary = format!("has ended: {phase}{ago}");
    let mut causes = Vec::new();
    if failed {
        causes.extend(why(view));
    } else {
        let apps = view.rows.iter().filter(|row| row.kind == Kind::App).count();
        let what = if apps == 1 { "its container exited with 0" } else { "all its containers exited with 0" };
        causes.push(Cause { chain: vec![what.to_owned()], help: None });
    }
    let held = view.pod.metadata.finalizers.as_deref().unwrap_or_default();
    if view.pod.metadata.deletion_timestamp.is_some() && !held.is_empty() {
        causes.push(super::ending::held(held));
    }
    Some((Standing::Ended, summary, causes))
}

fn end<'a>(view: &View<'a>, container: &str) -> Option<&'a ContainerStateTerminated> {
    view.status_of(container)?.state.as_ref()?.terminated.as_ref()
}

fn why(view: &View<'_>) -> Vec<Cause> {
    let status = view.pod.status.as_ref();
    let reason = status.and_then(|status| status.reason.as_deref()).unwrap_or_default();
    let message = status.and_then(|status| status.message.as_deref()).unwrap_or_default();
    let node = view.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("its node");
    let again = "a Pod that has failed never runs again; create it anew, or let its workload do so";
    if let Some(refusal) = message.strip_prefix("Pod was rejected: ") {
        let what = format!("node {node} refused it, {reason}: {refusal}");
        return vec![Cause::new(what, again)];
    }
    let what = match reason {
        "" => None,
        "DeadlineExceeded" => {
            let spec = view.pod.spec.as_ref();
            let limit = spec.and_then(|spec| spec.active_deadline_seconds).unwrap_or(0);
            Some(format!("it ran longer than its activeDeadlineSeconds of {limit}"))
        }
        "Evicted" => Some(format!("its node was short of resources: {message}")),
        "Terminated" => Some("its node was shut down".to_owned()),
        "Preempting" => Some(format!("it had to make room for another Pod: {message}")),
        other => Some(format!("{other}: {message}")),
    };
    if let Some(what) = what {
        return vec![Cause::new(what.trim_end().to_owned(), again)];
    }
    let counts = |kind: Kind| matches!(kind, Kind::Init | Kind::App);
    let mut causes = Vec::new();
    for row in view.rows.iter().filter(|row| counts(row.kind)) {
        let Some(end) = end(view, &row.name).filter(|end| failed(end)) else { continue };
        let what = format!("{} {} {}", row.kind.word(), row.name, words(end, ""));
        let mut chain = vec![what];
        if row.kind == Kind::Init {
            chain.push(format!("it is not tried again, because restartPolicy is {}", row.restart_policy));
        }
        let help = format!("{} shows what it printed; {again}", view.logs(&row.name, false));
        causes.push(Cause { chain, help: Some(help) });
    }
    if causes.is_empty() {
        let deleted = view.pod.metadata.deletion_timestamp.is_some();
        let what =
            if deleted { "it was stopped before its containers were done" } else { "no container says why" };
        causes.push(Cause::new(what, again));
    }
    causes
}

fn failed(end: &ContainerStateTerminated) -> bool {
    end.exit_code != 0 || end.reason.as_deref() == Some("OOMKilled")
}

/// `exited with 1 (4s ago): no such file`; `aside` stands in the brackets.
pub(super) fn words(end: &ContainerStateTerminated, aside: &str) -> String {
    let reason = match end.reason.as_deref() {
        Some("OOMKilled") => ", out of memory (OOMKilled)".to_owned(),
        Some("Completed" | "Error") | None => String::new(),
        Some(other) => format!(", {other}"),
    };
    let message = end.message.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let message = message.map(|text| format!(": {}", short(text))).unwrap_or_default();
    let aside = if aside.is_empty() { String::new() } else { format!(" ({aside})") };
    format!("exited with {}{reason}{aside}{message}", end.exit_code)
}

/// The last line of a message, cut.
pub(super) fn short(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    if line.chars().count() <= 300 {
        line.to_owned()
    } else {
        line.chars().take(299).chain(['…']).collect()
    }
}
