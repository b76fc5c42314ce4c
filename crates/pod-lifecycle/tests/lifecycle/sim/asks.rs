//! What tests ask of a played Pod.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use outrigger_simulator::What;

use super::Sim;

impl Sim {
    /// The last status this node decided, whether or not the object is still there to hold it.
    pub(crate) fn status(&self) -> PodStatus {
        let stored = self.node.object(self.index).and_then(|pod| pod.status.clone());
        stored.or(self.node.last_status(self.index).cloned()).unwrap_or_default()
    }

    pub(crate) fn phases(&self) -> Vec<String> {
        let all = self.node.timeline(self.index).iter();
        let told = all.filter_map(|entry| match &entry.what {
            What::Phase(phase) => Some(phase.clone()),
            _ => None,
        });
        std::iter::once("Pending".to_owned()).chain(told).collect()
    }

    pub(crate) fn phase(&self) -> String {
        self.phases().pop().unwrap_or_default()
    }

    pub(crate) fn forgotten(&self) -> bool {
        self.node.is_forgotten(self.index)
    }

    /// The lines of the timeline that contain any of `words`.
    pub(crate) fn lines(&self, words: &[&str]) -> Vec<String> {
        let wanted = |line: &String| words.iter().any(|word| line.contains(word));
        self.timeline().into_iter().filter(wanted).collect()
    }

    pub(crate) fn events_with(&self, word: &str) -> Vec<String> {
        self.events().into_iter().filter(|line| line.contains(word)).collect()
    }

    pub(crate) fn condition(&self, ty: &str) -> String {
        let status = self.status();
        let found = status.conditions.iter().flatten().find(|it| it.type_ == ty);
        found.map_or(String::new(), |it| it.status.clone())
    }

    pub(crate) fn status_of(&self, container: &str) -> ContainerStatus {
        let status = self.status();
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
