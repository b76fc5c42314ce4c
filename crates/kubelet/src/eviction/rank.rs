//! Whom to evict first, and what the Pod is told (R8.27). Pure.

use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use outrigger_scheduling::PodInfo;

use super::thresholds::{Binary, Met, Signal};
use crate::container::entries;

/// One Pod as eviction sees it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) pod: Arc<Pod>,
    /// Working set in bytes.
    pub(crate) memory: u64,
    /// Bytes on the disk: writable layers, logs and local volumes.
    pub(crate) disk: u64,
    pub(crate) inodes: u64,
    pub(crate) processes: u64,
    /// Name and working set of every running container.
    pub(crate) container_memory: Vec<(String, u64)>,
    /// Name and bytes of every running container.
    pub(crate) container_disk: Vec<(String, u64)>,
}

/// The candidates in the order they go: those that use more than they asked for first, then lower priority first,
/// then by how much they use beyond their request (inodes and processes: by how many they have).
pub(crate) fn rank(signal: Signal, candidates: &mut [Candidate]) {
    candidates.sort_by_key(|candidate| {
        let priority = candidate.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        let requests = PodInfo::new(&candidate.pod).requests;
        let beyond = |used: u64, resource: &str| i128::from(used) - i128::from(requests.get(resource));
        let (exceeds, use_) = match signal {
            Signal::MemoryAvailable => {
                let beyond = beyond(candidate.memory, "memory");
                (beyond > 0, beyond)
            }
            Signal::NodeFsAvailable | Signal::ImageFsAvailable => {
                let beyond = beyond(candidate.disk, "ephemeral-storage");
                (beyond > 0, beyond)
            }
            // Nobody can ask for inodes or processes: none exceeds a request.
            Signal::NodeFsInodesFree | Signal::ImageFsInodesFree => (false, i128::from(candidate.inodes)),
            Signal::PidAvailable => (false, i128::from(candidate.processes)),
        };
        (Reverse(exceeds), priority, Reverse(use_))
    });
}

/// The event's and the status' text.
pub(crate) fn message(met: &Met, candidate: &Candidate) -> String {
    let signal = met.threshold.signal;
    let resource = signal.resource();
    let quantity = |amount: u64| match signal {
        Signal::NodeFsInodesFree | Signal::ImageFsInodesFree | Signal::PidAvailable => amount.to_string(),
        _ => Binary(amount).to_string(),
    };
    let limit = met.threshold.limit.of(met.observation.capacity);
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        quantity(limit),
        quantity(met.observation.available)
    );
    let used = match signal {
        Signal::MemoryAvailable => &candidate.container_memory,
        Signal::NodeFsAvailable | Signal::ImageFsAvailable => &candidate.container_disk,
        _ => return text,
    };
    for (name, bytes) in used {
        let entry = entries(&candidate.pod).find(|entry| entry.container.name == *name);
        let requests = entry.and_then(|entry| entry.container.resources.clone()?.requests);
        let request = requests.and_then(|all| all.get(resource)?.0.parse::<outrigger_api::Quantity>().ok());
        let request = request.and_then(|quantity| u64::try_from(quantity.value()).ok()).unwrap_or(0);
        if *bytes > request {
            text += &format!(
                "Container {name} was using {}, request is {}, has larger consumption of {resource}. ",
                Binary(*bytes),
                Binary(request)
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::thresholds::{Limit, Observation, Threshold};
    use super::*;

    fn candidate(name: &str, priority: i32, request: &str, used: u64) -> Candidate {
        let pod = json!({"metadata": {"name": name}, "spec": {"priority": priority, "containers": [
            {"name": "app", "resources": {"requests": {"memory": request, "ephemeral-storage": request}}}]}});
        Candidate {
            pod: Arc::new(serde_json::from_value(pod).unwrap()),
            memory: used,
            disk: used,
            inodes: used,
            processes: used,
            container_memory: vec![("app".into(), used)],
            container_disk: vec![("app".into(), used)],
        }
    }

    fn order(signal: Signal, mut all: Vec<Candidate>) -> Vec<String> {
        rank(signal, &mut all);
        all.iter().map(|it| it.pod.metadata.name.clone().unwrap()).collect()
    }

    /// R8.27: over the request first, then priority, then by how far over.
    #[test]
    fn the_documented_order() {
        let all = || {
            vec![
                candidate("within-low", -5, "100Mi", 90 << 20),
                candidate("over-high", 10, "1Mi", 80 << 20),
                candidate("over-low", 0, "10Mi", 20 << 20),
                candidate("over-low-more", 0, "10Mi", 30 << 20),
                candidate("within-large", 0, "500Mi", 400 << 20),
            ]
        };
        let want = ["over-low-more", "over-low", "over-high", "within-low", "within-large"];
        assert_eq!(order(Signal::MemoryAvailable, all()), want);
        assert_eq!(order(Signal::NodeFsAvailable, all()), want);
        let by_count = ["within-low", "within-large", "over-low-more", "over-low", "over-high"];
        assert_eq!(order(Signal::NodeFsInodesFree, all()), by_count);
        assert_eq!(order(Signal::PidAvailable, all()), by_count);
    }

    /// R8.27
    #[test]
    fn the_message_names_the_threshold_and_who_used_more_than_asked() {
        let signal = Signal::MemoryAvailable;
        let met = Met {
            threshold: Threshold { signal, limit: Limit::Amount(100 << 20), grace: None },
            observation: Observation { signal, available: 50 << 20, capacity: 1 << 30 },
        };
        assert_eq!(
            message(&met, &candidate("p", 0, "0", 40 << 20)),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. \
             Container app was using 40Mi, request is 0, has larger consumption of memory. "
        );
        assert!(!message(&met, &candidate("p", 0, "64Mi", 40 << 20)).contains("Container"));
    }
}
