//! Limits a Pod sets for its own files (R8.28). The decision is pure; only Pods that have such limits are measured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use outrigger_api::Quantity;

use crate::container::entries;
use crate::context::{Context, PodKey};
use crate::stats::disk::volume_folders;

/// How old a measurement may be here: the check period.
const FRESH: Duration = Duration::from_secs(9);

/// A Pod that is over a limit of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excess {
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) message: String,
}

/// What a Pod has on the disk, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Used {
    /// emptyDirs by name.
    volumes: BTreeMap<String, u64>,
    /// Writable layer and logs by container.
    containers: BTreeMap<String, u64>,
}

/// The first such Pod.
pub(super) async fn exceeding(context: &Arc<Context>) -> Option<Excess> {
    let limited: Vec<Arc<Pod>> = context.pods.to_run().into_iter().filter(|pod| has_limits(pod)).collect();
    if limited.is_empty() {
        return None;
    }
    let stats = context.runtime.stats().await.ok()?;
    let context = context.clone();
    let look = move || {
        let now = context.clock.now().mono;
        limited.into_iter().find_map(|pod| {
            let key = PodKey::of(&pod);
            let usage = |folder: &std::path::Path| context.disks.usage_within(folder, now, FRESH).bytes;
            let mut used = Used::default();
            for (name, folder) in volume_folders(&context.pod_dir(&key.uid)) {
                used.volumes.insert(name, usage(&folder));
            }
            for sandbox in stats.iter().filter(|sandbox| sandbox.pod.uid == key.uid) {
                for it in &sandbox.containers {
                    let logs = usage(&context.log_dir(&key).join(&it.name));
                    used.containers.insert(it.name.clone(), usage(&it.writable) + logs);
                }
            }
            let message = excess(&pod, &used)?;
            Some(Excess { uid: key.uid, name: key.name, message })
        })
    };
    tokio::task::spawn_blocking(look).await.ok()?
}

fn limit_of(container: &Container) -> Option<(&str, u64)> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    let text = limits.get("ephemeral-storage")?.0.as_str();
    Some((text, bytes(text)?))
}

fn bytes(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<Quantity>().ok()?.value()).ok().filter(|bytes| *bytes > 0)
}

fn size_limits(pod: &Pod) -> impl Iterator<Item = (&str, &str, u64)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| {
        let limit = volume.empty_dir.as_ref()?.size_limit.as_ref()?;
        Some((volume.name.as_str(), limit.0.as_str(), bytes(&limit.0)?))
    })
}

fn has_limits(pod: &Pod) -> bool {
    size_limits(pod).next().is_some() || entries(pod).any(|entry| limit_of(&entry.container).is_some())
}

/// The message if a limit is exceeded: volumes first, then the Pod as a whole, then each container.
fn excess(pod: &Pod, used: &Used) -> Option<String> {
    for (name, text, limit) in size_limits(pod) {
        if used.volumes.get(name).is_some_and(|bytes| *bytes > limit) {
            return Some(format!("Usage of EmptyDir volume \"{name}\" exceeds the limit \"{text}\". "));
        }
    }
    let containers: Vec<Container> = entries(pod).map(|entry| entry.container.into_owned()).collect();
    let limits: Vec<u64> = containers.iter().filter_map(|it| Some(limit_of(it)?.1)).collect();
    // The total holds only if every container has a limit.
    if !limits.is_empty() && limits.len() == containers.len() {
        let total: u64 = used.volumes.values().chain(used.containers.values()).sum();
        let most: u64 = limits.iter().sum();
        if total > most {
            let most = super::thresholds::Binary(most);
            let text =
                format!("Pod ephemeral local storage usage exceeds the total limit of containers {most}. ");
            return Some(text);
        }
    }
    containers.iter().find_map(|container| {
        let (text, limit) = limit_of(container)?;
        let name = &container.name;
        (*used.containers.get(name)? > limit)
            .then(|| format!("Container {name} exceeded its local ephemeral storage limit \"{text}\". "))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// R8.28
    #[test]
    fn each_limit_has_its_text() {
        let limits = json!({"limits": {"ephemeral-storage": "1Mi"}});
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "64Ki"}}],
            "containers": [{"name": "a", "resources": limits}, {"name": "b", "resources": limits}]}}))
        .unwrap();
        assert!(has_limits(&pod));
        let used = |volume: u64, a: u64, b: u64| Used {
            volumes: BTreeMap::from([("v".into(), volume)]),
            containers: BTreeMap::from([("a".into(), a), ("b".into(), b)]),
        };
        let text = |used| excess(&pod, &used).unwrap_or_default();
        assert_eq!(text(used(65 << 10, 0, 0)), "Usage of EmptyDir volume \"v\" exceeds the limit \"64Ki\". ");
        assert_eq!(
            text(used(0, 1 << 20, (1 << 20) + 1)),
            "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
        );
        assert_eq!(
            text(used(0, 0, (1 << 20) + 1)),
            "Container b exceeded its local ephemeral storage limit \"1Mi\". "
        );
        assert_eq!(text(used(64 << 10, 1 << 19, 1 << 19)), "");
        assert!(!has_limits(&Pod::default()));
    }
}
