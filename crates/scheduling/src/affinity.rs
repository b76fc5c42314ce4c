//! Node selectors and node affinity.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};

use crate::snapshot::{NodeInfo, PodInfo};

/// Whether a node satisfies `spec.nodeSelector` and the required node affinity of a Pod.
pub fn matches_node_selection(pod: &PodInfo, node: &NodeInfo) -> bool {
    let selected = pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    selected && required_terms(pod).is_none_or(|terms| terms.iter().any(|term| matches_term(term, node)))
}

/// The sum of the weights of the preferred terms a node satisfies.
pub(crate) fn preferred_weight(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let preferred =
        affinity.and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
    let satisfied = preferred.into_iter().flatten().filter(|term| matches_term(&term.preference, node));
    satisfied.map(|term| i64::from(term.weight)).sum()
}

fn required_terms(pod: &PodInfo) -> Option<&[NodeSelectorTerm]> {
    let affinity = pod.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    Some(&required.node_selector_terms)
}

/// An empty term matches nothing.
fn matches_term(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let name = BTreeMap::from([("metadata.name".to_owned(), node.name.clone())]);
    !(labels.is_empty() && fields.is_empty())
        && labels.iter().all(|requirement| satisfies(requirement, &node.labels))
        && fields.iter().all(|requirement| satisfies(requirement, &name))
}

fn satisfies(requirement: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let number = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number().is_some_and(|(have, want)| have > want),
        "Lt" => number().is_some_and(|(have, want)| have < want),
        // Validation lets no other operator in; one from the future must not attract Pods.
        _ => false,
    }
}
