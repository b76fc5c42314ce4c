//! The DaemonSet controller (N5, R16.9): one Pod on every node that takes it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, Toleration,
};
use outrigger_api::WallTime;

use crate::note::Note;
use crate::revisions::POD_HASH;
use crate::share::{self, Round};
use crate::{claim, pods, template};

const GENERATION: &str = "pod-template-generation";
/// How many Pods one turn creates or deletes at most.
const MAX_PER_TURN: usize = 250;
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(900);

/// What a node says to a Pod of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It takes one.
    Runs,
    /// It takes none, but one that is there may stay.
    Stays,
    /// It takes none.
    No,
}

/// Failures of the Pods on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures {
    /// How many in a row.
    pub count: u32,
    /// When the last one was removed.
    pub last: WallTime,
}

/// All that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The set as stored.
    pub set: &'a DaemonSet,
    /// Its Pods, whatever state they are in.
    pub pods: &'a [Arc<Pod>],
    /// Every node, and what it says.
    pub nodes: &'a BTreeMap<String, Fit>,
    /// The hash of the present template's revision.
    pub hash: &'a str,
    /// Failures by node, as remembered.
    pub failures: &'a HashMap<String, Failures>,
    /// The time.
    pub now: WallTime,
}

/// What to do, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Pods to delete.
    pub delete: Vec<Arc<Pod>>,
    /// Pods to create.
    pub create: Vec<Pod>,
    /// The status; `None` if it is as it should be.
    pub status: Option<DaemonSetStatus>,
    /// What to tell.
    pub notes: Vec<Note>,
    /// When to decide again even if nothing happens.
    pub again: Option<Duration>,
    /// Nodes whose Pod has failed in this turn.
    pub failed_on: Vec<String>,
}

/// Decides one turn of one DaemonSet.
pub fn decide(input: &Input<'_>) -> Decision {
    let mut decision = Decision::default();
    let Some(spec) = &input.set.spec else { return decision };
    let by_node = by_node(input.pods);
    if input.set.metadata.deletion_timestamp.is_none() {
        manage(input, spec, &by_node, &mut decision);
        if decision.create.is_empty() && decision.delete.is_empty() {
            update(input, spec, &by_node, &mut decision);
        }
        decision.create.truncate(MAX_PER_TURN);
        decision.delete.truncate(MAX_PER_TURN);
    }
    let status = status(input, spec, &by_node);
    decision.status = (input.set.status.as_ref() != Some(&status)).then_some(status);
    let wait = spec.min_ready_seconds.unwrap_or(0);
    let soonest = input.pods.iter().filter_map(|pod| pods::available_in(pod, wait, input.now)).min();
    decision.again = decision.again.into_iter().chain(soonest).min();
    decision
}

/// The node a Pod is on, or is meant for.
fn target(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().filter_map(|term| term.match_fields.as_ref()).flatten();
    let name = fields.filter(|field| field.key == "metadata.name").find_map(|field| field.values.as_ref());
    name?.first().map(String::as_str)
}

type ByNode<'a> = BTreeMap<&'a str, Vec<&'a Arc<Pod>>>;

/// Oldest first on each node.
fn by_node(all: &[Arc<Pod>]) -> ByNode<'_> {
    let mut nodes: ByNode<'_> = BTreeMap::new();
    for pod in all {
        if let Some(node) = target(pod) {
            nodes.entry(node).or_default().push(pod);
        }
    }
    for pods in nodes.values_mut() {
        pods.sort_by_key(|pod| {
            (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pods::name(pod).to_owned())
        });
    }
    nodes
}

fn manage(input: &Input<'_>, spec: &DaemonSetSpec, by_node: &ByNode<'_>, decision: &mut Decision) {
    for (node, fit) in input.nodes {
        let here = by_node.get(node.as_str()).map(Vec::as_slice).unwrap_or_default();
        match fit {
            Fit::Runs if here.is_empty() => decision.create.push(pod(input.set, spec, node, input.hash)),
            Fit::Runs | Fit::Stays => keep(input, spec, node, here, decision),
            Fit::No => decision.delete.extend(live(here)),
        }
    }
    // Of nodes that are no more the collector of Pods takes care; their Pods do not count here.
}

fn live<'a>(here: &'a [&'a Arc<Pod>]) -> impl Iterator<Item = Arc<Pod>> + 'a {
    here.iter().filter(|pod| !pods::is_deleting(pod)).map(|pod| Arc::clone(pod))
}

/// R16.9: what ended goes, and comes back the later the more often it failed. Of several the oldest stays; while
/// surging, one of each revision.
fn keep(input: &Input<'_>, spec: &DaemonSetSpec, node: &str, here: &[&Arc<Pod>], decision: &mut Decision) {
    let namespace = input.set.metadata.namespace.as_deref().unwrap_or_default();
    let mut running: Vec<&Arc<Pod>> = Vec::new();
    for pod in here.iter().filter(|pod| !pods::is_deleting(pod)) {
        let (kind, word) = match pods::phase(pod) {
            "Failed" => ("FailedDaemonPod", "failed"),
            "Succeeded" => ("SucceededDaemonPod", "succeeded"),
            _ => {
                running.push(pod);
                continue;
            }
        };
        if word == "failed" {
            let wait =
                input.failures.get(node).map_or(Duration::ZERO, |failures| remaining(*failures, input.now));
            if !wait.is_zero() {
                decision.again = Some(decision.again.map_or(wait, |known| known.min(wait)));
                continue;
            }
            decision.failed_on.push(node.to_owned());
        }
        let text = format!(
            "Found {word} daemon pod {namespace}/{} on node {node}, will try to kill it",
            pods::name(pod)
        );
        let warning = word == "failed";
        decision.notes.push(Note { warning, reason: kind.to_owned(), message: text });
        decision.delete.push(Arc::clone(pod));
    }
    let surging = bounds(input, spec).1 > 0;
    let mut kept: Vec<&str> = Vec::new();
    for pod in running {
        let revision = if surging { revision(pod) } else { "" };
        let allowed = if surging { 2 } else { 1 };
        if kept.contains(&revision) || kept.len() >= allowed {
            decision.delete.push(Arc::clone(pod));
        } else {
            kept.push(revision);
        }
    }
}

fn remaining(failures: Failures, now: WallTime) -> Duration {
    let wait =
        FIRST_BACK_OFF.saturating_mul(1 << failures.count.saturating_sub(1).min(16)).min(LONGEST_BACK_OFF);
    let passed: SignedDuration = now.duration_since(failures.last);
    wait.saturating_sub(Duration::try_from(passed).unwrap_or_default())
}

fn revision(pod: &Pod) -> &str {
    pods::label(&pod.metadata, POD_HASH).unwrap_or_default()
}

/// How many nodes may be without an available Pod, and how many may have two.
fn bounds(input: &Input<'_>, spec: &DaemonSetSpec) -> (i32, i32) {
    let rolling = spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let desired = input.nodes.values().filter(|fit| **fit == Fit::Runs).count();
    let desired = i32::try_from(desired).unwrap_or(i32::MAX);
    let of = |value| share::of(value, desired, Round::Up);
    let surge = rolling.map_or(0, |rolling| of(rolling.max_surge.as_ref()));
    let unavailable = match rolling.and_then(|rolling| rolling.max_unavailable.as_ref()) {
        None => 1,
        Some(value) => of(Some(value)),
    };
    if surge == 0 && unavailable == 0 { (1, 0) } else { (unavailable, surge) }
}

/// Old Pods make way: those that do not work at once, others as far as the bounds allow.
fn update(input: &Input<'_>, spec: &DaemonSetSpec, by_node: &ByNode<'_>, decision: &mut Decision) {
    let strategy = spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    if strategy == Some("OnDelete") {
        return;
    }
    let wait = spec.min_ready_seconds.unwrap_or(0);
    let available = |pod: &Pod| !pods::is_deleting(pod) && pods::is_available(pod, wait, input.now);
    let (unavailable, surge) = bounds(input, spec);
    let (mut down, mut extra) = (0, 0);
    let (mut broken, mut candidates) = (Vec::new(), Vec::new());
    for (node, _) in input.nodes.iter().filter(|(_, fit)| **fit == Fit::Runs) {
        let here = by_node.get(node.as_str()).map(Vec::as_slice).unwrap_or_default();
        let new = here.iter().find(|pod| revision(pod) == input.hash && !pods::is_deleting(pod));
        let old = here.iter().find(|pod| revision(pod) != input.hash);
        match (new, old) {
            (Some(new), None) if available(new) => {}
            (Some(new), Some(old)) if surge > 0 => {
                extra += 1;
                if available(new) && !pods::is_deleting(old) {
                    broken.push(*old);
                }
            }
            (None, Some(old)) if pods::is_deleting(old) => down += 1,
            (None, Some(old)) if available(old) => candidates.push((*old, node)),
            (None, Some(old)) if surge == 0 => {
                down += 1;
                broken.push(*old);
            }
            (None, Some(old)) => candidates.insert(0, (*old, node)),
            (Some(_) | None, _) => down += 1,
        }
    }
    decision.delete.extend(broken.into_iter().cloned());
    if surge > 0 {
        let room = usize::try_from(surge - extra).unwrap_or(0);
        let nodes = candidates.into_iter().take(room).map(|(_, node)| pod(input.set, spec, node, input.hash));
        decision.create.extend(nodes);
    } else {
        let room = usize::try_from(unavailable - down).unwrap_or(0);
        decision.delete.extend(candidates.into_iter().take(room).map(|(pod, _)| Arc::clone(pod)));
    }
}

/// The Pod of one node.
pub fn pod(set: &DaemonSet, spec: &DaemonSetSpec, node: &str, hash: &str) -> Pod {
    let owner = claim::reference("apps/v1", "DaemonSet", &set.metadata);
    let mut pod = template::pod(&spec.template, set.metadata.namespace.as_ref(), owner);
    pod.metadata.generate_name = Some(format!("{}-", set.metadata.name.as_deref().unwrap_or_default()));
    let labels = pod.metadata.labels.get_or_insert_with(BTreeMap::new);
    labels.insert(POD_HASH.to_owned(), hash.to_owned());
    labels.insert(GENERATION.to_owned(), set.metadata.generation.unwrap_or(1).to_string());
    if let Some(inner) = &mut pod.spec {
        let tolerations = inner.tolerations.get_or_insert_default();
        tolerations.extend(automatic(inner.host_network == Some(true)));
        let name = NodeSelectorRequirement {
            key: "metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![node.to_owned()]),
        };
        let term = NodeSelectorTerm { match_fields: Some(vec![name]), match_expressions: None };
        let affinity: &mut Affinity = inner.affinity.get_or_insert_default();
        let node_affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
        node_affinity.required_during_scheduling_ignored_during_execution =
            Some(NodeSelector { node_selector_terms: vec![term] });
    }
    pod
}

/// What every Pod of a DaemonSet puts up with (N5).
fn automatic(host_network: bool) -> Vec<Toleration> {
    let always = [
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    ];
    let network = host_network.then_some(("network-unavailable", "NoSchedule"));
    let toleration = |(key, effect): (&str, &str)| Toleration {
        key: Some(format!("node.kubernetes.io/{key}")),
        operator: Some("Exists".to_owned()),
        effect: Some(effect.to_owned()),
        ..Toleration::default()
    };
    always.into_iter().chain(network).map(toleration).collect()
}

fn status(input: &Input<'_>, spec: &DaemonSetSpec, by_node: &ByNode<'_>) -> DaemonSetStatus {
    let wait = spec.min_ready_seconds.unwrap_or(0);
    let before = input.set.status.as_ref();
    let mut status = DaemonSetStatus {
        observed_generation: input.set.metadata.generation,
        collision_count: before.and_then(|status| status.collision_count),
        conditions: before.and_then(|status| status.conditions.clone()),
        ..DaemonSetStatus::default()
    };
    let (mut updated, mut available) = (0, 0);
    for (node, fit) in input.nodes {
        let here = by_node.get(node.as_str()).map(Vec::as_slice).unwrap_or_default();
        let here: Vec<_> = here.iter().filter(|pod| !pods::is_deleting(pod)).collect();
        if *fit != Fit::Runs {
            status.number_misscheduled += i32::from(!here.is_empty());
            continue;
        }
        status.desired_number_scheduled += 1;
        status.current_number_scheduled += i32::from(!here.is_empty());
        status.number_ready += i32::from(here.iter().any(|pod| pods::is_ready(pod)));
        available += i32::from(here.iter().any(|pod| pods::is_available(pod, wait, input.now)));
        updated += i32::from(here.iter().any(|pod| revision(pod) == input.hash));
    }
    let some = |number: i32| (number != 0).then_some(number);
    status.number_available = some(available);
    status.updated_number_scheduled = some(updated);
    status.number_unavailable = some(status.desired_number_scheduled - available);
    status
}

#[cfg(test)]
mod tests;
