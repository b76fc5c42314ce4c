//! How an HTTP/1.1 request becomes a session or a forwarded connection: what the client offers, what it is answered, and
//! what then speaks on its connection (H18 to H39, N1). The API server and the node's own API answer alike.
//!
//! Start at [`session`] and [`port_forward`].

use std::future::Future;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use outrigger_api::StatusError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::agent::{HttpBody, Session, StreamOptions};
use crate::port_forward::{self, Forwarder, Negotiated, channels};
use crate::spdy::session as spdy_session;
use crate::websocket;

const WEBSOCKET_PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
const SPDY_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const SPDY_ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const SPDY: &str = "SPDY/3.1";

type Connection = TokioIo<hyper::upgrade::Upgraded>;

/// An answer, and what is to be run once it is on its way.
pub struct Answer {
    /// 101, or why not.
    pub response: Response<HttpBody>,
    /// Waits for the connection and serves it until the client leaves; dropping it ends the session.
    pub serve: Option<BoxFuture<'static, ()>>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("status", &self.response.status()).finish_non_exhaustive()
    }
}

/// Exec and attach. `begin` starts the session once the client's streams are there.
///
/// # Errors
/// 400 if the request wants no upgrade (H20), or offers no SPDY version (H30).
pub fn session<F>(
    request: Request<HttpBody>,
    streams: StreamOptions,
    begin: impl FnOnce() -> F + Send + 'static,
) -> Result<Answer, StatusError>
where
    F: Future<Output = Session> + Send,
{
    let wanted = Wanted::of(request.headers())?;
    if !(streams.stdin || streams.stdout || streams.stderr) {
        return Ok(refused(400, "you must specify at least 1 of stdin, stdout, stderr\n"));
    }
    match wanted {
        Wanted::WebSocket { key } => {
            let Ok(protocol) = websocket::negotiate(&websocket_offers(request.headers())) else {
                return Ok(refused(403, ""));
            };
            let response = switched_to_websocket(&key, protocol.name);
            Ok(become_other(request, response, move |connection| async move {
                websocket::serve(connection, protocol, begin().await).await;
            }))
        }
        Wanted::Spdy => {
            let offers = spdy_offers(request.headers())?;
            let Some(protocol) = spdy_session::negotiate(offers.iter().map(String::as_str)) else {
                return Ok(no_common_spdy(&spdy_session::PROTOCOLS.map(|known| known.name)));
            };
            let response = switched_to_spdy(protocol.name);
            Ok(become_other(request, response, move |connection| async move {
                spdy_session::serve(tokio::io::split(connection), protocol, streams, begin).await;
            }))
        }
    }
}

/// Port-forward; `ports` are those of the query, which only WebSocket channels need (H39).
///
/// # Errors
/// As [`session`]; 400 also for WebSocket offers none of which is known (H35), and for bad ports.
pub fn port_forward<'a>(
    request: Request<HttpBody>,
    ports: impl Iterator<Item = &'a str>,
    forwarder: Forwarder,
) -> Result<Answer, StatusError> {
    match Wanted::of(request.headers())? {
        Wanted::WebSocket { key } => match port_forward::negotiate(&websocket_offers(request.headers())) {
            Some(Negotiated::Tunnel) => {
                let response = switched_to_websocket(&key, port_forward::TUNNEL);
                Ok(become_other(request, response, move |connection| async move {
                    port_forward::serve_spdy(port_forward::tunnel(connection).await, forwarder).await;
                }))
            }
            Some(Negotiated::Channels(protocol)) => {
                let ports = channels::ports(ports).map_err(StatusError::bad_request)?;
                let response = switched_to_websocket(&key, protocol.name);
                Ok(become_other(request, response, move |connection| async move {
                    channels::serve(connection, protocol, ports, forwarder).await;
                }))
            }
            None => Err(StatusError::bad_request(format!(
                "unable to negotiate protocol: client supports [{}], server accepts [{}, v4.channel.k8s.io, \
                 v4.base64.channel.k8s.io]",
                websocket_offers(request.headers()),
                port_forward::TUNNEL
            ))),
        },
        Wanted::Spdy => {
            if !spdy_offers(request.headers())?.iter().any(|offer| offer == port_forward::SPDY) {
                return Ok(no_common_spdy(&[port_forward::SPDY]));
            }
            let response = switched_to_spdy(port_forward::SPDY);
            Ok(become_other(request, response, move |connection| async move {
                port_forward::serve_spdy(tokio::io::split(connection), forwarder).await;
            }))
        }
    }
}

/// What the client wants the connection to become.
enum Wanted {
    WebSocket { key: String },
    Spdy,
}

impl Wanted {
    /// H20.
    fn of(headers: &HeaderMap) -> Result<Self, StatusError> {
        let wanted = headers.get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let key = headers.get("sec-websocket-key").and_then(|key| key.to_str().ok());
        match key {
            _ if wanted.eq_ignore_ascii_case(SPDY) => Ok(Self::Spdy),
            Some(key) if wanted.eq_ignore_ascii_case("websocket") => {
                Ok(Self::WebSocket { key: key.to_owned() })
            }
            _ => Err(StatusError::bad_request("Upgrade request required")),
        }
    }
}

fn words(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let all = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(',')).map(|word| word.trim().to_owned()).collect()
}

/// All offered subprotocols, comma-joined; the bearer token some browsers hide there is no offer (I7).
fn websocket_offers(headers: &HeaderMap) -> String {
    let mut offers = words(headers, &WEBSOCKET_PROTOCOL);
    offers.retain(|offer| !offer.starts_with("base64url.bearer."));
    offers.join(",")
}

/// H30: offering nothing is an error, other than offering nothing known.
fn spdy_offers(headers: &HeaderMap) -> Result<Vec<String>, StatusError> {
    let offers = words(headers, &SPDY_PROTOCOL);
    if offers.is_empty() {
        return Err(StatusError::bad_request(
            "unable to upgrade: X-Stream-Protocol-Version: header is required",
        ));
    }
    Ok(offers)
}

fn refused(code: u16, text: &'static str) -> Answer {
    let mut response = empty(code);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    *response.body_mut() =
        Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync();
    Answer { response, serve: None }
}

/// H30.
fn no_common_spdy(known: &[&'static str]) -> Answer {
    let mut answer = refused(403, "");
    for name in known {
        answer.response.headers_mut().append(SPDY_ACCEPTED, HeaderValue::from_static(name));
    }
    answer
}

/// Hands the connection to `serve` once the answer is written.
fn become_other<F>(
    mut request: Request<HttpBody>,
    response: Response<HttpBody>,
    serve: impl FnOnce(Connection) -> F + Send + 'static,
) -> Answer
where
    F: Future<Output = ()> + Send,
{
    let upgrade = hyper::upgrade::on(&mut request);
    let serve = async move {
        match upgrade.await {
            Ok(connection) => serve(TokioIo::new(connection)).await,
            Err(error) => tracing::debug!(%error, "a client went away during the upgrade"),
        }
    };
    Answer { response, serve: Some(Box::pin(serve)) }
}

fn switched_to_websocket(key: &str, protocol: &'static str) -> Response<HttpBody> {
    let mut response = switched("websocket");
    let headers = response.headers_mut();
    headers.insert(WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert("sec-websocket-accept", accept);
    }
    response
}

fn switched_to_spdy(protocol: &'static str) -> Response<HttpBody> {
    let mut response = switched(SPDY);
    response.headers_mut().insert(SPDY_PROTOCOL, HeaderValue::from_static(protocol));
    response
}

fn switched(upgrade: &'static str) -> Response<HttpBody> {
    let mut response = empty(101);
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(upgrade));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response
}

fn empty(code: u16) -> Response<HttpBody> {
    let mut response = Response::new(Full::default().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<HttpBody> {
        let mut request = Request::builder().uri("/exec/n/p/c?output=1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::default().map_err(|never| match never {}).boxed_unsync()).unwrap()
    }

    fn ask(streams: StreamOptions, headers: &[(&str, &str)]) -> Result<Response<HttpBody>, StatusError> {
        let begin = || std::future::ready(Session::failed(String::new()));
        session(request(headers), streams, begin).map(|answer| answer.response)
    }

    const OUTPUT: StreamOptions = StreamOptions { stdin: false, stdout: true, stderr: false, tty: false };

    /// N1, H20, H21: the answer to a WebSocket, with the example of RFC 6455.
    #[test]
    fn websockets() {
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let offer = |name| [("upgrade", "websocket"), key, ("sec-websocket-protocol", name)];
        let response = ask(OUTPUT, &offer("v5.channel.k8s.io")).unwrap();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
        assert_eq!(ask(OUTPUT, &offer("v9.other")).unwrap().status(), 403);
        assert_eq!(ask(OUTPUT, &[]).unwrap_err().code, 400);
        assert_eq!(ask(StreamOptions::default(), &offer("v4.channel.k8s.io")).unwrap().status(), 400);
    }

    /// N1, H30
    #[test]
    fn spdy() {
        let offer = |name| [("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", name)];
        let response = ask(OUTPUT, &offer("v4.channel.k8s.io")).unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["upgrade"]),
            (101, &HeaderValue::from_static(SPDY))
        );
        assert_eq!(response.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
        let response = ask(OUTPUT, &offer("v9.other")).unwrap();
        assert_eq!(response.status(), 403);
        assert_eq!(response.headers().get_all(SPDY_ACCEPTED).iter().count(), 4);
        assert_eq!(ask(OUTPUT, &[("upgrade", "SPDY/3.1")]).unwrap_err().code, 400);
    }
}
