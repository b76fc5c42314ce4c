//! The etcd v3 backend: Kubernetes' own key layout on a cluster of etcd members.
//!
//! | module | is |
//! |---|---|
//! | `config` | URLs and certificates |
//! | `client` | requests, and what happens when an endpoint fails |
//! | `watch` | one watch on etcd, across lost connections |
//! | `follower` | the watch everybody shares, and how a watcher moves between it and one of its own |
//! | `ring` | the last changes |
//! | `leases` | times to live |
//! | `compactor` | forgetting the past |
//! | `wire` | the messages |
//!
//! Every read asks etcd (E7); nothing is cached. One etcd watch follows everything below the root and serves all
//! watchers, so that hundreds of them cost etcd one, and each knows how far the store is whatever is being
//! written (M7).

mod client;
mod compactor;
mod config;
mod follower;
mod leases;
mod ring;
mod watch;
mod wire;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use outrigger_api::clock::SharedClock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::client::{Client, Kind, refusal};
use self::leases::Leases;
use self::ring::Ring;
use self::wire::{
    CompactionRequest, Compare, DeleteRangeRequest, Done, PutRequest, RangeRequest, RangeResponse, Request,
    ResponseHeader, TxnRequest, TxnResponse,
};
use crate::hub::Hub;
use crate::{Error, Expect, KeyValue, MAX_VALUE, Outcome, Range, RangeResult, Revision, Store, WatchStream};

pub use self::config::{EtcdConfig, EtcdConfigError, EtcdEndpoints, EtcdTls};

/// Keys fetched in one answer: with values as large as they may be it stays below what gRPC can carry.
const PAGE: usize = 1000;

/// Why a store on etcd could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It was told nonsense.
    #[error(transparent)]
    Config(#[from] EtcdConfigError),
    /// No endpoint answered.
    #[error("no answer from any of {endpoints}")]
    Unreachable {
        /// All that were tried.
        endpoints: EtcdEndpoints,
        /// What the last one said.
        source: Error,
    },
}

/// A store on etcd. Several of them, in one process or many, may share one etcd. Dropping it ends its watches.
#[derive(Debug)]
pub struct EtcdStore {
    shared: Arc<Shared>,
    leases: Leases,
    /// Writes under way, and the tasks that follow and compact.
    tasks: TaskTracker,
}

/// What watchers need as well.
#[derive(Debug)]
struct Shared {
    client: Arc<Client>,
    hub: Arc<Hub>,
    ring: Arc<RwLock<Ring>>,
    root: String,
    closed: CancellationToken,
}

impl EtcdStore {
    /// Makes sure that etcd answers, and begins to follow it. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// If the configuration makes no sense, or no endpoint answers within [`EtcdConfig::patience`].
    pub async fn connect(config: EtcdConfig, clock: SharedClock) -> Result<Self, ConnectError> {
        let client = Arc::new(Client::new(&config)?);
        let unreachable = |source| ConnectError::Unreachable { endpoints: config.endpoints.clone(), source };
        let revision = newest(&client, &config.root).await.map_err(unreachable)?;
        let shared = Arc::new(Shared {
            client,
            hub: Arc::new(Hub::new(revision)),
            ring: Arc::new(RwLock::new(Ring::starting_at(revision))),
            root: config.root,
            closed: CancellationToken::new(),
        });
        let tasks = TaskTracker::new();
        tasks.spawn(follower::run(Arc::clone(&shared), revision));
        let (client, closed) = (Arc::clone(&shared.client), shared.closed.clone());
        tasks.spawn(async move {
            closed.run_until_cancelled(compactor::run(&client, config.compaction_interval)).await
        });
        Ok(Self { shared, leases: Leases::new(clock), tasks })
    }

    /// One compare-and-set, which answers with the present state if the demand does not hold.
    async fn write(&self, key: &str, write: Request, expect: Revision) -> Result<Outcome, Error> {
        let _under_way = self.tasks.token();
        if self.shared.closed.is_cancelled() {
            return Err(closed());
        }
        let key = Bytes::copy_from_slice(key.as_bytes());
        let get = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let request = TxnRequest {
            compare: vec![Compare::mod_revision(key, signed(expect))],
            success: vec![write.into()],
            failure: vec![Request::Range(get).into()],
        };
        let client = Arc::clone(&self.shared.client);
        let answer: TxnResponse = client.call("/etcdserverpb.KV/Txn", request, Kind::Write).await?;
        if answer.succeeded {
            return Ok(Outcome::Applied(header_revision(answer.header.as_ref())));
        }
        let found = answer.responses.into_iter().filter_map(|response| response.range);
        let present = found.flat_map(|range| range.kvs).next();
        Ok(Outcome::Mismatch(present.map(key_value).transpose()?))
    }

    async fn read(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        read(&self.shared.client, request).await
    }

    /// etcd says that a revision is compacted and not to where; a watch is told.
    async fn compacted(&self, prefix: &str, requested: Revision) -> Error {
        let mut probe = watch::EtcdWatch::new(Arc::clone(&self.shared.client), prefix, requested.max(1));
        let answer = tokio::time::timeout(PROBE_TIMEOUT, probe.next()).await;
        match answer {
            Ok(Err(Error::Compacted { oldest, .. })) => Error::Compacted { requested, oldest },
            // At least one more than what is gone.
            Ok(_) | Err(_) => Error::Compacted { requested, oldest: requested + 1 },
        }
    }
}

/// How long it is worth to find out the oldest revision for a message.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

impl Drop for EtcdStore {
    fn drop(&mut self) {
        self.shared.closed.cancel();
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), Error> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let answer = self.read(RangeRequest { key, ..RangeRequest::default() }).await?;
        let revision = header_revision(answer.header.as_ref());
        Ok((answer.kvs.into_iter().next().map(key_value).transpose()?, revision))
    }

    async fn range(&self, range: Range<'_>) -> Result<RangeResult, Error> {
        let end = prefix_end(range.prefix);
        let mut start = Bytes::copy_from_slice(range.prefix.max(range.start).as_bytes());
        let mut result = RangeResult { kvs: Vec::new(), revision: range.revision.unwrap_or(0), count: 0 };
        loop {
            let left = if range.limit == 0 { PAGE } else { PAGE.min(range.limit - result.kvs.len()) };
            let request = RangeRequest {
                key: start,
                range_end: end.clone(),
                limit: i64::try_from(left).unwrap_or(i64::MAX),
                revision: signed(result.revision),
                count_only: false,
            };
            let answer = match self.read(request).await {
                Ok(answer) => answer,
                Err(error) => return Err(self.range_error(error, &range, result.revision).await),
            };
            if result.kvs.is_empty() {
                // Following pages read the same moment, whoever writes meanwhile.
                result.revision = range.revision.unwrap_or_else(|| header_revision(answer.header.as_ref()));
                result.count = usize::try_from(answer.count).unwrap_or(0);
            }
            let more = answer.more;
            for kv in answer.kvs {
                result.kvs.push(key_value(kv)?);
            }
            let full = range.limit > 0 && result.kvs.len() >= range.limit;
            match result.kvs.last() {
                Some(last) if more && !full => start = format!("{}\0", last.key).into(),
                _ => return Ok(result),
            }
        }
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<Outcome, Error> {
        if key.len() + value.len() > MAX_VALUE {
            return Err(Error::TooLarge);
        }
        let expect = match expect {
            Expect::Absent => 0,
            Expect::Revision(revision) => revision,
        };
        let mut again = true;
        loop {
            let lease = match ttl {
                Some(ttl) => self.leases.lease(&self.shared.client, ttl).await?,
                None => 0,
            };
            let put = PutRequest { key: Bytes::copy_from_slice(key.as_bytes()), value: value.clone(), lease };
            match self.write(key, Request::Put(put), expect).await {
                Err(error) if again && refusal(&error).is_some_and(|text| text.contains(LEASE_GONE)) => {
                    self.leases.forget(lease).await;
                    again = false;
                }
                outcome => return outcome,
            }
        }
    }

    async fn delete(&self, key: &str, expect: Revision) -> Result<Outcome, Error> {
        let delete = DeleteRangeRequest { key: Bytes::copy_from_slice(key.as_bytes()) };
        self.write(key, Request::DeleteRange(delete), expect).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, Error> {
        follower::watch(&self.shared, prefix, from).ok_or_else(closed)
    }

    async fn revision(&self) -> Result<Revision, Error> {
        newest(&self.shared.client, &self.shared.root).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let current = self.revision().await?;
        if revision > current {
            return Err(Error::Future { requested: revision, current });
        }
        // etcd keeps what it is told to compact to; here the state before that stays as well.
        let oldest = revision.saturating_sub(1);
        compact(&self.shared.client, oldest).await?;
        self.shared.ring.write().unwrap_or_else(PoisonError::into_inner).drop_up_to(oldest);
        Ok(())
    }

    async fn close(&self) {
        self.shared.closed.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl EtcdStore {
    async fn range_error(&self, error: Error, range: &Range<'_>, requested: Revision) -> Error {
        match refusal(&error) {
            Some(text) if text.contains(COMPACTED) => self.compacted(range.prefix, requested).await,
            Some(text) if text.contains(FUTURE) => match self.revision().await {
                Ok(current) => Error::Future { requested, current },
                Err(error) => error,
            },
            _ => error,
        }
    }
}

const COMPACTED: &str = "required revision has been compacted";
const FUTURE: &str = "required revision is a future revision";
const LEASE_GONE: &str = "requested lease not found";

async fn read(client: &Client, request: RangeRequest) -> Result<RangeResponse, Error> {
    client.call("/etcdserverpb.KV/Range", request, Kind::Read).await
}

/// The newest revision, linearizable.
async fn newest(client: &Client, root: &str) -> Result<Revision, Error> {
    let key = Bytes::copy_from_slice(root.as_bytes());
    let answer = read(client, RangeRequest { key, count_only: true, ..RangeRequest::default() }).await?;
    Ok(header_revision(answer.header.as_ref()))
}

/// What is compacted already is no error.
async fn compact(client: &Client, revision: Revision) -> Result<(), Error> {
    let request = CompactionRequest { revision: signed(revision) };
    // Asking twice does no harm.
    let answer: Result<Done, Error> = client.call("/etcdserverpb.KV/Compact", request, Kind::Read).await;
    match answer {
        Err(error) if refusal(&error).is_some_and(|text| text.contains(COMPACTED)) => Ok(()),
        answer => answer.map(drop),
    }
}

/// The first key after all that begin with `prefix`, in etcd's terms: the last byte that can be counted up is.
fn prefix_end(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xFF {
            end.push(last + 1);
            return end.into();
        }
    }
    // No such key: everything from the prefix on.
    Bytes::from_static(b"\0")
}

fn key_value(kv: wire::KeyValue) -> Result<KeyValue, Error> {
    let Ok(key) = std::str::from_utf8(&kv.key) else {
        let key = kv.key.escape_ascii();
        return Err(Error::Corrupt { path: "etcd".to_owned(), cause: format!("the key {key} is not text") });
    };
    Ok(KeyValue {
        key: key.into(),
        value: kv.value,
        create_revision: revision(kv.create_revision),
        mod_revision: revision(kv.mod_revision),
    })
}

fn header_revision(header: Option<&ResponseHeader>) -> Revision {
    header.map_or(0, |header| revision(header.revision))
}

/// etcd counts in signed numbers and never goes below zero.
fn revision(signed: i64) -> Revision {
    u64::try_from(signed).unwrap_or(0)
}

fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}
