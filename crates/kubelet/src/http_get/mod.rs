//! GET requests as probes and hooks make them: one connection each, certificates not checked, short answers
//! (R6.16 to R6.18, R7.8).

mod address;
mod heard;

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use rustls::pki_types::ServerName;
use tokio::time::Instant;

pub(crate) use self::address::resolve_port;
pub(crate) use self::heard::{FirstBytes, Heard};
use crate::reference_text::{dial, host_port, io_words};

/// Bytes of an answer that are kept.
const MOST_BODY: usize = 10 * 1024;
/// The tenth answer may not send further.
const MOST_REQUESTS: usize = 10;

/// An answer whose body is still to be read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Incoming,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GetError {
    /// The action names something no request can be made of.
    #[error("{0}")]
    Request(String),
    /// It was sent, or was about to be.
    #[error("Get \"{url}\": {problem}")]
    NoAnswer { url: String, problem: String },
    /// TLS was asked for and the other side speaks plain HTTP.
    #[error("Get \"{url}\": http: server gave HTTP response to HTTPS client")]
    PlainHttp { url: String },
}

/// Performs the action, following redirects on the same host, until `deadline`. `agent` is sent as User-Agent unless the
/// action has one.
pub(crate) async fn http_get(
    action: &HTTPGetAction,
    container: &Container,
    pod_ip: &str,
    agent: &'static str,
    deadline: Option<Instant>,
) -> Result<Answer, GetError> {
    let first = address::first_address(action, container, pod_ip).map_err(GetError::Request)?;
    let (mut headers, mut host) = headers(action, agent).map_err(GetError::Request)?;
    let mut uri = first.clone();
    let mut location = String::new();
    for _ in 0..MOST_REQUESTS {
        let authority = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        if let Some(value) = host.clone().or(authority) {
            headers.insert(HOST, value);
        }
        let response = until(deadline, get(&uri, &headers)).await.map_err(|problem| match problem {
            Problem::PlainHttp => GetError::PlainHttp { url: uri.to_string() },
            Problem::Other(problem) => GetError::NoAnswer { url: uri.to_string(), problem },
        })?;
        let Some(target) = location_of(&response) else { return Ok(answer(response)) };
        let Some(next) = address::resolve_location(&uri, &target) else {
            let problem = format!("failed to parse Location header {target:?}");
            return Err(GetError::NoAnswer { url: uri.to_string(), problem });
        };
        if next.host() != first.host() {
            return Ok(answer(response));
        }
        if address::is_absolute(&target) {
            host = None;
        }
        (uri, location) = (next, target);
    }
    Err(GetError::NoAnswer { url: location, problem: "stopped after 10 redirects".into() })
}

impl Answer {
    /// The first 10 KiB of the body.
    ///
    /// # Errors
    /// If it ends too early or too late.
    pub(crate) async fn text(self, deadline: Option<Instant>) -> Result<String, String> {
        let mut body = self.body;
        let reading = async {
            let mut kept = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| "unexpected EOF".to_owned())?;
                let data = frame.data_ref().map(AsRef::as_ref).unwrap_or_default();
                kept.extend_from_slice(&data[..data.len().min(MOST_BODY - kept.len())]);
                if kept.len() >= MOST_BODY {
                    break;
                }
            }
            Ok(String::from_utf8_lossy(&kept).into_owned())
        };
        let Some(deadline) = deadline else { return reading.await };
        let late = "context deadline exceeded (Client.Timeout or context cancellation while reading body)";
        tokio::time::timeout_at(deadline, reading).await.unwrap_or_else(|_| Err(late.into()))
    }
}

fn answer(response: Response<Incoming>) -> Answer {
    Answer { status: response.status().as_u16(), body: response.into_body() }
}

fn location_of(response: &Response<Incoming>) -> Option<String> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let text = response.headers().get(LOCATION).filter(|_| is_redirect)?.to_str().ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// Why one request had no answer.
enum Problem {
    PlainHttp,
    Other(String),
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

async fn until<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    let Some(deadline) = deadline else { return work.await };
    let late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    tokio::time::timeout_at(deadline, work).await.unwrap_or_else(|_| Err(Problem::Other(late.into())))
}

async fn get(uri: &Uri, headers: &HeaderMap) -> Result<Response<Incoming>, Problem> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let tcp = dial(host, port).await?;
    let ends = (tcp.local_addr().ok(), tcp.peer_addr().ok());
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut request = Request::get(path).body(Empty::new()).map_err(|error| error.to_string())?;
    *request.headers_mut() = headers.clone();
    let (stream, heard) = Heard::new(tcp);
    if !secure {
        return Ok(send(stream, request, &heard, ends).await?);
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(
        outrigger_streaming::tls::unverified().map_err(|error| error.to_string())?,
    );
    match connector.connect(name, stream).await {
        Ok(stream) => Ok(send(stream, request, &FirstBytes::default(), ends).await?),
        Err(_) if heard.get().starts_with(b"HTTP/") => Err(Problem::PlainHttp),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(Problem::Other("EOF".into())),
        Err(error) if error.raw_os_error().is_some() => Err(Problem::Other(read_problem(&error, ends))),
        Err(error) => Err(Problem::Other(format!("tls: {error}"))),
    }
}

type Ends = (Option<SocketAddr>, Option<SocketAddr>);

async fn send<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
    heard: &FirstBytes,
    ends: Ends,
) -> Result<Response<Incoming>, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let words = |error: hyper::Error| {
        let first = heard.get();
        if error.is_incomplete_message() && first.is_empty() {
            return "EOF".to_owned();
        }
        if error.is_parse() && !first.is_empty() {
            let line = first.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
            let line = line.escape_ascii();
            return format!(
                "net/http: HTTP/1.x transport connection broken: malformed HTTP response \"{line}\""
            );
        }
        let source = std::error::Error::source(&error).and_then(|s| s.downcast_ref::<std::io::Error>());
        source.map_or_else(|| error.to_string(), |error| read_problem(error, ends))
    };
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .title_case_headers(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(words)?;
    // Ends with the connection, which ends when the answer is dropped.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(words)
}

/// `read tcp 10.0.0.1:4000->10.0.0.2:80: read: connection reset by peer`.
fn read_problem(error: &std::io::Error, (local, peer): Ends) -> String {
    let text = |end: Option<SocketAddr>| {
        end.map(|end| host_port(&end.ip().to_string(), end.port())).unwrap_or_default()
    };
    format!("read tcp {}->{}: read: {}", text(local), text(peer), io_words(error))
}

/// R6.18: all but Host, and the Host the action asks for.
fn headers(action: &HTTPGetAction, agent: &'static str) -> Result<(HeaderMap, Option<HeaderValue>), String> {
    let mut headers = HeaderMap::new();
    for header in action.http_headers.iter().flatten() {
        let name: HeaderName = header
            .name
            .parse()
            .map_err(|_| format!("net/http: invalid header field name {:?}", header.name))?;
        let value = HeaderValue::from_str(&header.value)
            .map_err(|_| format!("net/http: invalid header field value for {:?}", header.name))?;
        headers.append(name, value);
    }
    for (name, default) in [(USER_AGENT, agent), (ACCEPT, "*/*")] {
        match headers.get(&name) {
            None => drop(headers.insert(name, HeaderValue::from_static(default))),
            Some(value) if value.is_empty() => drop(headers.remove(name)),
            Some(_) => {}
        }
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let host = headers.remove(HOST).filter(|host| !host.is_empty());
    Ok((headers, host))
}

#[cfg(test)]
pub(crate) mod tests;
