//! In-place changes of cpu and memory (section 13D): which containers lack what the node has granted, and how they get
//! it. Whether the node grants a change is its own admission's business; here the granted spec is the truth.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use serde::{Deserialize, Serialize};

use crate::decision::Action;
use crate::input::ResizeOutlook;
use crate::reason::EventReason;
use crate::turn::{Entry, Turn};

/// The wait after an attempt that failed.
const RETRY: Duration = Duration::from_secs(10);
const COMPUTE: [&str; 2] = ["cpu", "memory"];

/// The resources of a Pod's containers as events tell them (R10.21).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResizeSummary {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<NamedResources>,
    containers: Vec<NamedResources>,
    generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct NamedResources {
    name: String,
    resources: ResourceRequirements,
}

impl ResizeSummary {
    /// What `pod` says.
    pub fn of(pod: &Pod) -> Self {
        let list = |containers: &[Container]| {
            let named = |container: &Container| NamedResources {
                name: container.name.clone(),
                resources: container.resources.clone().unwrap_or_default(),
            };
            containers.iter().map(named).collect()
        };
        let Some(spec) = &pod.spec else { return Self::default() };
        Self {
            init_containers: list(spec.init_containers.as_deref().unwrap_or_default()),
            containers: list(&spec.containers),
            generation: pod.metadata.generation,
            error: None,
        }
    }

    fn with_error(&self, message: &str) -> Self {
        Self { error: Some(message.to_owned()), ..self.clone() }
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Turn<'_> {
    /// R13.28: restarts the containers that ask for it, changes the others where they are, and tells each step once.
    pub(crate) fn drive_resize(&mut self) {
        let mut in_place = self.pod_level_lacks();
        for entry in self.entries.clone() {
            let lacking = lacking(&entry);
            if lacking.is_empty() || self.is_stopping(&entry) {
                continue;
            }
            if lacking.iter().any(|name| asks_for_restart(&entry, name)) {
                let message = format!("Container {} resize requires restart", entry.name());
                self.stop_one(&entry, None, &message);
            } else {
                in_place = true;
            }
        }
        if in_place {
            self.change_in_place();
        }
        self.tell_resize();
    }

    fn change_in_place(&mut self) {
        let now = self.input.now.mono;
        let due = self.input.resize.failure.as_ref().map(|(_, at)| *at + RETRY);
        match due.filter(|due| now < *due) {
            _ if self.input.resize.operation => {}
            Some(due) => self.wake(due),
            None => self.actions.push(Action::Resize),
        }
    }

    /// Whether something that runs lacks what was granted (R9.21).
    pub(crate) fn is_resizing(&self) -> bool {
        self.pod_level_lacks() || self.entries.iter().any(|entry| !lacking(entry).is_empty())
    }

    fn pod_level_lacks(&self) -> bool {
        let runs = self.entries.iter().any(|entry| entry.running().is_some());
        let asked = self.pod().spec.as_ref().and_then(|spec| spec.resources.as_ref());
        runs && self.input.resize.pod.as_ref().is_some_and(|has| !different(Some(has), asked).is_empty())
    }

    /// R10.21.
    fn tell_resize(&mut self) {
        let pending = self.input.resize.pending.as_ref();
        let words = pending.map(|pending| (pending.outlook.as_str().to_owned(), pending.message.clone()));
        if words != self.memory.resize.pending {
            if let Some(pending) = pending {
                let event = match pending.outlook {
                    ResizeOutlook::Deferred => EventReason::ResizeDeferred,
                    ResizeOutlook::Infeasible => EventReason::ResizeInfeasible,
                };
                let asked = pending.asked.with_error(&pending.message).text();
                self.warn(event, "", format!("Pod resize {}: {asked}", pending.outlook.as_str()));
            }
            self.memory.resize.pending = words;
        }
        let granted = ResizeSummary::of(self.pod());
        let resizing = self.is_resizing();
        if resizing && !self.memory.resize.started {
            self.normal(EventReason::ResizeStarted, "", format!("Pod resize started: {}", granted.text()));
        }
        if !resizing && self.memory.resize.started {
            self.normal(
                EventReason::ResizeCompleted,
                "",
                format!("Pod resize completed: {}", granted.text()),
            );
        }
        self.memory.resize.started = resizing;
        let failure = self.input.resize.failure.as_ref().map(|(message, _)| message.clone());
        if let Some(message) = failure.as_ref().filter(|_| failure != self.memory.resize.failure) {
            let text = format!("Pod resize error: {}", granted.with_error(message).text());
            self.warn(EventReason::ResizeError, "", text);
        }
        self.memory.resize.failure = failure;
    }
}

/// Of cpu and memory, what a running container has otherwise than granted.
fn lacking(entry: &Entry<'_>) -> Vec<&'static str> {
    let Some(has) = entry.running().and_then(|instance| instance.resources.as_ref()) else {
        return Vec::new();
    };
    match entry.full() {
        Some(container) => different(Some(has), container.resources.as_ref()),
        None => Vec::new(),
    }
}

fn different(has: Option<&ResourceRequirements>, wants: Option<&ResourceRequirements>) -> Vec<&'static str> {
    let amount = |of: Option<&ResourceRequirements>, name: &str| {
        let of = of?;
        let read = |list: &Option<std::collections::BTreeMap<String, _>>| {
            let text: &k8s_openapi::apimachinery::pkg::api::resource::Quantity = list.as_ref()?.get(name)?;
            text.0.parse::<outrigger_api::Quantity>().ok()
        };
        Some((read(&of.requests), read(&of.limits)))
    };
    let nothing = Some((None, None));
    let differs = |name: &&str| amount(has, name).or(nothing) != amount(wants, name).or(nothing);
    COMPUTE.into_iter().filter(|name| differs(name)).collect()
}

fn asks_for_restart(entry: &Entry<'_>, resource: &str) -> bool {
    let policies = entry.full().and_then(|container| container.resize_policy.as_ref());
    policies
        .into_iter()
        .flatten()
        .any(|policy| policy.resource_name == resource && policy.restart_policy == "RestartContainer")
}
