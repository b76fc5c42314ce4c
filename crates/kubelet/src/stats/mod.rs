//! What node, Pods and containers use: gathered once per scrape into a [`Sample`], shown as `/stats/summary` (N23),
//! `/metrics/resource` (N20) and `/metrics/cadvisor` (N24).

pub(crate) mod cadvisor;
pub(crate) mod disk;
pub(crate) mod node;
pub(crate) mod resource;
pub(crate) mod summary;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use outrigger_api::clock::Now;
use outrigger_api::{MonoTime, WallTime};
use outrigger_runtime::{ContainerStats, RuntimeError, SandboxStats};

use crate::context::{Context, PodKey};
use disk::DiskUsage;
use node::{FsUsage, NodeUsage};

/// Two samples closer than this say nothing of a rate.
const LEAST_SPAN: Duration = Duration::from_secs(1);

/// Everything at one moment.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) at: WallTime,
    pub(crate) node: NodeUsage,
    /// Where Pods' folders and logs are.
    pub(crate) node_fs: FsUsage,
    /// Where images are.
    pub(crate) image_fs: FsUsage,
    pub(crate) pods: Vec<PodSample>,
    /// `usageNanoCores` by group: `/` for the node, else a sandbox's or container's id.
    pub(crate) rates: HashMap<String, u64>,
}

/// One Pod with a running sandbox.
#[derive(Debug)]
pub(crate) struct PodSample {
    pub(crate) stats: SandboxStats,
    /// The object, if the node still works on it.
    pub(crate) pod: Option<Arc<Pod>>,
    /// Empty unless disks were asked for.
    pub(crate) disks: PodDisks,
}

/// What a Pod has on the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodDisks {
    /// Writable layers by instance.
    pub(crate) writable: BTreeMap<String, DiskUsage>,
    /// Logs by container name.
    pub(crate) logs: BTreeMap<String, DiskUsage>,
    /// Local volumes by name; those in memory are not among them.
    pub(crate) volumes: BTreeMap<String, DiskUsage>,
}

impl PodDisks {
    /// All of it.
    pub(crate) fn total(&self) -> DiskUsage {
        self.writable.values().chain(self.logs.values()).chain(self.volumes.values()).copied().sum()
    }
}

/// The last sample's counters, for rates.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<HashMap<String, Counted>>);

#[derive(Clone, Copy, Debug)]
struct Counted {
    at: MonoTime,
    nanoseconds: u64,
    rate: Option<u64>,
}

impl Rates {
    /// Takes in all counters of one moment and gives the rates since the last; a group seen for the first time has
    /// none. Groups that are missing are forgotten.
    fn update(&self, counters: impl Iterator<Item = (String, u64)>, now: MonoTime) -> HashMap<String, u64> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = HashMap::new();
        for (key, nanoseconds) in counters {
            let counted = match known.get(&key) {
                Some(last) if now.since(last.at) < LEAST_SPAN => *last,
                Some(last) => {
                    let span = now.since(last.at).as_nanos().max(1);
                    let spent = u128::from(nanoseconds.saturating_sub(last.nanoseconds));
                    let rate = u64::try_from(spent * 1_000_000_000 / span).ok();
                    Counted { at: now, nanoseconds, rate }
                }
                None => Counted { at: now, nanoseconds, rate: None },
            };
            next.insert(key, counted);
        }
        *known = next;
        known.iter().filter_map(|(key, counted)| Some((key.clone(), counted.rate?))).collect()
    }
}

/// Takes a sample. `disks`: also measures what Pods have on the disk.
///
/// # Errors
/// If the runtime does not answer.
pub(crate) async fn sample(context: &Arc<Context>, disks: bool) -> Result<Sample, RuntimeError> {
    let stats = context.runtime.stats().await?;
    let now = context.clock.now();
    let pods: HashMap<String, Arc<Pod>> = context
        .pods
        .pods()
        .into_iter()
        .map(|pod| (pod.metadata.uid.clone().unwrap_or_default(), pod))
        .collect();
    let gather = {
        let context = context.clone();
        move || {
            let with_disks = |stats: SandboxStats| PodSample {
                pod: pods.get(&stats.pod.uid).cloned(),
                disks: if disks { pod_disks(&context, &stats, now) } else { PodDisks::default() },
                stats,
            };
            let image_root = context.config.image_root.clone();
            let node_fs = FsUsage::of(&context.config.data_dir).unwrap_or_default();
            let image_fs = image_root.and_then(|root| FsUsage::of(&root)).unwrap_or(node_fs);
            (stats.into_iter().map(with_disks).collect::<Vec<_>>(), NodeUsage::read(), node_fs, image_fs)
        }
    };
    let gathered = tokio::task::spawn_blocking(gather).await;
    let (pods, node, node_fs, image_fs) = gathered.map_err(|error| RuntimeError::Io {
        doing: "measure disks".to_owned(),
        source: std::io::Error::other(error),
    })?;
    let counters = pods.iter().flat_map(|pod| {
        let own = pod.stats.usage.cpu.map(|cpu| (pod.stats.id.clone(), cpu.total));
        let containers = pod.stats.containers.iter();
        own.into_iter().chain(containers.filter_map(|it| Some((it.id.clone(), it.usage.cpu?.total))))
    });
    let counters = counters.chain([("/".to_owned(), node.cpu.total)]);
    let rates = context.rates.update(counters, now.mono);
    Ok(Sample { at: now.wall, node, node_fs, image_fs, pods, rates })
}

fn pod_disks(context: &Context, stats: &SandboxStats, now: Now) -> PodDisks {
    let (name, namespace, uid) = (stats.pod.name.clone(), stats.pod.namespace.clone(), stats.pod.uid.clone());
    let measure = |folder: &std::path::Path| context.disks.usage(folder, now.mono);
    let logs = context.log_dir(&PodKey { namespace, name, uid });
    let volumes = disk::volume_folders(&context.pod_dir(&stats.pod.uid));
    PodDisks {
        writable: stats.containers.iter().map(|it| (it.id.clone(), measure(&it.writable))).collect(),
        logs: stats.containers.iter().map(|it| (it.name.clone(), measure(&logs.join(&it.name)))).collect(),
        volumes: volumes.into_iter().map(|(name, folder)| (name, measure(&folder))).collect(),
    }
}

/// The labels by which a container's samples are found.
fn container_labels<'a>(pod: &'a SandboxStats, container: &'a ContainerStats) -> [(&'a str, &'a str); 3] {
    [("container", &container.name), ("namespace", &pod.pod.namespace), ("pod", &pod.pod.name)]
}

#[cfg(test)]
pub(crate) mod tests {
    use outrigger_runtime::{CpuUsage, MemoryUsage, PodRef, Usage};

    use super::*;

    /// One Pod with one container.
    pub(crate) fn example() -> Sample {
        let usage = |factor: u64| Usage {
            cpu: Some(CpuUsage { total: factor * 2_000_000_000, ..CpuUsage::default() }),
            memory: Some(MemoryUsage {
                usage: factor * 3000,
                working_set: factor * 1000,
                ..MemoryUsage::default()
            }),
            tasks: Some(factor),
            io: None,
        };
        let at: WallTime = "2026-01-02T03:04:05Z".parse().unwrap();
        let container = ContainerStats {
            id: "c1".into(),
            name: "app".into(),
            attempt: 0,
            started_at: at,
            usage: usage(1),
            writable: std::path::PathBuf::new(),
        };
        let stats = SandboxStats {
            id: "s1".into(),
            pod: PodRef { name: "p".into(), namespace: "default".into(), uid: "u".into() },
            created_at: at,
            cgroup: "kubepods/podu".into(),
            usage: usage(2),
            interfaces: outrigger_runtime::interfaces("eth0: 10 2 1 3 0 0 0 0 20 4 5 6 0 0 0 0"),
            containers: vec![container],
        };
        let mut disks = PodDisks::default();
        disks.writable.insert("c1".into(), DiskUsage { bytes: 4096, inodes: 1 });
        Sample {
            at,
            node: NodeUsage::read(),
            node_fs: FsUsage { capacity: 100, used: 60, available: 40, inodes: 10, inodes_free: 4, id: 1 },
            image_fs: FsUsage::default(),
            pods: vec![PodSample { stats, pod: None, disks }],
            rates: HashMap::from([("c1".to_owned(), 5)]),
        }
    }

    /// N23: `usageNanoCores` is the use between two samples.
    #[test]
    fn rates_need_two_samples() {
        let rates = Rates::default();
        let at = |millis| MonoTime::from_boot(Duration::from_millis(millis));
        let update = |count, millis| rates.update([("x".to_owned(), count)].into_iter(), at(millis));
        assert!(update(1_000_000_000, 0).is_empty());
        assert!(update(9_000_000_000, 10).is_empty());
        assert_eq!(update(2_000_000_000, 2000)["x"], 500_000_000);
        assert_eq!(update(2_000_000_000, 2001)["x"], 500_000_000);
    }
}
