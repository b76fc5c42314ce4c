//! Delivers changes to watchers without ever waiting for one; the same for every backend.
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
//! nothing: no memory beyond its queue, and no waiting in whoever dispatches.
//!
//! Watchers are found by prefix: a change is looked up once for each distinct prefix length, so hundreds of watches
//! on single objects cost a few hash probes (M17).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use futures::StreamExt;
use tokio::sync::Notify;

use crate::{Error, Event, Revision, WatchItem, WatchStream};

/// Changes a live watcher may have waiting; beyond it the watcher reads history. Values are shared, so a full queue
/// holds about 0.6 MB of its own.
const QUEUE: usize = 4096;

/// Changes looked at in history under one hold of its lock (M16).
const CATCH_UP: usize = 1024;

/// The recent past, for watchers that are behind.
pub(crate) trait History: fmt::Debug + Send + Sync + 'static {
    /// The newest revision that is part of it.
    fn current(&self) -> Revision;

    /// Events under `prefix` from revision `from` on, looking at about `budget` changes, and the revision to go on
    /// from. A revision's changes are never torn apart. An error if the past does not reach back that far.
    fn events(&self, prefix: &str, from: Revision, budget: usize) -> Result<(Vec<Event>, Revision), Error>;
}

/// Who watches what.
#[derive(Debug)]
pub(crate) struct Hub {
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
    pub(crate) fn new(dispatched: Revision) -> Self {
        let inner = Inner { watchers: HashMap::new(), lengths: BTreeMap::new(), dispatched, closed: false };
        Self { inner: Mutex::new(inner) }
    }

    /// Begins a watch as a stream, which ends with the first error. `None` when the hub is closed.
    pub(crate) fn watch<H: History>(
        self: &Arc<Self>,
        history: &Arc<RwLock<H>>,
        prefix: &str,
        from: Revision,
    ) -> Option<WatchStream> {
        let cursor = self.subscribe(history, prefix, from)?;
        let items = futures::stream::unfold(Some(cursor), |cursor| async move {
            let mut cursor = cursor?;
            match cursor.next().await? {
                Ok(item) => Some((Ok(item), Some(cursor))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Some(items.boxed())
    }

    /// Begins a watch. `None` when the hub is closed.
    pub(crate) fn subscribe<H: History>(
        self: &Arc<Self>,
        history: &Arc<RwLock<H>>,
        prefix: &str,
        from: Revision,
    ) -> Option<Cursor<H>> {
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
        let history = Arc::clone(history);
        Some(Cursor { hub: Arc::clone(self), history, watcher, replay: VecDeque::new() })
    }

    /// Hands changes to the live watchers. One task calls this, with every change, in order, and with all changes
    /// of a revision together.
    pub(crate) fn dispatch(&self, events: &[Event]) {
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
    pub(crate) fn announce_progress(&self) {
        let inner = self.lock();
        for watcher in inner.watchers.values().flatten() {
            watcher.progress(inner.dispatched);
        }
    }

    /// Changes up to `dispatched` were missed: every live watcher has to look for them in history.
    pub(crate) fn skip_to(&self, dispatched: Revision) {
        let mut inner = self.lock();
        for watcher in inner.watchers.values().flatten() {
            let mut state = watcher.lock();
            if state.mode == Mode::Live && state.next <= dispatched {
                state.mode = Mode::Behind;
                state.next = state.next.max(inner.dispatched + 1);
                watcher.wake.notify_one();
            }
        }
        inner.dispatched = inner.dispatched.max(dispatched);
    }

    /// Ends all watches, each after what it has waiting, and refuses new ones.
    pub(crate) fn close(&self) {
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
    /// Changes below this are delivered, queued or not wanted; while live, changes of this very revision may be too.
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
        // Full only between revisions, so that none is torn apart.
        if state.queue.len() >= QUEUE && event.revision > state.next {
            state.mode = Mode::Behind;
            state.next = event.revision;
            return;
        }
        state.next = event.revision;
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
#[derive(Debug)]
pub(crate) struct Cursor<H: History> {
    hub: Arc<Hub>,
    history: Arc<RwLock<H>>,
    watcher: Arc<Watcher>,
    replay: VecDeque<Event>,
}

impl<H: History> Cursor<H> {
    /// What comes next; `None` is the end, after an error nothing comes. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Result<WatchItem, Error>> {
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

    /// The revision to go on from elsewhere after [`Error::Lagged`].
    pub(crate) fn position(&self) -> Revision {
        self.watcher.lock().next
    }

    fn read_history(&mut self, from: Revision, last: bool) -> Result<(), Error> {
        let read = {
            let history = self.history.read().unwrap_or_else(PoisonError::into_inner);
            history.events(&self.watcher.prefix, from, CATCH_UP).map(|read| (read, history.current()))
        };
        let ((events, resume), current) = read.map_err(|_| Error::Lagged)?;
        self.replay = events.into();
        self.hub.rejoin(&self.watcher, resume);
        if last && resume > current {
            self.watcher.lock().mode = Mode::ClosedLive;
        }
        Ok(())
    }
}

impl<H: History> Drop for Cursor<H> {
    fn drop(&mut self) {
        self.hub.leave(&self.watcher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A past that is gone.
    #[derive(Debug)]
    struct Nothing(Revision);

    impl History for Nothing {
        fn current(&self) -> Revision {
            self.0
        }

        fn events(&self, _: &str, from: Revision, _: usize) -> Result<(Vec<Event>, Revision), Error> {
            Err(Error::Compacted { requested: from, oldest: self.0 })
        }
    }

    fn deletion(revision: Revision, key: &str) -> Event {
        Event { revision, key: key.into(), current: None, previous: None }
    }

    /// E27: what is missed is never silently missed, and the place to go on from is after what was not.
    #[tokio::test]
    async fn skipping_ahead_sends_watchers_to_history() {
        let hub = Arc::new(Hub::new(10));
        let history = Arc::new(RwLock::new(Nothing(30)));
        let mut cursor = hub.subscribe(&history, "a", 11).unwrap();
        let mut later = hub.subscribe(&history, "a", 31).unwrap();
        hub.dispatch(&[deletion(12, "a"), deletion(12, "a/b"), deletion(15, "c")]);
        hub.skip_to(30);
        for _ in 0..2 {
            assert!(matches!(cursor.next().await, Some(Ok(WatchItem::Event(event))) if event.revision == 12));
        }
        assert!(matches!(cursor.next().await, Some(Err(Error::Lagged))));
        assert_eq!(cursor.position(), 16);
        hub.dispatch(&[deletion(31, "a")]);
        assert!(matches!(later.next().await, Some(Ok(WatchItem::Event(event))) if event.revision == 31));
    }
}
