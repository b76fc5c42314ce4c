//! From what the runtime lists to what a decision reads.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use k8s_openapi::api::core::v1::{Container as SpecContainer, Pod};
use outrigger_pod_lifecycle::{
    ContainerFacts, Exit, HookState, Instance, InstanceState, SandboxFacts, termination_message,
};
use outrigger_runtime::{Container, ContainerState};

use super::PodWorker;
use crate::container::{entries, labels};
use crate::logs;
use crate::runtime_words::cannot_start;

/// Bytes of a termination message file that are read from its end.
const MESSAGE_BYTES: u64 = 4096;
/// Bytes of log text that may stand in for it.
const LOG_BYTES: u64 = 64 * 1024;

impl PodWorker {
    pub(super) fn sandbox_facts(&self) -> Vec<SandboxFacts> {
        let facts = |sandbox: &outrigger_runtime::Sandbox| {
            let label = |name: &str| sandbox.labels.get(name).map(String::as_str).unwrap_or_default();
            SandboxFacts {
                id: sandbox.id.clone(),
                attempt: sandbox.attempt,
                ready: sandbox.ready,
                ips: label(labels::IPS).split(',').filter_map(|ip| ip.parse().ok()).collect(),
                host_network: label(labels::HOST_NETWORK) == "true",
            }
        };
        self.local.sandboxes.iter().map(facts).collect()
    }

    pub(super) fn container_facts(&mut self, pod: &Pod) -> BTreeMap<String, ContainerFacts> {
        let sandboxes = std::mem::take(&mut self.local.sandboxes);
        let count = entries(pod).count();
        let mut all = BTreeMap::new();
        for entry in entries(pod) {
            let name = &entry.container.name;
            let mut instances = Vec::new();
            for sandbox in &sandboxes {
                for container in sandbox.containers.iter().filter(|c| c.name == *name) {
                    instances.push(self.instance(&sandbox.id, container, &entry.container, count));
                }
            }
            instances.sort_by_key(|instance| instance.attempt);
            let newest = instances.last().map(|i: &Instance| i.id.clone()).unwrap_or_default();
            let hook = |pre| self.local.hooks.get(&(newest.clone(), pre)).cloned().unwrap_or(HookState::Idle);
            let starting = self.local.starting.get(name);
            let operation =
                starting.map(|s| s.operation.lock().unwrap_or_else(PoisonError::into_inner).clone());
            let next_log = if instances.is_empty() {
                logs::next_number(&self.context.log_dir(&self.key).join(name))
            } else {
                0
            };
            let facts = ContainerFacts {
                operation,
                failure: self.local.failures.get(name).cloned(),
                post_start: hook(false),
                pre_stop: hook(true),
                probes: self.prober.verdicts(name, &newest),
                next_log,
                instances,
            };
            all.insert(name.clone(), facts);
        }
        self.local.sandboxes = sandboxes;
        all
    }

    fn instance(
        &mut self,
        sandbox: &str,
        container: &Container,
        spec: &SpecContainer,
        count: usize,
    ) -> Instance {
        let label = |name: &str| container.labels.get(name).cloned().unwrap_or_default();
        let state = match &container.state {
            ContainerState::Created => InstanceState::Created,
            ContainerState::Running { started_at, .. } => InstanceState::Running { started_at: *started_at },
            ContainerState::Unknown => InstanceState::Unknown,
            ContainerState::Exited(exit) => InstanceState::Exited(Exit {
                code: exit.code,
                signal: exit.signal,
                oom_killed: exit.oom_killed,
                start_error: Some(&exit.start_error).filter(|error| !error.is_empty()).map(cannot_start),
                started_at: exit.started_at,
                finished_at: exit.finished_at,
                message: self.message(container, exit, spec, count),
            }),
        };
        Instance {
            id: container.id.clone(),
            sandbox: sandbox.to_owned(),
            attempt: container.attempt,
            state,
            definition_hash: label(labels::DEFINITION_HASH),
            image: label(labels::IMAGE),
            image_id: label(labels::IMAGE_ID),
            user: serde_json::from_str(&label(labels::USER)).ok(),
            resources: serde_json::from_str(&label(labels::RESOURCES)).ok(),
        }
    }

    /// R9.31, R9.32; read once per instance, because an ended instance's message does not change.
    fn message(
        &mut self,
        container: &Container,
        exit: &outrigger_runtime::Exit,
        spec: &SpecContainer,
        count: usize,
    ) -> String {
        if let Some(message) = self.local.messages.get(&container.id) {
            return message.clone();
        }
        let path = self.context.termination_file(&self.key.uid, &container.name, container.attempt);
        let file = logs::read_end(&path, MESSAGE_BYTES);
        let falls_back = spec.termination_message_policy.as_deref() == Some("FallbackToLogsOnError")
            && exit.code != 0
            && exit.start_error.is_empty();
        let log = falls_back.then(|| logs::plain_text(&logs::read_end(&container.log_path, LOG_BYTES)));
        let message = termination_message(&file, log.as_deref(), count);
        self.local.messages.insert(container.id.clone(), message.clone());
        message
    }
}
