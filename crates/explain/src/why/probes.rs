//! Probes that keep a container from being started or ready: what they say, how often, and when next.

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use outrigger_pod_lifecycle::ProbeKind;

use super::{View, ended};
use crate::record::{Kind, ProbeProgress, Row};

type Description = (Vec<String>, Option<String>);

/// Its startup probe has not passed.
pub(super) fn startup(view: &View<'_>, row: &Row, name: &str) -> Description {
    let (state, target, limit) = state(view, row, ProbeKind::Startup);
    let lets = if row.kind == Kind::Sidecar { " and lets the next container start" } else { "" };
    let help = format!(
        "once {target}, {} counts as started{lets}; after {limit} failures in a row it is killed and started again",
        row.name
    );
    (vec![format!("the startup probe of {name} {state}")], Some(help))
}

/// Its readiness probe does not pass.
pub(super) fn readiness(view: &View<'_>, row: &Row, name: &str) -> Description {
    let (state, target, _) = state(view, row, ProbeKind::Readiness);
    let help = format!("once {target}, {} is ready", row.name);
    (vec![format!("{name} runs and is not ready"), format!("its readiness probe {state}")], Some(help))
}

/// How a probe goes, what it asks for, and its failure threshold.
fn state(view: &View<'_>, row: &Row, kind: ProbeKind) -> (String, String, u32) {
    let probe = definition(view, &row.name).and_then(|container| match kind {
        ProbeKind::Startup => container.startup_probe.as_ref(),
        ProbeKind::Liveness => container.liveness_probe.as_ref(),
        ProbeKind::Readiness => container.readiness_probe.as_ref(),
    });
    let target = probe.map_or_else(|| "it passes".to_owned(), target);
    let limit =
        probe.and_then(|probe| probe.failure_threshold).filter(|n| *n > 0).map_or(3, i32::unsigned_abs);
    let progress = view.report.and_then(|report| {
        report.probes.iter().find(|progress| progress.container == row.name && progress.kind == kind)
    });
    let text = match progress {
        Some(progress) => told(view, progress, kind),
        None => from_events(view, row, kind),
    };
    (text, target, limit)
}

fn told(view: &View<'_>, progress: &ProbeProgress, kind: ProbeKind) -> String {
    let next = progress.next.map(|at| format!("; next {}", view.until(at))).unwrap_or_default();
    match progress.success {
        None => format!("has not been tried yet{next}"),
        Some(true) => format!("passes, {} of {} needed{next}", progress.in_a_row, progress.needed),
        Some(false) => {
            let output = plain(&progress.output);
            let (run, needed) = (progress.in_a_row, progress.needed);
            let count = match kind {
                ProbeKind::Startup | ProbeKind::Liveness => format!("{run} of {needed} tries"),
                ProbeKind::Readiness if run == 1 => "once".to_owned(),
                ProbeKind::Readiness => format!("{run} times in a row"),
            };
            format!("fails: {output}, {count}{next}")
        }
    }
}

/// The same as far as events tell.
fn from_events(view: &View<'_>, row: &Row, kind: ProbeKind) -> String {
    let prefix = format!("{} probe failed: ", kind.as_str());
    let path = format!("{{{}}}", row.name);
    let told = view.events.iter().rev().find_map(|event| {
        let about = event.involved_object.field_path.as_deref().unwrap_or_default().ends_with(&path);
        let output = event.message.as_deref()?.strip_prefix(&prefix)?;
        (about && event.reason.as_deref() == Some("Unhealthy")).then_some((output, event.count.unwrap_or(1)))
    });
    match told {
        Some((output, 1)) => format!("fails: {}, once so far", plain(output)),
        Some((output, count)) => format!("fails: {}, {count} times so far", plain(output)),
        None => "has not passed yet".to_owned(),
    }
}

fn definition<'a>(view: &View<'a>, name: &str) -> Option<&'a Container> {
    let spec = view.pod.spec.as_ref()?;
    let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.find(|container| container.name == name)
}

/// What must happen for the probe to pass.
fn target(probe: &Probe) -> String {
    let port = |port: &IntOrString| match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    };
    if let Some(tcp) = &probe.tcp_socket {
        return format!("something listens on port {}", port(&tcp.port));
    }
    if let Some(get) = &probe.http_get {
        return format!(
            "GET {} on port {} answers well",
            get.path.as_deref().unwrap_or("/"),
            port(&get.port)
        );
    }
    if let Some(grpc) = &probe.grpc {
        return format!("its gRPC health service on port {} says SERVING", grpc.port);
    }
    let command = probe.exec.as_ref().and_then(|exec| exec.command.as_ref());
    match command {
        Some(command) => format!("`{}` exits with 0", ended::short(&command.join(" "))),
        None => "it passes".to_owned(),
    }
}

/// `connection refused on 5432` instead of `dial tcp 10.1.0.2:5432: Connection refused (os error 111)`.
fn plain(output: &str) -> String {
    let output = ended::short(output);
    let output = output.split(" (os error").next().unwrap_or_default().to_owned();
    let Some((_, rest)) = output.split_once("dial tcp ") else {
        return if output.is_empty() { "without output".to_owned() } else { output };
    };
    let Some((address, error)) = rest.split_once(": ") else { return output };
    let port = address.rsplit(':').next().unwrap_or_default();
    let error = error.strip_prefix("connect: ").unwrap_or(error);
    let mut letters = error.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    let error: String = first.into_iter().chain(letters).collect();
    format!("{error} on {port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_read_plainly() {
        let refused = "dial tcp 10.1.0.2:5432: Connection refused (os error 111)";
        assert_eq!(plain(refused), "connection refused on 5432");
        assert_eq!(plain("dial tcp [fd00::1]:80: i/o timeout"), "i/o timeout on 80");
        assert_eq!(plain("HTTP probe failed with statuscode: 503"), "HTTP probe failed with statuscode: 503");
        assert_eq!(plain(""), "without output");
    }
}
