//! A watch that notes when each event arrived.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

use crate::client::Client;
use crate::error::Error;

/// Nothing measured here takes longer than this on a machine that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// An event and when its last byte was here.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    /// `ADDED`, `MODIFIED`, `DELETED`.
    pub(crate) kind: String,
    pub(crate) object: Value,
}

impl Seen {
    pub(crate) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub(crate) fn phase(&self) -> &str {
        self.object["status"]["phase"].as_str().unwrap_or_default()
    }

    /// Condition Ready.
    pub(crate) fn is_ready(&self) -> bool {
        let conditions = self.object["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.kind == "DELETED"
    }
}

/// One watch from now on.
#[derive(Debug)]
pub(crate) struct Watch {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Watch {
    /// Begins to watch a collection, after what it holds now.
    pub(crate) async fn start(client: &Client, path: &str) -> Result<Self, Error> {
        let list: Value = parse(&client.get(&format!("{path}?limit=1")).await?)?;
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let path = format!("{path}?watch=true&resourceVersion={version}");
        let response = client.send(Method::GET, &path, Bytes::new()).await?;
        Ok(Self { body: response.into_body(), buffer: Vec::new() })
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Result<Seen, Error> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let mut event = parse(&line)?;
                let kind = event["type"].as_str().unwrap_or_default().to_owned();
                return Ok(Seen { at: Instant::now(), kind, object: event["object"].take() });
            }
            let frame = tokio::time::timeout_at(deadline, self.body.frame()).await;
            let frame = frame.map_err(|_| Error::Unexpected(format!("no event within {PATIENCE:?}")))?;
            let frame = frame.ok_or_else(|| Error::Unexpected("the watch ended".to_owned()))??;
            self.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
    }

    /// The next event that `wanted` accepts.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Seen) -> bool) -> Result<Seen, Error> {
        loop {
            let seen = self.next().await?;
            if wanted(&seen) {
                return Ok(seen);
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Unexpected(format!("the server sent no JSON: {error}")))
}
