//! What a controller has written and its caches may not show yet (N1): until they do, it decides nothing, so that a
//! stale picture never makes it create or delete twice.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use outrigger_reconcile::Mark;

/// How often an object whose writes are not visible is looked at, should no event come.
pub(crate) const AGAIN: Duration = Duration::from_secs(2);
/// Entries beyond which those that are visible are forgotten.
const REMEMBERED: usize = 16_384;

/// The latest writes by the uid of the object they were made for.
#[derive(Default)]
pub(crate) struct Written(Mutex<HashMap<String, Latest>>);

#[derive(Default)]
struct Latest {
    /// The version the object itself was given.
    own: u64,
    /// The last writes to its dependents, one of each kind.
    dependents: Vec<Mark>,
}

impl Written {
    /// The object itself was written.
    pub(crate) fn own(&self, uid: &str, version: Option<&str>) {
        let version = outrigger_reconcile::number(version);
        self.change(uid, |latest| latest.own = latest.own.max(version));
    }

    /// A dependent was written. Later writes have later marks.
    pub(crate) fn dependent(&self, uid: &str, mark: Mark) {
        self.change(uid, |latest| {
            match latest.dependents.iter_mut().find(|known| known.is_comparable(mark)) {
                Some(known) => *known = mark.max(*known),
                None => latest.dependents.push(mark),
            }
        });
    }

    /// Whether the object at this version, and the picture of its dependents, show all that was written.
    pub(crate) fn shown(&self, uid: &str, version: Option<&str>, shows: impl Fn(Mark) -> bool) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() > REMEMBERED {
            all.retain(|_, latest| !latest.dependents.iter().all(|mark| shows(*mark)));
        }
        let Some(latest) = all.get(uid) else { return true };
        let shown = outrigger_reconcile::number(version) >= latest.own
            && latest.dependents.iter().all(|mark| shows(*mark));
        if shown {
            all.remove(uid);
        }
        shown
    }

    fn change(&self, uid: &str, change: impl FnOnce(&mut Latest)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(uid.to_owned()).or_default());
    }
}
