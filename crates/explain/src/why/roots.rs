//! The end of a chain: what one container, or the Pod as a whole, is held up by.

use outrigger_pod_lifecycle::{FailureReason, WaitingFor};

use super::{Cause, View, ended, probes};
use crate::record::{Feature, HookKind, HookStep, Kind, Row, StartStep, Wait, What};
use crate::words::{list, span};

type Description = (Vec<String>, Option<String>);

/// What holds up all containers at once.
pub(super) fn of_pod(view: &View<'_>, waits: &[Wait]) -> Option<Cause> {
    let absent = |cause: Cause| match view.absent {
        [] => cause,
        names => Cause {
            chain: cause
                .chain
                .into_iter()
                .chain([format!("{} {} not exist", list(names), does(names))])
                .collect(),
            help: Some(format!(
                "create {} in namespace {}; the node tries again by itself",
                list(names),
                view.namespace()
            )),
        },
    };
    waits.iter().find_map(|wait| match &wait.why {
        WaitingFor::Volumes { problem } => {
            let event = view.event(&["FailedMount", "FailedAttachVolume"], None);
            let problem = problem.clone().or_else(|| event.and_then(|event| event.message.clone()));
            let what = match problem {
                Some(problem) => format!("no container can start, because a volume is not there: {problem}"),
                None => "its volumes are being made".to_owned(),
            };
            let help = Some("the node tries again by itself once the volume can be mounted".to_owned());
            Some(absent(Cause { chain: vec![what], help }))
        }
        WaitingFor::Network => {
            let event = view.event(&["NetworkNotReady"], None).and_then(|event| event.message.as_deref());
            let why = event.map(|text| format!(": {text}")).unwrap_or_default();
            Some(Cause::new(
                format!("no container can start, because its node has no Pod network{why}"),
                "the node's network must come up; the node tries again every second",
            ))
        }
        WaitingFor::Sandbox { problem: Some(problem) } => Some(Cause::new(
            format!("no container can start, because its sandbox cannot be made: {problem}"),
            "the node tries again by itself about every 10s",
        )),
        WaitingFor::Sandbox { problem: None } => {
            Some(Cause { chain: vec!["its sandbox is being made".to_owned()], help: None })
        }
        _ => None,
    })
}

const fn does(names: &[String]) -> &'static str {
    if names.len() == 1 { "does" } else { "do" }
}

/// Whether it runs and is not what it should be.
pub(super) fn is_unready(view: &View<'_>, row: &Row) -> bool {
    let status = view.status_of(&row.name);
    let runs = status.is_some_and(|it| it.state.as_ref().is_some_and(|state| state.running.is_some()));
    row.kind.can_be_ready() && runs && status.is_some_and(|status| !status.ready)
}

/// What holds a container up; `wait` is its own reason, if it does not run.
pub(super) fn describe(view: &View<'_>, row: &Row, wait: Option<&Wait>) -> Description {
    let name = format!("{} {}", row.kind.word(), row.name);
    let Some(wait) = wait else { return running(view, row, &name) };
    let one = |text: String| (vec![text], None);
    match &wait.why {
        WaitingFor::Image => {
            let since = begun(view, &row.name).map(|text| format!(", for {text}")).unwrap_or_default();
            one(format!("image {} of {name} is being pulled{since}", image(view, &row.name)))
        }
        WaitingFor::Starting => one(format!("{name} is being started")),
        WaitingFor::PostStart => post_start(view, row, &name),
        WaitingFor::CrashBackOff { delay_seconds, .. } => crashed(view, row, &name, wait, *delay_seconds),
        WaitingFor::Retry { reason, .. } => failed(view, row, &name, wait, *reason),
        WaitingFor::RestartAllContainers => {
            one("all containers are being stopped, to begin anew together".to_owned())
        }
        WaitingFor::Volumes { .. }
        | WaitingFor::Network
        | WaitingFor::Sandbox { .. }
        | WaitingFor::InitContainer { .. }
        | WaitingFor::SidecarStarted { .. }
        | WaitingFor::Turn { .. }
        | WaitingFor::Done
        | WaitingFor::PodStopping => one(format!("{name} waits")),
    }
}

fn running(view: &View<'_>, row: &Row, name: &str) -> Description {
    let status = view.status_of(&row.name);
    if row.kind == Kind::Init {
        let state = status.and_then(|status| status.state.as_ref()?.running.as_ref()?.started_at.as_ref());
        let since = state.map(|at| format!(", for {}", view.since(at.0))).unwrap_or_default();
        let attempt = match status.map_or(0, |status| status.restart_count) {
            0 => String::new(),
            restarts => format!(", attempt {}", restarts + 1),
        };
        let help = format!(
            "it lets the next container start when it exits with 0; {} shows what it does",
            view.logs(&row.name, false)
        );
        return (vec![format!("{name} runs{since}{attempt}")], Some(help));
    }
    let started = status.and_then(|status| status.started).unwrap_or(false);
    if !started && row.has(Feature::StartupProbe) {
        return probes::startup(view, row, name);
    }
    if !started && row.has(Feature::PostStart) {
        return post_start(view, row, name);
    }
    if row.has(Feature::ReadinessProbe) {
        return probes::readiness(view, row, name);
    }
    (vec![format!("{name} has just been started")], None)
}

/// How long ago its newest start was begun.
fn begun(view: &View<'_>, container: &str) -> Option<String> {
    let entries = view.report?.entries.iter().rev();
    let begun = entries.filter(|entry| {
        matches!(&entry.what, What::Start { container: of, step: StartStep::Begun, .. } if of == container)
    });
    begun.map(|entry| view.since(entry.at)).next()
}

fn image(view: &View<'_>, container: &str) -> String {
    let spec = view.pod.spec.as_ref();
    let inits = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
    let mut all = inits.chain(spec.map(|spec| spec.containers.as_slice()).unwrap_or_default());
    all.find(|it| it.name == container).and_then(|it| it.image.clone()).unwrap_or_default()
}

fn post_start(view: &View<'_>, row: &Row, name: &str) -> Description {
    let hook = |entry: &&crate::record::Entry| matches!(&entry.what, What::Hook { container, hook: HookKind::PostStart, .. } if *container == row.name);
    let last = view.report.and_then(|report| report.entries.iter().rev().find(hook));
    let text = match last.map(|entry| (&entry.what, entry.at)) {
        Some((What::Hook { step: HookStep::Failed { message }, .. }, _)) => {
            format!("the postStart hook of {name} has failed: {}", ended::short(message))
        }
        Some((_, at)) => format!("the postStart hook of {name} runs, for {}", view.since(at)),
        None => format!("the postStart hook of {name} has not ended"),
    };
    let help = "the hook must end well; until then the container does not count as started, and nothing limits its time";
    (vec![text], Some(help.to_owned()))
}

fn crashed(view: &View<'_>, row: &Row, name: &str, wait: &Wait, delay: u64) -> Description {
    let status = view.status_of(&row.name);
    let ends = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
        state.as_ref().and_then(|state| state.terminated.clone())
    };
    let end = status.and_then(|status| ends(&status.state).or_else(|| ends(&status.last_state)));
    let restarts = match status.map_or(0, |status| status.restart_count) {
        0 => String::new(),
        1 => ", after 1 restart".to_owned(),
        restarts => format!(", after {restarts} restarts"),
    };
    let text = match &end {
        Some(end) => {
            let ago = end.finished_at.as_ref().map(|at| format!("{} ago", view.since(at.0)));
            format!("{name} {}", ended::words(end, &format!("{}{restarts}", ago.unwrap_or_default())))
        }
        None => format!("{name} has exited{restarts}"),
    };
    let next = wait.until.map(|at| view.until(at)).unwrap_or_else(|| "soon".to_owned());
    let delay = match delay {
        0 => String::new(),
        delay => format!(" (back-off {})", span(std::time::Duration::from_secs(delay))),
    };
    let chain = vec![text, format!("it starts again {next}{delay}")];
    let reason = end.as_ref().and_then(|end| end.reason.as_deref());
    let help = if matches!(reason, Some("StartError" | "ContainerCannotRun")) {
        "its command must be in its image, and one that can be executed".to_owned()
    } else {
        format!("{} shows what its last run printed", view.logs(&row.name, end_is_previous(status)))
    };
    (chain, Some(help))
}

/// Whether the last run is an earlier one for `kubectl logs`: the present one waits.
fn end_is_previous(status: Option<&k8s_openapi::api::core::v1::ContainerStatus>) -> bool {
    status.and_then(|status| status.state.as_ref()).is_some_and(|state| state.running.is_some())
}

fn failed(view: &View<'_>, row: &Row, name: &str, wait: &Wait, reason: FailureReason) -> Description {
    let recorded = view.report.and_then(|report| {
        report.entries.iter().rev().find_map(|entry| match &entry.what {
            What::Start { container, step: StartStep::Failed { message, .. }, .. }
                if *container == row.name =>
            {
                Some(message.clone())
            }
            _ => None,
        })
    });
    let status = view.status_of(&row.name).and_then(|status| status.state.as_ref()?.waiting.as_ref());
    let message = recorded.or_else(|| status.and_then(|waiting| waiting.message.clone())).unwrap_or_default();
    let message = ended::short(&message);
    let next = wait.until.map(|at| format!("; next try {}", view.until(at))).unwrap_or_default();
    let image = image(view, &row.name);
    let absent = list(view.absent);
    let (text, help) = match reason {
        FailureReason::ErrImagePull | FailureReason::RegistryUnavailable => (
            format!("image {image} of {name} cannot be pulled: {message}"),
            "the name must be right, its registry reachable, and imagePullSecrets must allow it".to_owned(),
        ),
        FailureReason::ErrImageNeverPull => (
            format!("image {image} of {name} is not on the node, and its imagePullPolicy is Never"),
            format!("bring {image} to the node, or allow pulling it"),
        ),
        FailureReason::InvalidImageName => {
            (format!("{name} has no valid image name: {image}"), "correct the name".to_owned())
        }
        FailureReason::ImageInspectError | FailureReason::SignatureValidationFailed => {
            (format!("image {image} of {name} cannot be used: {message}"), "replace the image".to_owned())
        }
        FailureReason::CreateContainerConfigError if !view.absent.is_empty() => (
            format!("{name} cannot be configured: {message}"),
            format!("create {absent} in namespace {}; the node tries again by itself", view.namespace()),
        ),
        FailureReason::CreateContainerConfigError => (
            format!("{name} cannot be configured: {message}"),
            "what its environment, volumes and security settings refer to must be there".to_owned(),
        ),
        FailureReason::RunContainerError => {
            (format!("{name} cannot be run: {message}"), "its command must be in its image".to_owned())
        }
        FailureReason::PostStartHookError => {
            (format!("the postStart hook of {name} fails: {message}"), "the hook must end well".to_owned())
        }
        FailureReason::CreateContainerError
        | FailureReason::PreCreateHookError
        | FailureReason::PreStartHookError
        | FailureReason::CreatePodSandboxError
        | FailureReason::KillPodError => {
            (format!("{name} cannot be created: {message}"), "the node tries again by itself".to_owned())
        }
    };
    (vec![format!("{text}{next}")], Some(help))
}
