//! What sandboxes and containers use, read from their control groups and `/proc` at the moment of asking (N20, N23,
//! N24). Parsing is apart from reading, so that v1's and v2's forms are tested without either.

use std::fs;
use std::path::{Path, PathBuf};

use outrigger_api::WallTime;

use crate::cgroup::CgroupLayout;
use crate::cri::{ContainerId, PodRef, SandboxId};

/// What one control group has used and uses. A part whose controller the host lacks is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time.
    pub cpu: Option<CpuUsage>,
    /// Memory.
    pub memory: Option<MemoryUsage>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// Bytes read from and written to block devices; known on v2 only.
    pub io: Option<IoUsage>,
}

/// Processor time since the group was made, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuUsage {
    /// All of it.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// Quota periods that have passed; 0 without a quota.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Time spent waiting for the next period.
    pub throttled: u64,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Everything charged, page cache included.
    pub usage: u64,
    /// `usage` without the file pages that were not used lately: what pressure cannot reclaim at once (N20).
    pub working_set: u64,
    /// Anonymous memory.
    pub rss: u64,
    /// Page cache.
    pub cache: u64,
    /// Swapped out.
    pub swap: u64,
    /// Page faults, a count.
    pub page_faults: u64,
    /// Page faults that read from a disk, a count.
    pub major_page_faults: u64,
    /// How often the limit was hit, a count.
    pub failures: u64,
    /// The limit; `None` if there is none.
    pub limit: Option<u64>,
}

/// Block device traffic in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoUsage {
    /// Read.
    pub read: u64,
    /// Written.
    pub written: u64,
}

/// One network interface since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// `eth0`.
    pub name: String,
    /// Bytes, packets, errors, drops.
    pub received: [u64; 4],
    /// Bytes, packets, errors, drops.
    pub transmitted: [u64; 4],
}

/// What one sandbox uses.
#[derive(Clone, Debug, PartialEq)]
pub struct SandboxStats {
    /// The sandbox.
    pub id: SandboxId,
    /// Whose it is.
    pub pod: PodRef,
    /// When it was made.
    pub created_at: WallTime,
    /// The Pod's control group, relative to the controllers' roots.
    pub cgroup: String,
    /// Its containers and its sandbox process together.
    pub usage: Usage,
    /// Without loopback; empty for a Pod on the node's network.
    pub interfaces: Vec<Interface>,
    /// Those that run.
    pub containers: Vec<ContainerStats>,
}

/// What one running container uses.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerStats {
    /// The instance.
    pub id: ContainerId,
    /// Its name in the Pod.
    pub name: String,
    /// Which instance.
    pub attempt: u32,
    /// When its process began.
    pub started_at: WallTime,
    /// Its control group.
    pub usage: Usage,
    /// The folder of its writable layer, for whoever measures disks.
    pub writable: PathBuf,
}

impl CgroupLayout {
    /// What the group at `path` (relative) uses. A group that is gone uses nothing.
    pub fn usage(&self, path: &str) -> Usage {
        let folders = self.folders(path);
        let read = |file: &str| folders.iter().find_map(|(_, at)| fs::read_to_string(at.join(file)).ok());
        match self {
            Self::V1(_) => v1(&read),
            Self::V2(_) => v2(&read),
            Self::None => Usage::default(),
        }
    }

    /// `1`, `2`, or 0 where there are none.
    pub const fn version(&self) -> u8 {
        match self {
            Self::V1(_) => 1,
            Self::V2(_) => 2,
            Self::None => 0,
        }
    }
}

/// Ticks of `cpuacct.stat`: a hundredth of a second on every architecture Linux gives programs.
const TICK: u64 = 10_000_000;
/// v1 says "no limit" as a number near the largest; cAdvisor draws the line here too.
const NO_LIMIT: u64 = 1 << 62;

fn v1(read: &impl Fn(&str) -> Option<String>) -> Usage {
    let number = |file: &str| read(file).and_then(|text| text.trim().parse::<u64>().ok());
    let cpu = number("cpuacct.usage").map(|total| {
        let stat = read("cpuacct.stat").unwrap_or_default();
        let quota = read("cpu.stat").unwrap_or_default();
        CpuUsage {
            total,
            user: field(&stat, "user") * TICK,
            system: field(&stat, "system") * TICK,
            periods: field(&quota, "nr_periods"),
            throttled_periods: field(&quota, "nr_throttled"),
            throttled: field(&quota, "throttled_time"),
        }
    });
    let memory = number("memory.usage_in_bytes").map(|usage| {
        let stat = read("memory.stat").unwrap_or_default();
        MemoryUsage {
            usage,
            working_set: usage.saturating_sub(field(&stat, "total_inactive_file")),
            rss: field(&stat, "total_rss"),
            cache: field(&stat, "total_cache"),
            swap: field(&stat, "total_swap"),
            page_faults: field(&stat, "total_pgfault"),
            major_page_faults: field(&stat, "total_pgmajfault"),
            failures: number("memory.failcnt").unwrap_or(0),
            limit: number("memory.limit_in_bytes").filter(|limit| *limit < NO_LIMIT),
        }
    });
    // Groups below count too, as they do on v2.
    let io = read("blkio.throttle.io_service_bytes_recursive").map(|stat| {
        let sum = |what: &str| -> u64 {
            let lines = stat.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let of = lines.filter(|words| words.len() == 3 && words[1] == what);
            of.filter_map(|words| words[2].parse::<u64>().ok()).sum()
        };
        IoUsage { read: sum("Read"), written: sum("Write") }
    });
    Usage { cpu, memory, tasks: number("pids.current"), io }
}

fn v2(read: &impl Fn(&str) -> Option<String>) -> Usage {
    let number = |file: &str| read(file).and_then(|text| text.trim().parse::<u64>().ok());
    let cpu = read("cpu.stat").map(|stat| CpuUsage {
        total: field(&stat, "usage_usec") * 1000,
        user: field(&stat, "user_usec") * 1000,
        system: field(&stat, "system_usec") * 1000,
        periods: field(&stat, "nr_periods"),
        throttled_periods: field(&stat, "nr_throttled"),
        throttled: field(&stat, "throttled_usec") * 1000,
    });
    let memory = number("memory.current").map(|usage| {
        let stat = read("memory.stat").unwrap_or_default();
        MemoryUsage {
            usage,
            working_set: usage.saturating_sub(field(&stat, "inactive_file")),
            rss: field(&stat, "anon"),
            cache: field(&stat, "file"),
            swap: number("memory.swap.current").unwrap_or(0),
            page_faults: field(&stat, "pgfault"),
            major_page_faults: field(&stat, "pgmajfault"),
            failures: read("memory.events").map_or(0, |events| field(&events, "max")),
            limit: number("memory.max"),
        }
    });
    let io = read("io.stat").map(|stat| {
        let sum = |key: &str| -> u64 {
            let words = stat.split_whitespace().filter_map(|word| word.strip_prefix(key));
            words.filter_map(|number| number.parse::<u64>().ok()).sum()
        };
        IoUsage { read: sum("rbytes="), written: sum("wbytes=") }
    });
    Usage { cpu, memory, tasks: number("pids.current"), io }
}

/// The number behind `key` in a file of `key number` lines; 0 if there is none.
fn field(text: &str, key: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == key).and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

/// The interfaces of the network namespace that process `pid` is in.
pub(crate) fn interfaces_of(pid: i32) -> Vec<Interface> {
    interfaces(
        &fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("net/dev")).unwrap_or_default(),
    )
}

/// Parses `/proc/<pid>/net/dev`, leaving loopback out.
pub fn interfaces(text: &str) -> Vec<Interface> {
    let parse = |line: &str| {
        let (name, counts) = line.split_once(':')?;
        let counts: Vec<u64> = counts.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let name = name.trim().to_owned();
        let received = counts.get(..4)?.try_into().ok()?;
        let transmitted = counts.get(8..12)?.try_into().ok()?;
        (name != "lo").then_some(Interface { name, received, transmitted })
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        move |file| list.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned())
    }

    /// N20, N24: working set is usage without inactive file pages, and disks are counted, on either version.
    #[test]
    fn both_versions_say_the_same() {
        let old = v1(&files(&[
            ("cpuacct.usage", "5000000000\n"),
            ("cpuacct.stat", "user 300\nsystem 200\n"),
            ("cpu.stat", "nr_periods 7\nnr_throttled 2\nthrottled_time 9000\n"),
            ("memory.usage_in_bytes", "1000\n"),
            (
                "memory.stat",
                "cache 1\ninactive_file 3\ntotal_cache 400\ntotal_rss 600\ntotal_swap 5\ntotal_pgfault 8\n\
                 total_pgmajfault 1\ntotal_inactive_file 300\n",
            ),
            ("memory.failcnt", "4\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("pids.current", "3\n"),
            (
                "blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 10\n8:0 Write 4\n8:0 Sync 14\n8:0 Total 14\n8:16 Read 1\n8:16 Write 0\nTotal 15\n",
            ),
        ]));
        let new = v2(&files(&[
            (
                "cpu.stat",
                "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\nnr_periods 7\nnr_throttled 2\n\
                 throttled_usec 9\n",
            ),
            ("memory.current", "1000\n"),
            ("memory.stat", "anon 600\nfile 400\ninactive_file 300\npgfault 8\npgmajfault 1\n"),
            ("memory.swap.current", "5\n"),
            ("memory.events", "low 0\nhigh 0\nmax 4\noom 0\n"),
            ("memory.max", "max\n"),
            ("pids.current", "3\n"),
            ("io.stat", "8:0 rbytes=10 wbytes=4 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=0\n"),
        ]));
        assert_eq!(old, new);
        assert_eq!(old.memory.unwrap().working_set, 700);
        assert_eq!(old.cpu.unwrap().user, 3_000_000_000);
        assert_eq!(old.io.unwrap(), IoUsage { read: 11, written: 4 });
    }

    /// N24
    #[test]
    fn interfaces_without_loopback() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop x\n    \
                    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 10 2 1 3 0 0 0 0 20 4 5 6 0 0 0 0\n";
        let want = Interface { name: "eth0".into(), received: [10, 2, 1, 3], transmitted: [20, 4, 5, 6] };
        assert_eq!(interfaces(text), [want]);
    }
}
