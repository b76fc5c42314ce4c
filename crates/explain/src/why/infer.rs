//! Why containers wait, inferred from what the API shows: for nodes whose record cannot be read.

use outrigger_api::MonoTime;
use outrigger_pod_lifecycle::{FailureReason, StartedLack, WaitingFor};

use super::View;
use crate::record::{Kind, Row, Wait};

/// As near to the core's own reasons as a status allows.
pub(super) fn waits(view: &View<'_>) -> Vec<Wait> {
    let gate = gate(view);
    let wait =
        |row: &Row| Some(Wait { container: row.name.clone(), why: why(view, row, gate)?, until: None });
    view.rows.iter().filter_map(wait).collect()
}

/// The init entry everything behind it waits for.
fn gate<'a>(view: &'a View<'_>) -> Option<(usize, &'a Row)> {
    let inits =
        view.rows.iter().enumerate().filter(|(_, row)| matches!(row.kind, Kind::Init | Kind::Sidecar));
    let app_ran = view
        .rows
        .iter()
        .filter(|row| row.kind == Kind::App)
        .any(|row| view.status_of(&row.name).is_some_and(|status| status.container_id.is_some()));
    let mut open = inits.filter(|(_, row)| {
        let status = view.status_of(&row.name);
        match row.kind {
            Kind::Sidecar => status.is_none_or(|status| status.started != Some(true)),
            _ => status.is_none_or(|status| !status.ready),
        }
    });
    if app_ran { None } else { open.next() }
}

fn why(view: &View<'_>, row: &Row, gate: Option<(usize, &Row)>) -> Option<WaitingFor> {
    let state = view.status_of(&row.name).and_then(|status| status.state.as_ref());
    if let Some(reason) = state.and_then(|state| state.waiting.as_ref()) {
        let message = reason.message.as_deref().unwrap_or_default();
        match reason.reason.as_deref().unwrap_or_default() {
            "CrashLoopBackOff" => {
                let (until, delay_seconds) = (MonoTime::default(), back_off(message));
                return Some(WaitingFor::CrashBackOff { delay_seconds, until });
            }
            "ImagePullBackOff" => return Some(retry(FailureReason::ErrImagePull)),
            word => {
                if let Some(reason) = failure(word) {
                    return Some(retry(reason));
                }
            }
        }
    } else if state.is_some() {
        return None;
    }
    let at = view.rows.iter().position(|other| other.name == row.name);
    match gate {
        Some((place, entry)) if at.is_some_and(|at| at > place) && row.kind != Kind::Ephemeral => {
            let container = entry.name.clone();
            Some(match entry.kind {
                Kind::Sidecar => WaitingFor::SidecarStarted { container, lacks: StartedLack::StartupProbe },
                _ => WaitingFor::InitContainer { container },
            })
        }
        _ if view.condition("PodReadyToStartContainers").is_some_and(|(status, _)| status != "True") => {
            let mount = view.event(&["FailedMount", "FailedAttachVolume"], None);
            let sandbox = view.event(&["FailedCreatePodSandBox"], None);
            Some(match (mount, sandbox) {
                (Some(event), _) => WaitingFor::Volumes { problem: event.message.clone() },
                (None, problem) => {
                    WaitingFor::Sandbox { problem: problem.and_then(|event| event.message.clone()) }
                }
            })
        }
        _ => Some(WaitingFor::Starting),
    }
}

const fn retry(reason: FailureReason) -> WaitingFor {
    WaitingFor::Retry { reason, until: MonoTime::from_boot(std::time::Duration::ZERO) }
}

fn failure(word: &str) -> Option<FailureReason> {
    const ALL: [FailureReason; 12] = [
        FailureReason::ErrImagePull,
        FailureReason::ErrImageNeverPull,
        FailureReason::ImageInspectError,
        FailureReason::InvalidImageName,
        FailureReason::RegistryUnavailable,
        FailureReason::SignatureValidationFailed,
        FailureReason::CreateContainerConfigError,
        FailureReason::CreateContainerError,
        FailureReason::PreCreateHookError,
        FailureReason::PreStartHookError,
        FailureReason::RunContainerError,
        FailureReason::PostStartHookError,
    ];
    ALL.into_iter().find(|reason| reason.as_str() == word)
}

/// The seconds in `back-off 1m20s restarting failed container=a pod=p_ns(uid)`; 0 if there are none.
fn back_off(message: &str) -> u64 {
    let Some(words) = message.strip_prefix("back-off ") else { return 0 };
    let text = words.split(' ').next().unwrap_or_default();
    let (mut total, mut number) = (0_u64, 0_u64);
    for letter in text.chars() {
        match letter {
            '0'..='9' => number = number * 10 + u64::from(letter.to_digit(10).unwrap_or(0)),
            'h' => (total, number) = (total + number * 3600, 0),
            'm' => (total, number) = (total + number * 60, 0),
            's' => (total, number) = (total + number, 0),
            _ => return 0,
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_read_from_messages() {
        let of =
            |delay: &str| back_off(&format!("back-off {delay} restarting failed container=a pod=p_ns(u)"));
        assert_eq!(["10s", "1m20s", "5m0s"].map(of), [10, 80, 300]);
        assert_eq!(back_off("else"), 0);
    }
}
