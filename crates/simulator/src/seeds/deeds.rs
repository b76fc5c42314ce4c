//! What is done to the node and its Pods in a time of trouble.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::EphemeralContainer;
use outrigger_pod_lifecycle::Desired;

use super::pods::{self, Drawn};
use super::refusal;
use crate::node::{Node, PodIndex};
use crate::random::Rng;

/// One thing done at some time.
pub(super) enum Deed {
    /// The Pod, and whether the node refuses it as it comes.
    Create(Box<Drawn>, bool),
    Delete(PodIndex, Option<u64>),
    KillSandbox(PodIndex),
    LoseRecord(PodIndex, String),
    Ask(PodIndex, Desired),
    ChangeImage(PodIndex),
    Debug(PodIndex),
    JumpClock(i64),
    Network(bool),
    KillAgent(u64),
}

/// Some Pods, and some trouble for each.
pub(super) fn draw(rng: &mut Rng) -> Vec<(Duration, Deed)> {
    let mut deeds = Vec::new();
    let pods = usize::try_from(rng.between(1, 5)).unwrap_or(1);
    let mut at = Duration::ZERO;
    for number in 0..pods {
        let drawn = Box::new(pods::draw(rng, number));
        deeds.push((at, Deed::Create(drawn, rng.chance(40))));
        let pod = PodIndex(number);
        for _ in 0..rng.below(3) {
            deeds.push((at + moment(rng), of_pod(rng, pod)));
        }
        at += Duration::from_millis(rng.below(20_000));
    }
    for _ in 0..rng.below(3) {
        let at = moment(rng);
        match rng.below(4) {
            0 => deeds.push((at, Deed::JumpClock(*rng.pick(&[-3600, -30, 30, 3600])))),
            1 => {
                deeds.push((at, Deed::Network(false)));
                deeds.push((at + Duration::from_secs(rng.below(30)), Deed::Network(true)));
            }
            _ => deeds.push((at, Deed::KillAgent(rng.below(20)))),
        }
    }
    deeds
}

fn moment(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.below(150_000))
}

fn of_pod(rng: &mut Rng, pod: PodIndex) -> Deed {
    let any = format!("{}{}", rng.pick(&["a", "s", "i"]), rng.below(3));
    match rng.below(12) {
        0..=2 => Deed::Delete(pod, *rng.pick(&[None, Some(1), Some(5), Some(20)])),
        3 => Deed::Delete(pod, Some(0)),
        4 | 5 => Deed::KillSandbox(pod),
        6 => Deed::LoseRecord(pod, any),
        7 => Deed::ChangeImage(pod),
        8 => Deed::Debug(pod),
        9 => {
            let message = "The node was low on resource: memory.".to_owned();
            Deed::Ask(pod, Desired::Evict { message, grace_seconds: Some(1), disruption: true })
        }
        10 => Deed::Ask(pod, Desired::Shutdown { grace_seconds: rng.between(1, 20) }),
        _ => Deed::Ask(pod, Desired::Preempt { message: "make room".into() }),
    }
}

impl Deed {
    pub(super) fn carry_out(self, node: &mut Node, specs: &mut Vec<String>) {
        match self {
            Self::Create(drawn, refused) => {
                specs.push(serde_json::to_string_pretty(&drawn.pod.spec).unwrap_or_default());
                let pod = node.create(drawn.pod, drawn.scripts);
                if refused {
                    node.desire(pod, refusal());
                }
            }
            Self::Delete(pod, grace) => node.delete(pod, grace),
            Self::KillSandbox(pod) => node.kill_sandbox(pod),
            Self::LoseRecord(pod, container) => node.lose_record(pod, &container),
            Self::Ask(pod, desired) => node.desire(pod, desired),
            Self::ChangeImage(pod) => node.change(pod, |pod| {
                let spec = pod.spec.get_or_insert_default();
                if let Some(first) = spec.containers.first_mut() {
                    first.image = Some("three".into());
                }
                pod.metadata.generation = pod.metadata.generation.map(|it| it + 1);
            }),
            Self::Debug(pod) => node.change(pod, |pod| {
                let debug = EphemeralContainer { name: "d".into(), ..EphemeralContainer::default() };
                pod.spec.get_or_insert_default().ephemeral_containers.get_or_insert_default().push(debug);
                pod.metadata.generation = pod.metadata.generation.map(|it| it + 1);
            }),
            Self::JumpClock(seconds) => node.jump_wall(SignedDuration::from_secs(seconds)),
            Self::Network(up) => {
                node.facts.network_problem = (!up).then(|| "cni plugin not initialized".into());
            }
            Self::KillAgent(down) => node.kill_agent(Duration::from_secs(down)),
        }
    }
}
