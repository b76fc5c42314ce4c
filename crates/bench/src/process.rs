//! What `/proc` and `/sys` say.

use std::path::Path;
use std::time::Duration;

use crate::error::Error;

/// Memory of a process in bytes: resident, and with shared pages divided among their users.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) proportional: u64,
}

/// Memory of one process.
pub(crate) fn memory(pid: u32) -> Result<Memory, Error> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).map_err(Error::doing(format!("read {path}")))?;
    let bytes = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"));
        value.and_then(|value| value.trim().parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
    };
    Ok(Memory { resident: bytes("Rss:"), proportional: bytes("Pss:") })
}

/// Processor time a process has used, system calls included.
pub(crate) fn processor_time(pid: u32) -> Result<Duration, Error> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).map_err(Error::doing(format!("read {path}")))?;
    // The name in parentheses may hold spaces; fields are counted behind it.
    let fields = text.rsplit(") ").next().unwrap_or_default().split(' ').collect::<Vec<_>>();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 1000 / USER_HZ))
}

/// The direct children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent_of = |id: u32| {
        let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        text.rsplit(") ").next()?.split(' ').nth(1)?.parse::<u32>().ok()
    };
    ids.filter(|id| parent_of(*id) == Some(pid)).collect()
}

/// What a leak would show in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    pub(crate) mounts: usize,
    pub(crate) control_groups: usize,
    pub(crate) network_namespaces: usize,
    pub(crate) links: usize,
}

/// What a process and the machine hold now on behalf of a data folder.
pub(crate) fn holdings(pid: u32, data: &Path) -> Holdings {
    let count = |path: String| std::fs::read_dir(path).into_iter().flatten().count();
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Holdings {
        descriptors: count(format!("/proc/{pid}/fd")),
        threads: count(format!("/proc/{pid}/task")),
        mounts: table.lines().filter(|line| line.contains(&*data.to_string_lossy())).count(),
        control_groups: folders_below(Path::new("/sys/fs/cgroup"), "pod", 6),
        network_namespaces: count(data.join("netns").display().to_string()),
        links: std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default().lines().count(),
    }
}

/// Folders whose name begins with `prefix`, down to a depth; links are not followed.
fn folders_below(folder: &Path, prefix: &str, depth: usize) -> usize {
    if depth == 0 {
        return 0;
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders
        .map(|entry| {
            let own = usize::from(entry.file_name().to_string_lossy().starts_with(prefix));
            own + folders_below(&entry.path(), prefix, depth - 1)
        })
        .sum()
}

/// Ticks per second in what the kernel shows to programs (proc(5)); the same on every architecture we build for.
const USER_HZ: u64 = 100;
