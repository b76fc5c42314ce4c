//! Why a node will not have a Pod (N18). Filters run in upstream's order; the first that refuses speaks, and the
//! resource filter names every resource that is short.

use std::fmt;

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::affinity::matches_node_selection;
use crate::snapshot::{NodeInfo, PodInfo};

/// One reason, with upstream's text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    Unschedulable,
    OtherNodeName,
    UntoleratedTaint,
    NodeSelection,
    Ports,
    TooManyPods,
    Insufficient(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unschedulable => f.write_str("node(s) were unschedulable"),
            Self::OtherNodeName => f.write_str("node(s) didn't match the requested node name"),
            Self::UntoleratedTaint => f.write_str("node(s) had untolerated taint(s)"),
            Self::NodeSelection => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::Ports => f.write_str("node(s) didn't have free ports for the requested pod ports"),
            Self::TooManyPods => f.write_str("Too many pods"),
            Self::Insufficient(resource) => write!(f, "Insufficient {resource}"),
        }
    }
}

impl Reason {
    /// Whether evicting other Pods could change the answer.
    pub(crate) fn preemption_may_help(&self) -> bool {
        matches!(self, Self::Ports | Self::TooManyPods | Self::Insufficient(_))
    }
}

/// Empty if the node passes.
pub(crate) fn reasons(pod: &PodInfo, node: &NodeInfo) -> Vec<Reason> {
    const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
    let no_schedule = Taint {
        key: UNSCHEDULABLE.to_owned(),
        effect: "NoSchedule".to_owned(),
        value: None,
        time_added: None,
    };
    if node.unschedulable && !tolerated(&no_schedule, &pod.tolerations) {
        return vec![Reason::Unschedulable];
    }
    if !pod.node_name.is_empty() && pod.node_name != node.name {
        return vec![Reason::OtherNodeName];
    }
    let hard = node.taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
    if hard.clone().any(|taint| !tolerated(taint, &pod.tolerations)) {
        return vec![Reason::UntoleratedTaint];
    }
    if !matches_node_selection(pod, node) {
        return vec![Reason::NodeSelection];
    }
    let taken = |wanted| node.pods().flat_map(|other| &other.host_ports).any(|port| port.clashes(wanted));
    if pod.host_ports.iter().any(taken) {
        return vec![Reason::Ports];
    }
    fit(pod, node)
}

fn fit(pod: &PodInfo, node: &NodeInfo) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let pods = i64::try_from(node.pod_count()).unwrap_or(i64::MAX);
    if pods.saturating_add(1) > node.allocatable.get("pods") {
        reasons.push(Reason::TooManyPods);
    }
    for (name, wanted) in pod.requests.iter().filter(|(_, wanted)| *wanted > 0) {
        if wanted > node.allocatable.get(name).saturating_sub(node.requested().get(name)) {
            reasons.push(Reason::Insufficient(name.to_owned()));
        }
    }
    reasons
}

/// Whether any toleration covers the taint.
pub fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let key = toleration.key.as_deref().unwrap_or_default();
        let exists = toleration.operator.as_deref() == Some("Exists");
        let same_value =
            || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
        (effect.is_empty() || effect == taint.effect)
            && (key == taint.key || (key.is_empty() && exists))
            && (exists || same_value())
    })
}
