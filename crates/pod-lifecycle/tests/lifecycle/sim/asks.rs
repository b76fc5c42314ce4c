//! What tests ask of a played Pod.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use super::Sim;

impl Sim {
    pub(crate) fn phase(&self) -> &str {
        self.phases.last().map_or("", String::as_str)
    }

    /// The lines of the timeline that contain any of `words`.
    pub(crate) fn lines(&self, words: &[&str]) -> Vec<&str> {
        let wanted = |line: &&str| words.iter().any(|word| line.contains(word));
        self.timeline.iter().map(String::as_str).filter(wanted).collect()
    }

    pub(crate) fn events_with(&self, word: &str) -> Vec<&str> {
        self.events.iter().map(String::as_str).filter(|line| line.contains(word)).collect()
    }

    pub(crate) fn condition(&self, ty: &str) -> String {
        condition(&self.pod.status.clone().unwrap_or_default(), ty)
    }

    pub(crate) fn status_of(&self, container: &str) -> ContainerStatus {
        let status = self.pod.status.clone().unwrap_or_default();
        let init = status.init_container_statuses.into_iter().flatten();
        let all = init.chain(status.container_statuses.into_iter().flatten());
        let mut all = all.chain(status.ephemeral_container_statuses.into_iter().flatten());
        all.find(|it| it.name == container).expect("a status")
    }

    /// `waiting:CrashLoopBackOff`, `running`, `terminated:Error/1`.
    pub(crate) fn state_of(&self, container: &str) -> String {
        let state = self.status_of(container).state.unwrap_or_default();
        match (state.waiting, state.running, state.terminated) {
            (Some(waiting), _, _) => format!("waiting:{}", waiting.reason.unwrap_or_default()),
            (_, Some(_), _) => "running".into(),
            (_, _, Some(end)) => format!("terminated:{}/{}", end.reason.unwrap_or_default(), end.exit_code),
            _ => "nothing".into(),
        }
    }
}

pub(super) fn condition(status: &PodStatus, ty: &str) -> String {
    let found = status.conditions.iter().flatten().find(|it| it.type_ == ty);
    found.map_or(String::new(), |it| it.status.clone())
}
