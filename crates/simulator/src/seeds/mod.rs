//! The seeded simulation: from one number a node with some Pods of any shape, scripts for their containers, things done
//! to them, and faults between any two steps. The same number always plays the same way, to the last event.
//!
//! A run has three parts: a time of trouble, in which everything happens; a long calm, after which no Pod may be stuck
//! (`P1`); and the end, in which every Pod is deleted and must be gone in time (`P2`). The invariants are checked all along.

mod deeds;
mod pods;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outrigger_pod_lifecycle::{Desired, WaitingFor, Worker};

use crate::chaos::{Chaos, Odds};
use crate::invariants::Violation;
use crate::node::{Decide, Node, PodIndex};
use crate::random::Rng;
use crate::story::story;

/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(240);
/// How long nothing does, before every Pod must have settled: longer than the longest delay and the longest life.
const CALM: Duration = Duration::from_secs(1000);
/// The longest grace that is drawn, its floor, and time for what a deletion finds under way.
const END: Duration = Duration::from_secs(30 + 2 + 70);

/// How one seed went.
#[derive(Debug)]
pub struct Outcome {
    /// The number it all comes from.
    pub seed: u64,
    /// How often the node decided.
    pub decisions: u64,
    /// How many Pods there were.
    pub pods: usize,
    /// The first broken rule, with the Pod it was broken for.
    pub violation: Option<(PodIndex, Violation)>,
    /// What happened to that Pod, if it was recorded.
    pub story: Vec<String>,
    /// That Pod's spec as JSON, if it was recorded.
    pub spec: String,
}

/// Plays a seed with `decide`; `record` keeps the timeline of a Pod that breaks a rule, at some cost.
pub fn simulate(seed: u64, decide: Decide, record: bool) -> Outcome {
    let mut rng = Rng::new(seed);
    let chaos = Chaos::new(Rng::new(rng.next()), odds(&mut rng));
    let mut node = Node::new(decide, chaos);
    node.record = record;
    // The text cases go through the file each time; here it would be half the cost.
    node.file_memory = rng.chance(20);
    let mut deeds = deeds::draw(&mut rng);
    deeds.sort_by_key(|(at, _)| *at);
    let mut specs = Vec::new();
    let fine = |node: &Node| node.violations().next().is_none();
    for (at, deed) in deeds {
        node.run_while(at, fine);
        if !fine(&node) {
            break;
        }
        deed.carry_out(&mut node, &mut specs);
    }
    finish(&mut node, fine);
    let violation = node.violations().next().map(|(pod, it)| (pod, it.clone()));
    let broken = violation.as_ref().map(|(pod, _)| *pod).filter(|_| record);
    Outcome {
        seed,
        decisions: node.decisions(),
        pods: specs.len(),
        story: broken.map(|pod| story(node.timeline(pod))).unwrap_or_default(),
        spec: broken.and_then(|pod| specs.get(pod.0).cloned()).unwrap_or_default(),
        violation,
    }
}

/// Plays seeds with the real decision on so many threads, at least one, and hands each outcome to `each` as it comes,
/// which is in no particular order.
pub fn simulate_all(seeds: Range<u64>, threads: usize, each: impl Fn(Outcome) + Sync) {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            each(simulate(seed, Box::new(outrigger_pod_lifecycle::decide), false));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
}

/// One seed in five is calm: what breaks there breaks without any fault.
fn odds(rng: &mut Rng) -> Odds {
    if rng.chance(200) {
        return Odds::default();
    }
    let draw = |rng: &mut Rng, most: u64| u32::try_from(rng.below(most)).unwrap_or(0);
    Odds {
        death: draw(rng, 40),
        slow: 1 + draw(rng, 500),
        slow_ms: *rng.pick(&[10, 300, 3000]),
        failing: draw(rng, 80),
        conflict: draw(rng, 100),
        late: draw(rng, 300),
        lost: draw(rng, 30),
        repeated: draw(rng, 100),
        deaf: draw(rng, 20),
    }
}

fn finish(node: &mut Node, fine: impl Fn(&Node) -> bool + Copy) {
    node.run_while(TROUBLE, fine);
    node.chaos.calm_down();
    node.facts.network_problem = None;
    node.run_while(TROUBLE + CALM, fine);
    if !fine(node) {
        return;
    }
    let pods: Vec<PodIndex> = node.pods().collect();
    for pod in &pods {
        if let Some(problem) = stuck(node, *pod) {
            node.complain_of(*pod, "P1", problem);
        }
    }
    for pod in &pods {
        node.release(*pod);
        node.delete(*pod, None);
    }
    node.run_while(TROUBLE + CALM + END, fine);
    for pod in &pods {
        if !node.is_forgotten(*pod) && fine(node) {
            node.complain_of(*pod, "P2", "the Pod is deleted and does not go".into());
        }
    }
}

/// Whether a Pod waits for something that will never happen.
fn stuck(node: &Node, pod: PodIndex) -> Option<String> {
    let object = node.object(pod)?;
    if object.metadata.deletion_timestamp.is_some() || node.expects_anything(pod) {
        return None;
    }
    let decision = node.last_decision(pod)?;
    if decision.memory.worker != Worker::Syncing {
        let over = matches!(decision.memory.worker, Worker::Terminated(_));
        return (!over).then(|| "the Pod stops, and nothing is under way".into());
    }
    let waits_for_nothing = |(name, why): &(String, WaitingFor)| match why {
        WaitingFor::Volumes { .. }
        | WaitingFor::Network
        | WaitingFor::Sandbox { .. }
        | WaitingFor::Image
        | WaitingFor::Starting
        | WaitingFor::CrashBackOff { .. }
        | WaitingFor::Retry { .. }
        | WaitingFor::RestartAllContainers
        | WaitingFor::PodStopping => Some(format!("{name} waits for {why:?}, and nothing is under way")),
        WaitingFor::InitContainer { .. }
        | WaitingFor::SidecarStarted { .. }
        | WaitingFor::Turn { .. }
        | WaitingFor::PostStart
        | WaitingFor::Done => None,
    };
    let waits = decision.waiting.iter().find_map(waits_for_nothing);
    let idle = !node.is_running(pod);
    waits.or_else(|| idle.then(|| "nothing runs, and nothing is under way".into()))
}

/// A refusal, as a node would write it.
fn refusal() -> Desired {
    Desired::Reject { reason: "OutOfcpu".into(), message: "Node didn't have enough resource: cpu".into() }
}
