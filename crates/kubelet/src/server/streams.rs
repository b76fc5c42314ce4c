//! Sessions on the node's API: an HTTP/1.1 connection that becomes one (N1).

use http::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use http::{Request, Response};
use hyper_util::rt::TokioIo;
use outrigger_api::StatusError;
use outrigger_streaming::agent::{
    ContainerTarget, HttpBody, NodeAgent as _, Session, SessionEnd, StreamOptions,
};
use outrigger_streaming::websocket::{self, Protocol};
use tokio::io::AsyncReadExt as _;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::answers::{self, failed, text};
use super::query::Query;
use crate::agent::KubeletAgent;

const PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
/// Bytes of output `/run` gives back; the rest is read and dropped.
const MOST_OUTPUT: usize = 16 * 1024 * 1024;

/// What a client that wants an upgrade has said.
struct Handshake {
    protocol: Protocol,
    accept: String,
    streams: StreamOptions,
}

/// `/exec`.
pub(super) fn exec(
    agent: &KubeletAgent,
    target: ContainerTarget,
    query: &Query,
    request: Request<HttpBody>,
) -> Response<HttpBody> {
    let (agent, command) = (agent.clone(), query.all("command"));
    upgrade(query, request, move |streams| async move { agent.exec(&target, &command, streams).await })
}

/// `/attach`.
pub(super) fn attach(
    agent: &KubeletAgent,
    target: ContainerTarget,
    query: &Query,
    request: Request<HttpBody>,
) -> Response<HttpBody> {
    let agent = agent.clone();
    upgrade(query, request, move |streams| async move { agent.attach(&target, streams).await })
}

/// `/run`: both output streams together, once the command has ended.
pub(super) async fn run(agent: &KubeletAgent, target: &ContainerTarget, query: &Query) -> Response<HttpBody> {
    // `cmd` is the name this one path has for a command, split at blanks.
    let command = match query.all("cmd").first() {
        Some(line) => line.split_whitespace().map(str::to_owned).collect(),
        None => query.all("command"),
    };
    if command.is_empty() {
        return text(400, "you must specify a command as cmd or command\n");
    }
    let streams = StreamOptions { stdout: true, stderr: true, ..StreamOptions::default() };
    let session = match agent.exec(target, &command, streams).await {
        Ok(session) => session,
        Err(error) => return failed(&error),
    };
    let (output, end) = collect(session).await;
    match end {
        SessionEnd::Exited(0) | SessionEnd::Detached => answers::answer(200, answers::TEXT, output),
        SessionEnd::Exited(code) => {
            let output = String::from_utf8_lossy(&output);
            text(500, format!("command '{}' exited with {code}: {output}", command.join(" ")))
        }
        SessionEnd::Failed(message) => failed(&StatusError::internal(message)),
    }
}

async fn collect(session: Session) -> (Vec<u8>, SessionEnd) {
    let kept = std::sync::Mutex::new(Vec::new());
    let drain = async |stream: Option<outrigger_streaming::agent::Output>| {
        let Some(mut stream) = stream else { return };
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            let mut kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let room = MOST_OUTPUT.saturating_sub(kept.len());
            kept.extend_from_slice(&buffer[..count.min(room)]);
        }
    };
    let (_, _, end) = tokio::join!(drain(session.stdout), drain(session.stderr), session.end);
    (kept.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner), end)
}

/// Answers with 101 and serves the session on the connection. The task ends with the connection or the process.
fn upgrade<F>(
    query: &Query,
    mut request: Request<HttpBody>,
    begin: impl FnOnce(StreamOptions) -> F + Send + 'static,
) -> Response<HttpBody>
where
    F: Future<Output = Result<Session, StatusError>> + Send,
{
    let Handshake { protocol, accept, streams } = match handshake(query, &request) {
        Ok(handshake) => handshake,
        Err((code, message)) => return text(code, message),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(connection) = upgrade.await else { return };
        let session = begin(streams).await.unwrap_or_else(|error| Session::failed(error.message));
        websocket::serve(TokioIo::new(connection), protocol, session).await;
    });
    let mut response = text(101, "");
    let headers = response.headers_mut();
    headers.remove(http::header::CONTENT_TYPE);
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(PROTOCOL, HeaderValue::from_static(protocol.name));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert("sec-websocket-accept", accept);
    }
    response
}

fn handshake(query: &Query, request: &Request<HttpBody>) -> Result<Handshake, (u16, String)> {
    let header = |name: &HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let streams = query
        .streams()
        .ok_or_else(|| (400, "you must specify at least 1 of stdin, stdout, stderr\n".to_owned()))?;
    let websocket = header(&UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let key = request.headers().get("sec-websocket-key").filter(|_| websocket);
    let key =
        key.ok_or_else(|| (400, "Upgrade request required: only WebSocket is served here\n".to_owned()))?;
    let all = request.headers().get_all(&PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered = all.collect::<Vec<_>>().join(",");
    let protocol = websocket::negotiate(&offered)
        .map_err(|_| (403, "none of the offered subprotocols is known here\n".to_owned()))?;
    Ok(Handshake { protocol, accept: derive_accept_key(key.as_bytes()), streams })
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};

    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<HttpBody> {
        let mut request = Request::builder().uri("/exec/n/p/c?output=1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Empty::new().map_err(|never| match never {}).boxed_unsync()).unwrap()
    }

    /// N1: what an upgrade needs, and what is said without it.
    #[test]
    fn upgrades_are_checked() {
        let query = |request: &Request<HttpBody>| Query::of(request.uri());
        let good = request(&[
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
        ]);
        let found = handshake(&query(&good), &good).ok().unwrap();
        // The example of RFC 6455.
        assert_eq!(found.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(found.protocol.name, "v5.channel.k8s.io");
        let plain = request(&[]);
        assert_eq!(handshake(&query(&plain), &plain).err().unwrap().0, 400);
        let strange = request(&[
            ("upgrade", "websocket"),
            ("sec-websocket-key", "x"),
            ("sec-websocket-protocol", "v9.other"),
        ]);
        assert_eq!(handshake(&query(&strange), &strange).err().unwrap().0, 403);
        assert!(handshake(&Query::default(), &good).is_err());
    }
}
