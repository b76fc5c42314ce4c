//! The node's own check of a Pod before it runs (section 1F): for Pods that nobody asked it about, and for what the
//! scheduler does not know. Pure; the reasons are R1.53's.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};
use outrigger_scheduling::{NodeInfo, PodInfo, Resources, matches_node_selection, pod_requests, tolerated};

use crate::env::NodeAllocatable;
use crate::pod_table::is_static;

/// Kernel settings any Pod may make (R13.25a).
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];
/// Resources in the order in which a lack of them is told.
const FIRST: [&str; 4] = ["pods", "cpu", "memory", "ephemeral-storage"];
const OS_LABEL: &str = "kubernetes.io/os";

/// Why the node refuses a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// `status.reason` and the event's reason.
    pub(crate) reason: String,
    /// What follows `Pod was rejected: `, and the event's message.
    pub(crate) message: String,
}

impl Rejection {
    fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into() }
    }

    /// A scheduler's filter, asked again.
    fn predicate(name: &str, why: &str) -> Self {
        Self::new(name, format!("Predicate {name} failed: {why}"))
    }
}

/// What the answer depends on besides the Pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeView<'a> {
    /// `metadata.name` of the Node.
    pub(crate) name: &'a str,
    /// Labels; of the Node object if it is known, else those this kubelet registers with.
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// The Node's taints.
    pub(crate) taints: &'a [Taint],
    /// What Pods may ask for altogether.
    pub(crate) allocatable: &'a NodeAllocatable,
    /// Settings the node's owner allows beside the safe ones; a trailing `*` stands for anything.
    pub(crate) allowed_sysctls: &'a [String],
    /// Whether the kernel enforces AppArmor profiles.
    pub(crate) app_armor: bool,
}

impl<'a> NodeView<'a> {
    /// The Node's labels and taints, as the API has them.
    pub(crate) fn of(node: &'a Node) -> (Option<&'a BTreeMap<String, String>>, &'a [Taint]) {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        (node.metadata.labels.as_ref(), taints)
    }
}

/// Whether `pod` may run beside `others`, the Pods of this node that have not ended.
///
/// # Errors
/// The first reason against it.
pub(crate) fn admit(pod: &Pod, others: &[&Pod], node: &NodeView<'_>) -> Result<(), Rejection> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    operating_system(pod, spec, node)?;
    sysctls(spec, node)?;
    app_armor(spec, node)?;
    fits(pod, others, node.allocatable).map_err(|lack| {
        let message = lack.to_string();
        Rejection::new(format!("OutOf{}", lack.resource), message)
    })?;
    placement(pod, others, node)
}

/// The Pod's own label is what counts here; a selector is one of the scheduler's filters.
fn operating_system(pod: &Pod, spec: &PodSpec, node: &NodeView<'_>) -> Result<(), Rejection> {
    let wanted = pod.metadata.labels.as_ref().and_then(|labels| labels.get(OS_LABEL));
    if wanted.is_some_and(|os| node.labels.get(OS_LABEL) != Some(os)) {
        let why = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return Err(Rejection::new("PodOSSelectorNodeLabelDoesNotMatch", why));
    }
    if spec.os.as_ref().is_some_and(|os| os.name != "linux") {
        let why = "Failed to admit pod as the OS field doesn't match node OS";
        return Err(Rejection::new("PodOSNotSupported", why));
    }
    Ok(())
}

/// R13.25a. What belongs to a namespace the Pod does not have would change the node.
fn sysctls(spec: &PodSpec, node: &NodeView<'_>) -> Result<(), Rejection> {
    let wanted = spec.security_context.as_ref().and_then(|context| context.sysctls.as_ref());
    for sysctl in wanted.into_iter().flatten() {
        let name = sysctl.name.replace('/', ".");
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => *pattern == name,
        };
        let is_net = name.starts_with("net.");
        let is_ipc = name.starts_with("kernel.shm") || name.starts_with("kernel.msg") || name == "kernel.sem";
        if is_net && spec.host_network == Some(true) {
            let why = format!("forbidden sysctl: \"{}\" not allowed with host net enabled", sysctl.name);
            return Err(Rejection::new("SysctlForbidden", why));
        }
        if (is_ipc || name.starts_with("fs.mqueue.")) && spec.host_ipc == Some(true) {
            let why = format!("forbidden sysctl: \"{}\" not allowed with host ipc enabled", sysctl.name);
            return Err(Rejection::new("SysctlForbidden", why));
        }
        if !SAFE_SYSCTLS.contains(&name.as_str()) && !node.allowed_sysctls.iter().any(matches) {
            let why = format!("forbidden sysctl: \"{}\" not allowlisted", sysctl.name);
            return Err(Rejection::new("SysctlForbidden", why));
        }
    }
    Ok(())
}

fn app_armor(spec: &PodSpec, node: &NodeView<'_>) -> Result<(), Rejection> {
    if node.app_armor {
        return Ok(());
    }
    let of_pod = spec.security_context.as_ref().and_then(|context| context.app_armor_profile.as_ref());
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let of_containers = containers.filter_map(|c| c.security_context.as_ref()?.app_armor_profile.as_ref());
    if of_pod.into_iter().chain(of_containers).any(|profile| profile.type_ != "Unconfined") {
        return Err(Rejection::new(
            "AppArmor",
            "Cannot enforce AppArmor: AppArmor is not enabled on the host",
        ));
    }
    Ok(())
}

/// The scheduler's filters that a Pod bound by hand has never passed.
fn placement(pod: &Pod, others: &[&Pod], node: &NodeView<'_>) -> Result<(), Rejection> {
    let wanted = PodInfo::new(pod);
    let mut place = NodeInfo::default();
    node.name.clone_into(&mut place.name);
    place.labels.clone_from(node.labels);
    if wanted.node_name != node.name && !wanted.node_name.is_empty() {
        return Err(Rejection::predicate("NodeName", "node(s) didn't match the requested node name"));
    }
    if !matches_node_selection(&wanted, &place) {
        return Err(Rejection::predicate(
            "NodeAffinity",
            "node(s) didn't match Pod's node affinity/selector",
        ));
    }
    let taken: Vec<_> = others.iter().flat_map(|other| PodInfo::new(other).host_ports).collect();
    if wanted.host_ports.iter().any(|port| taken.iter().any(|other| other.clashes(port))) {
        let why = "node(s) didn't have free ports for the requested pod ports";
        return Err(Rejection::predicate("NodePorts", why));
    }
    // Only what would drive it away again: NoSchedule is the scheduler's business.
    let hard = node.taints.iter().filter(|taint| taint.effect == "NoExecute");
    if !is_static(pod) && hard.into_iter().any(|taint| !tolerated(taint, &wanted.tolerations)) {
        let why = "node(s) had taints that the pod didn't tolerate";
        return Err(Rejection::predicate("TaintToleration", why));
    }
    Ok(())
}

/// The first resource of which there is not enough. Its text is R1.53's and R13.27's: cpu in thousandths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
)]
pub(crate) struct Lack {
    /// `cpu`, `memory`, `ephemeral-storage`, `pods`, …
    pub(crate) resource: String,
    requested: i64,
    used: i64,
    capacity: i64,
}

/// What a Pod's spec asks for (R13.4).
pub(crate) fn requests(pod: &Pod) -> Resources {
    pod.spec.as_ref().map(pod_requests).unwrap_or_default()
}

/// Whether the requests of `pod` fit beside those of `others`. What the node has never heard of is not its business:
/// others may provide it.
///
/// # Errors
/// What is short first: Pods, cpu, memory, storage, the rest.
pub(crate) fn fits(pod: &Pod, others: &[&Pod], allocatable: &NodeAllocatable) -> Result<(), Lack> {
    let capacity = Resources::from_quantities(allocatable);
    let mut used = Resources::default();
    others.iter().for_each(|other| used.add(&requests(other)));
    let count = i64::try_from(others.len()).unwrap_or(i64::MAX);
    let wanted = requests(pod);
    let known = |name: &str| !name.contains('/') || capacity.iter().any(|(other, _)| other == name);
    let mut all = vec![("pods", 1, count)];
    let asked = wanted.iter().filter(|(name, amount)| *amount > 0 && known(name));
    all.extend(asked.map(|(name, n)| (name, n, used.get(name))));
    all.sort_by_key(|(name, ..)| FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()));
    for (resource, requested, used) in all {
        let capacity = capacity.get(resource);
        if used.saturating_add(requested) > capacity {
            return Err(Lack { resource: resource.to_owned(), requested, used, capacity });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec})).unwrap()
    }

    fn asking(resources: Value) -> Pod {
        pod(json!({"containers": [{"name": "c", "resources": resources}]}))
    }

    fn with(part: Value) -> Pod {
        let mut spec = json!({"containers": [{"name": "c"}]});
        for (key, value) in part.as_object().unwrap() {
            spec[key] = value.clone();
        }
        pod(spec)
    }

    fn labelled(labels: Value) -> Pod {
        let mut pod = with(json!({}));
        pod.metadata.labels = serde_json::from_value(labels).unwrap();
        pod
    }

    fn answer(pod: &Pod, others: &[&Pod]) -> (String, String) {
        let amounts =
            [("cpu", "2"), ("memory", "1Gi"), ("ephemeral-storage", "1Gi"), ("pods", "2"), ("gpu/x", "1")];
        let allocatable = amounts.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into();
        let labels = BTreeMap::from([(OS_LABEL.to_owned(), "linux".to_owned())]);
        let taint = |key: &str, effect: &str| Taint {
            key: key.to_owned(),
            effect: effect.to_owned(),
            ..Taint::default()
        };
        let node = NodeView {
            name: "n",
            labels: &labels,
            taints: &[taint("a", "NoSchedule")],
            allocatable: &allocatable,
            allowed_sysctls: &["kernel.msg*".to_owned()],
            app_armor: false,
        };
        let hard = NodeView { taints: &[taint("leave", "NoExecute")], ..node };
        let evicts = pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key("evicted"));
        let node = if evicts { hard } else { node };
        match admit(pod, others, &node) {
            Ok(()) => (String::new(), String::new()),
            Err(rejection) => (rejection.reason, rejection.message),
        }
    }

    /// R1.53: what a node says to a Pod bound to it by hand.
    #[test]
    fn each_refusal_has_its_reason() {
        let sysctl = |name: &str| json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}]}]});
        let taken = pod(port.clone());
        for (asked, others, reason, text) in [
            (with(json!({})), vec![], "", ""),
            (
                with(json!({"nodeSelector": {"disk": "ssd"}})),
                vec![],
                "NodeAffinity",
                "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
            ),
            (
                with(json!({"nodeName": "other"})),
                vec![],
                "NodeName",
                "Predicate NodeName failed: node(s) didn't match the requested node name",
            ),
            (
                pod(port),
                vec![&taken],
                "NodePorts",
                "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
            ),
            (
                with(json!({"nodeSelector": {OS_LABEL: "windows"}})),
                vec![],
                "NodeAffinity",
                "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
            ),
            (
                labelled(json!({OS_LABEL: "windows"})),
                vec![],
                "PodOSSelectorNodeLabelDoesNotMatch",
                "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
            ),
            (
                with(json!({"os": {"name": "windows"}})),
                vec![],
                "PodOSNotSupported",
                "Failed to admit pod as the OS field doesn't match node OS",
            ),
            (
                with(sysctl("kernel.shmmax")),
                vec![],
                "SysctlForbidden",
                "forbidden sysctl: \"kernel.shmmax\" not allowlisted",
            ),
            (with(sysctl("kernel/msgmax")), vec![], "", ""),
            (with(sysctl("net/ipv4/tcp_syncookies")), vec![], "", ""),
            (
                with(json!({"hostNetwork": true, "securityContext": {"sysctls": [
                {"name": "net.ipv4.tcp_syncookies", "value": "1"}]}})),
                vec![],
                "SysctlForbidden",
                "forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled",
            ),
            (
                with(json!({"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}})),
                vec![],
                "AppArmor",
                "Cannot enforce AppArmor: AppArmor is not enabled on the host",
            ),
            (with(json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}})), vec![], "", ""),
        ] {
            assert_eq!(answer(&asked, &others), (reason.to_owned(), text.to_owned()));
        }
    }

    /// R1.53: taints that evict count, others are the scheduler's.
    #[test]
    fn a_taint_that_evicts_refuses() {
        let mut asked = labelled(json!({"evicted": ""}));
        let text = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
        assert_eq!(answer(&asked, &[]), ("TaintToleration".to_owned(), text.to_owned()));
        let mut tolerant = with(json!({"tolerations": [{"key": "leave", "operator": "Exists"}]}));
        tolerant.metadata.labels.clone_from(&asked.metadata.labels);
        assert_eq!(answer(&tolerant, &[]).0, "");
        let of_the_node = ("kubernetes.io/config.source".to_owned(), "file".to_owned());
        asked.metadata.annotations = Some(BTreeMap::from([of_the_node]));
        assert_eq!(answer(&asked, &[]).0, "", "a static Pod");
    }

    /// M21, R13.1: what init containers ask for is not only a maximum.
    #[test]
    fn sidecars_are_added_to_what_runs_beside_them() {
        let cpu = |name: &str, policy: Option<&str>| json!({"name": name, "restartPolicy": policy, "resources": {"requests": {"cpu": "1"}}});
        let of = |inits: Value| {
            let init = json!({"initContainers": inits, "containers": [cpu("a", None)]});
            requests(&pod(init)).get("cpu")
        };
        assert_eq!(of(json!([cpu("i", None), cpu("j", None)])), 1000);
        assert_eq!(of(json!([cpu("s", Some("Always"))])), 2000);
        assert_eq!(of(json!([cpu("s", Some("Always")), cpu("t", Some("Always")), cpu("i", None)])), 3000);
    }

    /// R1.53: amounts as upstream prints them.
    #[test]
    fn what_does_not_fit_is_named_with_its_amounts() {
        let one = asking(json!({"requests": {"cpu": "1500m", "memory": "512Mi"}}));
        let (reason, text) = answer(&one, &[&one]);
        assert_eq!(reason, "OutOfcpu");
        let amounts = "cpu, requested: 1500, used: 1500, capacity: 2000";
        assert_eq!(text, format!("Node didn't have enough resource: {amounts}"));
        let memory = asking(json!({"requests": {"memory": "600Mi"}}));
        assert_eq!(answer(&memory, &[&one]).0, "OutOfmemory");
        let (none, storage) = (with(json!({})), asking(json!({"requests": {"ephemeral-storage": "2Gi"}})));
        assert_eq!(answer(&storage, &[]).0, "OutOfephemeral-storage");
        assert_eq!(answer(&none, &[&none, &none]).0, "OutOfpods");
        assert_eq!(answer(&asking(json!({"requests": {"gpu/x": "2"}})), &[]).0, "OutOfgpu/x");
        assert_eq!(answer(&asking(json!({"requests": {"gpu/y": "2"}})), &[]).0, "", "others provide it");
        let all = asking(json!({"requests": {"ephemeral-storage": "2Gi", "memory": "2Gi", "gpu/x": "2"}}));
        assert_eq!(answer(&all, &[]).0, "OutOfmemory", "the first in order");
        let both = with(json!({"nodeSelector": {"disk": "ssd"}, "containers": [
            {"name": "c", "resources": {"requests": {"cpu": "3"}}}]}));
        assert_eq!(answer(&both, &[]).0, "OutOfcpu", "amounts before places");
    }
}
