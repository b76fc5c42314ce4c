//! Objects in the store: reads at a revision, compare-and-set writes, lists in pages, watches.
//!
//! Everything here speaks keys, encoded objects and revisions; what a write means was decided before
//! (`pipeline`), what a client sees of a read is decided after (`present`).

mod convert;
mod errors;
mod facts;
mod hub;
mod list;
mod select;
mod stored;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use outrigger_api::{KindInfo, Object, StatusError};
use outrigger_store::{Expect, Outcome, Revision, Store};

pub(crate) use convert::to_version;
pub(crate) use errors::{store_error, too_new};
pub(crate) use hub::{Hubs, line};
pub(crate) use list::{ListRequest, Page};
pub(crate) use select::Selection;
pub(crate) use stored::{Stored, encode};
pub(crate) use watch::{WatchEvent, WatchRequest, Watcher};

/// How long a read waits for a revision that has not happened yet (E4).
const PATIENCE: Duration = Duration::from_secs(3);
/// Events are kept for an hour (M8).
const EVENT_TTL: Duration = Duration::from_secs(3600);

/// The store as the API server uses it.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    store: Arc<dyn Store>,
    hubs: Arc<Hubs>,
}

impl Storage {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { hubs: Arc::new(Hubs::new(Arc::clone(&store))), store }
    }

    /// Ends all watches.
    pub(crate) async fn close(&self) {
        self.hubs.close().await;
    }

    /// The newest revision; doubles as the readiness check.
    pub(crate) async fn revision(&self) -> Result<Revision, outrigger_store::Error> {
        self.store.revision().await
    }

    /// An object's newest state.
    pub(crate) async fn find(
        &self,
        kind: &KindInfo,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Stored>, StatusError> {
        let found = self.store.get(&kind.key(namespace, name)).await;
        let (kv, _) = found.map_err(|error| store_error(&error, "get", &kind.plural))?;
        kv.map(Stored::new).transpose()
    }

    /// An object's newest state, or 404.
    pub(crate) async fn get(
        &self,
        kind: &KindInfo,
        namespace: &str,
        name: &str,
    ) -> Result<Stored, StatusError> {
        let found = self.find(kind, namespace, name).await?;
        found.ok_or_else(|| StatusError::not_found(&kind.plural, &kind.group, name))
    }

    /// Waits until the store has reached `revision`; 504 after three seconds (E4).
    pub(crate) async fn wait_for(&self, kind: &KindInfo, revision: Revision) -> Result<(), StatusError> {
        let newest = || async {
            self.store.revision().await.map_err(|error| store_error(&error, "get", &kind.plural))
        };
        if newest().await? >= revision {
            return Ok(());
        }
        let wait = async {
            let hub = self.hubs.feed(&kind.prefix(), newest().await?).await;
            let mut feed = hub.map_err(|error| store_error(&error, "get", &kind.plural))?;
            while newest().await? < revision {
                if feed.next().await.is_err() {
                    return Err(too_new(revision, newest().await?));
                }
            }
            Ok(())
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(outcome) => outcome,
            // It may have been reached by a write to another kind, which the feed does not tell at once.
            Err(_) => match newest().await? {
                current if current < revision => Err(too_new(revision, current)),
                _ => Ok(()),
            },
        }
    }

    /// Writes a new object. `Ok(Err(existing))` if the name is taken.
    pub(crate) async fn create(
        &self,
        kind: &KindInfo,
        object: &Object,
    ) -> Result<Result<Stored, Option<Stored>>, StatusError> {
        self.put(kind, object, Expect::Absent, "create").await
    }

    /// Replaces the state `old` by `object`. `Ok(Err(newest))` if something else was written meanwhile.
    pub(crate) async fn update(
        &self,
        kind: &KindInfo,
        old: &Stored,
        object: &Object,
    ) -> Result<Result<Stored, Option<Stored>>, StatusError> {
        self.put(kind, object, Expect::Revision(old.revision), "update").await
    }

    /// Removes the state `old`. `Ok(Ok(revision))` of the removal, or the newest state.
    pub(crate) async fn delete(
        &self,
        kind: &KindInfo,
        old: &Stored,
    ) -> Result<Result<Revision, Option<Stored>>, StatusError> {
        let outcome = self.store.delete(&old.key, old.revision).await;
        match outcome.map_err(|error| store_error(&error, "delete", &kind.plural))? {
            Outcome::Applied(revision) => Ok(Ok(revision)),
            Outcome::Mismatch(newest) => Ok(Err(newest.map(Stored::new).transpose()?)),
        }
    }

    async fn put(
        &self,
        kind: &KindInfo,
        object: &Object,
        expect: Expect,
        op: &str,
    ) -> Result<Result<Stored, Option<Stored>>, StatusError> {
        let key: Arc<str> = kind.key(object.namespace(), object.name()).into();
        let (group, version) = kind.storage_version();
        let value = if (group, version) == (&*kind.group, &*kind.version) {
            encode(object)
        } else {
            encode(&to_version(object.clone(), &kind.kind, group, version))
        };
        let ttl = (kind.kind == "Event").then_some(EVENT_TTL);
        let outcome = self.store.put(&key, value.clone(), expect, ttl).await;
        match outcome.map_err(|error| store_error(&error, op, &kind.plural))? {
            Outcome::Applied(revision) => Ok(Ok(Stored::from_parts(key, value, revision)?)),
            Outcome::Mismatch(newest) => Ok(Err(newest.map(Stored::new).transpose()?)),
        }
    }
}

/// Reads a `resourceVersion` parameter: `None` for none, `Some(0)` for "any".
///
/// # Errors
/// 400, as a GET or a watch tells it (E3).
pub(crate) fn parse_version(text: &str) -> Result<Option<Revision>, StatusError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        StatusError::bad_request(format!(
            "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
        ))
    })
}
