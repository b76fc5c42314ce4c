//! Exec and attach: an HTTP/1.1 connection that becomes a session (H18-H29).

use std::sync::Arc;

use http::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, Request, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use outrigger_api::StatusError;
use outrigger_streaming::agent::StreamOptions;
use outrigger_streaming::websocket;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::target;
use crate::handler::Call;
use crate::respond::{self, Body};
use crate::server::Api;

const PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");

/// `pods/<p>/exec` and `pods/<p>/attach`.
pub(super) async fn run(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    if call.query.find("dryRun").is_some() {
        return Err(StatusError::bad_request("dryRun is not supported"));
    }
    let pod = target::pod(api, call).await?;
    let target = target::container(&pod, call.query.get("container"))?;
    if pod.str_at(&["spec", "nodeName"]).is_empty() {
        return Err(StatusError::bad_request(format!("pod {} does not have a host assigned", pod.name())));
    }
    let agent = target::agent(api, &pod).await?;
    let key = websocket_key(request.headers())?;
    let flag = |name: &str| call.query.find(name).is_some_and(|word| matches!(word, "true" | "1"));
    let tty = flag("tty");
    let streams =
        StreamOptions { stdin: flag("stdin"), stdout: flag("stdout"), stderr: flag("stderr") && !tty, tty };
    if !(streams.stdin || streams.stdout || streams.stderr) {
        return Ok(respond::text(400, "you must specify at least 1 of stdin, stdout, stderr\n"));
    }
    let Ok(protocol) = websocket::negotiate(&offered(request.headers())) else {
        return Ok(respond::response(403, "text/plain; charset=utf-8", respond::full("")));
    };
    let upgrade = upgrade(request);
    let command: Vec<String> = call.query.all("command").map(str::to_owned).collect();
    let exec = call.path.subresource == "exec";
    let stop = api.shutdown.clone();
    api.tasks.spawn(async move {
        let Some(connection) = connected(upgrade).await else { return };
        let session = if exec {
            agent.exec(&target, &command, streams).await
        } else {
            agent.attach(&target, streams).await
        };
        let session = session.unwrap_or_else(|error| websocket::failed(error.message));
        tokio::select! {
            () = stop.cancelled() => {}
            () = websocket::serve(connection, protocol, session) => {}
        }
    });
    Ok(switching(&key, protocol.name))
}

/// H20: only WebSocket upgrades are served; clients that try SPDY get the same answer as no upgrade at all.
fn websocket_key(headers: &HeaderMap) -> Result<String, StatusError> {
    let is_websocket = headers
        .get(UPGRADE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let key = headers.get("sec-websocket-key").and_then(|key| key.to_str().ok());
    match key {
        Some(key) if is_websocket => Ok(key.to_owned()),
        _ => Err(StatusError::bad_request("Upgrade request required")),
    }
}

/// All offered subprotocols, comma-joined; the bearer token some browsers hide there is no offer (I7).
fn offered(headers: &HeaderMap) -> String {
    let all = headers.get_all(&PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offers = all.flat_map(|value| value.split(',')).map(str::trim);
    offers.filter(|offer| !offer.starts_with("base64url.bearer.")).collect::<Vec<_>>().join(",")
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

fn switching(key: &str, protocol: &'static str) -> Response<Body> {
    let mut response = Response::new(respond::full(""));
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(PROTOCOL, HeaderValue::from_static(protocol));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert("sec-websocket-accept", accept);
    }
    response
}
