//! A server of one's own, and answers that are all there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use outrigger_api::clock::SystemClock;
use outrigger_apiserver::{ApiServer, Body, Config, NoNodes, Running, ServiceRange};
use outrigger_store::{EmbeddedStore, HistoryLimits, Store};
use tower::Service as _;

/// A server with its data in a folder that goes with it.
pub(crate) struct Server {
    running: Running,
    store: Arc<EmbeddedStore>,
    _folder: tempfile::TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Of a Status.
    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn content_type(&self) -> &str {
        self.headers["content-type"].to_str().unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock);
        let limits = HistoryLimits::default();
        let store =
            Arc::new(EmbeddedStore::open(&folder.path().join("store"), limits, clock.clone()).unwrap());
        let running = ApiServer::start(Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: IpAddr::from(Ipv4Addr::LOCALHOST),
            data_dir: folder.path().to_owned(),
            node_name: "node".to_owned(),
            service_range: ServiceRange::DEFAULT,
            store: Arc::clone(&store) as Arc<dyn Store>,
            clock,
            nodes: Arc::new(NoNodes),
        });
        Self { running: running.await.unwrap(), store, _folder: folder }
    }

    /// Asks as an administrator; the answer may be a stream.
    pub(crate) async fn open(&self, request: Request<Bytes>) -> Response<Body> {
        let request = request.map(Full::new);
        self.running.in_process("kubernetes-admin").call(request).await.unwrap()
    }

    pub(crate) async fn ask(&self, request: Request<Bytes>) -> Answer {
        let (head, body) = self.open(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { code: head.status.as_u16(), headers: head.headers, body }
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.get_with(uri, &[]).await
    }

    pub(crate) async fn get_with(&self, uri: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request.body(Bytes::new()).unwrap()).await
    }

    /// Asks with a JSON body, as the program `agent`.
    pub(crate) async fn send(
        &self,
        method: &str,
        uri: &str,
        (content_type, agent): (&str, &str),
        body: &serde_json::Value,
    ) -> Answer {
        let request = Request::builder().method(method).uri(uri).header("content-type", content_type);
        let request = request.header("user-agent", agent);
        self.ask(request.body(body.to_string().into()).unwrap()).await
    }

    /// Where it listens, and the keys to get in with.
    pub(crate) fn front(&self) -> (SocketAddr, &outrigger_apiserver::pki::Pki) {
        (self.running.address(), self.running.pki())
    }

    /// Opens a watch that must be accepted.
    pub(crate) async fn watch(&self, uri: &str) -> Watch {
        let response = self.open(Request::builder().uri(uri).body(Bytes::new()).unwrap()).await;
        assert_eq!(response.status(), 200, "{uri}");
        Watch::of(response)
    }

    pub(crate) async fn post(&self, uri: &str, body: &serde_json::Value) -> Answer {
        self.send("POST", uri, ("application/json", "test/1"), body).await
    }

    pub(crate) async fn put(&self, uri: &str, body: &serde_json::Value) -> Answer {
        self.send("PUT", uri, ("application/json", "test/1"), body).await
    }

    /// A merge patch.
    pub(crate) async fn patch(&self, uri: &str, body: &serde_json::Value) -> Answer {
        self.send("PATCH", uri, ("application/merge-patch+json", "test/1"), body).await
    }

    pub(crate) async fn delete(&self, uri: &str, body: &serde_json::Value) -> Answer {
        self.send("DELETE", uri, ("application/json", "test/1"), body).await
    }

    /// Begins to stop: nothing new is taken, but questions are still answered.
    pub(crate) async fn shut_down(&self) {
        self.running.stop().await;
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await;
        self.store.close().await;
    }
}

/// A stream of events.
pub(crate) struct Watch {
    body: Body,
    received: Vec<u8>,
}

impl Watch {
    pub(crate) fn of(response: Response<Body>) -> Self {
        Self { body: response.into_body(), received: Vec::new() }
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<serde_json::Value> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = self.body.frame().await?.unwrap();
            self.received.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    /// Type and name of the next event.
    pub(crate) async fn event(&mut self) -> (String, String) {
        let event = self.next().await.expect("one more event");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}
