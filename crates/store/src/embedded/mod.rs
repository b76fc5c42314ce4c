//! The embedded backend: one file, one writer, everything read from memory.
//!
//! | module | is |
//! |---|---|
//! | `index` | every key and the recent past, in memory |
//! | `disk` | the file |
//! | `writer` | the thread that decides, commits and answers |
//! | `leases` | what expires when |
//! | `lock` | one process per folder |
//!
//! Reads never wait for the disk. A restart begins a new history: watches and reads from before it are
//! [`Error::Compacted`], and clients list again.

mod disk;
mod index;
mod leases;
mod lock;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use outrigger_api::clock::{MonoTime, Now, SharedClock};
use tokio::sync::{mpsc, oneshot};

use self::disk::Disk;
use self::index::{Index, Scan};
use self::leases::Leases;
use self::writer::{Request, Writer};
use crate::hub::Hub;
use crate::{Error, Expect, KeyValue, MAX_VALUE, Outcome, Range, RangeResult, Revision, Store, WatchStream};

pub use self::index::HistoryLimits;
pub use self::lock::DirLock;

/// Writes waiting for the writer; beyond it callers wait for room.
const QUEUE: usize = 1024;
/// Keys visited under one hold of the index's lock (M16).
const SCAN: usize = 2048;
const FILE: &str = "store.redb";

/// Why a store could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the folder.
    #[error("{} is held by {}", path.display(), holder(*pid))]
    InUse {
        /// Which, if it has already written its name.
        pid: Option<u32>,
        /// The lock file.
        path: PathBuf,
    },
    /// The file cannot be read or is damaged.
    #[error(transparent)]
    Store(#[from] Error),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// The embedded store. Dropping it lets the writer finish what it was given.
#[derive(Debug)]
pub struct EmbeddedStore {
    index: Arc<RwLock<Index>>,
    hub: Arc<Hub>,
    requests: mpsc::Sender<Request>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl EmbeddedStore {
    /// Opens the store in `folder`, which is made if it is not there. Must be called inside a Tokio runtime, whose
    /// timers the writer uses.
    ///
    /// # Errors
    /// If another process has the folder, the disk refuses, or the file is damaged.
    pub fn open(folder: &Path, limits: HistoryLimits, clock: SharedClock) -> Result<Self, OpenError> {
        let unavailable = |error: std::io::Error| Error::Unavailable(Box::new(error));
        let lock = DirLock::take_folder(folder)?;
        let (disk, loaded) = Disk::open(&folder.join(FILE))?;
        let now = clock.now();
        let (mut index, mut leases) = (Index::starting_at(loaded.revision), Leases::default());
        for (kv, expires_at) in loaded.keys {
            leases.set(&kv.key, expires_at.map(|at| deadline(at, now)));
            index.load(kv);
        }
        let hub = Arc::new(Hub::new(index.current()));
        let index = Arc::new(RwLock::new(index));
        let (requests, queue) = mpsc::channel(QUEUE);
        let (shared_index, shared_hub) = (Arc::clone(&index), Arc::clone(&hub));
        let writer =
            Writer { disk, index: shared_index, hub: shared_hub, leases, limits, clock, stalled: false };
        let runtime = tokio::runtime::Handle::current();
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            runtime.block_on(writer.run(queue));
            drop(lock);
        });
        let writer = Mutex::new(Some(thread.map_err(unavailable)?));
        Ok(Self { index, hub, requests, writer })
    }

    async fn write(
        &self,
        key: &str,
        value: Option<Bytes>,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<Outcome, Error> {
        if key.len() + value.as_ref().map_or(0, Bytes::len) > MAX_VALUE {
            return Err(Error::TooLarge);
        }
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Write { key: key.into(), value, expect, ttl, answer }).await?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn ask(&self, request: Request) -> Result<(), Error> {
        self.requests.send(request).await.map_err(|_| closed())
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), Error> {
        let index = self.index();
        Ok((index.get(key), index.current()))
    }

    async fn range(&self, range: Range<'_>) -> Result<RangeResult, Error> {
        let revision = {
            let index = self.index();
            let revision = range.revision.unwrap_or_else(|| index.current());
            index.check_readable(revision)?;
            revision
        };
        let mut scan = Scan::default();
        loop {
            {
                let index = self.index();
                index.check_readable(revision)?;
                index.scan(&range, revision, &mut scan, SCAN);
            }
            if scan.resume.is_none() {
                return Ok(RangeResult { kvs: scan.kvs, revision, count: scan.count });
            }
            tokio::task::yield_now().await;
        }
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<Outcome, Error> {
        self.write(key, Some(value), expect, ttl).await
    }

    async fn delete(&self, key: &str, expect: Revision) -> Result<Outcome, Error> {
        self.write(key, None, Expect::Revision(expect), None).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, Error> {
        self.index().check_watchable(from)?;
        self.hub.watch(&self.index, prefix, from).ok_or_else(closed)
    }

    async fn revision(&self) -> Result<Revision, Error> {
        Ok(self.index().current())
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Compact { revision, answer }).await?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn close(&self) {
        // A failure to ask means that it has ended already.
        let _ = self.ask(Request::Close).await;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }
}

/// A stored wall-clock expiry on this boot's clock; one that has passed is due at once.
fn deadline(expires_at: i64, now: Now) -> MonoTime {
    let left = expires_at.saturating_sub(now.wall.as_millisecond());
    now.mono + Duration::from_millis(u64::try_from(left).unwrap_or(0))
}

fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}
