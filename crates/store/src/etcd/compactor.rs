//! Forgets old history in time (M5), one server at a time among all that share an etcd (M11).
//!
//! All of them keep a logical clock in one key's version: whoever moves it on from the tick it knew compacts to the
//! revision it saw one interval before; whoever finds it moved already learns the tick and waits. So each interval
//! is compacted once, and history is kept for at least one interval.

use std::time::Duration;

use bytes::Bytes;

use super::client::{Client, Kind};
use super::wire::{Compare, PutRequest, RangeRequest, Request, TxnRequest, TxnResponse};
use super::{compact, header_revision};
use crate::{Error, Revision};

/// Upstream's name for the key.
const KEY: &[u8] = b"compact_rev_key";

/// Runs until its future is dropped. A round that fails is left out; the next one makes up for it.
pub(super) async fn run(client: &Client, interval: Duration) {
    let mut mark = Mark::default();
    loop {
        tokio::time::sleep(interval).await;
        match round(client, mark).await {
            Ok(next) => mark = next,
            Err(error) => tracing::warn!(%error, "etcd's history could not be compacted; later"),
        }
    }
}

/// What a server remembers from one round to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    /// The logical time it knows.
    tick: i64,
    /// etcd's revision then; 0 before the first round.
    revision: Revision,
}

async fn round(client: &Client, mark: Mark) -> Result<Mark, Error> {
    let key = Bytes::from_static(KEY);
    let text = mark.revision.to_string();
    let put = PutRequest { key: key.clone(), value: text.into(), lease: 0 };
    let get = RangeRequest { key: key.clone(), ..RangeRequest::default() };
    let request = TxnRequest {
        compare: vec![Compare::version(key, mark.tick)],
        success: vec![Request::Put(put).into()],
        failure: vec![Request::Range(get).into()],
    };
    let answer: TxnResponse = client.call("/etcdserverpb.KV/Txn", request, Kind::Write).await?;
    let now = header_revision(answer.header.as_ref());
    if !answer.succeeded {
        let found = answer.responses.into_iter().filter_map(|response| response.range);
        let tick = found.flat_map(|range| range.kvs).map(|kv| kv.version).next().unwrap_or(0);
        return Ok(Mark { tick, revision: now });
    }
    // What this server saw before its first tick is not known to be an interval old.
    if mark.revision > 0 {
        compact(client, mark.revision).await?;
    }
    Ok(Mark { tick: mark.tick + 1, revision: now })
}
