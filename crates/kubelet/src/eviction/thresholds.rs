//! Eviction signals and their thresholds (R8.27), as KubeletConfiguration writes them. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use outrigger_api::clock::Now;
use outrigger_api::{MonoTime, Quantity};

/// What can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// Memory of the node.
    MemoryAvailable,
    /// Bytes of the file system with Pods' folders and logs.
    NodeFsAvailable,
    /// Its inodes.
    NodeFsInodesFree,
    /// Bytes of the file system with images.
    ImageFsAvailable,
    /// Its inodes.
    ImageFsInodesFree,
    /// Process ids.
    PidAvailable,
}

impl Signal {
    const ALL: [(Self, &'static str); 6] = [
        (Self::MemoryAvailable, "memory.available"),
        (Self::NodeFsAvailable, "nodefs.available"),
        (Self::NodeFsInodesFree, "nodefs.inodesFree"),
        (Self::ImageFsAvailable, "imagefs.available"),
        (Self::ImageFsInodesFree, "imagefs.inodesFree"),
        (Self::PidAvailable, "pid.available"),
    ];

    /// `memory.available`.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(signal, _)| *signal == self).map_or("", |(_, name)| name)
    }

    /// The resource an eviction message names.
    pub(crate) const fn resource(self) -> &'static str {
        match self {
            Self::MemoryAvailable => "memory",
            Self::NodeFsAvailable | Self::ImageFsAvailable => "ephemeral-storage",
            Self::NodeFsInodesFree | Self::ImageFsInodesFree => "inodes",
            Self::PidAvailable => "pids",
        }
    }

    pub(crate) const fn is_disk_bytes(self) -> bool {
        matches!(self, Self::NodeFsAvailable | Self::ImageFsAvailable)
    }

    pub(crate) const fn is_disk(self) -> bool {
        !matches!(self, Self::MemoryAvailable | Self::PidAvailable)
    }
}

/// An amount, or a share of the capacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Bytes, inodes or processes.
    Amount(u64),
    /// Between 0 and 1.
    Share(f64),
}

impl Limit {
    /// What it is of a capacity.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share"
    )]
    pub(crate) fn of(self, capacity: u64) -> u64 {
        match self {
            Self::Amount(amount) => amount,
            Self::Share(share) => (capacity as f64 * share) as u64,
        }
    }
}

/// One threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// What is watched.
    pub signal: Signal,
    /// Met below this.
    pub limit: Limit,
    /// How long it must be met; zero for a hard one, which gives Pods one second only.
    pub grace: Option<Duration>,
}

/// Why a threshold map cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{signal}: {problem}")]
pub struct ThresholdError {
    /// The key.
    signal: String,
    problem: String,
}

/// R8.27: what a node has unless told otherwise.
pub(crate) fn default_hard() -> BTreeMap<String, String> {
    let all = [
        ("memory.available", "100Mi"),
        ("nodefs.available", "10%"),
        ("nodefs.inodesFree", "5%"),
        ("imagefs.available", "15%"),
        ("imagefs.inodesFree", "5%"),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Reads `evictionHard`, or `evictionSoft` with its grace periods.
///
/// # Errors
/// Unknown signals, values that are neither quantity nor percentage, soft ones without a grace period.
pub(crate) fn parse(
    map: &BTreeMap<String, String>,
    graces: Option<&BTreeMap<String, Duration>>,
) -> Result<Vec<Threshold>, ThresholdError> {
    let one = |(name, value): (&String, &String)| {
        let error = |problem: &str| ThresholdError { signal: name.clone(), problem: problem.to_owned() };
        let signal = Signal::ALL.iter().find(|(_, known)| known == name).map(|(signal, _)| *signal);
        let signal = signal.ok_or_else(|| error("no such eviction signal"))?;
        let bad = || error(&format!("{value:?} is neither a quantity nor a percentage between 0% and 100%"));
        let limit = match value.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.parse().map_err(|_| bad())?;
                if !(0.0..=100.0).contains(&percent) {
                    return Err(bad());
                }
                Limit::Share(percent / 100.0)
            }
            None => {
                let quantity: Quantity = value.parse().map_err(|_| bad())?;
                Limit::Amount(u64::try_from(quantity.value()).map_err(|_| bad())?)
            }
        };
        let grace = match graces {
            None => None,
            Some(graces) => Some(
                *graces.get(name).ok_or_else(|| error("evictionSoftGracePeriod names no period for it"))?,
            ),
        };
        Ok(Threshold { signal, limit, grace })
    };
    // `0%` and `100%` switch a threshold off.
    let off = |threshold: &Threshold| matches!(threshold.limit, Limit::Share(share) if share <= 0.0 || share >= 1.0);
    let all = map.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().filter(|threshold| !off(threshold)).collect())
}

/// What there is of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) signal: Signal,
    pub(crate) available: u64,
    pub(crate) capacity: u64,
}

/// A threshold that is met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Met {
    pub(crate) threshold: Threshold,
    pub(crate) observation: Observation,
}

/// Remembers since when soft thresholds are met.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    since: BTreeMap<Signal, MonoTime>,
}

impl Watcher {
    /// The thresholds met now: all of them, and those that have been met for long enough to act on, memory first.
    pub(crate) fn step(
        &mut self,
        thresholds: &[Threshold],
        observations: &[Observation],
        now: Now,
    ) -> (Vec<Met>, Vec<Met>) {
        let met = thresholds.iter().filter_map(|threshold| {
            let observation = *observations.iter().find(|it| it.signal == threshold.signal)?;
            let short = observation.available < threshold.limit.of(observation.capacity);
            short.then_some(Met { threshold: *threshold, observation })
        });
        let mut met: Vec<Met> = met.collect();
        met.sort_by_key(|met| met.threshold.signal);
        let soft = |met: &&Met| met.threshold.grace.is_some();
        self.since.retain(|signal, _| met.iter().filter(soft).any(|met| met.threshold.signal == *signal));
        let due = met.iter().filter(|met| match met.threshold.grace {
            None => true,
            Some(grace) => {
                let since = *self.since.entry(met.threshold.signal).or_insert(now.mono);
                now.mono.since(since) >= grace
            }
        });
        let due = due.copied().collect();
        (met, due)
    }
}

/// Bytes as `100Mi`: the largest binary unit that divides them.
pub(crate) struct Binary(pub(crate) u64);

impl fmt::Display for Binary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut value, mut unit) = (self.0, 0);
        const UNITS: [&str; 6] = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];
        while value >= 1024 && value % 1024 == 0 && unit + 1 < UNITS.len() {
            value /= 1024;
            unit += 1;
        }
        write!(out, "{value}{}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now {
            wall: outrigger_api::WallTime::UNIX_EPOCH,
            mono: MonoTime::from_boot(Duration::from_secs(seconds)),
        }
    }

    /// R8.27: the default hard thresholds, and what is refused.
    #[test]
    fn thresholds_are_read() {
        let all = parse(&default_hard(), None).unwrap();
        assert_eq!(all.len(), 5);
        let memory = all.iter().find(|it| it.signal == Signal::MemoryAvailable).unwrap();
        assert_eq!(memory.limit, Limit::Amount(100 << 20));
        let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let text = |map| parse(&map, None).unwrap_err().to_string();
        assert_eq!(text(one("disk.available", "1")), "disk.available: no such eviction signal");
        assert!(text(one("memory.available", "x")).contains("\"x\" is neither"));
        assert!(parse(&one("memory.available", "120%"), None).is_err());
        assert!(parse(&one("memory.available", "5%"), Some(&BTreeMap::new())).is_err());
        assert_eq!(parse(&one("memory.available", "0%"), None).unwrap(), []);
    }

    /// R8.27: hard thresholds act at once, soft ones after their grace period.
    #[test]
    fn soft_thresholds_wait() {
        let limit = Limit::Amount(100);
        let signal = Signal::MemoryAvailable;
        let soft = Threshold { signal, limit, grace: Some(Duration::from_secs(30)) };
        let observation = |available| [Observation { signal, available, capacity: 1000 }];
        let mut watcher = Watcher::default();
        let due = |watcher: &mut Watcher, available, seconds| {
            let (met, due) = watcher.step(&[soft], &observation(available), at(seconds));
            (met.len(), due.len())
        };
        assert_eq!(due(&mut watcher, 50, 0), (1, 0));
        assert_eq!(due(&mut watcher, 50, 30), (1, 1));
        assert_eq!(due(&mut watcher, 150, 40), (0, 0));
        assert_eq!(due(&mut watcher, 50, 50), (1, 0));
        let hard = Threshold { grace: None, limit: Limit::Share(0.1), ..soft };
        assert_eq!(watcher.step(&[hard], &observation(99), at(51)).1.len(), 1);
        assert_eq!(watcher.step(&[hard], &observation(100), at(52)).1.len(), 0);
    }

    #[test]
    fn binary_units() {
        let text = [0, 1000, 104_857_600, 3072].map(|bytes| Binary(bytes).to_string());
        assert_eq!(text, ["0", "1000", "100Mi", "3Ki"]);
    }
}
