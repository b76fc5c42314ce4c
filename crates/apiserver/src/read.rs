//! GET, LIST and WATCH (section E).

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use outrigger_api::status::Reason;
use outrigger_api::{KindInfo, StatusError, WallTime};
use rand::RngExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::handler::Call;
use crate::negotiate::{Accepted, Endpoint, Shape};
use crate::present::{IncludeObject, View};
use crate::protobuf;
use crate::respond::{self, Body, BoxError, Layout};
use crate::server::Api;
use crate::storage::{Stored, WatchEvent, WatchRequest, Watcher, parse_version};
use crate::websocket_watch;

/// Pieces of a watch waiting for the client. A client that reads slower keeps its events in the hub's ring, and is
/// closed when it falls out of that (E36).
const OUTGOING: usize = 4;
/// One piece is at most about this large, so that a burst does not become one huge write.
const PIECE: usize = 64 * 1024;
/// How often a bookmark is sent to who asked for them (E30).
const BOOKMARKS: Duration = Duration::from_secs(60);
/// How long before its end a watch sends a last bookmark (E30).
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// One object.
pub(crate) async fn get(api: &Api, call: &Call) -> Result<Response<Body>, StatusError> {
    let view = call.view(api, Endpoint::Object)?;
    let stored = fetch(api, call).await?;
    Ok(view.object(200, &stored))
}

/// The object a call names, not older than it asks for (E1).
pub(crate) async fn fetch(api: &Api, call: &Call) -> Result<Stored, StatusError> {
    if let Some(revision) = parse_version(call.query.get("resourceVersion"))? {
        api.storage.wait_for(&call.kind, revision).await?;
    }
    let namespace = if call.kind.namespaced { call.path.namespace.as_str() } else { "" };
    api.storage.get(&call.kind, namespace, &call.path.name).await
}

/// One page of objects.
pub(crate) async fn list(api: &Api, call: &Call) -> Result<Response<Body>, StatusError> {
    let view = call.view(api, Endpoint::List)?;
    if call.query.find("sendInitialEvents").is_some() {
        return Err(crate::codec::invalid(
            "ListOptions",
            "meta.k8s.io",
            "",
            "sendInitialEvents",
            "FieldValueForbidden",
            "Forbidden: sendInitialEvents is forbidden for list",
        ));
    }
    let page = api.storage.list(&call.kind, &call.list_request()?).await?;
    view.page(&page)
}

/// A stream of changes. The response begins once the watch is accepted.
pub(crate) async fn watch(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let accepted = call.accepted(Endpoint::Watch)?;
    if api.shutdown.is_cancelled() {
        // E37: it would end at once.
        let text = "the server is shutting down";
        return Err(StatusError::new(503, Reason::ServiceUnavailable, text).retry_after(1));
    }
    let include = match accepted.shape {
        Shape::Table(_) => IncludeObject::parse(call.query.get("includeObject"))?,
        _ => IncludeObject::Metadata,
    };
    let timeout = match call.query.int("timeoutSeconds")? {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds.unsigned_abs()),
        // E35
        _ => Duration::from_secs(rand::rng().random_range(1800..3600)),
    };
    let bookmarks = call.query.flag("allowWatchBookmarks");
    let wanted = WatchRequest {
        namespace: if call.kind.namespaced { call.path.namespace.clone() } else { String::new() },
        selection: call.selection()?,
        resource_version: call.query.get("resourceVersion").to_owned(),
        resource_version_match: call.query.get("resourceVersionMatch").to_owned(),
        send_initial_events: call
            .query
            .find("sendInitialEvents")
            .map(|_| call.query.flag("sendInitialEvents")),
        bookmarks,
        continues: !call.query.get("continue").is_empty(),
    };
    let watcher = api.storage.watch(&call.kind, wanted).await?;
    let (sender, receiver) = mpsc::channel(OUTGOING);
    let pump = Pump {
        kind: Arc::clone(&call.kind),
        accepted,
        include,
        watcher,
        bookmarks,
        sender,
        first: true,
        clock: api.config.clock.clone(),
    };
    let stop = api.shutdown.clone();
    api.tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = pump.run(timeout) => {}
        }
    });
    let media_type =
        if accepted.layout == Layout::Protobuf { protobuf::STREAM_MEDIA_TYPE } else { "application/json" };
    let answer = respond::response(200, media_type, respond::streamed(ReceiverStream::new(receiver)));
    if !websocket_watch::is_wanted(&call.headers) {
        return Ok(answer);
    }
    // It ends with the pump above, and so with the server.
    let (answer, talk) = websocket_watch::upgrade(request, answer);
    api.tasks.spawn(talk);
    Ok(answer)
}

/// Moves events from a watcher to a client.
struct Pump {
    kind: Arc<KindInfo>,
    accepted: Accepted,
    include: IncludeObject,
    watcher: Watcher,
    bookmarks: bool,
    sender: mpsc::Sender<Result<Bytes, BoxError>>,
    /// No event with an object was sent yet (E39).
    first: bool,
    clock: outrigger_api::clock::SharedClock,
}

impl Pump {
    async fn run(mut self, timeout: Duration) {
        let deadline = tokio::time::sleep(timeout);
        tokio::pin!(deadline);
        let last_call = tokio::time::sleep(timeout.saturating_sub(LAST_BOOKMARK));
        tokio::pin!(last_call);
        let mut said_last = false;
        let mut ticks = tokio::time::interval(BOOKMARKS);
        ticks.reset();
        loop {
            let event = tokio::select! {
                () = &mut deadline => return,
                () = self.sender.closed() => return,
                _ = ticks.tick(), if self.bookmarks => Some(self.bookmark()),
                () = &mut last_call, if self.bookmarks && !said_last => {
                    said_last = true;
                    Some(self.bookmark())
                }
                event = self.watcher.next() => event,
            };
            let Some(event) = event else { return };
            let mut piece = BytesMut::from(&self.line(&event)[..]);
            while self.watcher.has_queued() && piece.len() < PIECE {
                let Some(event) = self.watcher.next().await else { break };
                piece.extend_from_slice(&self.line(&event));
            }
            if self.sender.send(Ok(piece.freeze())).await.is_err() {
                return;
            }
        }
    }

    fn bookmark(&self) -> WatchEvent {
        WatchEvent::Bookmark { revision: self.watcher.reached(), initial_end: false }
    }

    fn line(&mut self, event: &WatchEvent) -> Bytes {
        let now: WallTime = self.clock.now().wall;
        let view = View { kind: &self.kind, accepted: self.accepted, include: self.include, now };
        let line = view.watch_line(event, self.first);
        self.first = false;
        line
    }
}
