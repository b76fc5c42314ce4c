//! Exec, attach and port-forward: an HTTP/1.1 connection that becomes something else (H18-H39).

use std::sync::Arc;

use http::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, Request, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use outrigger_api::{Object, StatusError};
use outrigger_streaming::agent::{Session, StreamOptions};
use outrigger_streaming::port_forward::{self, Forwarder, Negotiated, channels};
use outrigger_streaming::spdy::session as spdy_session;
use outrigger_streaming::websocket;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::target;
use crate::handler::Call;
use crate::respond::{self, Body};
use crate::server::Api;

const WEBSOCKET_PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
const SPDY_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const SPDY_ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const SPDY: &str = "SPDY/3.1";

/// `pods/<p>/exec` and `pods/<p>/attach`.
pub(super) async fn run(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let pod = pod(api, call).await?;
    let target = target::container(&pod, call.query.get("container"))?;
    let agent = agent_of(api, &pod).await?;
    let wanted = Upgrade::of(request.headers())?;
    let flag = |name: &str| call.query.find(name).is_some_and(|word| matches!(word, "true" | "1"));
    let tty = flag("tty");
    let streams =
        StreamOptions { stdin: flag("stdin"), stdout: flag("stdout"), stderr: flag("stderr") && !tty, tty };
    if !(streams.stdin || streams.stdout || streams.stderr) {
        return Ok(respond::text(400, "you must specify at least 1 of stdin, stdout, stderr\n"));
    }
    let command: Vec<String> = call.query.all("command").map(str::to_owned).collect();
    let exec = call.path.subresource == "exec";
    let begin = move || async move {
        let session = if exec {
            agent.exec(&target, &command, streams).await
        } else {
            agent.attach(&target, streams).await
        };
        session.unwrap_or_else(|error| Session::failed(error.message))
    };
    match wanted {
        Upgrade::WebSocket { key } => {
            let Ok(protocol) = websocket::negotiate(&websocket_offers(request.headers())) else {
                return Ok(respond::response(403, "text/plain; charset=utf-8", respond::full("")));
            };
            become_other(api, request, move |connection| async move {
                websocket::serve(connection, protocol, begin().await).await;
            });
            Ok(switched_to_websocket(&key, protocol.name))
        }
        Upgrade::Spdy => {
            let offers = spdy_offers(request.headers())?;
            let Some(protocol) = spdy_session::negotiate(offers.iter().map(String::as_str)) else {
                return Ok(no_common_spdy(&spdy_session::PROTOCOLS.map(|known| known.name)));
            };
            become_other(api, request, move |connection| async move {
                let halves = tokio::io::split(connection);
                spdy_session::serve(halves, protocol, streams, begin).await;
            });
            Ok(switched_to_spdy(protocol.name))
        }
    }
}

/// `pods/<p>/portforward`.
pub(super) async fn forward(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let pod = pod(api, call).await?;
    let agent = agent_of(api, &pod).await?;
    let forwarder = Forwarder { agent, target: target::whole(&pod) };
    match Upgrade::of(request.headers())? {
        Upgrade::WebSocket { key } => match port_forward::negotiate(&websocket_offers(request.headers())) {
            Some(Negotiated::Tunnel) => {
                become_other(api, request, move |connection| async move {
                    port_forward::serve_spdy(port_forward::tunnel(connection).await, forwarder).await;
                });
                Ok(switched_to_websocket(&key, port_forward::TUNNEL))
            }
            Some(Negotiated::Channels(protocol)) => {
                let ports = channels::ports(call.query.all("ports")).map_err(StatusError::bad_request)?;
                become_other(api, request, move |connection| async move {
                    channels::serve(connection, protocol, ports, forwarder).await;
                });
                Ok(switched_to_websocket(&key, protocol.name))
            }
            None => Err(StatusError::bad_request(format!(
                "unable to negotiate protocol: client supports [{}], server accepts [{}, v4.channel.k8s.io, \
                 v4.base64.channel.k8s.io]",
                websocket_offers(request.headers()),
                port_forward::TUNNEL
            ))),
        },
        Upgrade::Spdy => {
            if !spdy_offers(request.headers())?.iter().any(|offer| offer == port_forward::SPDY) {
                return Ok(no_common_spdy(&[port_forward::SPDY]));
            }
            become_other(api, request, move |connection| async move {
                port_forward::serve_spdy(tokio::io::split(connection), forwarder).await;
            });
            Ok(switched_to_spdy(port_forward::SPDY))
        }
    }
}

async fn pod(api: &Arc<Api>, call: &Call) -> Result<Object, StatusError> {
    if call.query.find("dryRun").is_some() {
        return Err(StatusError::bad_request("dryRun is not supported"));
    }
    target::pod(api, call).await
}

/// H20.
async fn agent_of(
    api: &Arc<Api>,
    pod: &Object,
) -> Result<Arc<dyn outrigger_streaming::agent::NodeAgent>, StatusError> {
    if pod.str_at(&["spec", "nodeName"]).is_empty() {
        return Err(StatusError::bad_request(format!("pod {} does not have a host assigned", pod.name())));
    }
    target::agent(api, pod).await
}

/// What the client wants the connection to become.
enum Upgrade {
    WebSocket { key: String },
    Spdy,
}

impl Upgrade {
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

/// All offered subprotocols, comma-joined; the bearer token some browsers hide there is no offer (I7).
fn websocket_offers(headers: &HeaderMap) -> String {
    let all = headers.get_all(&WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offers = all.flat_map(|value| value.split(',')).map(str::trim);
    offers.filter(|offer| !offer.starts_with("base64url.bearer.")).collect::<Vec<_>>().join(",")
}

/// H30: offering nothing is an error, other than offering nothing known.
fn spdy_offers(headers: &HeaderMap) -> Result<Vec<String>, StatusError> {
    let all = headers.get_all(&SPDY_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offers: Vec<String> = all.flat_map(|value| value.split(',')).map(|it| it.trim().to_owned()).collect();
    if offers.is_empty() {
        return Err(StatusError::bad_request(
            "unable to upgrade: X-Stream-Protocol-Version: header is required",
        ));
    }
    Ok(offers)
}

/// H30.
fn no_common_spdy(known: &[&'static str]) -> Response<Body> {
    let mut response = respond::response(403, "text/plain; charset=utf-8", respond::full(""));
    for name in known {
        response.headers_mut().append(SPDY_ACCEPTED, HeaderValue::from_static(name));
    }
    response
}

/// Hands the connection to `serve` once the answer is written. Ends with the server.
fn become_other<F>(
    api: &Arc<Api>,
    request: Request<Body>,
    serve: impl FnOnce(TokioIo<hyper::upgrade::Upgraded>) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let upgrade = upgrade(request);
    let stop = api.shutdown.clone();
    api.tasks.spawn(async move {
        let Some(connection) = connected(upgrade).await else { return };
        tokio::select! {
            () = stop.cancelled() => {}
            () = serve(connection) => {}
        }
    });
}

fn upgrade(mut request: Request<Body>) -> OnUpgrade {
    hyper::upgrade::on(&mut request)
}

async fn connected(upgrade: OnUpgrade) -> Option<TokioIo<hyper::upgrade::Upgraded>> {
    match upgrade.await {
        Ok(connection) => Some(TokioIo::new(connection)),
        Err(error) => {
            tracing::debug!(%error, "a client went away during the upgrade");
            None
        }
    }
}

fn switched_to_websocket(key: &str, protocol: &'static str) -> Response<Body> {
    let mut response = switched("websocket");
    let headers = response.headers_mut();
    headers.insert(WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert("sec-websocket-accept", accept);
    }
    response
}

fn switched_to_spdy(protocol: &'static str) -> Response<Body> {
    let mut response = switched(SPDY);
    response.headers_mut().insert(SPDY_PROTOCOL, HeaderValue::from_static(protocol));
    response
}

fn switched(upgrade: &'static str) -> Response<Body> {
    let mut response = Response::new(respond::full(""));
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(upgrade));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response
}
