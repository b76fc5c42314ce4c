//! GET requests as probes and hooks make them: one connection each, certificates not checked, short answers
//! (R6.16 to R6.18, R7.8).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;

/// Bytes of an answer that are kept.
const MOST_BODY: usize = 10 * 1024;
const MOST_REDIRECTS: usize = 10;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// It points to another host and was not followed.
    pub(crate) leads_away: bool,
}

/// Performs the action, following redirects on the same host. No time limit of its own.
pub(crate) async fn http_get(
    action: &HTTPGetAction,
    container: &Container,
    pod_ip: &str,
    agent: &str,
) -> Result<Answer, String> {
    let port = resolve_port(&action.port, container)?;
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
    let scheme = if action.scheme.as_deref() == Some("HTTPS") { "https" } else { "http" };
    let path = action.path.as_deref().unwrap_or("/");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let mut uri: Uri = format!("{scheme}://{host}:{port}{slash}{path}")
        .parse()
        .map_err(|e: http::uri::InvalidUri| e.to_string())?;
    for _ in 0..=MOST_REDIRECTS {
        let response = get(&uri, action, agent).await.map_err(|error| format!("Get \"{uri}\": {error}"))?;
        let status = response.status().as_u16();
        let target = matches!(status, 301 | 302 | 303 | 307 | 308)
            .then(|| response.headers().get(http::header::LOCATION)?.to_str().ok().map(str::to_owned))
            .flatten();
        let next = target.and_then(|target| resolve_location(&uri, &target));
        match next {
            Some(next) if next.host() == uri.host() => uri = next,
            away => return Ok(Answer { status, body: read(response).await, leads_away: away.is_some() }),
        }
    }
    Err(format!("Get \"{uri}\": stopped after 10 redirects"))
}

/// A number, or the name of one of this container's ports (R6.16).
pub(crate) fn resolve_port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    match port {
        IntOrString::Int(number) => {
            u16::try_from(*number).map_err(|_| format!("invalid port number: {number}"))
        }
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref() == Some(name))
            .and_then(|port| u16::try_from(port.container_port).ok())
            .or_else(|| name.parse().ok())
            .ok_or_else(|| format!("couldn't find port: {name}")),
    }
}

fn resolve_location(from: &Uri, location: &str) -> Option<Uri> {
    if location.contains("://") {
        return location.parse().ok();
    }
    let slash = if location.starts_with('/') { "" } else { "/" };
    format!("{}://{}{slash}{location}", from.scheme_str()?, from.authority()?).parse().ok()
}

async fn get(uri: &Uri, action: &HTTPGetAction, agent: &str) -> Result<Response<Incoming>, String> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let tcp =
        TcpStream::connect((host, port)).await.map_err(|error| format!("dial tcp {host}:{port}: {error}"))?;
    let request = request(uri, action, agent)?;
    if secure {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let tls = tokio_rustls::TlsConnector::from(unverified()?);
        let stream = tls.connect(name, tcp).await.map_err(|error| error.to_string())?;
        return send(stream, request).await;
    }
    send(tcp, request).await
}

async fn send<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .title_case_headers(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Ends with the connection, which ends when the answer is dropped.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|error| error.to_string())
}

fn request(uri: &Uri, action: &HTTPGetAction, agent: &str) -> Result<Request<Empty<Bytes>>, String> {
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut request = Request::get(path).body(Empty::new()).map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    let mut accept = Some("*/*".to_owned());
    for header in action.http_headers.iter().flatten() {
        let name: HeaderName =
            header.name.parse().map_err(|_| format!("invalid header name {:?}", header.name))?;
        let value = HeaderValue::from_str(&header.value).map_err(|error| error.to_string())?;
        match name.as_str() {
            "host" => drop(headers.insert(http::header::HOST, value)),
            "accept" => accept = Some(header.value.clone()),
            _ => drop(headers.append(name, value)),
        }
    }
    if let Some(accept) = accept.filter(|accept| !accept.is_empty()) {
        headers
            .insert(http::header::ACCEPT, HeaderValue::from_str(&accept).map_err(|error| error.to_string())?);
    }
    if !headers.contains_key(http::header::HOST) {
        let host = uri.authority().map_or("", http::uri::Authority::as_str);
        headers.insert(http::header::HOST, HeaderValue::from_str(host).map_err(|error| error.to_string())?);
    }
    if !headers.contains_key(http::header::USER_AGENT) {
        let agent = HeaderValue::from_str(agent).map_err(|error| error.to_string())?;
        headers.insert(http::header::USER_AGENT, agent);
    }
    headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

async fn read(response: Response<Incoming>) -> String {
    let mut body = response.into_body();
    let mut kept = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            kept.extend_from_slice(&data[..data.len().min(MOST_BODY - kept.len())]);
        }
        if kept.len() >= MOST_BODY {
            break;
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn unverified() -> Result<Arc<rustls::ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let verifier = Arc::new(AcceptAny(schemes));
    Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

/// R6.18: probes do not verify certificates.
#[derive(Debug)]
struct AcceptAny(Vec<SignatureScheme>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
