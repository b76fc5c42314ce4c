//! Shared leases (M8): keys with the same time to live hang on one lease for a while, because each lease costs
//! etcd a consensus round and a timer.

use std::collections::HashMap;
use std::time::Duration;

use outrigger_api::clock::{MonoTime, SharedClock};
use tokio::sync::Mutex;

use super::client::{Client, Kind};
use super::wire::{LeaseGrantRequest, LeaseGrantResponse};
use crate::Error;

/// A lease takes on keys for a twentieth of its time to live, in whole seconds and at least one, ...
const SHARE: u64 = 20;
/// ... but no longer than this ...
const REUSE: Duration = Duration::from_secs(60);
/// ... and at most so many keys, since all of them go in one revision.
const KEYS: u32 = 1000;

#[derive(Debug)]
pub(super) struct Leases {
    /// By seconds to live.
    current: Mutex<HashMap<u64, Lease>>,
    clock: SharedClock,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    id: i64,
    keys: u32,
    until: MonoTime,
}

impl Leases {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { current: Mutex::default(), clock }
    }

    /// A lease that lives at least `ttl` from now. The lock is held while one is granted: whoever else wants one
    /// with this time to live wants that very lease.
    pub(super) async fn lease(&self, client: &Client, ttl: Duration) -> Result<i64, Error> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let mut current = self.current.lock().await;
        let now = self.clock.now().mono;
        // Other times to live than the few in use would otherwise pile up.
        current.retain(|_, lease| lease.keys < KEYS && now < lease.until);
        if let Some(lease) = current.get_mut(&seconds) {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let slack = REUSE.min(Duration::from_secs((seconds / SHARE).max(1)));
        let request = LeaseGrantRequest { ttl: i64::try_from(seconds + slack.as_secs()).unwrap_or(i64::MAX) };
        // A grant that was made unseen expires unused.
        let granted: LeaseGrantResponse =
            client.call("/etcdserverpb.Lease/LeaseGrant", request, Kind::Read).await?;
        if !granted.error.is_empty() {
            return Err(Error::Unavailable(granted.error.into()));
        }
        current.insert(seconds, Lease { id: granted.id, keys: 1, until: now + slack });
        Ok(granted.id)
    }

    /// etcd does not know the lease any more.
    pub(super) async fn forget(&self, id: i64) {
        self.current.lock().await.retain(|_, lease| lease.id != id);
    }
}
