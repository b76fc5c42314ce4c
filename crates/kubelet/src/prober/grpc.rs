//! The standard gRPC health check, by hand: one HTTP/2 request and a message of one field (R6.20).

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// # Errors
/// The failure texts of R6.20.
pub(super) async fn check(host: &str, port: u16, service: &str, limit: Duration) -> Result<(), String> {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let connecting =
        || format!("timeout: failed to connect service \"{address}\" within {}s", limit.as_secs());
    let began = tokio::time::Instant::now();
    let tcp = tokio::time::timeout(limit, TcpStream::connect((host, port)))
        .await
        .map_err(|_| format!("{}: context deadline exceeded", connecting()))?
        .map_err(|error| format!("{}: {error}", connecting()))?;
    let left = limit.saturating_sub(began.elapsed());
    match tokio::time::timeout(left, call(tcp, &address, service)).await {
        Err(_) => Err(format!("timeout: health rpc did not complete within {}s", limit.as_secs())),
        Ok(result) => result,
    }
}

async fn call(tcp: TcpStream, address: &str, service: &str) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("error: health rpc probe failed: {error}");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp))
            .await
            .map_err(|error| failed(&error))?;
    // Ends when the sender is dropped.
    tokio::spawn(connection);
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(encode(service)))
        .map_err(|error| failed(&error))?;
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let early = response.headers().clone();
    let collected = response.into_body().collect().await.map_err(|error| failed(&error))?;
    let late = collected.trailers().cloned().unwrap_or_default();
    let text = |name: &str| {
        let value = late.get(name).or_else(|| early.get(name));
        value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    match text("grpc-status").as_str() {
        "0" => {}
        "12" => {
            let message = text("grpc-message");
            return Err(format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
            ));
        }
        code => {
            let (code, message) = (code_name(code), text("grpc-message"));
            return Err(failed(&format!("rpc error: code = {code} desc = {message}")));
        }
    }
    match status(&collected.to_bytes()) {
        1 => Ok(()),
        other => {
            let name = match other {
                0 => "UNKNOWN",
                2 => "NOT_SERVING",
                _ => "SERVICE_UNKNOWN",
            };
            Err(format!("service unhealthy (responded with \"{name}\")"))
        }
    }
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
    use super::*;

    /// R6.20
    #[test]
    fn frames() {
        assert_eq!(encode("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(encode("ab").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!((status(&[0, 0, 0, 0, 2, 8, 1]), status(&[0; 5])), (1, 0));
        assert_eq!(code_name("5"), "NotFound");
    }
}
