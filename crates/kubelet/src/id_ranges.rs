//! Which ids of the node stand behind each Pod's user namespace: no two Pods share any (R13.25).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use outrigger_runtime::Runtime;

use crate::container::labels;

/// Ids of one Pod.
pub(crate) const ID_RANGE: u32 = 65_536;

/// Ranges promised to sandboxes that are being made. Those of sandboxes that exist are the runtime's to tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdRanges(Arc<Mutex<BTreeSet<u32>>>);

/// A range that nobody else is given while this value lives.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The node's id of root inside.
    pub(crate) base: u32,
    ranges: IdRanges,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.ranges.promised().remove(&self.base);
    }
}

impl IdRanges {
    fn promised(&self) -> std::sync::MutexGuard<'_, BTreeSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lowest free range. Keep the value until the sandbox is there, labelled with it.
    ///
    /// # Errors
    /// If the runtime does not answer, or all 65534 are taken.
    pub(crate) async fn take(&self, runtime: &Arc<dyn Runtime>, pod: &str) -> Result<Taken, String> {
        let sandboxes = runtime.list().await.map_err(|error| error.to_string())?;
        let used = sandboxes.iter().filter_map(|sandbox| sandbox.labels.get(labels::USERS)?.parse().ok());
        let used: BTreeSet<u32> = used.collect();
        let mut promised = self.promised();
        let base = free(|base| used.contains(&base) || promised.contains(&base));
        let base = base.ok_or_else(|| format!("no ids are left for the user namespace of pod {pod}"))?;
        promised.insert(base);
        Ok(Taken { base, ranges: self.clone() })
    }
}

fn free(is_taken: impl Fn(u32) -> bool) -> Option<u32> {
    (1..u32::from(u16::MAX)).map(|number| number * ID_RANGE).find(|base| !is_taken(*base))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R13.25: distinct, and none below the first 65536 that are the node's own.
    #[test]
    fn ranges_do_not_overlap() {
        assert_eq!(free(|_| false), Some(ID_RANGE));
        assert_eq!(free(|base| base <= 3 * ID_RANGE), Some(4 * ID_RANGE));
        assert_eq!(free(|_| true), None);
    }
}
