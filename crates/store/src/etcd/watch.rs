//! One watch on etcd: whole revisions in order, across lost connections.
//!
//! A watch on a compacted start is answered with success first; only the second message is the cancellation with
//! the compact revision. The same cancellation comes when compaction overtakes a watch, and when a lost connection
//! took so long to come back that the place to go on from is gone.

use std::sync::Arc;

use bytes::Bytes;
use tonic::Streaming;

use super::client::{Client, Retry};
use super::wire::{self, WatchCreateRequest, WatchResponse};
use super::{key_value, prefix_end, revision};
use crate::{Error, Event, Revision};

/// A watch that reconnects by itself for as long as it is read.
#[derive(Debug)]
pub(super) struct EtcdWatch {
    client: Arc<Client>,
    prefix: String,
    /// The first revision that was not handed out.
    next: Revision,
    connection: Option<Streaming<WatchResponse>>,
    retry: Retry,
    /// Changes of one revision, more of which may come in the next piece of a divided answer.
    held: Vec<Event>,
}

impl EtcdWatch {
    pub(super) fn new(client: Arc<Client>, prefix: &str, from: Revision) -> Self {
        Self {
            client,
            prefix: prefix.to_owned(),
            next: from,
            connection: None,
            retry: Retry::default(),
            held: Vec::new(),
        }
    }

    /// Waits for changes: in order, and all of a revision together. Connections that break are made again, without
    /// an end, with pauses of up to half a second; the caller stops by dropping the future, which loses nothing.
    ///
    /// # Errors
    /// [`Error::Compacted`] if the start is gone or compaction came past later, [`Error::Corrupt`] if etcd holds what
    /// cannot be a key. The watch is over then.
    pub(super) async fn next(&mut self) -> Result<Vec<Event>, Error> {
        loop {
            let Some(connection) = &mut self.connection else {
                self.connect().await;
                continue;
            };
            match connection.message().await {
                // Without a compaction it is the member that cannot go on, not the watch.
                Ok(Some(response)) if response.canceled && response.compact_revision == 0 => {
                    self.disconnect(&response.cancel_reason).await;
                }
                Ok(Some(response)) => {
                    let events = self.take(response)?;
                    if !events.is_empty() {
                        self.retry = Retry::default();
                        return Ok(events);
                    }
                }
                Ok(None) => self.disconnect("etcd ended it").await,
                Err(status) => self.disconnect(status.message()).await,
            }
        }
    }

    /// The first revision that was not handed out.
    pub(super) fn position(&self) -> Revision {
        self.next
    }

    async fn connect(&mut self) {
        let create = WatchCreateRequest {
            key: Bytes::copy_from_slice(self.prefix.as_bytes()),
            range_end: prefix_end(&self.prefix),
            start_revision: i64::try_from(self.next).unwrap_or(i64::MAX),
            prev_kv: true,
            fragment: true,
        };
        match self.client.watch(create).await {
            Ok(connection) => self.connection = Some(connection),
            Err(error) => {
                tracing::debug!(%error, prefix = self.prefix, "a watch on etcd cannot be opened yet");
                self.retry.wait().await;
            }
        }
    }

    /// The held changes come again with the next connection, which starts at their revision.
    async fn disconnect(&mut self, reason: &str) {
        tracing::debug!(reason, prefix = self.prefix, "a watch on etcd lost its connection");
        self.client.move_on();
        self.connection = None;
        self.held.clear();
        self.retry.wait().await;
    }

    fn take(&mut self, response: WatchResponse) -> Result<Vec<Event>, Error> {
        if response.canceled {
            return Err(self.gone(revision(response.compact_revision)));
        }
        let mut complete = Vec::new();
        for event in response.events {
            let event = self.event(event)?;
            if self.held.first().is_some_and(|held| held.revision < event.revision) {
                complete.append(&mut self.held);
            }
            self.held.push(event);
        }
        if !response.fragment {
            complete.append(&mut self.held);
        }
        if let Some(last) = complete.last() {
            self.next = last.revision + 1;
        }
        Ok(complete)
    }

    fn gone(&self, oldest: Revision) -> Error {
        Error::Compacted { requested: self.next, oldest }
    }

    /// A change whose state before is not there although there was one is on the edge of compaction: etcd still has
    /// the change and no longer what it replaced.
    fn event(&self, event: wire::Event) -> Result<Event, Error> {
        let kv = event.kv.unwrap_or_default();
        let had_previous = event.kind == wire::DELETE || kv.version > 1;
        let at = revision(kv.mod_revision);
        if had_previous && event.prev_kv.is_none() {
            return Err(self.gone(at));
        }
        let kv = key_value(kv)?;
        let previous = event.prev_kv.map(key_value).transpose()?;
        let key = Arc::clone(&kv.key);
        let current = (event.kind != wire::DELETE).then_some(kv);
        Ok(Event { revision: at, key, current, previous })
    }
}
