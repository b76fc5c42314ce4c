//! Which of the feasible nodes is best (N20): weighted sums of scores from 0 to 100.

use crate::affinity::preferred_weight;
use crate::filter::tolerated;
use crate::snapshot::{NodeInfo, PodInfo};

const HIGHEST: i64 = 100;

/// One score per node, in order.
pub(crate) fn scores(pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<u64> {
    let taints = normalised(nodes, |node| -intolerable_preferences(pod, node));
    let affinity = normalised(nodes, |node| preferred_weight(pod, node));
    nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            let total = 3 * taints[index]
                + 2 * affinity[index]
                + least_allocated(pod, node)
                + balanced(pod, node)
                + image_locality(pod, node, nodes.len());
            u64::try_from(total).unwrap_or_default()
        })
        .collect()
}

/// Stretches raw values to 0..=100; all equal gives all 0, which favours nobody.
fn normalised(nodes: &[&NodeInfo], raw: impl Fn(&NodeInfo) -> i64) -> Vec<i64> {
    let values: Vec<i64> = nodes.iter().map(|node| raw(node)).collect();
    let low = values.iter().copied().min().unwrap_or_default();
    let span = values.iter().copied().max().unwrap_or_default() - low;
    values.iter().map(|value| if span == 0 { 0 } else { (value - low) * HIGHEST / span }).collect()
}

fn intolerable_preferences(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let soft = node.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
    i64::try_from(soft.filter(|taint| !tolerated(taint, &pod.tolerations)).count()).unwrap_or(i64::MAX)
}

/// How much of a resource would be in use, in percent.
fn used_percent(pod: &PodInfo, node: &NodeInfo, resource: &str) -> Option<i64> {
    let capacity = node.allocatable.get(resource);
    let used = node.requested().get(resource).saturating_add(pod.requests.get(resource));
    (capacity > 0).then(|| (used.saturating_mul(HIGHEST) / capacity).clamp(0, HIGHEST))
}

fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let used: Vec<i64> = ["cpu", "memory"].iter().filter_map(|name| used_percent(pod, node, name)).collect();
    let count = i64::try_from(used.len()).unwrap_or(1).max(1);
    used.iter().map(|percent| HIGHEST - percent).sum::<i64>() / count
}

fn balanced(pod: &PodInfo, node: &NodeInfo) -> i64 {
    match (used_percent(pod, node, "cpu"), used_percent(pod, node, "memory")) {
        (Some(cpu), Some(memory)) => HIGHEST - (cpu - memory).abs() / 2,
        _ => 0,
    }
}

/// Images already there, between 23 MB and 1000 MB per container, count for a node.
fn image_locality(pod: &PodInfo, node: &NodeInfo, nodes: usize) -> i64 {
    const MEGABYTE: i64 = 1024 * 1024;
    let containers = i64::try_from(pod.images.len()).unwrap_or(1).max(1);
    let (low, high) = (23 * MEGABYTE, 1000 * MEGABYTE * containers);
    let present: i64 = pod.images.iter().filter_map(|image| node.images.get(image)).sum();
    // One node alone has nobody to be compared with.
    if nodes < 2 { 0 } else { (present.clamp(low, high) - low) * HIGHEST / (high - low) }
}
