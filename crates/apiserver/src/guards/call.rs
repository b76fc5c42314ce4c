//! One call of a webhook: a POST on a connection of its own, within the time its configuration gives it (I53).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use outrigger_admission::webhook::Place;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;

use super::configs::Callee;
use crate::codec::BODY_LIMIT;
use crate::server::{Api, VERSION};
use crate::subresource::ready_endpoint;

/// Sends a review and reads what comes back.
///
/// # Errors
/// Why there is no answer, in the words upstream has for it.
pub(super) async fn call(api: &Api, callee: &Callee, review: &Value) -> Result<Bytes, String> {
    let webhook = &callee.webhook;
    let base = webhook.place.url();
    let joint = if base.contains('?') { '&' } else { '?' };
    let url = format!("{base}{joint}timeout={}s", webhook.timeout_seconds);
    let within = Duration::from_secs(webhook.timeout_seconds);
    let answer = tokio::time::timeout(within, exchange(api, callee, &url, review)).await;
    match answer {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(cause)) => Err(format!("failed to call webhook: {}", cause.told(&url))),
        Err(_) => Err(format!("failed to call webhook: Post \"{url}\": context deadline exceeded")),
    }
}

/// Why there is no answer.
enum Cause {
    /// It was not reached.
    Transport(String),
    /// It said something else than an answer.
    Status(String),
}

impl Cause {
    fn told(&self, url: &str) -> String {
        match self {
            Self::Transport(cause) => format!("Post \"{url}\": {cause}"),
            Self::Status(cause) => cause.clone(),
        }
    }
}

async fn exchange(api: &Api, callee: &Callee, url: &str, review: &Value) -> Result<Bytes, Cause> {
    let broken = |error: &dyn std::fmt::Display| Cause::Transport(error.to_string());
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| broken(&error))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let stream = match &callee.webhook.place {
        Place::Url(_) => dial((host.as_str(), uri.port_u16().unwrap_or(443))).await?,
        Place::Service { namespace, name, port, .. } => {
            let place = ready_endpoint(api, namespace, name, *port).await;
            dial(place.map_err(|error| broken(&error.message))?).await?
        }
    };
    let config = callee.tls.as_ref().map_err(|why| broken(why))?;
    // The name of a Service as its certificate has it, without the cluster's domain.
    let name = ServerName::try_from(host.clone()).map_err(|error| broken(&error))?;
    let stream = tokio_rustls::TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
    let stream = stream.map_err(|error| Cause::Transport(tls_words(&error)))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path)
        .header(HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, */*")
        .header(USER_AGENT, format!("kube-apiserver-admission/{VERSION}"))
        .body(Full::new(Bytes::from(review.to_string())))
        .map_err(|error| broken(&error))?;
    let talk = async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let code = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_LIMIT).collect().await;
        let body = body.map_err(|error| Cause::Transport(error.to_string()))?.to_bytes();
        if code == 200 { Ok(body) } else { Err(Cause::Status(status_words(code, &body))) }
    };
    // Both halves live and end here, within the time given. A connection that ends early fails the other half.
    let drive = async {
        let _ = connection.await;
        std::future::pending::<std::convert::Infallible>().await
    };
    tokio::select! {
        answer = talk => answer,
        never = drive => match never {},
    }
}

/// Connects to the first address that takes the connection.
async fn dial<A: tokio::net::ToSocketAddrs>(place: A) -> Result<TcpStream, Cause> {
    let words = |error: &std::io::Error| {
        let words = error.to_string();
        words.split(" (os error").next().unwrap_or(&words).to_lowercase()
    };
    let found = tokio::net::lookup_host(place).await;
    let found = found.map_err(|error| Cause::Transport(format!("dial tcp: lookup: {}", words(&error))))?;
    let mut failure = "dial tcp: no addresses".to_owned();
    for address in found {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // A failure leaves a slower connection, not a broken one.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => failure = format!("dial tcp {address}: connect: {}", words(&error)),
        }
    }
    Err(Cause::Transport(failure))
}

/// What is wrong with a certificate, in the words people search for.
fn tls_words(error: &std::io::Error) -> String {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(why)) => {
            format!("tls: failed to verify certificate: x509: {why}")
        }
        Some(_) | None => error.to_string(),
    }
}

/// What a client of the API says to an answer with this code.
fn status_words(code: u16, body: &[u8]) -> String {
    let said = String::from_utf8_lossy(&body[..body.len().min(1024)]).trim().to_owned();
    match code {
        404 => "the server could not find the requested resource".to_owned(),
        500.. => format!("an error on the server ({said:?}) has prevented the request from succeeding"),
        _ => format!("the server rejected our request: {code} {said}").trim_end().to_owned(),
    }
}
