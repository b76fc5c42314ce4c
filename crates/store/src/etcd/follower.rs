//! The one watch on etcd that serves everybody, and watchers that need more than it has.
//!
//! ```text
//!              the ring covers it        the ring passed it
//!   Shared ◄──────────────────── Own    Shared ─────────────► Own
//!   Own ── compacted at its start ─────► Compacted, the stream ends
//!   Own ── compacted later ────────────► Lagged, the stream ends
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::StreamExt;

use super::client::Retry;
use super::ring::Ring;
use super::watch::EtcdWatch;
use super::{Shared, newest};
use crate::hub::Cursor;
use crate::{Error, Revision, WatchItem, WatchStream};

/// How often idle watchers hear how far the store is (M7).
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Follows etcd from just after `revision` until the store is closed, then ends all watches.
pub(super) async fn run(shared: Arc<Shared>, revision: Revision) {
    let closed = shared.closed.clone();
    closed.run_until_cancelled(follow(&shared, revision)).await;
    shared.hub.close();
}

async fn follow(shared: &Shared, mut revision: Revision) {
    loop {
        let error = follow_from(shared, revision + 1).await;
        tracing::warn!(%error, "what etcd holds changed faster than it could be followed; watchers look for themselves");
        revision = present(shared).await;
        *shared.ring.write().unwrap_or_else(PoisonError::into_inner) = Ring::starting_at(revision);
        shared.hub.skip_to(revision);
    }
}

async fn follow_from(shared: &Shared, from: Revision) -> Error {
    let mut watch = EtcdWatch::new(Arc::clone(&shared.client), &shared.root, from);
    let mut progress = tokio::time::interval(PROGRESS_EVERY);
    loop {
        tokio::select! {
            events = watch.next() => match events {
                Ok(events) => {
                    shared.ring.write().unwrap_or_else(PoisonError::into_inner).push(&events);
                    shared.hub.dispatch(&events);
                }
                Err(error) => return error,
            },
            _ = progress.tick() => shared.hub.announce_progress(),
        }
    }
}

async fn present(shared: &Shared) -> Revision {
    let mut retry = Retry::default();
    loop {
        match newest(&shared.client, &shared.root).await {
            Ok(revision) => return revision,
            Err(error) => tracing::debug!(%error, "etcd does not say how far it is"),
        }
        retry.wait().await;
    }
}

/// Begins a watch; `None` when the store is closed.
pub(super) fn watch(shared: &Arc<Shared>, prefix: &str, from: Revision) -> Option<WatchStream> {
    let source = if prefix.starts_with(&shared.root) {
        Source::Shared(shared.hub.subscribe(&shared.ring, prefix, from)?)
    } else if shared.closed.is_cancelled() {
        return None;
    } else {
        Source::own(shared, prefix, from)
    };
    let watcher = Watcher { shared: Arc::clone(shared), prefix: prefix.to_owned(), source, begun: false };
    let items = futures::stream::unfold(Some(watcher), |watcher| async move {
        let mut watcher = watcher?;
        match watcher.next().await? {
            Ok(item) => Some((Ok(item), Some(watcher))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Some(items.boxed())
}

struct Watcher {
    shared: Arc<Shared>,
    prefix: String,
    source: Source,
    /// Something was handed out: a compaction has overtaken this watcher instead of preceding it.
    begun: bool,
}

/// Where a watcher's changes come from.
enum Source {
    Shared(Cursor<Ring>),
    Own { watch: Box<EtcdWatch>, queue: VecDeque<WatchItem> },
}

impl Source {
    fn own(shared: &Shared, prefix: &str, from: Revision) -> Self {
        let watch = EtcdWatch::new(Arc::clone(&shared.client), prefix, from);
        Self::Own { watch: Box::new(watch), queue: VecDeque::new() }
    }
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<WatchItem, Error>> {
        loop {
            match &mut self.source {
                Source::Shared(cursor) => match cursor.next().await {
                    Some(Err(Error::Lagged)) => {
                        let from = cursor.position();
                        self.source = Source::own(&self.shared, &self.prefix, from);
                    }
                    item => {
                        self.begun = true;
                        return item;
                    }
                },
                Source::Own { watch, queue } => {
                    if let Some(item) = queue.pop_front() {
                        self.begun = true;
                        return Some(Ok(item));
                    }
                    if let Some(cursor) = rejoin(&self.shared, &self.prefix, watch.position()) {
                        self.source = Source::Shared(cursor);
                        continue;
                    }
                    match self.shared.closed.run_until_cancelled(watch.next()).await? {
                        Ok(events) => queue.extend(events.into_iter().map(WatchItem::Event)),
                        Err(Error::Compacted { .. }) if self.begun => return Some(Err(Error::Lagged)),
                        Err(error) => return Some(Err(error)),
                    }
                }
            }
        }
    }
}

/// The shared watch from `from` on, if the ring has what came since.
fn rejoin(shared: &Shared, prefix: &str, from: Revision) -> Option<Cursor<Ring>> {
    if !prefix.starts_with(&shared.root) {
        return None;
    }
    let covered = shared.ring.read().unwrap_or_else(PoisonError::into_inner).covers(from);
    if covered { shared.hub.subscribe(&shared.ring, prefix, from) } else { None }
}
