//! A watch over a WebSocket, for browsers (E38): each event one text message, and nothing the client says matters.

use futures::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::respond::{self, Body};

/// The largest message taken from a client, in bytes: nothing it says matters.
const HEARD: usize = 64 * 1024;

/// Whether a client wants its events in messages.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    let has = |name, word: &str| {
        let value = headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    has(UPGRADE, "websocket") && has(CONNECTION, "upgrade") && headers.contains_key(SEC_WEBSOCKET_KEY)
}

/// Sends the lines of a watch's body as messages once the connection is upgraded; the future does the sending and ends
/// with either side.
pub(crate) fn upgrade(
    mut request: Request<Body>,
    watch: Response<Body>,
) -> (Response<Body>, impl Future<Output = ()> + Send + 'static) {
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map_or(&[][..], HeaderValue::as_bytes);
    let mut response = respond::response(101, "application/json", respond::full(""));
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key)) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    // No subprotocol is needed; a client that offers some hears the first.
    let offered = request.headers().get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    let first = offered.and_then(|list| list.split(',').next()).map(str::trim);
    if let Some(Ok(first)) = first.map(HeaderValue::from_str) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, first);
    }
    let upgraded = hyper::upgrade::on(&mut request);
    let talk = async move {
        match upgraded.await {
            Ok(connection) => send(TokioIo::new(connection), watch.into_body()).await,
            Err(error) => tracing::debug!(%error, "a connection was not upgraded"),
        }
    };
    (response, talk)
}

async fn send<S>(connection: S, body: Body)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let limits = WebSocketConfig::default().max_message_size(Some(HEARD)).max_frame_size(Some(HEARD));
    let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(limits)).await;
    let (mut sink, mut source) = socket.split();
    let mut pieces = http_body_util::BodyStream::new(body);
    loop {
        tokio::select! {
            piece = pieces.next() => {
                let Some(Ok(piece)) = piece else { break };
                let Ok(data) = piece.into_data() else { continue };
                // A piece holds whole lines.
                for line in data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let text = String::from_utf8_lossy(line).into_owned();
                    if sink.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
            }
            said = source.next() => match said {
                // Pings are answered by the library when it is asked for more.
                Some(Ok(message)) if !message.is_close() => {}
                _ => break,
            },
        }
    }
    let _ = sink.close().await;
}
