//! The scheduler's decision: which node a Pod goes to, or why none will have it.
//!
//! Pure functions over a [`Snapshot`]; the `scheduler` crate keeps the snapshot and binds. Nothing here knows a
//! client, a queue or a clock. Start at [`schedule`].
//!
//! Filters and their exact texts follow rule N18, requests N19, scores N20, the failure message N24.

mod affinity;
mod filter;
mod message;
mod resources;
mod score;
mod snapshot;

pub use affinity::matches_node_selection;
pub use filter::tolerated;
pub use message::Unschedulable;
pub use resources::{Resources, pod_limits, pod_requests};
pub use snapshot::{HostPort, NodeInfo, PodInfo, Snapshot};

/// Chooses a node for `pod`.
///
/// Among the nodes that pass every filter the best score wins; equal scores are settled by `tie`, any number (the
/// caller passes a random one, tests a fixed one).
///
/// # Errors
/// When no node passes, with the reasons counted as `FailedScheduling` shows them.
pub fn schedule(pod: &PodInfo, snapshot: &Snapshot, tie: u64) -> Result<String, Unschedulable> {
    let mut refused = Vec::new();
    let mut feasible = Vec::new();
    for node in snapshot.nodes() {
        match filter::reasons(pod, node) {
            reasons if reasons.is_empty() => feasible.push(node),
            reasons => refused.push(reasons),
        }
    }
    if feasible.is_empty() {
        return Err(Unschedulable::new(snapshot.nodes().count(), &refused));
    }
    let scores: Vec<u64> = score::scores(pod, &feasible);
    let best = scores.iter().copied().max().unwrap_or_default();
    let winners: Vec<&&NodeInfo> =
        feasible.iter().zip(&scores).filter(|(_, score)| **score == best).map(|(node, _)| node).collect();
    let index = usize::try_from(tie % winners.len() as u64).unwrap_or_default();
    Ok(winners[index].name.clone())
}

#[cfg(test)]
mod tests;
