//! The store's contents in memory: every key with its recent versions, and the recent past as events.
//!
//! Pure: nothing here waits, locks or reads a clock. [`Index::apply`] takes changes that are already durable;
//! [`Index::scan`] reads any revision that is not compacted; its [`History`] replays the past for watchers.
//!
//! Memory is bounded by [`HistoryLimits`]. Values are shared between versions and events, so a past value costs
//! its bytes once.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_api::clock::MonoTime;
use smallvec::SmallVec;

use crate::hub::History;
use crate::{Error, Event, KeyValue, Range, Revision};

/// How much of the past the embedded store keeps. All of it is in memory; a restart begins a new past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Changes younger than this are kept unless a hard limit is hit. Default 5 minutes (M5), above E40's 75 s.
    pub window: Duration,
    /// Older changes are kept as well while there are at most so many. Default 4096 (E40: several thousand) ...
    pub idle_events: usize,
    /// ... and they hold at most so many bytes. Default 4 MiB, a share of the idle memory budget.
    pub idle_bytes: usize,
    /// Never more changes than this, however young. Default 200 000. At the limit the oldest go first, and readers
    /// and watchers that still needed them get `Compacted` or `Lagged`.
    pub max_events: usize,
    /// Never more bytes than this, however young; at the limit as above. Default 64 MiB.
    pub max_bytes: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(300),
            idle_events: 4096,
            idle_bytes: 4 << 20,
            max_events: 200_000,
            max_bytes: 64 << 20,
        }
    }
}

/// A durable change of one key: what [`Index::apply`] takes and the disk stores.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) revision: Revision,
    pub(super) key: Arc<str>,
    /// `None` is a deletion.
    pub(super) current: Option<KeyValue>,
}

/// Where a read in pieces stands.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) kvs: Vec<KeyValue>,
    pub(super) count: usize,
    /// The key to go on from; `None` when the range is done.
    pub(super) resume: Option<Arc<str>>,
}

#[derive(Debug)]
pub(super) struct Index {
    keys: BTreeMap<Arc<str>, Versions>,
    history: VecDeque<Past>,
    history_bytes: usize,
    current: Revision,
    compacted: Revision,
}

impl Index {
    /// An index whose past begins at `revision`: nothing before it can be read.
    pub(super) fn starting_at(revision: Revision) -> Self {
        Self {
            keys: BTreeMap::new(),
            history: VecDeque::new(),
            history_bytes: 0,
            current: revision,
            compacted: revision,
        }
    }

    /// Takes in a key found on disk. Only for building an index that has no history yet.
    pub(super) fn load(&mut self, kv: KeyValue) {
        let key = Arc::clone(&kv.key);
        self.keys.insert(key, SmallVec::from_buf([Version::from(&kv)]));
    }

    /// The newest revision.
    pub(super) fn current(&self) -> Revision {
        self.current
    }

    /// The newest state of a key.
    pub(super) fn get(&self, key: &str) -> Option<KeyValue> {
        let (key, versions) = self.keys.get_key_value(key)?;
        versions.last()?.to_kv(key)
    }

    /// Takes in durable changes, oldest first, and returns them as events with previous values.
    pub(super) fn apply(&mut self, changes: Vec<Change>, now: MonoTime) -> Vec<Event> {
        changes.into_iter().map(|change| self.apply_one(change, now)).collect()
    }

    fn apply_one(&mut self, change: Change, now: MonoTime) -> Event {
        let Change { revision, key, current } = change;
        debug_assert!(revision > self.current, "revisions only grow");
        let versions = self.keys.entry(Arc::clone(&key)).or_default();
        let previous = versions.last().and_then(|version| version.to_kv(&key));
        versions.push(match &current {
            Some(kv) => Version::from(kv),
            None => Version { revision, create_revision: 0, value: None },
        });
        self.current = revision;
        let event = Event { revision, key, current, previous };
        self.history_bytes += cost(&event);
        self.history.push_back(Past { at: now, event: event.clone() });
        event
    }

    /// Refuses a revision that cannot be read.
    pub(super) fn check_readable(&self, revision: Revision) -> Result<(), Error> {
        if revision < self.compacted {
            return Err(Error::Compacted { requested: revision, oldest: self.compacted });
        }
        if revision > self.current {
            return Err(Error::Future { requested: revision, current: self.current });
        }
        Ok(())
    }

    /// Refuses a watch whose first events are gone.
    pub(super) fn check_watchable(&self, from: Revision) -> Result<(), Error> {
        if from <= self.compacted {
            return Err(Error::Compacted { requested: from, oldest: self.compacted });
        }
        Ok(())
    }

    /// Reads on at `revision` from `scan.resume` or the range's start, visiting at most `budget` keys.
    pub(super) fn scan(&self, range: &Range<'_>, revision: Revision, scan: &mut Scan, budget: usize) {
        let resume = scan.resume.take();
        let from = resume.as_deref().unwrap_or_else(|| range.prefix.max(range.start));
        let keys = self.keys.range::<str, _>((Bound::Included(from), Bound::Unbounded));
        let keys = keys.take_while(|(key, _)| key.starts_with(range.prefix));
        for (visited, (key, versions)) in keys.enumerate() {
            if visited == budget {
                scan.resume = Some(Arc::clone(key));
                return;
            }
            let Some(version) = versions.iter().rev().find(|version| version.revision <= revision) else {
                continue;
            };
            if version.value.is_none() {
                continue;
            }
            scan.count += 1;
            if range.limit == 0 || scan.kvs.len() < range.limit {
                scan.kvs.extend(version.to_kv(key));
            }
        }
    }

    /// Forgets everything before `oldest`, which stays readable. Going back or beyond the present does nothing.
    pub(super) fn compact(&mut self, oldest: Revision) {
        let oldest = oldest.min(self.current);
        while self.history.front().is_some_and(|past| past.event.revision <= oldest) {
            let Some(past) = self.history.pop_front() else { break };
            self.history_bytes -= cost(&past.event);
            self.forget_versions(&past.event.key, oldest);
        }
        self.compacted = self.compacted.max(oldest);
        // A burst must not leave its high-water mark behind in an idle process.
        if self.history.capacity() > 2 * self.history.len() + 1024 {
            self.history.shrink_to_fit();
        }
    }

    fn forget_versions(&mut self, key: &Arc<str>, oldest: Revision) {
        let Some(versions) = self.keys.get_mut(key) else { return };
        let newer = versions.iter().position(|version| version.revision > oldest).unwrap_or(versions.len());
        // The last version at or below `oldest` is what a read at `oldest` sees; a deletion reads as nothing at all.
        let Some(base) = newer.checked_sub(1) else { return };
        let keep_from = if versions[base].value.is_none() { newer } else { base };
        versions.drain(..keep_from);
        versions.shrink_to_fit();
        if versions.is_empty() {
            self.keys.remove(key);
        }
    }

    /// Trims the past to `limits`; see there for the rules.
    pub(super) fn trim(&mut self, limits: &HistoryLimits, now: MonoTime) {
        let (mut events, mut bytes) = (self.history.len(), self.history_bytes);
        let mut oldest = self.compacted;
        for past in &self.history {
            let hard = events > limits.max_events || bytes > limits.max_bytes;
            let aged = now.since(past.at) > limits.window;
            let idle = events > limits.idle_events || bytes > limits.idle_bytes;
            if !(hard || aged && idle) {
                break;
            }
            oldest = past.event.revision;
            events -= 1;
            bytes -= cost(&past.event);
        }
        if oldest > self.compacted {
            self.compact(oldest);
        }
    }

    /// When the oldest change leaves the window, if age alone can make it go.
    pub(super) fn next_trim(&self, limits: &HistoryLimits) -> Option<MonoTime> {
        let crowded = self.history.len() > limits.idle_events || self.history_bytes > limits.idle_bytes;
        self.history.front().filter(|_| crowded).map(|past| past.at + limits.window)
    }
}

impl History for Index {
    fn current(&self) -> Revision {
        self.current
    }

    fn events(&self, prefix: &str, from: Revision, budget: usize) -> Result<(Vec<Event>, Revision), Error> {
        self.check_watchable(from)?;
        let begin = self.history.partition_point(|past| past.event.revision < from);
        let window = self.history.range(begin..).take(budget);
        let events = window.clone().map(|past| &past.event).filter(|event| event.key.starts_with(prefix));
        let events = events.cloned().collect();
        let resume = match window.clone().next_back() {
            Some(last) if begin + budget < self.history.len() => last.event.revision + 1,
            _ => from.max(self.current + 1),
        };
        Ok((events, resume))
    }
}

/// Oldest first. Nearly every key has one version at rest.
type Versions = SmallVec<[Version; 1]>;

#[derive(Clone, Debug)]
struct Version {
    revision: Revision,
    create_revision: Revision,
    /// `None` is a deletion.
    value: Option<Bytes>,
}

impl Version {
    fn to_kv(&self, key: &Arc<str>) -> Option<KeyValue> {
        Some(KeyValue {
            key: Arc::clone(key),
            value: self.value.clone()?,
            create_revision: self.create_revision,
            mod_revision: self.revision,
        })
    }
}

impl From<&KeyValue> for Version {
    fn from(kv: &KeyValue) -> Self {
        Self { revision: kv.mod_revision, create_revision: kv.create_revision, value: Some(kv.value.clone()) }
    }
}

#[derive(Debug)]
struct Past {
    at: MonoTime,
    event: Event,
}

/// What keeping an event costs in bytes: the value it superseded, its key and the bookkeeping around them.
fn cost(event: &Event) -> usize {
    const BOOKKEEPING: usize = 256;
    BOOKKEEPING + event.key.len() + event.previous.as_ref().map_or(0, |kv| kv.value.len())
}
