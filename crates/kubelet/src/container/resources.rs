//! cgroup values, QoS and OOM score (R13.9-R13.15).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use outrigger_pod_lifecycle::Role;
use outrigger_runtime::Resources;
use outrigger_scheduling::{pod_limits, pod_requests};

use super::entry::{Entry, entries};

/// Microseconds a CPU quota is counted over, and the least quota there is (R13.12).
const PERIOD: i64 = 100_000;
const LEAST_QUOTA: i64 = 1000;
/// The priority of `system-node-critical`.
const NODE_CRITICAL: i32 = 2_000_001_000;

/// A Pod's quality of service (R13.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Qos {
    /// Requests equal limits everywhere.
    Guaranteed,
    /// Anything between.
    Burstable,
    /// No requests, no limits.
    BestEffort,
}

/// The class the API server has fixed.
fn qos(pod: &Pod) -> Qos {
    let class = pod.status.as_ref().and_then(|status| status.qos_class.as_deref());
    match class {
        Some("Guaranteed") => Qos::Guaranteed,
        Some("Burstable") => Qos::Burstable,
        _ => Qos::BestEffort,
    }
}

/// `kubepods/burstable/pod<uid>` (R13.10).
pub(crate) fn pod_cgroup(root: &str, pod: &Pod) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    match qos(pod) {
        Qos::Guaranteed => format!("{root}/pod{uid}"),
        Qos::Burstable => format!("{root}/burstable/pod{uid}"),
        Qos::BestEffort => format!("{root}/besteffort/pod{uid}"),
    }
}

type Amounts = BTreeMap<String, Quantity>;

fn amount(of: Option<&Amounts>, name: &str) -> Option<outrigger_api::Quantity> {
    of?.get(name)?.0.parse().ok()
}

fn requests(container: &Container) -> Option<&Amounts> {
    container.resources.as_ref()?.requests.as_ref()
}

fn limits(container: &Container) -> Option<&Amounts> {
    container.resources.as_ref()?.limits.as_ref()
}

fn pod_level_limits(spec: &PodSpec) -> Option<&Amounts> {
    spec.resources.as_ref()?.limits.as_ref()
}

/// Values of one container (R13.11, R13.12); what it does not limit itself is limited as its Pod (R13.13).
pub(crate) fn container_resources(pod: &Pod, container: &Container) -> Resources {
    let of_pod = pod.spec.as_ref().and_then(pod_level_limits);
    let (own, requests) = (limits(container), requests(container));
    let limit = |name: &str| amount(own, name).or_else(|| amount(of_pod, name)).filter(|it| !it.is_zero());
    let cpu_request = amount(requests, "cpu").or_else(|| amount(own, "cpu"));
    Resources {
        cpu_shares: Some(shares(cpu_request.map_or(0, outrigger_api::Quantity::milli_value))),
        cpu_quota: limit("cpu").map(|cpu| quota(cpu.milli_value())),
        memory_limit: limit("memory").and_then(|it| u64::try_from(it.value()).ok()),
        pids_limit: None,
    }
}

fn shares(milli: i64) -> u64 {
    u64::try_from(milli.saturating_mul(1024) / 1000).unwrap_or(0).clamp(2, 262_144)
}

fn quota(milli: i64) -> i64 {
    (milli.saturating_mul(PERIOD) / 1000).max(LEAST_QUOTA)
}

/// Values of the Pod's own cgroup: what it asks for as a whole, and limits only where every container has one or the
/// Pod itself does (R13.14).
pub(crate) fn pod_resources(pod: &Pod) -> Resources {
    let Some(spec) = &pod.spec else { return Resources::default() };
    if qos(pod) == Qos::BestEffort {
        return Resources { cpu_shares: Some(shares(0)), ..Resources::default() };
    }
    let total = pod_limits(spec);
    let limit = |name: &str| {
        let counted = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let every = counted.into_iter().all(|it| amount(limits(it), name).is_some_and(|q| !q.is_zero()));
        let own = amount(pod_level_limits(spec), name).is_some();
        (every || own).then(|| total.get(name)).filter(|amount| *amount > 0)
    };
    Resources {
        cpu_shares: Some(shares(pod_requests(spec).get("cpu"))),
        cpu_quota: limit("cpu").map(quota),
        memory_limit: limit("memory").and_then(|bytes| u64::try_from(bytes).ok()),
        pids_limit: None,
    }
}

/// R13.15. `node_memory` in bytes.
pub(crate) fn oom_score_adj(pod: &Pod, entry: &Entry<'_>, node_memory: u64) -> i32 {
    let critical = pod.spec.as_ref().and_then(|spec| spec.priority).is_some_and(|it| it >= NODE_CRITICAL);
    match qos(pod) {
        _ if critical => -997,
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let unallocated = unallocated_memory(pod);
            let own = burstable_score(&entry.container, unallocated, node_memory);
            if entry.role != Role::Sidecar {
                return own;
            }
            // A sidecar is not killed before the app it serves.
            let apps = entries(pod).filter(|other| other.role == Role::App);
            apps.map(|app| burstable_score(&app.container, unallocated, node_memory))
                .max()
                .map_or(own, |app| own.min(app))
        }
    }
}

fn burstable_score(container: &Container, unallocated: u64, node_memory: u64) -> i32 {
    let bytes = amount(requests(container), "memory").map_or(0, outrigger_api::Quantity::value);
    let bytes = bytes.max(0).unsigned_abs().saturating_add(unallocated);
    let share = 1000 * u128::from(bytes) / u128::from(node_memory.max(1));
    let score = 1000 - i32::try_from(share.min(1000)).unwrap_or(1000);
    score.clamp(3, 999)
}

/// Each container's part of the memory the Pod requests beyond what its containers do.
fn unallocated_memory(pod: &Pod) -> u64 {
    let Some(spec) = &pod.spec else { return 0 };
    let own = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let Some(own) = amount(own, "memory") else { return 0 };
    let without = PodSpec { resources: None, overhead: None, ..spec.clone() };
    let rest = own.value().saturating_sub(pod_requests(&without).get("memory"));
    let counted = entries(pod).filter(|entry| matches!(entry.role, Role::App | Role::Sidecar)).count();
    u64::try_from(rest).unwrap_or(0) / u64::try_from(counted.max(1)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(class: &str, spec: Value) -> Pod {
        let pod = json!({"metadata": {"uid": "u"}, "spec": spec, "status": {"qosClass": class}});
        serde_json::from_value(pod).unwrap()
    }

    fn container(name: &str, requests: Value, limits: Value) -> Value {
        json!({"name": name, "resources": {"requests": requests, "limits": limits}})
    }

    fn of(pod: &Pod, name: &str) -> Resources {
        container_resources(pod, &super::super::find(pod, name).unwrap().container)
    }

    /// R13.10, R4.23: one cgroup for each Pod, in its class.
    #[test]
    fn where_a_pods_cgroup_is() {
        let at = |class: &str| pod_cgroup("kubepods", &pod(class, json!({"containers": []})));
        assert_eq!(at("Guaranteed"), "kubepods/podu");
        assert_eq!(at("Burstable"), "kubepods/burstable/podu");
        assert_eq!(at("BestEffort"), "kubepods/besteffort/podu");
    }

    /// R13.16: a memory request is nothing to the kernel.
    #[test]
    fn a_memory_request_sets_nothing() {
        let memory = container("a", json!({"memory": "64Mi"}), json!({}));
        let pod = pod("Burstable", json!({"containers": [memory]}));
        let nothing = Resources { cpu_shares: Some(2), ..Resources::default() };
        assert_eq!((of(&pod, "a"), pod_resources(&pod)), (nothing.clone(), nothing));
    }

    /// R13.11, R13.12
    #[test]
    fn requests_and_limits_become_cgroup_values() {
        let a = container("a", json!({"cpu": "500m"}), json!({"cpu": "1", "memory": "64Mi"}));
        let c = container("c", json!({}), json!({"cpu": "1m"}));
        let pod = pod("Burstable", json!({"containers": [a, {"name": "b"}, c]}));
        let values = of(&pod, "a");
        assert_eq!(values.cpu_shares, Some(512));
        assert_eq!(values.cpu_quota, Some(100_000));
        assert_eq!(values.memory_limit, Some(64 << 20));
        assert_eq!(of(&pod, "b").cpu_shares, Some(2));
        assert_eq!(of(&pod, "c").cpu_quota, Some(1000));
    }

    /// R13.3, R13.14: the peak counts, and one container without a limit takes the Pod's away.
    #[test]
    fn a_pods_cgroup_holds_what_its_containers_may_use() {
        let both = |cpu: &str| json!({"cpu": cpu, "memory": "1Mi"});
        let mut sidecar = container("b", both("1"), both("1"));
        sidecar["restartPolicy"] = json!("Always");
        let inits =
            json!([container("a", both("2"), both("2")), sidecar, container("c", both("3"), both("3"))]);
        let apps = json!([container("d", both("1"), both("1"))]);
        let example = pod("Guaranteed", json!({"initContainers": inits, "containers": apps}));
        let values = pod_resources(&example);
        assert_eq!(values.cpu_shares, Some(4096));
        assert_eq!(values.cpu_quota, Some(400_000));
        assert_eq!(values.memory_limit, Some(2 << 20));
        let open =
            pod("Burstable", json!({"containers": [container("d", both("1"), both("1")), {"name": "e"}]}));
        assert_eq!((pod_resources(&open).cpu_quota, pod_resources(&open).memory_limit), (None, None));
        let none = pod("BestEffort", json!({"containers": [{"name": "e"}]}));
        assert_eq!(pod_resources(&none), Resources { cpu_shares: Some(2), ..Resources::default() });
    }

    /// R13.4, R13.13, R13.14: pod-level amounts stand for the sum and limit each container.
    #[test]
    fn pod_level_resources_rule() {
        let level =
            json!({"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "3", "memory": "2Gi"}});
        let a = container("a", json!({"cpu": "1"}), json!({"memory": "1Gi"}));
        let pod = pod(
            "Burstable",
            json!({"resources": level, "overhead": {"cpu": "1"}, "containers": [a, {"name": "b"}]}),
        );
        let values = pod_resources(&pod);
        assert_eq!((values.cpu_shares, values.cpu_quota), (Some(3072), Some(400_000)));
        assert_eq!(values.memory_limit, Some(2 << 30));
        assert_eq!((of(&pod, "a").memory_limit, of(&pod, "a").cpu_quota), (Some(1 << 30), Some(300_000)));
        assert_eq!((of(&pod, "b").memory_limit, of(&pod, "b").cpu_shares), (Some(2 << 30), Some(2)));
    }

    /// R13.15
    #[test]
    fn who_is_killed_first() {
        let memory = |amount: &str| json!({"memory": amount});
        let mut sidecar = container("s", json!({}), json!({}));
        sidecar["restartPolicy"] = json!("Always");
        let apps =
            json!([container("a", memory("250Mi"), json!({})), container("b", memory("500Mi"), json!({}))]);
        let spec = json!({"initContainers": [sidecar, {"name": "i"}], "containers": apps});
        let score =
            |pod: &Pod, name: &str| oom_score_adj(pod, &super::super::find(pod, name).unwrap(), 1000 << 20);
        let burstable = pod("Burstable", spec.clone());
        assert_eq!(["a", "b", "s", "i"].map(|name| score(&burstable, name)), [750, 500, 750, 999]);
        assert_eq!(score(&pod("Guaranteed", spec.clone()), "a"), -997);
        assert_eq!(score(&pod("BestEffort", spec.clone()), "a"), 1000);
        let mut critical = spec.clone();
        critical["priority"] = json!(NODE_CRITICAL);
        assert_eq!(score(&pod("BestEffort", critical), "a"), -997);
        let mut level = spec;
        level["resources"] = json!({"requests": {"memory": "900Mi"}});
        assert_eq!(score(&pod("Burstable", level), "a"), 700);
    }
}
