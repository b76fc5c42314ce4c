//! One request to a backend, on a connection of its own; bodies are streamed both ways.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::UPGRADE;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use outrigger_api::StatusError;
use outrigger_api::status::Reason;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::place::Place;
use crate::respond::{self, Body};
use crate::server::Api;

/// A backend that does not take the connection by then is not there.
const CONNECT: Duration = Duration::from_secs(30);

/// Sends the request; if both sides agree to an upgrade, joins their connections.
///
/// # Errors
/// 503 if the backend cannot be reached or does not answer.
pub(super) async fn send(
    api: &Arc<Api>,
    place: &Place,
    mut request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let wants_upgrade = request.headers().contains_key(UPGRADE);
    let client = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    let mut response = exchange(api, place, request).await.map_err(|problem| {
        let message = format!("error trying to reach service: {problem}");
        StatusError::new(503, Reason::ServiceUnavailable, message)
    })?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client) = client
    {
        let backend = hyper::upgrade::on(&mut response);
        let stop = api.shutdown.clone();
        api.tasks.spawn(async move {
            let join = async {
                let (client, backend) = tokio::try_join!(client, backend).map_err(io::Error::other)?;
                tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(backend)).await
            };
            tokio::select! {
                () = stop.cancelled() => {}
                joined = join => if let Err(error) = joined {
                    tracing::debug!(%error, "a proxied connection broke");
                },
            }
        });
        return Ok(response.map(|_| respond::full("")));
    }
    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
}

async fn exchange(
    api: &Arc<Api>,
    place: &Place,
    request: Request<Body>,
) -> Result<Response<Incoming>, String> {
    let address = SocketAddr::new(place.address, place.port);
    let connect = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
    let stream = match connect {
        Err(_) => return Err(format!("dial tcp {address}: i/o timeout")),
        Ok(Err(error)) => {
            let words = error.to_string();
            let words = words.split(" (os error").next().unwrap_or(&words).to_lowercase();
            return Err(format!("dial tcp {address}: connect: {words}"));
        }
        Ok(Ok(stream)) => stream,
    };
    // A failure leaves a slower connection, not a broken one.
    let _ = stream.set_nodelay(true);
    if !place.secure {
        return converse(api, stream, request).await;
    }
    let config = outrigger_streaming::tls::unverified().map_err(|error| error.to_string())?;
    let name = ServerName::from(place.address);
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
    converse(api, stream.map_err(|error| error.to_string())?, request).await
}

async fn converse<S>(api: &Arc<Api>, stream: S, request: Request<Body>) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let stop = api.shutdown.clone();
    // Ends with the answer's body, or when its reader is gone.
    api.tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            _ = connection.with_upgrades() => {}
        }
    });
    sender.send_request(request).await.map_err(|error| error.to_string())
}
