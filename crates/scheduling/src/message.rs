//! The text of a failed attempt (N24).

use std::collections::BTreeMap;
use std::fmt;

use crate::filter::Reason;

/// Why no node will have a Pod; prints as the `FailedScheduling` event and the `PodScheduled` condition do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unschedulable {
    nodes: usize,
    /// Each reason with the number of nodes that gave it.
    reasons: BTreeMap<String, usize>,
    /// Nodes where evicting others could never help.
    beyond_preemption: usize,
}

impl Unschedulable {
    pub(crate) fn new(nodes: usize, refused: &[Vec<Reason>]) -> Self {
        let mut reasons = BTreeMap::new();
        for reason in refused.iter().flatten() {
            *reasons.entry(reason.to_string()).or_default() += 1;
        }
        let hopeless = |given: &&Vec<Reason>| !given.iter().any(Reason::preemption_may_help);
        Self { nodes, reasons, beyond_preemption: refused.iter().filter(hopeless).count() }
    }
}

impl fmt::Display for Unschedulable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let list = |counts: &[(usize, &str)]| {
            let mut texts: Vec<String> =
                counts.iter().map(|(count, reason)| format!("{count} {reason}")).collect();
            texts.sort();
            texts.join(", ")
        };
        let reasons: Vec<(usize, &str)> =
            self.reasons.iter().map(|(reason, count)| (*count, reason.as_str())).collect();
        let mut preemption = Vec::new();
        if self.beyond_preemption > 0 {
            preemption.push((self.beyond_preemption, "Preemption is not helpful for scheduling"));
        }
        if self.beyond_preemption < self.nodes {
            preemption
                .push((self.nodes - self.beyond_preemption, "No preemption victims found for incoming pod"));
        }
        let nodes = self.nodes;
        write!(f, "0/{nodes} nodes are available: {}. ", list(&reasons))?;
        write!(
            f,
            "no new claims to deallocate, preemption: 0/{nodes} nodes are available: {}.",
            list(&preemption)
        )
    }
}

impl std::error::Error for Unschedulable {}
