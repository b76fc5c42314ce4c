//! Which two streams belong to one forwarded connection (H36, H37); no I/O.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::spdy::Headers;

/// How long the second stream of a pair may take (H37).
const COMPLETION: Duration = Duration::from_secs(30);

/// The two streams of a forwarded connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair<S> {
    pub(super) port: u16,
    pub(super) data: S,
    pub(super) error: S,
}

/// Why a stream is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("\"port\" header is required and must be between 1 and 65535, not {0:?}")]
    Port(String),
    #[error("invalid stream type {0:?}")]
    Type(String),
    #[error("request {0:?} has such a stream already, or another port")]
    Taken(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Error,
}

/// A place in a pair.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    request: String,
    kind: Kind,
    port: u16,
}

#[derive(Debug)]
struct Half<S> {
    kind: Kind,
    port: u16,
    stream: S,
    until: Instant,
}

/// Halves that wait for the other. Bounded by the streams a connection may have.
#[derive(Debug)]
pub(super) struct Pairs<S>(HashMap<String, Half<S>>);

impl<S> Default for Pairs<S> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<S> Pairs<S> {
    /// Which place a stream with these headers would take. Clients before `requestID` opened the data stream right
    /// after the error stream.
    pub(super) fn claim(&self, headers: &Headers, stream: u32) -> Result<Claim, Refused> {
        let port = headers.get("port");
        let port =
            port.parse().ok().filter(|port| *port > 0).ok_or_else(|| Refused::Port(port.to_owned()))?;
        let kind = match headers.get("streamtype") {
            "data" => Kind::Data,
            "error" => Kind::Error,
            other => return Err(Refused::Type(other.to_owned())),
        };
        let request = match (headers.get("requestid"), kind) {
            ("", Kind::Error) => stream.to_string(),
            ("", Kind::Data) => stream.saturating_sub(2).to_string(),
            (id, _) => id.to_owned(),
        };
        match self.0.get(&request) {
            Some(half) if half.kind == kind || half.port != port => Err(Refused::Taken(request)),
            _ => Ok(Claim { request, kind, port }),
        }
    }

    /// Puts a stream where it belongs; the pair if that completes it.
    pub(super) fn put(&mut self, claim: Claim, stream: S, now: Instant) -> Option<Pair<S>> {
        let Claim { request, kind, port } = claim;
        let Some(other) = self.0.remove(&request) else {
            self.0.insert(request, Half { kind, port, stream, until: now + COMPLETION });
            return None;
        };
        Some(match kind {
            Kind::Data => Pair { port, data: stream, error: other.stream },
            Kind::Error => Pair { port, data: other.stream, error: stream },
        })
    }

    /// Resolves when [`Pairs::expire`] has something to take.
    pub(super) async fn overdue(&self) {
        match self.0.values().map(|half| half.until).min() {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    /// Takes the halves that waited too long; true for error streams, which can be told so.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(S, bool)> {
        let late = self.0.extract_if(|_, half| half.until <= now);
        late.map(|(_, half)| (half.stream, half.kind == Kind::Error)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: &str, port: &str, request: &str) -> Headers {
        let pairs = [("streamtype", kind), ("port", port), ("requestid", request)];
        pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }

    /// H36: pairs by request, in either order, several at once.
    #[test]
    fn streams_of_a_request_become_a_pair() {
        let (now, mut pairs) = (Instant::now(), Pairs::default());
        let mut offer = |kind, request, stream| {
            let claim = pairs.claim(&headers(kind, "80", request), 1).unwrap();
            pairs.put(claim, stream, now)
        };
        assert_eq!(offer("error", "0", 'a'), None);
        assert_eq!(offer("data", "1", 'b'), None);
        assert_eq!(offer("data", "0", 'c'), Some(Pair { port: 80, data: 'c', error: 'a' }));
        assert_eq!(offer("error", "1", 'd'), Some(Pair { port: 80, data: 'b', error: 'd' }));
        // Clients without request numbers.
        let claim =
            |pairs: &Pairs<char>, kind, stream| pairs.claim(&headers(kind, "81", ""), stream).unwrap();
        let mut pairs = Pairs::default();
        assert_eq!(pairs.put(claim(&pairs, "error", 5), 'e', now), None);
        assert_eq!(
            pairs.put(claim(&pairs, "data", 7), 'f', now),
            Some(Pair { port: 81, data: 'f', error: 'e' })
        );
    }

    /// H36.
    #[test]
    fn what_names_no_port_or_place_is_refused() {
        let mut pairs = Pairs::default();
        for port in ["", "0", "65536", "-1", "http"] {
            assert_eq!(pairs.claim(&headers("data", port, "0"), 1), Err(Refused::Port(port.to_owned())));
        }
        assert_eq!(pairs.claim(&headers("stdin", "80", "0"), 1), Err(Refused::Type("stdin".to_owned())));
        let claim = pairs.claim(&headers("data", "80", "0"), 1).unwrap();
        assert_eq!(pairs.put(claim, 'a', Instant::now()), None);
        for (kind, port) in [("data", "80"), ("error", "81")] {
            assert_eq!(pairs.claim(&headers(kind, port, "0"), 3), Err(Refused::Taken("0".to_owned())));
        }
    }

    /// H37.
    #[tokio::test(start_paused = true)]
    async fn half_a_pair_does_not_wait_for_ever() {
        let start = Instant::now();
        let mut pairs = Pairs::default();
        let claim = pairs.claim(&headers("error", "80", "0"), 1).unwrap();
        pairs.put(claim, 'a', start);
        assert!(pairs.expire(Instant::now()).is_empty());
        pairs.overdue().await;
        assert_eq!(Instant::now() - start, COMPLETION);
        assert_eq!(pairs.expire(Instant::now()), [('a', true)]);
    }
}
