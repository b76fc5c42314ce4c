//! A revisioned key-value store with watch (rule book section M), and its backends.
//!
//! One revision counter is shared by all keys. Every write is a compare-and-set on one key. What one backend
//! promises the other must: the same test suite runs on both. The store knows nothing of Kubernetes objects;
//! it never looks inside a value.
//!
//! Start at [`Store`], the verbs. [`EmbeddedStore`] keeps everything in one file of one process, [`EtcdStore`] on an
//! etcd v3 cluster that others may share. `tests/suite` is the promise written as tests; every new promise goes there
//! first.

mod embedded;
mod etcd;
mod hub;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub use embedded::{DirLock, EmbeddedStore, HistoryLimits, OpenError};
pub use etcd::{ConnectError, EtcdConfig, EtcdConfigError, EtcdEndpoints, EtcdStore, EtcdTls};

/// A moment in the store's history. An empty store is at revision 1 and its first write makes 2, as in etcd, so that
/// a list never reflects 0, which in Kubernetes means "any".
pub type Revision = u64;

/// A key's current or historical state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key; all keys are text.
    pub key: Arc<str>,
    /// The value as written.
    pub value: Bytes,
    /// The revision that created the key's present life.
    pub create_revision: Revision,
    /// The revision of the last write.
    pub mod_revision: Revision,
}

/// What a write demands of the key's present state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key must not exist.
    Absent,
    /// The key's last write must be this revision.
    Revision(Revision),
}

/// What became of a compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied as this revision, and is durable.
    Applied(Revision),
    /// The demand did not hold; the key's present state, read in the same step.
    Mismatch(Option<KeyValue>),
}

/// Which keys to read.
#[derive(Clone, Debug)]
pub struct Range<'a> {
    /// All keys that begin with this.
    pub prefix: &'a str,
    /// Begin at the first key at or after this one; empty begins at the prefix.
    pub start: &'a str,
    /// Read as of this revision; `None` reads the newest state (linearizable).
    pub revision: Option<Revision>,
    /// At most so many keys; 0 is no limit.
    pub limit: usize,
}

/// The answer to [`Store::range`].
#[derive(Clone, Debug)]
pub struct RangeResult {
    /// Keys in byte order.
    pub kvs: Vec<KeyValue>,
    /// The revision the answer reflects: the one asked for, or the store's at the moment of reading.
    pub revision: Revision,
    /// How many keys the range holds from `start` on, returned or not.
    pub count: usize,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The revision of the change.
    pub revision: Revision,
    /// The key.
    pub key: Arc<str>,
    /// The state after the change; `None` is a deletion or the expiry of a lease.
    pub current: Option<KeyValue>,
    /// The state before it.
    pub previous: Option<KeyValue>,
}

/// What a watch delivers. Revisions never go back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem {
    /// A change.
    Event(Event),
    /// No change at or below this revision is still to come (M7).
    Progress(Revision),
}

/// A stream of changes; it ends with an error when the watcher fell too far behind or its start was compacted.
pub type WatchStream = BoxStream<'static, Result<WatchItem, Error>>;

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The revision asked for is gone.
    #[error("revision {requested} has been compacted; the oldest is {oldest}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The oldest revision that can still be read. Watches can start one above it.
        oldest: Revision,
    },
    /// The revision asked for has not happened yet.
    #[error("revision {requested} is in the future; the newest is {current}")]
    Future {
        /// What was asked for.
        requested: Revision,
        /// The newest revision.
        current: Revision,
    },
    /// The watcher did not read fast enough and was cut off; nothing it had received is wrong.
    #[error("the watcher fell behind and was closed")]
    Lagged,
    /// Key and value are over the limit of [`MAX_VALUE`] bytes (M14).
    #[error("etcdserver: request is too large")]
    TooLarge,
    /// The disk refused, the peer is away, or the store is shutting down. The write may or may not have happened.
    #[error("storage is unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The data on disk is not what was written. Nothing was changed.
    #[error("{path}: {cause}")]
    Corrupt {
        /// The file.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
}

/// The largest key and value together that are accepted: etcd's default request limit (M14). etcd counts its own
/// framing too, so it refuses a few dozen bytes earlier.
pub const MAX_VALUE: usize = 1_572_864;

/// The verbs of the store. Cheap to clone behind an `Arc`.
///
/// Dropping any returned future abandons the wait, not the write: a write that was handed over may still be applied.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// One key's newest state (linearizable), and the store's revision at that moment.
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), Error>;

    /// Many keys at one revision.
    async fn range(&self, range: Range<'_>) -> Result<RangeResult, Error>;

    /// Writes `value` if `expect` holds. With `ttl` the key expires that long after this write, give or take the
    /// slack of shared leases (M8). Returns once the write is durable.
    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<Outcome, Error>;

    /// Removes the key if its last write is `expect`.
    async fn delete(&self, key: &str, expect: Revision) -> Result<Outcome, Error>;

    /// Every change of keys under `prefix` with revision ≥ `from`, in order, with previous values.
    /// A `from` in the future is silent until the store gets there (E33a). A `from` whose past is gone is
    /// [`Error::Compacted`], here or as the stream's first item. A watcher that falls so far behind that history is
    /// trimmed under it gets [`Error::Lagged`] and no others notice. The stream ends without an error on
    /// [`Store::close`]. Dropping it unsubscribes.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, Error>;

    /// The newest revision.
    async fn revision(&self) -> Result<Revision, Error>;

    /// Forgets history before `revision`: reads and watches at or after it go on, with previous values. The state
    /// just before it, at `revision - 1`, stays readable, since that is what those previous values are. Forgetting
    /// what is already forgotten is not an error; a `revision` in the future is.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;

    /// Stops taking writes and ends all watches once what was accepted is durable. Calling it again does nothing.
    async fn close(&self);
}
