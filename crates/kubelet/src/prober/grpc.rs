//! The standard gRPC health check, by hand: one HTTP/2 request and a message of one field (R6.20).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Instant;

use crate::http_get::{FirstBytes, Heard};
use crate::reference_text::{self, dial, host_port};

/// # Errors
/// The failure texts of R6.20.
pub(super) async fn check(host: &str, port: u16, service: &str, limit: Duration) -> Result<(), String> {
    let address = host_port(host, port);
    let words = reference_text::duration(limit);
    let unconnected =
        |why: &str| Err(format!("timeout: failed to connect service \"{address}\" within {words}: {why}"));
    let deadline = Instant::now() + limit;
    let tcp = match tokio::time::timeout_at(deadline, dial(host, port)).await {
        Err(_) => return unconnected("context deadline exceeded"),
        Ok(Err(problem)) => return unconnected(&problem),
        Ok(Ok(tcp)) => tcp,
    };
    let (stream, heard) = Heard::new(tcp);
    match tokio::time::timeout_at(deadline, call(stream, &address, service)).await {
        Err(_) if speaks_http2(&heard) => Err(format!("timeout: health rpc did not complete within {words}")),
        Err(_) => unconnected("context deadline exceeded"),
        Ok(Err(error)) if speaks_http2(&heard) => Err(format!(
            "error: health rpc probe failed: rpc error: code = Unavailable desc = {}",
            chain(&error)
        )),
        Ok(Err(error)) => unconnected(&chain(&error)),
        Ok(Ok((headers, body))) => verdict(&headers, &body),
    }
}

/// A connection counts once the other side has sent its settings, the first frame of all (RFC 9113, 3.4).
fn speaks_http2(heard: &FirstBytes) -> bool {
    heard.get().get(3) == Some(&4)
}

fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// All headers, early and late, and the body.
async fn call(stream: Heard, address: &str, service: &str) -> Result<(HeaderMap, Bytes), hyper::Error> {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // Ends when the sender is dropped.
    tokio::spawn(connection);
    let mut request = Request::new(Full::new(encode(service)));
    *request.method_mut() = http::Method::POST;
    if let Ok(uri) = format!("http://{address}/grpc.health.v1.Health/Check").parse() {
        *request.uri_mut() = uri;
    }
    let fixed = [("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "kube-probe/1.36")];
    for (name, value) in fixed {
        request.headers_mut().insert(name, http::HeaderValue::from_static(value));
    }
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let mut headers = response.headers().clone();
    let collected = response.into_body().collect().await?;
    headers.extend(collected.trailers().cloned().unwrap_or_default());
    if !headers.contains_key("grpc-status") {
        let code = code_of_http(status);
        headers.insert("grpc-status", code.into());
        let text = format!("unexpected HTTP status code received from server: {status}");
        if let Ok(text) = text.parse() {
            headers.insert("grpc-message", text);
        }
    }
    Ok((headers, collected.to_bytes()))
}

/// What an answer without a gRPC status means.
fn code_of_http(status: u16) -> u16 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

fn verdict(headers: &HeaderMap, body: &[u8]) -> Result<(), String> {
    let text =
        |name: &str| headers.get(name).map(|value| decode_percent(value.as_bytes())).unwrap_or_default();
    let message = text("grpc-message");
    match text("grpc-status").as_str() {
        "0" => {}
        "12" => {
            return Err(format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
            ));
        }
        code => {
            let code = code_name(code);
            return Err(format!("error: health rpc probe failed: rpc error: code = {code} desc = {message}"));
        }
    }
    let name = match status(body) {
        1 => return Ok(()),
        0 => "UNKNOWN".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => other.to_string(),
    };
    Err(format!("service unhealthy (responded with \"{name}\")"))
}

/// Messages travel in percent form.
fn decode_percent(text: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let pair = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = pair.and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A frame with `HealthCheckRequest{service}`.
fn encode(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or(0));
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    frame.extend(message);
    frame.into()
}

/// The status of a frame with `HealthCheckResponse{status}`; 0 if it is absent.
fn status(frame: &[u8]) -> u8 {
    match frame.get(5..) {
        Some([0x08, status, ..]) => *status,
        _ => 0,
    }
}

fn code_name(code: &str) -> &str {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    code.parse::<usize>().ok().and_then(|code| NAMES.get(code).copied()).unwrap_or("Unknown")
}

#[cfg(test)]
mod tests {
    use hyper::service::service_fn;
    use tokio::net::TcpListener;

    use super::*;

    /// R6.20
    #[test]
    fn frames() {
        assert_eq!(encode("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(encode("ab").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!((status(&[0, 0, 0, 0, 2, 8, 1]), status(&[0; 5])), (1, 0));
        assert_eq!(code_name("5"), "NotFound");
        assert_eq!(decode_percent(b"a%20b%zz%"), "a b%zz%");
    }

    /// A health service that knows three names, and a server that is none.
    async fn answer(
        request: Request<hyper::body::Incoming>,
    ) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(request.headers()["user-agent"], "kube-probe/1.36");
        let asked = request.into_body().collect().await?.to_bytes();
        let name = String::from_utf8_lossy(asked.get(7..).unwrap_or_default()).into_owned();
        let mut response = http::Response::new(Full::new(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1])));
        let headers = response.headers_mut();
        headers.insert("grpc-status", 0.into());
        match name.as_str() {
            "" => {}
            "down" => *response.body_mut() = Full::new(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 2])),
            "none" => {
                headers.insert("grpc-status", 12.into());
                headers.insert("grpc-message", http::HeaderValue::from_static("unknown method"));
            }
            "web" => {
                headers.remove("grpc-status");
                *response.status_mut() = http::StatusCode::NOT_FOUND;
            }
            "hang" => std::future::pending().await,
            _ => {
                headers.insert("grpc-status", 5.into());
                headers.insert("grpc-message", http::HeaderValue::from_static("unknown%20service"));
            }
        }
        Ok(response)
    }

    /// R6.20
    #[tokio::test]
    async fn what_servers_say() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), service_fn(answer)));
            }
        });
        let limit = Duration::from_secs(60);
        assert_eq!(check("127.0.0.1", port, "", limit).await, Ok(()));
        let bad = async |service| check("127.0.0.1", port, service, limit).await.unwrap_err();
        assert_eq!(bad("down").await, "service unhealthy (responded with \"NOT_SERVING\")");
        let none = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ";
        assert_eq!(bad("none").await, format!("{none}unknown method"));
        assert!(bad("web").await.starts_with(none));
        assert_eq!(
            bad("such").await,
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service"
        );
        let late = check("127.0.0.1", port, "hang", Duration::from_secs(2)).await.unwrap_err();
        assert_eq!(late, "timeout: health rpc did not complete within 2s");
    }

    /// R6.20: nobody there, and somebody who does not speak.
    #[tokio::test]
    async fn nobody_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let silent = check("127.0.0.1", port, "", Duration::from_millis(50)).await.unwrap_err();
        let text =
            |limit| format!("timeout: failed to connect service \"127.0.0.1:{port}\" within {limit}: ");
        assert_eq!(silent, format!("{}context deadline exceeded", text("50ms")));
        drop(listener);
        let refused = check("127.0.0.1", port, "", Duration::from_secs(60)).await.unwrap_err();
        let dial = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(refused, format!("{}{dial}", text("1m0s")));
    }
}
