//! When which key expires (M8). Pure bookkeeping; the writer asks and deletes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use outrigger_api::clock::MonoTime;

/// One deadline per key at most: a later write replaces or clears it, as attaching to another lease does in etcd.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_key: HashMap<Arc<str>, MonoTime>,
    by_deadline: BTreeSet<(MonoTime, Arc<str>)>,
}

impl Leases {
    /// Sets or clears a key's deadline.
    pub(super) fn set(&mut self, key: &Arc<str>, deadline: Option<MonoTime>) {
        let old = match deadline {
            Some(deadline) => self.by_key.insert(Arc::clone(key), deadline),
            None => self.by_key.remove(key),
        };
        if let Some(old) = old {
            self.by_deadline.remove(&(old, Arc::clone(key)));
        }
        if let Some(deadline) = deadline {
            self.by_deadline.insert((deadline, Arc::clone(key)));
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<MonoTime> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// Keys whose deadline has come, earliest first, at most `limit`. They stay until [`Self::set`] clears them,
    /// so a deletion that fails is tried again.
    pub(super) fn due(&self, now: MonoTime, limit: usize) -> Vec<Arc<str>> {
        let due = self.by_deadline.iter().take_while(|(deadline, _)| *deadline <= now);
        due.take(limit).map(|(_, key)| Arc::clone(key)).collect()
    }
}
