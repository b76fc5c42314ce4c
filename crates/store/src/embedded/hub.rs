//! Delivers changes to watchers without ever waiting for one.
//!
//! ```text
//!            dispatch                      queue full
//!   Live ───────────────► Live     Live ─────────────► Behind { from }
//!   Behind ── read up to the present from history ───► Live
//!   Behind ── history was trimmed under it ──────────► Lagged, the stream ends
//! ```
//!
//! A live watcher has a bounded queue which the writer fills. One that is too slow for its queue reads the shared
//! history at its own pace instead; only when that is gone too is it cut off. So a slow watcher costs others
//! nothing: no memory beyond its queue, and no waiting in the writer.
//!
//! Watchers are found by prefix: a change is looked up once for each distinct prefix length, so hundreds of watches
//! on single objects cost a few hash probes (M17).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use futures::StreamExt;
use tokio::sync::Notify;

use super::index::Index;
use crate::{Error, Event, Revision, WatchItem, WatchStream};

/// Changes a live watcher may have waiting; beyond it the watcher reads history. Values are shared, so a full queue
/// holds about 0.6 MB of its own.
const QUEUE: usize = 4096;

/// Changes looked at in history under one hold of the index's lock (M16).
const CATCH_UP: usize = 1024;

/// Who watches what.
#[derive(Debug)]
pub(super) struct Hub {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    watchers: HashMap<Arc<str>, Vec<Arc<Watcher>>>,
    /// How many watchers have a prefix of this length.
    lengths: BTreeMap<usize, usize>,
    /// Every change up to here went to the live watchers.
    dispatched: Revision,
    closed: bool,
}

impl Hub {
    pub(super) fn new(dispatched: Revision) -> Self {
        let inner = Inner { watchers: HashMap::new(), lengths: BTreeMap::new(), dispatched, closed: false };
        Self { inner: Mutex::new(inner) }
    }

    /// Begins a watch. `None` when the hub is closed.
    pub(super) fn watch(
        self: &Arc<Self>,
        index: &Arc<RwLock<Index>>,
        prefix: &str,
        from: Revision,
    ) -> Option<WatchStream> {
        let mut inner = self.lock();
        if inner.closed {
            return None;
        }
        let mode = if from > inner.dispatched { Mode::Live } else { Mode::Behind };
        let state = WatcherState { next: from, mode, queue: VecDeque::new(), progress: None };
        let watcher =
            Arc::new(Watcher { prefix: prefix.into(), state: Mutex::new(state), wake: Notify::new() });
        inner.watchers.entry(Arc::clone(&watcher.prefix)).or_default().push(Arc::clone(&watcher));
        *inner.lengths.entry(prefix.len()).or_default() += 1;
        drop(inner);
        let cursor =
            Cursor { hub: Arc::clone(self), index: Arc::clone(index), watcher, replay: VecDeque::new() };
        let items = futures::stream::unfold(Some(cursor), |cursor| async move {
            let mut cursor = cursor?;
            match cursor.next().await? {
                Ok(item) => Some((Ok(item), Some(cursor))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Some(items.boxed())
    }

    /// Hands changes to the live watchers. Only the writer calls this, with every change, in order.
    pub(super) fn dispatch(&self, events: &[Event]) {
        let mut inner = self.lock();
        for event in events {
            for length in inner.lengths.keys().take_while(|length| **length <= event.key.len()) {
                let Some(prefix) = event.key.get(..*length) else { continue };
                for watcher in inner.watchers.get(prefix).into_iter().flatten() {
                    watcher.push(event);
                }
            }
            inner.dispatched = event.revision;
        }
    }

    /// Tells every live watcher that nothing at or below the newest revision is still to come for it (M7).
    pub(super) fn announce_progress(&self) {
        let inner = self.lock();
        for watcher in inner.watchers.values().flatten() {
            watcher.progress(inner.dispatched);
        }
    }

    /// Ends all watches, each after what it has waiting, and refuses new ones.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        for watcher in inner.watchers.values().flatten() {
            watcher.lock().mode.close();
            watcher.wake.notify_one();
        }
    }

    /// Turns a watcher live again if it has seen everything that was dispatched.
    fn rejoin(&self, watcher: &Watcher, seen_up_to: Revision) {
        let inner = self.lock();
        let mut state = watcher.lock();
        state.next = seen_up_to;
        if seen_up_to > inner.dispatched && state.mode == Mode::Behind {
            state.mode = Mode::Live;
        }
    }

    fn leave(&self, watcher: &Arc<Watcher>) {
        let mut inner = self.lock();
        if let Some(group) = inner.watchers.get_mut(&watcher.prefix) {
            group.retain(|other| !Arc::ptr_eq(other, watcher));
            if group.is_empty() {
                inner.watchers.remove(&watcher.prefix);
            }
        }
        let length = watcher.prefix.len();
        if let Some(count) = inner.lengths.get_mut(&length) {
            *count -= 1;
            if *count == 0 {
                inner.lengths.remove(&length);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Watcher {
    prefix: Arc<str>,
    state: Mutex<WatcherState>,
    wake: Notify,
}

#[derive(Debug)]
struct WatcherState {
    /// Changes below this are delivered, queued or not wanted.
    next: Revision,
    mode: Mode,
    queue: VecDeque<Event>,
    progress: Option<Revision>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The writer fills the queue.
    Live,
    /// The watcher reads history from `next`, once its queue is empty.
    Behind,
    /// As `Live`, but nothing will follow.
    ClosedLive,
    /// As `Behind`, up to the end of history.
    ClosedBehind,
}

impl Mode {
    fn close(&mut self) {
        *self = match self {
            Self::Live | Self::ClosedLive => Self::ClosedLive,
            Self::Behind | Self::ClosedBehind => Self::ClosedBehind,
        };
    }
}

impl Watcher {
    fn push(&self, event: &Event) {
        let mut state = self.lock();
        if state.mode != Mode::Live || event.revision < state.next {
            return;
        }
        if state.queue.len() >= QUEUE {
            state.mode = Mode::Behind;
            state.next = event.revision;
            return;
        }
        state.next = event.revision + 1;
        state.progress = None;
        state.queue.push_back(event.clone());
        drop(state);
        self.wake.notify_one();
    }

    fn progress(&self, revision: Revision) {
        let mut state = self.lock();
        if state.mode != Mode::Live || revision < state.next {
            return;
        }
        state.next = revision + 1;
        state.progress = Some(revision);
        drop(state);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, WatcherState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self) -> Step {
        let mut state = self.lock();
        if let Some(event) = state.queue.pop_front() {
            if state.queue.is_empty() {
                // Three hundred idle watchers must not keep the room of their busiest moment.
                state.queue.shrink_to(16);
            }
            return Step::Deliver(WatchItem::Event(event));
        }
        if let Some(revision) = state.progress.take() {
            return Step::Deliver(WatchItem::Progress(revision));
        }
        match state.mode {
            Mode::Live => Step::Wait,
            Mode::Behind => Step::Replay { from: state.next, last: false },
            Mode::ClosedBehind => Step::Replay { from: state.next, last: true },
            Mode::ClosedLive => Step::End,
        }
    }
}

enum Step {
    Deliver(WatchItem),
    Replay { from: Revision, last: bool },
    Wait,
    End,
}

/// The reading end of one watch. Dropping it unsubscribes.
struct Cursor {
    hub: Arc<Hub>,
    index: Arc<RwLock<Index>>,
    watcher: Arc<Watcher>,
    replay: VecDeque<Event>,
}

impl Cursor {
    async fn next(&mut self) -> Option<Result<WatchItem, Error>> {
        loop {
            if let Some(event) = self.replay.pop_front() {
                return Some(Ok(WatchItem::Event(event)));
            }
            match self.watcher.step() {
                Step::Deliver(item) => return Some(Ok(item)),
                Step::End => return None,
                Step::Wait => self.watcher.wake.notified().await,
                Step::Replay { from, last } => {
                    if let Err(error) = self.read_history(from, last) {
                        return Some(Err(error));
                    }
                    // A long way to catch up must not keep the executor's thread from others.
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn read_history(&mut self, from: Revision, last: bool) -> Result<(), Error> {
        let read = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            index.events(&self.watcher.prefix, from, CATCH_UP).map(|read| (read, index.current()))
        };
        // The start was checked when the watch began, so history can only have gone missing since.
        let ((events, resume), current) = read.map_err(|_| Error::Lagged)?;
        self.replay = events.into();
        self.hub.rejoin(&self.watcher, resume);
        if last && resume > current {
            self.watcher.lock().mode = Mode::ClosedLive;
        }
        Ok(())
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.hub.leave(&self.watcher);
    }
}
