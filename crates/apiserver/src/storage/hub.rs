//! One store watch per kind, shared by all who watch it.
//!
//! A [`Hub`] follows the store under one prefix and keeps the last changes in a ring. Watchers are cursors into the
//! ring: they copy nothing, take no turn of the hub, and an event's line is encoded once whoever asks first. A
//! watcher that falls out of the ring is told so and closed (E36). A start older than the ring is served by a store
//! watch of its own.
//!
//! ```text
//! store.watch(prefix) ─► hub task ─► ring ─► Feed, Feed, Feed …
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use outrigger_store::{Error, Event, Revision, Store, WatchItem, WatchStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::stored::Stored;

/// The ring holds at most so many changes …
const RING_EVENTS: usize = 4096;
/// … and at most so many bytes of objects, but always the newest change.
const RING_BYTES: usize = 8 << 20;
/// A feed hands over at most so many changes at once, so that one write to the socket stays small.
const BATCH: usize = 128;

/// One change, with everything watchers derive from it computed at most once.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) revision: Revision,
    pub(crate) key: Arc<str>,
    /// The state after; `None` for a deletion.
    pub(crate) current: Option<Stored>,
    /// The state before, as of the revision of this change (E29).
    pub(crate) previous: Option<Stored>,
    lines: [OnceLock<Bytes>; 3],
    frames: [OnceLock<Bytes>; 3],
}

/// What happened to an object from the view of one watcher (E28).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventType {
    Added,
    Modified,
    Deleted,
}

impl EventType {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

impl Change {
    fn new(event: Event) -> Option<Self> {
        let decode = |kv: outrigger_store::KeyValue| {
            Stored::new(kv)
                .inspect_err(
                    |error| tracing::error!(%error, "a stored object cannot be read; its change is not sent"),
                )
                .ok()
        };
        let revision = event.revision;
        let current = event.current.and_then(decode);
        let previous = event.previous.and_then(decode).map(|stored| stored.at_revision(revision));
        if current.is_none() && previous.is_none() {
            return None;
        }
        Some(Self {
            revision,
            key: event.key,
            current,
            previous,
            lines: Default::default(),
            frames: Default::default(),
        })
    }

    /// The object an event of this type carries.
    pub(crate) fn object(&self, event: EventType) -> Option<&Stored> {
        match event {
            EventType::Added | EventType::Modified => self.current.as_ref(),
            EventType::Deleted => self.previous.as_ref(),
        }
    }

    /// The encoded watch event, made by the first who asks.
    pub(crate) fn line(&self, event: EventType) -> Option<Bytes> {
        let object = self.object(event)?;
        Some(self.lines[event as usize].get_or_init(|| line(event.word(), object)).clone())
    }

    /// The same in protobuf, which needs to know more than this module does: made by `make`, once.
    pub(crate) fn frame(&self, event: EventType, make: impl FnOnce() -> Bytes) -> Bytes {
        self.frames[event as usize].get_or_init(make).clone()
    }

    fn size(&self) -> usize {
        let size = |stored: &Option<Stored>| stored.as_ref().map_or(0, |stored| stored.raw().len());
        size(&self.current) + size(&self.previous)
    }
}

/// `{"type":…,"object":…}` and a newline (E25).
pub(crate) fn line(event: &str, object: &Stored) -> Bytes {
    let mut out = Vec::with_capacity(object.raw().len() + 96);
    write_line(event, object, &mut out);
    out.into()
}

/// Appends a [`line`].
pub(crate) fn write_line(event: &str, object: &Stored, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    object.write_to(out);
    out.extend_from_slice(b"}\n");
}

/// The hubs of all kinds that were ever watched.
#[derive(Debug)]
pub(crate) struct Hubs {
    store: Arc<dyn Store>,
    hubs: Mutex<HashMap<String, Arc<Hub>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Hubs {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, hubs: Mutex::default(), tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// The hub of a prefix, started if need be. Once this returns, no change after the store's present revision
    /// escapes it.
    pub(crate) async fn hub(&self, prefix: &str) -> Result<Arc<Hub>, Error> {
        if let Some(hub) = self.running(prefix) {
            return Ok(hub);
        }
        let floor = self.store.revision().await?;
        let stream = self.store.watch(prefix, floor + 1).await?;
        let hub = Arc::new(Hub::new(floor));
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = hubs.get(prefix).filter(|hub| !hub.is_closed()) {
            // Somebody else was quicker; our store watch is dropped unread.
            return Ok(Arc::clone(hub));
        }
        hubs.insert(prefix.to_owned(), Arc::clone(&hub));
        self.tasks.spawn(follow(Arc::clone(&hub), stream, self.stop.clone()));
        Ok(hub)
    }

    fn running(&self, prefix: &str) -> Option<Arc<Hub>> {
        let hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.get(prefix).filter(|hub| !hub.is_closed()).cloned()
    }

    /// Changes under `prefix` after a revision, from the ring if it reaches back that far.
    pub(crate) async fn feed(&self, prefix: &str, after: Revision) -> Result<Feed, Error> {
        let hub = self.hub(prefix).await?;
        match hub.subscribe(after) {
            Some(feed) => Ok(feed),
            None => Ok(Feed::Own(self.store.watch(prefix, after + 1).await?)),
        }
    }

    /// Ends all hubs and with them all feeds.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn follow(hub: Arc<Hub>, mut stream: WatchStream, stop: CancellationToken) {
    loop {
        let item = tokio::select! {
            () = stop.cancelled() => break,
            item = stream.next() => item,
        };
        match item {
            Some(Ok(WatchItem::Event(event))) => hub.push(event),
            Some(Ok(WatchItem::Progress(revision))) => hub.progress(revision),
            Some(Err(error)) => {
                tracing::warn!(%error, "the store ended a watch; its watchers reconnect");
                break;
            }
            None => break,
        }
    }
    hub.close();
}

/// The changes of one prefix.
#[derive(Debug)]
pub(crate) struct Hub {
    ring: Mutex<Ring>,
    /// Rings after every change of the ring.
    bell: watch::Sender<()>,
}

#[derive(Debug)]
struct Ring {
    changes: VecDeque<Arc<Change>>,
    /// The sequence number of the first change in the ring.
    first: u64,
    bytes: usize,
    /// Every change after this revision is in the ring.
    floor: Revision,
    /// No change at or below this revision is still to come.
    seen: Revision,
    closed: bool,
}

impl Hub {
    fn new(floor: Revision) -> Self {
        let ring = Ring { changes: VecDeque::new(), first: 0, bytes: 0, floor, seen: floor, closed: false };
        Self { ring: Mutex::new(ring), bell: watch::Sender::new(()) }
    }

    fn change(&self, edit: impl FnOnce(&mut Ring)) {
        edit(&mut self.ring.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.send_replace(());
    }

    fn push(&self, event: Event) {
        let revision = event.revision;
        let change = Change::new(event);
        self.change(|ring| {
            ring.seen = ring.seen.max(revision);
            if let Some(change) = change {
                ring.bytes += change.size();
                ring.changes.push_back(Arc::new(change));
            }
            while ring.changes.len() > RING_EVENTS || (ring.bytes > RING_BYTES && ring.changes.len() > 1) {
                let Some(oldest) = ring.changes.pop_front() else { break };
                ring.bytes -= oldest.size();
                ring.floor = oldest.revision;
                ring.first += 1;
            }
        });
    }

    fn progress(&self, revision: Revision) {
        self.change(|ring| ring.seen = ring.seen.max(revision));
    }

    fn close(&self) {
        self.change(|ring| ring.closed = true);
    }

    fn is_closed(&self) -> bool {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).closed
    }

    /// A feed of every change after `after`; `None` if the ring does not reach back that far.
    fn subscribe(self: &Arc<Self>, after: Revision) -> Option<Feed> {
        let bell = self.bell.subscribe();
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if after < ring.floor {
            return None;
        }
        let skipped = ring.changes.partition_point(|change| change.revision <= after);
        let next = ring.first + u64::try_from(skipped).expect("a ring is smaller than that");
        drop(ring);
        Some(Feed::Shared(Cursor { hub: Arc::clone(self), bell, next, after, reported: 0 }))
    }
}

/// A watcher's place in a hub.
#[derive(Debug)]
pub(crate) struct Cursor {
    hub: Arc<Hub>,
    bell: watch::Receiver<()>,
    next: u64,
    /// Progress below the start says nothing: a start in the future stays silent (E33a).
    after: Revision,
    reported: Revision,
}

/// Changes as they come.
pub(crate) enum Feed {
    /// From a hub's ring.
    Shared(Cursor),
    /// From a store watch of its own.
    Own(WatchStream),
}

/// What a [`Feed`] yields.
pub(crate) enum News {
    /// Changes in order.
    Changes(Vec<Arc<Change>>),
    /// Nothing at or below this revision is still to come.
    Progress(Revision),
}

/// Why a [`Feed`] is over.
pub(crate) enum FeedEnd {
    /// The watcher was too slow, or the server stops: no ERROR event (E36, E37).
    Closed,
    /// The start is no longer in the store's history (E33).
    Expired,
}

impl Feed {
    /// Waits for what comes next. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<News, FeedEnd> {
        match self {
            Self::Shared(cursor) => cursor.next().await,
            Self::Own(stream) => loop {
                match stream.next().await {
                    Some(Ok(WatchItem::Event(event))) => {
                        if let Some(change) = Change::new(event) {
                            return Ok(News::Changes(vec![Arc::new(change)]));
                        }
                    }
                    Some(Ok(WatchItem::Progress(revision))) => return Ok(News::Progress(revision)),
                    Some(Err(Error::Compacted { .. })) => return Err(FeedEnd::Expired),
                    Some(Err(_)) | None => return Err(FeedEnd::Closed),
                }
            },
        }
    }
}

impl Cursor {
    async fn next(&mut self) -> Result<News, FeedEnd> {
        loop {
            self.bell.borrow_and_update();
            if let Some(news) = self.take()? {
                return Ok(news);
            }
            if self.bell.changed().await.is_err() {
                return Err(FeedEnd::Closed);
            }
        }
    }

    fn take(&mut self) -> Result<Option<News>, FeedEnd> {
        let ring = self.hub.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(skip) = self.next.checked_sub(ring.first) else { return Err(FeedEnd::Closed) };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let changes: Vec<_> = ring.changes.iter().skip(skip).take(BATCH).cloned().collect();
        if !changes.is_empty() {
            self.next += u64::try_from(changes.len()).expect("a batch is small");
            let changes = changes.into_iter().filter(|change| change.revision > self.after).collect();
            return Ok(Some(News::Changes(changes)));
        }
        if ring.closed {
            return Err(FeedEnd::Closed);
        }
        if ring.seen > self.reported.max(self.after) {
            self.reported = ring.seen;
            return Ok(Some(News::Progress(ring.seen)));
        }
        Ok(None)
    }
}
