//! cgroup values, QoS and OOM score (R13.9-R13.15).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use outrigger_runtime::Resources;

use super::entry::entries;

/// Microseconds a CPU quota is counted over, and the least quota there is (R13.12).
const PERIOD: i64 = 100_000;
const LEAST_QUOTA: i64 = 1000;

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

/// `kubepods/burstable/pod<uid>` (R13.14).
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

/// Values of one container (R13.11, R13.12).
pub(crate) fn container_resources(container: &Container) -> Resources {
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|all| all.limits.as_ref());
    let requests = resources.and_then(|all| all.requests.as_ref());
    let cpu_request = amount(requests, "cpu").or(amount(limits, "cpu"));
    Resources {
        cpu_shares: Some(shares(cpu_request.map_or(0, outrigger_api::Quantity::milli_value))),
        cpu_quota: amount(limits, "cpu").filter(|cpu| !cpu.is_zero()).map(|cpu| quota(cpu.milli_value())),
        memory_limit: amount(limits, "memory")
            .filter(|it| !it.is_zero())
            .and_then(|it| u64::try_from(it.value()).ok()),
        pids_limit: None,
    }
}

fn shares(milli: i64) -> u64 {
    u64::try_from(milli.saturating_mul(1024) / 1000).unwrap_or(0).clamp(2, 262_144)
}

fn quota(milli: i64) -> i64 {
    (milli.saturating_mul(PERIOD) / 1000).max(LEAST_QUOTA)
}

/// Values of the Pod's own cgroup: sums, and limits only where every container has one (R13.14).
pub(crate) fn pod_resources(pod: &Pod) -> Resources {
    let mut sum = Resources::default();
    let (mut milli, mut quota_sum, mut memory) = (0_i64, Some(0_i64), Some(0_u64));
    for entry in entries(pod) {
        let resources = container_resources(&entry.container);
        let own = entry.container.resources.as_ref();
        let requests = own.and_then(|all| all.requests.as_ref());
        milli = milli.saturating_add(amount(requests, "cpu").map_or(0, outrigger_api::Quantity::milli_value));
        quota_sum = quota_sum.zip(resources.cpu_quota).map(|(sum, one)| sum.saturating_add(one));
        memory = memory.zip(resources.memory_limit).map(|(sum, one)| sum.saturating_add(one));
    }
    sum.cpu_shares = Some(shares(milli));
    sum.cpu_quota = quota_sum.filter(|quota| *quota > 0);
    sum.memory_limit = memory.filter(|limit| *limit > 0);
    sum
}

/// R13.15. `node_memory` in bytes.
pub(crate) fn oom_score_adj(pod: &Pod, container: &Container, node_memory: u64) -> i32 {
    match qos(pod) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let requests = container.resources.as_ref().and_then(|all| all.requests.as_ref());
            let bytes =
                amount(requests, "memory").map_or(0, outrigger_api::Quantity::value).max(0).unsigned_abs();
            let share = 1000 * u128::from(bytes) / u128::from(node_memory.max(1));
            let score = 1000 - i32::try_from(share.min(1000)).unwrap_or(1000);
            score.clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ResourceRequirements;

    use super::*;

    fn container(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Container {
        let map = |list: &[(&str, &str)]| {
            Some(list.iter().map(|(k, v)| ((*k).to_owned(), Quantity((*v).to_owned()))).collect())
        };
        let resources =
            ResourceRequirements { requests: map(requests), limits: map(limits), ..Default::default() };
        Container { resources: Some(resources), ..Container::default() }
    }

    /// R13.11, R13.12
    #[test]
    fn requests_and_limits_become_cgroup_values() {
        let values = container_resources(&container(&[("cpu", "500m")], &[("cpu", "1"), ("memory", "64Mi")]));
        assert_eq!(values.cpu_shares, Some(512));
        assert_eq!(values.cpu_quota, Some(100_000));
        assert_eq!(values.memory_limit, Some(64 << 20));
        assert_eq!(container_resources(&Container::default()).cpu_shares, Some(2));
        assert_eq!(container_resources(&container(&[], &[("cpu", "1m")])).cpu_quota, Some(1000));
    }
}
