//! Control groups on v1, v2 and hybrid hosts (R13.11-R13.14).
//!
//! A Pod has a folder in every controller's tree, its containers and its sandbox process have folders in that. Values
//! are given in v1's terms and converted where the tree is v2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use outrigger_shim_protocol::Cgroup;

use crate::cri::Resources;

/// The controllers used; others are left alone.
const CONTROLLERS: [&str; 7] = ["cpu", "cpuacct", "memory", "pids", "devices", "freezer", "blkio"];
/// Where the sandbox process lives, so that no folder with processes has folders with processes (v2's rule).
const SHIM: &str = "shim";
/// Microseconds in which a CPU quota is counted.
const PERIOD: u64 = 100_000;

/// Where this host keeps its control groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupLayout {
    /// One tree per controller: controller and mount point. A hybrid host looks like this too.
    V1(Vec<(String, PathBuf)>),
    /// One tree for all.
    V2(PathBuf),
    /// None: nothing is limited or counted.
    None,
}

impl CgroupLayout {
    /// Reads the mounts of this process.
    pub fn detect() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Controllers on v1 win over an empty v2 tree beside them.
    pub(crate) fn parse(mounts: &str) -> Self {
        let mut v1: Vec<(String, PathBuf)> = Vec::new();
        let mut v2 = None;
        for line in mounts.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let (mut left, mut right) = (left.split(' ').skip(4), right.split(' '));
            let (Some(target), Some(kind)) = (left.next(), right.next()) else { continue };
            match kind {
                "cgroup" => {
                    let options = right.nth(1).unwrap_or_default();
                    for name in CONTROLLERS {
                        // Controllers that share a tree share its folders: one of their names is enough.
                        let known = v1.iter().any(|(controller, at)| {
                            controller == name || (name == "cpuacct" && at == Path::new(target))
                        });
                        if !known && options.split(',').any(|option| option == name) {
                            v1.push((name.to_owned(), PathBuf::from(target)));
                        }
                    }
                }
                "cgroup2" => v2 = v2.or(Some(PathBuf::from(target))),
                _ => {}
            }
        }
        match (v1.is_empty(), v2) {
            (false, _) => Self::V1(v1),
            (true, Some(root)) => Self::V2(root),
            (true, None) => Self::None,
        }
    }

    /// Whether device access can be limited; where it cannot, containers must not make device nodes.
    pub(crate) fn limits_devices(&self) -> bool {
        matches!(self, Self::V1(trees) if trees.iter().any(|(name, _)| name == "devices"))
    }

    /// The folders of `path` (relative) in every tree.
    pub(crate) fn folders(&self, path: &str) -> Vec<(String, PathBuf)> {
        match self {
            Self::V1(trees) => trees.iter().map(|(name, root)| (name.clone(), root.join(path))).collect(),
            Self::V2(root) => vec![(String::new(), root.join(path))],
            Self::None => Vec::new(),
        }
    }

    /// Makes a Pod's folders with its values; the files by which its sandbox process enters them.
    pub(crate) fn make_pod(&self, pod: &str, resources: &Resources) -> io::Result<Vec<String>> {
        self.make(pod, resources)?;
        let shim = format!("{pod}/{SHIM}");
        self.make(&shim, &Resources::default())?;
        Ok(self.procs(&shim))
    }

    /// Makes a container's folders with its values.
    pub(crate) fn make_container(
        &self,
        pod: &str,
        container: &str,
        resources: &Resources,
        all_devices: bool,
    ) -> io::Result<Cgroup> {
        let path = format!("{pod}/{container}");
        self.make(&path, resources)?;
        let folders = self.folders(&path);
        let memory = folders.iter().find(|(name, _)| name == "memory").map(|(_, folder)| folder);
        Ok(match self {
            Self::V1(_) => {
                if !all_devices && let Some((_, folder)) = folders.iter().find(|(name, _)| name == "devices")
                {
                    limit_devices(folder)?;
                }
                Cgroup {
                    v2_dir: None,
                    procs: self.procs(&path),
                    oom_file: memory.map(|folder| text(&folder.join("memory.oom_control"))),
                    mounts: folders.iter().map(|(name, folder)| (text(folder), name.clone())).collect(),
                }
            }
            Self::V2(root) => Cgroup {
                v2_dir: Some(text(&root.join(&path))),
                procs: Vec::new(),
                oom_file: Some(text(&root.join(&path).join("memory.events"))),
                mounts: vec![(text(&root.join(&path)), String::new())],
            },
            Self::None => Cgroup::default(),
        })
    }

    /// Where a process with one thread enters. Moving itself through v1's `tasks` it takes no machine-wide lock;
    /// `cgroup.procs` waits for every processor to notice (an RCU grace period, 5 to 15 ms).
    fn procs(&self, path: &str) -> Vec<String> {
        let file = if matches!(self, Self::V1(_)) { "tasks" } else { "cgroup.procs" };
        self.folders(path).iter().map(|(_, folder)| text(&folder.join(file))).collect()
    }

    pub(crate) fn make(&self, path: &str, resources: &Resources) -> io::Result<()> {
        for (_, folder) in self.folders(path) {
            fs::create_dir_all(&folder)?;
        }
        if let Self::V2(root) = self {
            enable_controllers(root, path);
        }
        self.apply(path, resources)
    }

    /// Writes values. A tree that lacks a controller lacks its limit too; `doctor` tells.
    pub(crate) fn apply(&self, path: &str, resources: &Resources) -> io::Result<()> {
        for (controller, folder) in self.folders(path) {
            let values = match self {
                Self::V1(_) => v1_values(&controller, resources),
                Self::V2(_) => v2_values(resources),
                Self::None => Vec::new(),
            };
            for (file, value) in values {
                match fs::write(folder.join(file), &value) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        let place = folder.join(file);
                        let message = format!("write {value} to {}: {error}", place.display());
                        return Err(io::Error::new(error.kind(), message));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Bytes in use below `path` that the kernel could not take back easily; `None` where nobody counts.
    pub(crate) fn memory_used(&self, path: &str) -> Option<u64> {
        let (total, inactive) = match self {
            Self::V1(_) => ("memory.usage_in_bytes", "total_inactive_file "),
            Self::V2(_) => ("memory.current", "inactive_file "),
            Self::None => return None,
        };
        let folders = self.folders(path);
        let (_, folder) = folders.iter().find(|(name, _)| name.is_empty() || name == "memory")?;
        let total: u64 = fs::read_to_string(folder.join(total)).ok()?.trim().parse().ok()?;
        let statistics = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let inactive = statistics.lines().find_map(|line| line.strip_prefix(inactive)?.parse().ok());
        Some(total.saturating_sub(inactive.unwrap_or(0)))
    }

    /// Removes a container's folders. Ones that still hold a dying process are left for the Pod's removal.
    pub(crate) fn remove_container(&self, pod: &str, container: &str) {
        for (_, folder) in self.folders(&format!("{pod}/{container}")) {
            // See above.
            let _ = fs::remove_dir(folder);
        }
    }

    /// Ends every process in a Pod's folders and removes them. Says whether they are gone.
    pub(crate) fn remove_pod(&self, pod: &str) -> bool {
        let mut gone = true;
        for (_, folder) in self.folders(pod) {
            for inner in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if inner.file_type().is_ok_and(|kind| kind.is_dir()) {
                    // A folder with processes refuses; the next round tries again.
                    let _ = fs::remove_dir(inner.path());
                }
            }
            match fs::remove_dir(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => gone = false,
                _ => {}
            }
        }
        gone
    }

    /// The processes in a Pod's folders and below.
    pub(crate) fn pod_processes(&self, pod: &str) -> Vec<i32> {
        let mut pids = Vec::new();
        for (_, folder) in self.folders(pod) {
            let inner = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
            for place in inner.chain([folder.clone()]) {
                let procs = fs::read_to_string(place.join("cgroup.procs")).unwrap_or_default();
                pids.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok()));
            }
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Lets every folder above `path` hand the controllers down.
fn enable_controllers(root: &Path, path: &str) {
    let mut folder = root.to_owned();
    let steps: Vec<&str> = path.split('/').collect();
    for step in std::iter::once("").chain(steps.iter().take(steps.len().saturating_sub(1)).copied()) {
        folder = folder.join(step);
        for controller in ["+cpu", "+memory", "+pids", "+io"] {
            // A controller the host does not have, or has given to somebody else.
            let _ = fs::write(folder.join("cgroup.subtree_control"), controller);
        }
    }
}

fn v1_values(controller: &str, resources: &Resources) -> Vec<(&'static str, String)> {
    let mut values = Vec::new();
    match controller {
        "cpu" => {
            values.extend(resources.cpu_shares.map(|shares| ("cpu.shares", shares.max(2).to_string())));
            if let Some(quota) = resources.cpu_quota {
                values.push(("cpu.cfs_period_us", PERIOD.to_string()));
                values.push(("cpu.cfs_quota_us", quota.to_string()));
            }
        }
        "memory" => {
            let limit = resources.memory_limit.map(|limit| number_or(limit, "-1"));
            values.extend(limit.map(|limit| ("memory.limit_in_bytes", limit)));
        }
        "pids" => values.extend(resources.pids_limit.map(|limit| ("pids.max", limit.to_string()))),
        _ => {}
    }
    values
}

/// The largest number stands for no limit.
fn number_or(limit: u64, none: &str) -> String {
    if limit == u64::MAX { none.to_owned() } else { limit.to_string() }
}

/// R13.11: shares 2, 1024 and 262144 become weights 1, 100 and 10000; between them on a curve.
fn weight(shares: u64) -> u64 {
    let log = f64::from(u32::try_from(shares.clamp(2, 262_144)).unwrap_or(2)).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 10000")]
    let weight = (10_f64.powf(exponent) - 1e-9).ceil() as u64;
    weight.clamp(1, 10_000)
}

fn v2_values(resources: &Resources) -> Vec<(&'static str, String)> {
    let mut values = vec![];
    if let Some(shares) = resources.cpu_shares {
        values.push(("cpu.weight", weight(shares).to_string()));
    }
    if let Some(quota) = resources.cpu_quota {
        let quota = if quota < 0 { "max".to_owned() } else { quota.to_string() };
        values.push(("cpu.max", format!("{quota} {PERIOD}")));
    }
    if let Some(limit) = resources.memory_limit {
        values.push(("memory.max", number_or(limit, "max")));
        values.push(("memory.oom.group", "1".to_owned()));
    }
    values.extend(resources.pids_limit.map(|limit| ("pids.max", limit.to_string())));
    values
}

/// Only the harmless devices every container has, and making nodes without using them.
fn limit_devices(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("devices.deny"), "a")?;
    for rule in [
        "c *:* m",
        "b *:* m",
        "c 1:3 rwm",
        "c 1:5 rwm",
        "c 1:7 rwm",
        "c 1:8 rwm",
        "c 1:9 rwm",
        "c 5:0 rwm",
        "c 5:2 rwm",
        "c 136:* rwm",
    ] {
        fs::write(folder.join("devices.allow"), rule)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hybrid host: controllers on v1, an empty v2 tree.
    #[test]
    fn a_hybrid_host_is_used_through_its_controllers() {
        let mounts = "1 0 0:1 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      2 0 0:2 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      3 0 0:3 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let CgroupLayout::V1(trees) = CgroupLayout::parse(mounts) else { panic!("v1") };
        assert_eq!(trees.len(), 2);
        assert_eq!(trees[0], ("cpu".to_owned(), PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")));
        let unified = "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(CgroupLayout::parse(unified), CgroupLayout::V2("/sys/fs/cgroup".into()));
    }

    /// R13.11
    #[test]
    fn shares_become_weights() {
        assert_eq!([2, 1024, 262_144].map(weight), [1, 100, 10_000]);
    }
}
