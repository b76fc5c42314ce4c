//! Why something does not go on: said once per container and reason.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;

/// What has been said already.
#[derive(Debug, Default)]
pub(super) struct Notices {
    said: HashSet<(String, String)>,
}

impl Notices {
    /// What there is to say about a Pod that has not been said, as whole lines.
    pub(super) fn of(&mut self, pod: &Pod) -> Vec<String> {
        let Some(status) = &pod.status else { return Vec::new() };
        let mut lines = Vec::new();
        for condition in status.conditions.iter().flatten() {
            if condition.type_ == "PodScheduled" && condition.status == "False" {
                let reason = condition.reason.as_deref().unwrap_or_default();
                lines.extend(self.line(pod.name_any(), reason, condition.message.as_deref()));
            }
        }
        if let Some(reason) = &status.reason {
            lines.extend(self.line(pod.name_any(), reason, status.message.as_deref()));
        }
        let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        for container in containers {
            if let Some((reason, message)) = hindrance(container) {
                lines.extend(self.line(format!("{}/{}", pod.name_any(), container.name), reason, message));
            }
        }
        lines
    }

    fn line(&mut self, whose: String, reason: &str, message: Option<&str>) -> Option<String> {
        let text = format!(
            "{whose}: {reason}{}",
            message.map_or_else(String::new, |message| format!(": {message}"))
        );
        // The second repeats what the first said, and may be seen alone.
        let reason = if reason == "ImagePullBackOff" { "ErrImagePull" } else { reason };
        self.said.insert((whose, reason.to_owned())).then_some(text)
    }
}

/// Why a container waits for something to go away, or never came to run.
fn hindrance(container: &ContainerStatus) -> Option<(&str, Option<&str>)> {
    /// Every container starts with these; nothing is wrong.
    const ORDINARY: [&str; 2] = ["ContainerCreating", "PodInitializing"];
    /// Ends their exit code and output tell enough about.
    const TOLD: [&str; 2] = ["Completed", "Error"];
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref()?;
        return (!ORDINARY.contains(&reason)).then_some((reason, waiting.message.as_deref()));
    }
    let ended = state.terminated.as_ref()?;
    let reason = ended.reason.as_deref()?;
    (!TOLD.contains(&reason)).then_some((reason, ended.message.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(state: &str) -> Pod {
        let text = format!(
            r#"{{"metadata":{{"name":"p"}},"status":{{"containerStatuses":[{{"name":"c","image":"i","imageID":"","ready":false,
            "restartCount":0,"state":{state}}}]}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_hindrance_is_told_once_and_the_ordinary_never() {
        let mut notices = Notices::default();
        assert!(notices.of(&pod(r#"{"waiting":{"reason":"ContainerCreating"}}"#)).is_empty());
        assert!(notices.of(&pod(r#"{"terminated":{"reason":"Error","exitCode":1}}"#)).is_empty());
        let missing = pod(r#"{"waiting":{"reason":"ErrImagePull","message":"not found"}}"#);
        assert_eq!(notices.of(&missing), ["p/c: ErrImagePull: not found"]);
        assert!(notices.of(&missing).is_empty());
        assert!(
            notices.of(&pod(r#"{"waiting":{"reason":"ImagePullBackOff","message":"not found"}}"#)).is_empty()
        );
        let start = pod(r#"{"terminated":{"reason":"StartError","exitCode":128,"message":"no /x"}}"#);
        assert_eq!(notices.of(&start), ["p/c: StartError: no /x"]);
    }
}
