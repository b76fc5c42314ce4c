//! What Pods have on the disk: writable layers, logs and volumes. Walking is slow, so results are kept for a while.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use outrigger_api::MonoTime;

/// How old a measurement may be before it is taken again: cAdvisor's housekeeping interval for disks.
const FRESH: Duration = Duration::from_secs(60);
/// Files looked at in one folder; what lies beyond is not counted.
const MOST_FILES: u64 = 1_000_000;

/// Bytes and inodes of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiskUsage {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

impl std::ops::AddAssign for DiskUsage {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
    }
}

impl std::iter::Sum for DiskUsage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

/// Measurements taken lately.
#[derive(Debug, Default)]
pub(crate) struct Disks(Mutex<HashMap<PathBuf, (MonoTime, DiskUsage)>>);

impl Disks {
    /// A folder's usage, at most a minute old. Blocks.
    pub(crate) fn usage(&self, folder: &Path, now: MonoTime) -> DiskUsage {
        self.usage_within(folder, now, FRESH)
    }

    /// The same, younger than `age`, which is at most a minute.
    pub(crate) fn usage_within(&self, folder: &Path, now: MonoTime, age: Duration) -> DiskUsage {
        if let Some((_, usage)) = self.known().get(folder).filter(|(at, _)| now.since(*at) < age) {
            return *usage;
        }
        let usage = measure(folder);
        let mut known = self.known();
        // Those of Pods that are gone.
        known.retain(|_, (at, _)| now.since(*at) < FRESH);
        known.insert(folder.to_owned(), (now, usage));
        usage
    }

    /// Measures everything anew the next time.
    pub(crate) fn forget(&self) {
        self.known().clear();
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, (MonoTime, DiskUsage)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts blocks, not lengths, each file once, on one file system, following no links.
pub(crate) fn measure(folder: &Path) -> DiskUsage {
    let Ok(root) = folder.symlink_metadata() else { return DiskUsage::default() };
    let mut usage = DiskUsage { bytes: root.blocks() * 512, inodes: 1 };
    let (mut waiting, mut links) = (vec![folder.to_owned()], HashSet::new());
    while let Some(folder) = waiting.pop() {
        // Files come and go meanwhile.
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != root.dev() || (meta.nlink() > 1 && meta.is_file() && !links.insert(meta.ino())) {
                continue;
            }
            usage += DiskUsage { bytes: meta.blocks() * 512, inodes: 1 };
            if usage.inodes >= MOST_FILES {
                return usage;
            }
            if meta.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    usage
}

/// The local volumes of a Pod by name: emptyDirs that lie on the disk, and what was made from objects.
pub(crate) fn volume_folders(pod_dir: &Path) -> BTreeMap<String, PathBuf> {
    let kinds = std::fs::read_dir(pod_dir.join("volumes")).into_iter().flatten().flatten();
    let volumes = kinds.flat_map(|kind| std::fs::read_dir(kind.path()).into_iter().flatten().flatten());
    volumes
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N23: links count once, nothing outside is followed.
    #[test]
    fn a_folder_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, vec![1; 8192]).unwrap();
        std::fs::hard_link(&file, folder.path().join("same")).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("away")).unwrap();
        let usage = measure(folder.path());
        assert!((8192..32_768).contains(&usage.bytes), "{usage:?}");
        assert_eq!(usage.inodes, 3);
        let disks = Disks::default();
        let at = |seconds| MonoTime::from_boot(Duration::from_secs(seconds));
        assert_eq!(disks.usage(folder.path(), at(0)), usage);
        std::fs::write(folder.path().join("more"), vec![1; 8192]).unwrap();
        assert_eq!(disks.usage(folder.path(), at(59)), usage);
        assert!(disks.usage(folder.path(), at(60)).bytes > usage.bytes);
    }
}
