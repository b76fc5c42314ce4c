//! Changing the resources of a Pod that runs (R13.28, R13.29).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container as SpecContainer, Pod, ResourceRequirements};
use outrigger_pod_lifecycle::{ResizeFacts, Role};
use outrigger_runtime::{Container, ContainerState, Resources, RuntimeError};

use super::{Outcome, PodWorker};
use crate::container::{container_resources, entries, labels, pod_resources};

impl PodWorker {
    pub(super) fn resize_facts(&self) -> ResizeFacts {
        let sandbox = self.local.sandboxes.iter().rev().find(|sandbox| sandbox.ready);
        let label = sandbox.and_then(|sandbox| sandbox.labels.get(labels::RESOURCES));
        ResizeFacts {
            pending: None,
            operation: self.local.resizing,
            failure: self.local.resize_failure.clone(),
            pod: label.and_then(|text| serde_json::from_str(text).ok()),
        }
    }

    /// Gives containers and the Pod's cgroup what `pod` says, in an order in which no step asks for more than its
    /// parent has.
    pub(super) fn resize(&mut self, pod: &Arc<Pod>) {
        let Some(sandbox) = self.local.sandboxes.iter().rev().find(|sandbox| sandbox.ready) else { return };
        if std::mem::replace(&mut self.local.resizing, true) {
            return;
        }
        let steps = steps(pod, &sandbox.containers, self.resize_facts().pod);
        let pod_labels = applied(pod.spec.as_ref().and_then(|spec| spec.resources.as_ref()));
        let (context, sandbox) = (self.context.clone(), sandbox.id.clone());
        self.operations.spawn(async move {
            let runtime = &context.runtime;
            let work = async {
                runtime.update_pod_resources(&sandbox, &steps.between, &BTreeMap::new()).await?;
                for change in &steps.containers {
                    runtime.update_resources(&change.id, &change.values, &change.labels).await?;
                }
                runtime.update_pod_resources(&sandbox, &steps.at_last, &pod_labels).await
            };
            Outcome::Resized { result: work.await.map_err(|error: RuntimeError| error.to_string()) }
        });
    }

    pub(super) fn resized(&mut self, result: Result<(), String>) {
        self.local.resizing = false;
        let now = self.context.clock.now().mono;
        self.local.resize_failure = result.err().map(|message| (message, now));
    }
}

/// What is written, in this order.
#[derive(Debug, PartialEq)]
struct Steps {
    /// The Pod's values while its containers change: the larger of both.
    between: Resources,
    containers: Vec<Change>,
    at_last: Resources,
}

#[derive(Debug, PartialEq)]
struct Change {
    id: String,
    values: Resources,
    labels: BTreeMap<String, String>,
}

fn applied(resources: Option<&ResourceRequirements>) -> BTreeMap<String, String> {
    BTreeMap::from([(labels::RESOURCES.to_owned(), labels::resources(resources))])
}

/// From what runs with its labels to what is to be written. A container whose change asks for a restart is left out:
/// it is stopped by the decision and comes back with its new values.
fn steps(pod: &Pod, instances: &[Container], pod_level: Option<ResourceRequirements>) -> Steps {
    let mut before = pod.clone();
    let mut running = Vec::new();
    for entry in entries(pod).filter(|entry| entry.role != Role::Ephemeral) {
        let wanted = entry.container.into_owned();
        let found = instances.iter().rev().find(|instance| {
            instance.name == wanted.name && matches!(instance.state, ContainerState::Running { .. })
        });
        if let Some((id, has)) = found.and_then(|instance| Some((instance.id.clone(), known(instance)?))) {
            let had = SpecContainer { resources: Some(has), ..wanted.clone() };
            remember(&mut before, &had);
            running.push((id, had, wanted));
        }
    }
    if let (Some(spec), Some(level)) = (&mut before.spec, pod_level) {
        spec.resources = Some(level).filter(|level| *level != ResourceRequirements::default());
    }
    let mut containers = Vec::new();
    for (id, had, wanted) in running {
        // What a container does not limit itself is limited as its Pod, so both may have changed.
        let (old, new) = (container_resources(&before, &had), container_resources(pod, &wanted));
        let (has, wants) = (had.resources.unwrap_or_default(), wanted.resources.clone().unwrap_or_default());
        if !restarts(&wanted, &has, &wants) && (has != wants || old != new) {
            let change = Change { id, values: explicit(&new), labels: applied(Some(&wants)) };
            containers.push((grows(&old, &new), change));
        }
    }
    // Shrinking first.
    containers.sort_by_key(|(grows, _)| *grows);
    let (old, new) = (pod_resources(&before), pod_resources(pod));
    let between = Resources {
        cpu_shares: new.cpu_shares,
        cpu_quota: old.cpu_quota.zip(new.cpu_quota).map(|(old, new)| old.max(new)),
        memory_limit: old.memory_limit.zip(new.memory_limit).map(|(old, new)| old.max(new)),
        pids_limit: None,
    };
    Steps {
        between: explicit(&between),
        containers: containers.into_iter().map(|(_, change)| change).collect(),
        at_last: explicit(&new),
    }
}

/// What an instance really has.
fn known(instance: &Container) -> Option<ResourceRequirements> {
    serde_json::from_str(instance.labels.get(labels::RESOURCES)?).ok()
}

/// Puts a container's resources into `pod`.
fn remember(pod: &mut Pod, container: &SpecContainer) {
    let Some(spec) = &mut pod.spec else { return };
    let all = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    for found in all.filter(|other| other.name == container.name) {
        found.resources.clone_from(&container.resources);
    }
}

fn restarts(container: &SpecContainer, has: &ResourceRequirements, wants: &ResourceRequirements) -> bool {
    let amount = |of: &ResourceRequirements, name: &str| {
        let get = |list: &Option<BTreeMap<String, _>>| list.as_ref().and_then(|list| list.get(name).cloned());
        (get(&of.requests), get(&of.limits))
    };
    let policies = container.resize_policy.iter().flatten();
    policies
        .filter(|policy| policy.restart_policy == "RestartContainer")
        .any(|policy| amount(has, &policy.resource_name) != amount(wants, &policy.resource_name))
}

fn grows(old: &Resources, new: &Resources) -> bool {
    let cpu = |of: &Resources| of.cpu_quota.unwrap_or(i64::MAX);
    let memory = |of: &Resources| of.memory_limit.unwrap_or(u64::MAX);
    cpu(new) > cpu(old) || memory(new) > memory(old)
}

/// No limit said out loud, because there may have been one.
fn explicit(resources: &Resources) -> Resources {
    Resources {
        cpu_quota: resources.cpu_quota.or(Some(-1)),
        memory_limit: resources.memory_limit.or(Some(u64::MAX)),
        ..resources.clone()
    }
}

#[cfg(test)]
mod tests {
    use outrigger_api::WallTime;
    use serde_json::json;

    use super::*;

    fn limited(cpu: &str, memory: &str) -> serde_json::Value {
        let amounts = json!({"cpu": cpu, "memory": memory});
        json!({"limits": amounts, "requests": amounts})
    }

    fn instance(name: &str, resources: &serde_json::Value) -> Container {
        Container {
            id: format!("id-{name}"),
            name: name.into(),
            attempt: 0,
            state: ContainerState::Running { started_at: WallTime::UNIX_EPOCH, pid: 1 },
            created_at: WallTime::UNIX_EPOCH,
            log_path: std::path::PathBuf::new(),
            labels: BTreeMap::from([(labels::RESOURCES.to_owned(), resources.to_string())]),
        }
    }

    /// R13.28: what shrinks goes first, and the Pod's own limit is never below the sum.
    #[test]
    fn shrinking_comes_before_growing() {
        let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
        let spec = json!({"containers": [
            {"name": "grows", "resources": limited("2", "1Gi")},
            {"name": "shrinks", "resources": limited("1", "1Gi")},
            {"name": "same", "resources": limited("1", "1Gi")},
            {"name": "restarts", "resources": limited("1", "2Gi"), "resizePolicy": policy},
        ]});
        let pod = json!({"metadata": {"uid": "u"}, "spec": spec, "status": {"qosClass": "Guaranteed"}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let instances = [
            instance("grows", &limited("1", "1Gi")),
            instance("shrinks", &limited("3", "1Gi")),
            instance("same", &limited("1", "1Gi")),
            instance("restarts", &limited("1", "1Gi")),
        ];
        let steps = steps(&pod, &instances, None);
        let order: Vec<&str> = steps.containers.iter().map(|change| change.id.as_str()).collect();
        assert_eq!(order, ["id-shrinks", "id-grows"]);
        assert_eq!(steps.containers[1].values.cpu_quota, Some(200_000));
        assert_eq!((steps.between.cpu_quota, steps.at_last.cpu_quota), (Some(600_000), Some(500_000)));
        assert_eq!(steps.at_last.memory_limit, Some(5 << 30));
        let text = r#"{"limits":{"cpu":"1"}}"#;
        let mut level = pod.clone();
        level.spec.as_mut().unwrap().resources = serde_json::from_str(text).unwrap();
        let text = text.replace('1', "2");
        let open = instance("same", &json!({}));
        level.spec.as_mut().unwrap().containers =
            vec![serde_json::from_value(json!({"name": "same"})).unwrap()];
        let raised = super::steps(&level, &[open], serde_json::from_str(&text).unwrap());
        assert_eq!(raised.containers[0].values.cpu_quota, Some(100_000));
        assert_eq!(steps.containers[0].labels[labels::RESOURCES], limited("1", "1Gi").to_string());
    }
}
