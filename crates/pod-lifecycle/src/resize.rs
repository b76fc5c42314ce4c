//! In-place changes of cpu and memory (section 13D): which containers lack what the node has granted, and how they get
//! it. Whether the node grants a change is its own admission's business; here the granted spec is the truth.

use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceRequirements;
use serde_json::{Value, json};

use crate::decision::Action;
use crate::input::PendingResize;
use crate::reason::EventReason;
use crate::spec::Role;
use crate::turn::{Entry, Turn};

/// The wait after an attempt that failed.
const RETRY: Duration = Duration::from_secs(10);
const COMPUTE: [&str; 2] = ["cpu", "memory"];

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
        let pending = self.input.resize.pending.as_ref().map(|pending| {
            let (reason, message) = pending.words();
            (reason.to_owned(), message.to_owned())
        });
        if pending != self.memory.resize.pending {
            if let (Some((reason, message)), Some(state)) = (&pending, &self.input.resize.pending) {
                let event = match state {
                    PendingResize::Deferred { .. } => EventReason::ResizeDeferred,
                    PendingResize::Infeasible { .. } => EventReason::ResizeInfeasible,
                };
                self.warn(event, "", format!("Pod resize {reason}: {message}"));
            }
            self.memory.resize.pending = pending;
        }
        let resizing = self.is_resizing();
        if resizing && !self.memory.resize.started {
            let text = format!("Pod resize started: {}", self.summary());
            self.normal(EventReason::ResizeStarted, "", text);
        }
        if !resizing && self.memory.resize.started {
            let text = format!("Pod resize completed: {}", self.summary());
            self.normal(EventReason::ResizeCompleted, "", text);
        }
        self.memory.resize.started = resizing;
        let failure = self.input.resize.failure.as_ref().map(|(message, _)| message.clone());
        if let Some(message) = failure.as_ref().filter(|_| failure != self.memory.resize.failure) {
            self.warn(EventReason::ResizeError, "", format!("Pod resize error: {message}"));
        }
        self.memory.resize.failure = failure;
    }

    /// What the Pod has been granted, as events show it.
    fn summary(&self) -> Value {
        let list = |wanted: fn(Role) -> bool| -> Vec<Value> {
            let entries = self.entries.iter().filter(|entry| wanted(entry.role));
            let granted = entries.filter_map(|entry| Some((entry.name(), entry.full()?.resources.as_ref()?)));
            granted.map(|(name, resources)| json!({"name": name, "resources": resources})).collect()
        };
        let mut summary = json!({"containers": list(|role| role == Role::App)});
        let inits = list(Role::is_init_entry);
        if !inits.is_empty() {
            summary["initContainers"] = json!(inits);
        }
        summary["generation"] = json!(self.pod().metadata.generation);
        summary
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
