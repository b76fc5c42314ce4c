//! What the whole machine uses, from `/proc`.

use std::path::Path;

use outrigger_runtime::{CpuUsage, Interface, MemoryUsage, interfaces};

/// The machine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeUsage {
    pub(crate) cpu: CpuUsage,
    pub(crate) memory: MemoryUsage,
    /// Bytes that can be given out without reclaiming what was used lately: capacity less working set (R8.27).
    pub(crate) memory_available: u64,
    pub(crate) interfaces: Vec<Interface>,
    /// Processes and threads now, and the most there may be.
    pub(crate) tasks: u64,
    pub(crate) most_tasks: u64,
    /// Bytes.
    pub(crate) swap_total: u64,
}

impl NodeUsage {
    /// Reads it.
    pub(crate) fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let load = text("/proc/loadavg");
        let tasks =
            load.split_whitespace().nth(3).and_then(|it| it.split_once('/')?.1.parse().ok()).unwrap_or(0);
        let limit = |path: &str| text(path).trim().parse::<u64>().unwrap_or(u64::MAX);
        let mut usage = parse(&text("/proc/stat"), &text("/proc/meminfo"), &text("/proc/vmstat"));
        usage.interfaces = interfaces(&text("/proc/net/dev"));
        usage.tasks = tasks;
        usage.most_tasks = limit("/proc/sys/kernel/pid_max").min(limit("/proc/sys/kernel/threads-max"));
        usage
    }
}

fn parse(stat: &str, meminfo: &str, vmstat: &str) -> NodeUsage {
    const TICK: u64 = 10_000_000;
    let line = stat.lines().find(|line| line.starts_with("cpu ")).unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    let tick = |at: usize| ticks.get(at).copied().unwrap_or(0) * TICK;
    // user nice system idle iowait irq softirq steal; guest time is part of user time.
    let (user, system) = (tick(0) + tick(1), tick(2) + tick(5) + tick(6));
    let bytes = |name: &str| -> u64 {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    let count = |name: &str| -> u64 {
        let mut lines = vmstat.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
    };
    let usage = bytes("MemTotal").saturating_sub(bytes("MemFree"));
    let working_set = usage.saturating_sub(bytes("Inactive(file)"));
    NodeUsage {
        cpu: CpuUsage { total: user + system, user, system, ..CpuUsage::default() },
        memory: MemoryUsage {
            usage,
            working_set,
            rss: bytes("AnonPages"),
            cache: bytes("Cached") + bytes("Buffers"),
            swap: bytes("SwapTotal").saturating_sub(bytes("SwapFree")),
            page_faults: count("pgfault"),
            major_page_faults: count("pgmajfault"),
            failures: 0,
            limit: None,
        },
        memory_available: bytes("MemTotal").saturating_sub(working_set),
        swap_total: bytes("SwapTotal"),
        ..NodeUsage::default()
    }
}

/// How full a file system is. Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FsUsage {
    pub(crate) capacity: u64,
    pub(crate) used: u64,
    /// Without the blocks the file system reserves.
    pub(crate) available: u64,
    pub(crate) inodes: u64,
    pub(crate) inodes_free: u64,
    /// Which file system it is: two paths with the same number share it.
    pub(crate) id: u64,
}

impl FsUsage {
    /// Of the file system that holds `path`; `None` if it cannot be asked.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let fs = rustix::fs::statvfs(path).ok()?;
        Some(Self {
            capacity: fs.f_blocks * fs.f_frsize,
            used: fs.f_blocks.saturating_sub(fs.f_bfree) * fs.f_frsize,
            available: fs.f_bavail * fs.f_frsize,
            inodes: fs.f_files,
            inodes_free: fs.f_ffree,
            id: std::fs::metadata(path).ok()?.dev(),
        })
    }

    /// What is there for use: reserved blocks are nobody's, so shares are taken of this, as `df` does.
    pub(crate) const fn usable(&self) -> u64 {
        self.used + self.available
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N20, N23
    #[test]
    fn proc_becomes_usage() {
        let usage = parse(
            "cpu  100 1 50 900 10 2 3 0 0 0\ncpu0 1 1 1 1\n",
            "MemTotal:    1000 kB\nMemFree:  400 kB\nInactive(file): 100 kB\nAnonPages: 7 kB\nSwapTotal: 9 kB\nSwapFree: 4 kB\n",
            "nr_free_pages 1\npgfault 55\npgmajfault 5\n",
        );
        assert_eq!(usage.cpu.total, 156 * 10_000_000);
        assert_eq!(usage.memory.usage, 600 * 1024);
        assert_eq!(usage.memory.working_set, 500 * 1024);
        assert_eq!(usage.memory_available, 500 * 1024);
        assert_eq!((usage.memory.swap, usage.swap_total), (5 * 1024, 9 * 1024));
        assert_eq!((usage.memory.page_faults, usage.memory.major_page_faults), (55, 5));
    }
}
