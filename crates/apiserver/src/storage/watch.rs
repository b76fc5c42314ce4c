//! One client's watch: where it starts, what of the changes it sees, when it ends (E23-E44).

use std::collections::VecDeque;
use std::sync::Arc;

use outrigger_api::status::Reason;
use outrigger_api::{KindInfo, StatusError};
use outrigger_store::{Error, Revision};

use super::hub::{Change, EventType, Feed, FeedEnd, News};
use super::list::{ListRequest, invalid_options, scope};
use super::select::Selection;
use super::stored::Stored;
use super::{Storage, parse_version, store_error};

/// What a watch asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchRequest {
    /// Empty watches all namespaces.
    pub(crate) namespace: String,
    pub(crate) selection: Selection,
    pub(crate) resource_version: String,
    pub(crate) resource_version_match: String,
    pub(crate) send_initial_events: Option<bool>,
    pub(crate) bookmarks: bool,
    /// There is a continue token, which no watch takes (E2).
    pub(crate) continues: bool,
}

/// What a watcher is told.
#[derive(Clone, Debug)]
pub(crate) enum WatchEvent {
    /// An object came, changed or went; `change` carries the shared encoding if there is one.
    Object { event: EventType, object: Stored, change: Option<Arc<Change>> },
    /// Everything up to here was delivered; `initial_end` marks the end of the initial events (E31).
    Bookmark { revision: Revision, initial_end: bool },
    /// The last event of a watch that failed after it was accepted (E33).
    Error(StatusError),
}

/// A running watch.
pub(crate) struct Watcher {
    prefix: String,
    selection: Selection,
    feed: Feed,
    queue: VecDeque<WatchEvent>,
    /// Everything at or below was queued.
    reached: Revision,
    over: bool,
}

/// Where a watch starts.
enum Start {
    /// Only changes after this revision.
    After(Revision),
    /// All objects first. The state must not be older than this revision.
    Initial(Revision),
}

impl Storage {
    /// Opens a watch.
    ///
    /// # Errors
    /// What is known before the stream begins (E2, E3, E34); later failures are events.
    pub(crate) async fn watch(&self, kind: &KindInfo, request: WatchRequest) -> Result<Watcher, StatusError> {
        let start = self.start(kind, &request).await?;
        let list = ListRequest {
            namespace: request.namespace.clone(),
            selection: request.selection.clone(),
            ..ListRequest::default()
        };
        let prefix = scope(kind, &list);
        let mut queue = VecDeque::new();
        let after = match start {
            Start::After(revision) => revision,
            Start::Initial(not_older) => {
                match self.wait_for(kind, not_older).await {
                    // E33a: the watch is accepted, and this is how it ends.
                    Err(error) if error.is(Reason::Timeout) => {
                        queue.push_back(WatchEvent::Error(error));
                        return self.ended(kind, request.selection, prefix, queue).await;
                    }
                    outcome => outcome?,
                }
                let page = self.list(kind, &list).await?;
                for object in page.items {
                    queue.push_back(WatchEvent::Object { event: EventType::Added, object, change: None });
                }
                if request.bookmarks {
                    queue.push_back(WatchEvent::Bookmark { revision: page.revision, initial_end: true });
                }
                page.revision
            }
        };
        let feed = match self.hubs.feed(&kind.prefix(), after).await {
            Ok(feed) => feed,
            Err(Error::Compacted { oldest, .. }) => {
                queue.push_back(WatchEvent::Error(expired(Some((after, oldest)))));
                return self.ended(kind, request.selection, prefix, queue).await;
            }
            Err(error) => return Err(store_error(&error, "watch", &kind.plural)),
        };
        Ok(Watcher { prefix, selection: request.selection, feed, queue, reached: after, over: false })
    }

    /// A watch that has nothing to tell but what is in `queue`.
    async fn ended(
        &self,
        kind: &KindInfo,
        selection: Selection,
        prefix: String,
        queue: VecDeque<WatchEvent>,
    ) -> Result<Watcher, StatusError> {
        let failed = |error: Error| store_error(&error, "watch", &kind.plural);
        let newest = self.revision().await.map_err(failed)?;
        let feed = self.hubs.feed(&kind.prefix(), newest).await.map_err(failed)?;
        Ok(Watcher { prefix, selection, feed, queue, reached: newest, over: true })
    }

    async fn start(&self, kind: &KindInfo, request: &WatchRequest) -> Result<Start, StatusError> {
        let version = parse_version(&request.resource_version)?;
        let word = request.resource_version_match.as_str();
        let forbidden =
            |field: &str, why: &str| Err(invalid_options(field, "Forbidden", "FieldValueForbidden", why));
        if request.continues {
            return forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden when continue is provided",
            );
        }
        match request.send_initial_events {
            None if !word.is_empty() => forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ),
            Some(_) if word != "NotOlderThan" => forbidden(
                "sendInitialEvents",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
            Some(true) => Ok(Start::Initial(version.unwrap_or(0))),
            None if version.is_none_or(|version| version == 0) => Ok(Start::Initial(0)),
            Some(false) if version.is_none_or(|version| version == 0) => {
                let newest = self.revision().await;
                Ok(Start::After(newest.map_err(|error| store_error(&error, "watch", &kind.plural))?))
            }
            None | Some(false) => Ok(Start::After(version.unwrap_or(0))),
        }
    }
}

impl Watcher {
    /// Waits for the next event; `None` is the end. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            match self.feed.next().await {
                Ok(News::Changes(changes)) => {
                    for change in changes {
                        self.take(change);
                    }
                }
                Ok(News::Progress(revision)) => self.reached = self.reached.max(revision),
                Err(FeedEnd::Closed) => self.over = true,
                Err(FeedEnd::Expired) => {
                    self.over = true;
                    self.queue.push_back(WatchEvent::Error(expired(None)));
                }
            }
        }
    }

    /// Whether an event can be had without waiting (E26).
    pub(crate) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The revision a bookmark may carry now: nothing at or below it is undelivered (E30).
    pub(crate) fn reached(&self) -> Revision {
        self.reached
    }

    /// E28.
    fn take(&mut self, change: Arc<Change>) {
        self.reached = self.reached.max(change.revision);
        if !change.key.starts_with(&self.prefix) {
            return;
        }
        let selected =
            |object: &Option<Stored>| object.as_ref().is_some_and(|object| self.selection.matches(object));
        let event = match (selected(&change.previous), selected(&change.current)) {
            (false, true) => EventType::Added,
            (true, true) => EventType::Modified,
            (true, false) => EventType::Deleted,
            (false, false) => return,
        };
        if let Some(object) = change.object(event).cloned() {
            self.queue.push_back(WatchEvent::Object { event, object, change: Some(change) });
        }
    }
}

/// E33.
fn expired(start: Option<(Revision, Revision)>) -> StatusError {
    let text = match start {
        Some((asked, oldest)) => format!("too old resource version: {asked} ({oldest})"),
        None => "The resourceVersion for the provided watch is too old.".to_owned(),
    };
    StatusError::new(410, Reason::Expired, text)
}
