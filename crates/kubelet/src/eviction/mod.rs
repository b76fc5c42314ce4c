//! Node-pressure eviction (R8.27) and local storage limits (R8.28): every ten seconds the node is looked at, pressures
//! are told, space is won back from what nobody uses, and at most one Pod is stopped. Which one and why is decided in
//! `rank`, when in `thresholds`, both pure.

mod local;
mod rank;
mod thresholds;

use std::sync::Arc;
use std::time::Duration;

use outrigger_pod_lifecycle::Desired;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use thresholds::{Limit, Signal, Threshold, ThresholdError};
pub(crate) use thresholds::{default_hard, parse};

use crate::context::Context;
use crate::image_gc;
use crate::node_state::{Lasting, Pressure};
use crate::pod_table::is_critical;
use crate::stats::node::{FsUsage, NodeUsage};
use crate::stats::{self, Sample};
use rank::Candidate;
use thresholds::{Met, Observation, Watcher};

/// How often the node is looked at.
const CHECK: Duration = Duration::from_secs(10);
/// How long the next check waits for a Pod being evicted.
const WAIT: Duration = Duration::from_secs(30);

/// When Pods are evicted.
#[derive(Clone, Debug)]
pub struct EvictionConfig {
    /// Hard and soft thresholds together.
    pub thresholds: Vec<Threshold>,
    /// The most seconds of grace a soft threshold gives a Pod.
    pub max_pod_grace_seconds: u64,
    /// How long a pressure condition outlasts its cause; five minutes by default.
    pub pressure_transition: Duration,
    /// On a machine with other uses too, a share of its disk says nothing of whether Pods have room: thresholds that
    /// are shares of bytes then count only below so many bytes available. `None` (default) as upstream.
    pub disk_floor: Option<u64>,
}

impl Default for EvictionConfig {
    fn default() -> Self {
        Self {
            thresholds: parse(&default_hard(), None).unwrap_or_default(),
            max_pod_grace_seconds: 0,
            pressure_transition: Duration::from_secs(300),
            disk_floor: None,
        }
    }
}

impl EvictionConfig {
    /// The hard threshold of memory in bytes, which nodes keep from what they promise (N11).
    pub(crate) fn reserved_memory(&self, capacity: u64) -> u64 {
        let hard =
            self.thresholds.iter().find(|it| it.signal == Signal::MemoryAvailable && it.grace.is_none());
        hard.map_or(0, |threshold| threshold.limit.of(capacity))
    }

    /// The thresholds with shares of disks cut down to the floor.
    fn in_force(&self, observed: &[Observation]) -> Vec<Threshold> {
        let cut = |threshold: &Threshold| match (threshold.limit, self.disk_floor) {
            (Limit::Share(_), Some(floor)) if threshold.signal.is_disk_bytes() => {
                let capacity =
                    observed.iter().find(|it| it.signal == threshold.signal).map_or(0, |it| it.capacity);
                Threshold { limit: Limit::Amount(threshold.limit.of(capacity).min(floor)), ..*threshold }
            }
            _ => *threshold,
        };
        self.thresholds.iter().map(cut).collect()
    }

    /// The same for the disk.
    pub(crate) fn reserved_storage(&self, capacity: u64) -> u64 {
        let hard =
            self.thresholds.iter().find(|it| it.signal == Signal::NodeFsAvailable && it.grace.is_none());
        hard.map_or(0, |threshold| threshold.limit.of(capacity))
    }
}

/// Looks at the node until `stop`.
pub(crate) async fn keep(context: Arc<Context>, stop: CancellationToken) {
    let mut evictor = Evictor { context, watcher: Watcher::default(), lasting: Default::default() };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = evictor.round() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CHECK) => {}
        }
    }
}

struct Evictor {
    context: Arc<Context>,
    watcher: Watcher,
    /// Memory, disk, process ids.
    lasting: [Lasting; 3],
}

impl Evictor {
    async fn round(&mut self) {
        let (met, due) = self.look().await;
        self.tell(&met);
        if let Some(excess) = local::exceeding(&self.context).await {
            info!(
                pod = excess.name,
                message = excess.message,
                "evicting a Pod that exceeds a limit of its own"
            );
            self.evict(&excess.uid, excess.message, 1, false, "ephemeral-storage").await;
            return;
        }
        let Some(mut first) = due.first().copied() else { return };
        if first.threshold.signal.is_disk() {
            image_gc::free_everything(&self.context).await;
            self.context.disks.forget();
            let (_, due) = self.look().await;
            let Some(still) = due.first().copied() else { return };
            first = still;
        }
        let sample = match stats::sample(&self.context, first.threshold.signal.is_disk()).await {
            Ok(sample) => sample,
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "under pressure, and the runtime does not answer"
                );
                return;
            }
        };
        let mut candidates = candidates(&self.context, &sample);
        rank::rank(first.threshold.signal, &mut candidates);
        let Some(chosen) = candidates.first() else {
            warn!(signal = first.threshold.signal.name(), "under pressure, and there is no Pod to evict");
            return;
        };
        let message = rank::message(&first, chosen);
        let grace = grace_seconds(&first, chosen, self.context.config.eviction.max_pod_grace_seconds);
        let uid = chosen.pod.metadata.uid.clone().unwrap_or_default();
        self.evict(&uid, message, grace, true, first.threshold.signal.name()).await;
    }

    async fn look(&mut self) -> (Vec<Met>, Vec<Met>) {
        let context = self.context.clone();
        let observed = tokio::task::spawn_blocking(move || observe(&context)).await.unwrap_or_default();
        let thresholds = self.context.config.eviction.in_force(&observed);
        self.watcher.step(&thresholds, &observed, self.context.clock.now())
    }

    fn tell(&mut self, met: &[Met]) {
        let now = self.context.clock.now();
        let period = self.context.config.eviction.pressure_transition;
        let is = |test: fn(Signal) -> bool| met.iter().any(|met| test(met.threshold.signal));
        let caused = [
            is(|signal| signal == Signal::MemoryAvailable),
            is(Signal::is_disk),
            is(|signal| signal == Signal::PidAvailable),
        ];
        let mut shown = [false; 3];
        for (at, lasting) in self.lasting.iter_mut().enumerate() {
            shown[at] = lasting.step(caused[at], now, period);
        }
        let [memory, disk, pid] = shown;
        self.context.node_state.update(|state| state.pressure = Pressure { memory, disk, pid });
    }

    /// Stops one Pod and waits for it for a while.
    async fn evict(&self, uid: &str, message: String, grace: u64, disruption: bool, signal: &str) {
        let Some(handle) = self.context.pods.get(uid) else { return };
        let desired = Desired::Evict { message, grace_seconds: Some(grace), disruption };
        if !self.context.pods.want(uid, desired) {
            return;
        }
        self.context.metrics.evicted(signal);
        let mut stopped = handle.stopped;
        let wait = stopped.wait_for(|stopped| *stopped);
        if tokio::time::timeout(WAIT, wait).await.is_err() {
            warn!(uid, "an evicted Pod has not stopped yet");
        }
    }
}

/// Hard thresholds give one second, soft ones as much as is configured and the Pod wants.
fn grace_seconds(met: &Met, chosen: &Candidate, most: u64) -> u64 {
    if met.threshold.grace.is_none() {
        return 1;
    }
    let own = chosen.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
    most.min(u64::try_from(own).unwrap_or(0)).max(1)
}

/// Blocks on files.
fn observe(context: &Context) -> Vec<Observation> {
    let node = NodeUsage::read();
    let total = node.memory_available + node.memory.working_set;
    let node_fs = FsUsage::of(&context.config.data_dir);
    // Images on the same file system are judged by its own thresholds: two marks for one disk would let the higher
    // one, which is meant for disks that hold nothing but images, evict Pods while there is room.
    let image_fs = context.config.image_root.as_deref().and_then(FsUsage::of);
    let image_fs = image_fs.filter(|images| node_fs.is_none_or(|node| node.id != images.id));
    let one = |signal, available, capacity| Observation { signal, available, capacity };
    let mut all = vec![one(Signal::MemoryAvailable, node.memory_available, total)];
    let of_fs = [
        (node_fs, Signal::NodeFsAvailable, Signal::NodeFsInodesFree),
        (image_fs, Signal::ImageFsAvailable, Signal::ImageFsInodesFree),
    ];
    for (fs, bytes, inodes) in of_fs {
        let Some(fs) = fs else { continue };
        all.push(one(bytes, fs.available, fs.usable()));
        // Some file systems have no fixed number of inodes and say 0.
        if fs.inodes > 0 {
            all.push(one(inodes, fs.inodes_free, fs.inodes));
        }
    }
    all.push(one(Signal::PidAvailable, node.most_tasks.saturating_sub(node.tasks), node.most_tasks));
    all
}

/// Every Pod that may be evicted.
fn candidates(context: &Context, sample: &Sample) -> Vec<Candidate> {
    let active = context.pods.to_run();
    let eligible = active.into_iter().filter(|pod| !is_critical(pod));
    let of_sample = eligible.filter_map(|pod| {
        let found = sample.pods.iter().find(|it| Some(&it.stats.pod.uid) == pod.metadata.uid.as_ref())?;
        let stats = &found.stats;
        let disk = found.disks.total();
        let memory = |usage: &outrigger_runtime::Usage| usage.memory.map_or(0, |memory| memory.working_set);
        let disk_of = |it: &outrigger_runtime::ContainerStats| {
            let part = found.disks.writable.get(&it.id).copied().unwrap_or_default().bytes;
            part + found.disks.logs.get(&it.name).copied().unwrap_or_default().bytes
        };
        Some(Candidate {
            pod,
            memory: memory(&stats.usage),
            disk: disk.bytes,
            inodes: disk.inodes,
            processes: stats.usage.tasks.unwrap_or(0),
            container_memory: stats
                .containers
                .iter()
                .map(|it| (it.name.clone(), memory(&it.usage)))
                .collect(),
            container_disk: stats.containers.iter().map(|it| (it.name.clone(), disk_of(it))).collect(),
        })
    });
    of_sample.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N11: what the defaults keep from a node's memory and disk.
    #[test]
    fn the_hard_thresholds_are_kept_back() {
        let config = EvictionConfig::default();
        assert_eq!(config.reserved_memory(1 << 30), 100 << 20);
        assert_eq!(config.reserved_storage(1000), 100);
    }

    /// R8.27: with a floor, a share of a large disk is no reason to evict while there is room.
    #[test]
    fn a_floor_for_shares_of_disks() {
        let observed =
            |available| [Observation { signal: Signal::NodeFsAvailable, available, capacity: 100 << 30 }];
        let met = |config: &EvictionConfig, available| {
            let observed = observed(available);
            let now = outrigger_api::clock::Clock::now(&outrigger_api::clock::SystemClock);
            !Watcher::default().step(&config.in_force(&observed), &observed, now).0.is_empty()
        };
        let upstream = EvictionConfig::default();
        let shared = EvictionConfig { disk_floor: Some(1 << 30), ..EvictionConfig::default() };
        assert!(met(&upstream, 4 << 30) && !met(&upstream, 11 << 30));
        assert!(!met(&shared, 4 << 30) && met(&shared, 1 << 29));
        assert_eq!(shared.reserved_storage(1000), 100);
    }

    /// R8.27: hard is one second; soft is the smaller of the two.
    #[test]
    fn grace_of_an_eviction() {
        let pod = serde_json::json!({"spec": {"containers": [], "terminationGracePeriodSeconds": 20}});
        let chosen = Candidate {
            pod: Arc::new(serde_json::from_value(pod).unwrap()),
            memory: 0,
            disk: 0,
            inodes: 0,
            processes: 0,
            container_memory: vec![],
            container_disk: vec![],
        };
        let signal = Signal::MemoryAvailable;
        let met = |grace| Met {
            threshold: Threshold { signal, limit: Limit::Amount(1), grace },
            observation: Observation { signal, available: 0, capacity: 1 },
        };
        assert_eq!(grace_seconds(&met(None), &chosen, 60), 1);
        let soft = met(Some(Duration::ZERO));
        assert_eq!([10, 60].map(|most| grace_seconds(&soft, &chosen, most)), [10, 20]);
    }
}
