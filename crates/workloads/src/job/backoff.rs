//! How long a Job waits before it replaces a failed Pod (N6): 10 s, doubling up to 10 min with every failure in a row.

use std::time::Duration;

use outrigger_api::WallTime;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// The failures in a row, and when the last one was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    /// Failures since the last success.
    pub failures: u32,
    /// When the last of them ended.
    pub last: Option<WallTime>,
}

impl Backoff {
    /// The record after more Pods have ended: when, and whether well.
    pub(super) fn after(mut self, mut ends: Vec<(WallTime, bool)>) -> Self {
        ends.sort_unstable();
        for (at, well) in ends {
            if well {
                self = Self::default();
            } else {
                self.failures = self.failures.saturating_add(1);
                self.last = self.last.max(Some(at));
            }
        }
        self
    }

    /// How long there is still to wait.
    pub(super) fn remaining(self, now: WallTime) -> Duration {
        let Some(last) = self.last.filter(|_| self.failures > 0) else { return Duration::ZERO };
        let wait = FIRST.saturating_mul(1 << (self.failures - 1).min(16)).min(LONGEST);
        let passed = Duration::try_from(now.duration_since(last)).unwrap_or_default();
        wait.saturating_sub(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N6.
    #[test]
    fn waits_double_and_success_forgets() {
        let at = |second: i64| WallTime::from_second(second).unwrap();
        let waits = |failures: u32| Backoff { failures, last: Some(at(0)) }.remaining(at(0)).as_secs();
        assert_eq!([1, 2, 3, 6, 7, 99].map(waits), [10, 20, 40, 320, 600, 600]);
        let record = Backoff::default().after(vec![(at(30), false), (at(10), false), (at(20), true)]);
        assert_eq!(record, Backoff { failures: 1, last: Some(at(30)) });
        assert_eq!(record.remaining(at(34)).as_secs(), 6);
        assert_eq!(record.remaining(at(40)), Duration::ZERO);
        assert_eq!(Backoff::default().remaining(at(0)), Duration::ZERO);
    }
}
