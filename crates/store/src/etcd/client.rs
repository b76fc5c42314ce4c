//! Requests to a cluster of endpoints: one at a time is used, the next one when it fails.
//!
//! What may be sent again is decided here and nowhere else. A read always may. A write may only if it is certain
//! that no member has taken it: the connection was never made, or the member said so. Everything else is
//! [`Error::Unavailable`], after which a write may or may not have happened.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Status, Streaming};
use tonic_prost::ProstCodec;

use super::config::{EtcdConfig, EtcdConfigError};
use super::wire::{WatchCreateRequest, WatchRequest, WatchResponse};
use crate::Error;

/// How long one endpoint may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause between two rounds over the endpoints; it doubles up to ...
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// ... this.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The largest answer that is taken. Reads ask for pages of values of at most 1.5 MiB, which stay below.
const LARGEST_ANSWER: usize = 0x7FFF_FFFF;

/// Whether a request changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

/// Connections to the endpoints, made when first used and again when they break.
#[derive(Debug)]
pub(super) struct Client {
    channels: Vec<(String, Channel)>,
    /// The endpoint in use; grows, modulo their number.
    current: AtomicUsize,
    patience: Duration,
}

/// A request that got no answer, and from whom.
#[derive(Debug, thiserror::Error)]
#[error("etcd at {endpoint}: {}", reason(status))]
pub(super) struct Failed {
    endpoint: String,
    status: Box<Status>,
}

impl Client {
    pub(super) fn new(config: &EtcdConfig) -> Result<Self, EtcdConfigError> {
        let endpoints = config.transport()?;
        let channels = endpoints.into_iter().map(|endpoint| {
            let name = endpoint.uri().to_string().trim_end_matches('/').to_owned();
            (name, endpoint.connect_lazy())
        });
        Ok(Self { channels: channels.collect(), current: AtomicUsize::new(0), patience: config.patience })
    }

    /// Sends one request and waits for its answer, within the limits of this module's header.
    pub(super) async fn call<Q, A>(&self, path: &'static str, request: Q, kind: Kind) -> Result<A, Error>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let deadline = tokio::time::Instant::now() + self.patience;
        let mut retry = Retry::default();
        loop {
            for _ in 0..self.channels.len() {
                let (at, endpoint, channel) = self.pick();
                let status = match attempt(channel, path, request.clone()).await {
                    Ok(answer) => return Ok(answer),
                    Err(status) => status,
                };
                let fate = fate(&status);
                if fate != Fate::Answered {
                    self.leave(at);
                }
                let again = fate == Fate::NotTaken || fate == Fate::Unknown && kind == Kind::Read;
                let late = tokio::time::Instant::now() + retry.pause >= deadline;
                if !again || late {
                    return Err(error(Failed { endpoint, status: Box::new(status) }));
                }
            }
            retry.wait().await;
        }
    }

    /// Opens a watch on the endpoint in use. One attempt; a failure moves on to the next endpoint.
    pub(super) async fn watch(&self, create: WatchCreateRequest) -> Result<Streaming<WatchResponse>, Error> {
        let (at, endpoint, channel) = self.pick();
        // The stream of requests must stay open: its end is the end of the watch.
        let first = futures::stream::iter([WatchRequest { create: Some(create) }]);
        let requests = futures::StreamExt::chain(first, futures::stream::pending());
        let mut request = tonic::Request::new(requests);
        require_leader(&mut request);
        let opening = async {
            let mut grpc = Grpc::new(channel).max_decoding_message_size(LARGEST_ANSWER);
            ready(&mut grpc).await?;
            let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
            grpc.streaming(request, path, ProstCodec::<WatchRequest, WatchResponse>::default()).await
        };
        match in_time(opening).await {
            Ok(answers) => Ok(answers.into_inner()),
            Err(status) => {
                self.leave(at);
                Err(error(Failed { endpoint, status: Box::new(status) }))
            }
        }
    }

    /// After a stream from the endpoint in use broke.
    pub(super) fn move_on(&self) {
        self.leave(self.current.load(Ordering::Relaxed));
    }

    fn pick(&self) -> (usize, String, Channel) {
        let at = self.current.load(Ordering::Relaxed);
        let (endpoint, channel) = &self.channels[at % self.channels.len()];
        (at, endpoint.clone(), channel.clone())
    }

    /// Many requests fail together when an endpoint does; only the first of them moves on.
    fn leave(&self, at: usize) {
        let next = at.wrapping_add(1);
        let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Pauses that double up to [`LONGEST_PAUSE`].
#[derive(Debug)]
pub(super) struct Retry {
    pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { pause: FIRST_PAUSE }
    }
}

impl Retry {
    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

async fn attempt<Q, A>(channel: Channel, path: &'static str, message: Q) -> Result<A, Status>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut request = tonic::Request::new(message);
    require_leader(&mut request);
    let asking = async {
        let mut grpc = Grpc::new(channel).max_decoding_message_size(LARGEST_ANSWER);
        ready(&mut grpc).await?;
        grpc.unary(request, PathAndQuery::from_static(path), ProstCodec::<Q, A>::default()).await
    };
    in_time(asking).await.map(tonic::Response::into_inner)
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), Status> {
    grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))
}

async fn in_time<T>(work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(ANSWER_TIMEOUT, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {ANSWER_TIMEOUT:?}"))),
    }
}

/// A member cut off from its cluster then refuses at once instead of keeping the request.
fn require_leader<T>(request: &mut tonic::Request<T>) {
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
}

/// What is known of a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// etcd understood it and said no; another member would say the same.
    Answered,
    /// It was certainly not carried out and never will be.
    NotTaken,
    /// The connection broke or went silent.
    Unknown,
}

fn fate(status: &Status) -> Fate {
    let said = |text: &str| status.message().contains(text);
    if never_sent(status) || said("etcdserver: no leader") {
        return Fate::NotTaken;
    }
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal => {
            Fate::Unknown
        }
        _ => Fate::Answered,
    }
}

fn never_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The innermost cause is what a person can act on ("Connection refused"); the layers above say "transport error".
fn reason(status: &Status) -> String {
    let mut innermost = None;
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        innermost = Some(error.to_string());
        cause = error.source();
    }
    innermost.unwrap_or_else(|| status.message().to_owned())
}

fn error(failed: Failed) -> Error {
    if failed.status.message().contains("etcdserver: request is too large") {
        return Error::TooLarge;
    }
    Error::Unavailable(Box::new(failed))
}

/// Why etcd refused, if it was etcd that did.
pub(super) fn refusal(error: &Error) -> Option<&str> {
    match error {
        Error::Unavailable(source) => source.downcast_ref::<Failed>().map(|failed| failed.status.message()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::wire::{Done, RangeRequest};

    /// A write may be sent again after this, and after nothing else that breaks.
    #[tokio::test]
    async fn a_connection_never_made_has_taken_nothing() {
        let config = EtcdConfig::new("http://127.0.0.1:1".parse().unwrap());
        let client = Client::new(&config).unwrap();
        let (_, _, channel) = client.pick();
        let answer: Result<Done, Status> =
            attempt(channel, "/etcdserverpb.KV/Range", RangeRequest::default()).await;
        let status = answer.unwrap_err();
        assert_eq!(fate(&status), Fate::NotTaken, "{status:?}");
        assert!(reason(&status).contains("Connection refused"), "{}", reason(&status));
    }

    #[test]
    fn what_etcd_says_is_told_from_what_breaks() {
        for (status, wanted) in [
            (Status::unavailable("etcdserver: no leader"), Fate::NotTaken),
            (Status::unavailable("etcdserver: leader changed"), Fate::Unknown),
            (Status::unavailable("etcdserver: request timed out"), Fate::Unknown),
            (Status::deadline_exceeded("no answer"), Fate::Unknown),
            (Status::not_found("etcdserver: requested lease not found"), Fate::Answered),
            (Status::resource_exhausted("etcdserver: mvcc: database space exceeded"), Fate::Answered),
        ] {
            assert_eq!(fate(&status), wanted, "{status:?}");
        }
    }
}
