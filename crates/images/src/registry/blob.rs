//! A large blob as a stream that survives broken connections.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::client::{Ask, Session};
use crate::{RegistryError, chain_text};

/// A blob on its way. Never yields more than the promised size; does not check the digest.
pub(crate) struct BlobStream<'s> {
    session: &'s Session,
    digest: &'s str,
    size: u64,
    received: u64,
    /// Bytes to drop: the server began at the start although asked for the rest.
    skip: u64,
    resumed: u32,
    /// Who is sending, and what.
    source: Option<(String, Incoming)>,
}

impl<'s> BlobStream<'s> {
    /// A stream of `digest`; nothing is asked before the first call of `next`.
    pub(crate) fn new(session: &'s Session, digest: &'s str, size: u64) -> Self {
        Self { session, digest, size, received: 0, skip: 0, resumed: 0, source: None }
    }

    /// The next bytes, or `None` when all have come. Dropping the call midway loses no bytes.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            if self.source.is_none() {
                if self.received == self.size && self.resumed > 0 {
                    return Ok(None);
                }
                self.connect().await?;
            }
            let Some((host, body)) = &mut self.source else { continue };
            let failure = match tokio::time::timeout(CHUNK_WITHIN, body.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => match self.accept(data)? {
                        Some(data) => return Ok(Some(data)),
                        None => continue,
                    },
                    Err(_trailers) => continue,
                },
                Ok(None) if self.received == self.size => return Ok(None),
                Ok(None) => format!("the connection closed after {} of {} bytes", self.received, self.size),
                Ok(Some(Err(error))) => chain_text(&error),
                Err(_) => format!("no data for {} s", CHUNK_WITHIN.as_secs()),
            };
            let host = host.clone();
            self.source = None;
            self.resumed += 1;
            if self.resumed > MAX_RESUMES {
                return Err(RegistryError::Unavailable { host, answer: failure });
            }
            tracing::debug!(host, digest = self.digest, failure, "resuming a blob");
        }
    }

    fn accept(&mut self, mut data: Bytes) -> Result<Option<Bytes>, RegistryError> {
        if self.skip > 0 {
            let drop = self.skip.min(data.len() as u64);
            self.skip -= drop;
            data = data.slice(usize::try_from(drop).unwrap_or(data.len())..);
        }
        self.received += data.len() as u64;
        if self.received > self.size {
            let host = self.source.as_ref().map(|(host, _)| host.clone()).unwrap_or_default();
            let answer =
                format!("{} is longer than the {} bytes its manifest promises", self.digest, self.size);
            return Err(RegistryError::Corrupt { host, answer });
        }
        Ok((!data.is_empty()).then_some(data))
    }

    async fn connect(&mut self) -> Result<(), RegistryError> {
        let path = format!("blobs/{}", self.digest);
        let ask = Ask { path: &path, what: self.digest, accept: "*/*", from: self.received, resolves: false };
        let (host, response) = self.session.ask(ask).await?;
        self.skip = match self.received {
            0 => 0,
            received if continues_at(&response, received) => 0,
            received => received,
        };
        self.source = Some((host, response.into_body()));
        Ok(())
    }
}

/// Whether the answer begins at byte `from`.
fn continues_at(response: &Response<Incoming>, from: u64) -> bool {
    let range =
        response.headers().get(header::CONTENT_RANGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    response.status() == StatusCode::PARTIAL_CONTENT && range.starts_with(&format!("bytes {from}-"))
}

const CHUNK_WITHIN: Duration = Duration::from_secs(60);
const MAX_RESUMES: u32 = 4;
