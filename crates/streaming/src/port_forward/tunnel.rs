//! A WebSocket whose binary messages are one stream of bytes (H35).

use std::io;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

/// The largest message taken from a client.
const LARGEST_MESSAGE: usize = 4 * 1024 * 1024;

/// Both directions of the stream inside the WebSocket on `connection`. The client's close is the end of what can be
/// read; shutting the writing half down sends ours.
pub async fn tunnel<S>(connection: S) -> (impl AsyncRead + Send + Unpin, impl AsyncWrite + Send + Unpin)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = WebSocketConfig::default()
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE));
    let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(limits)).await;
    let (sink, source) = socket.split();
    let pieces = source.filter_map(|message| async move {
        match message {
            // The end was announced; the stream ends after it.
            Err(Error::ConnectionClosed) => None,
            Err(error) => Some(Err(broken(error))),
            Ok(Message::Binary(piece)) => Some(Ok(piece)),
            Ok(Message::Text(_)) => Some(Err(io::Error::new(io::ErrorKind::InvalidData, "a text message"))),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => None,
        }
    });
    let messages = sink
        .sink_map_err(broken)
        .with(|piece: Bytes| std::future::ready(Ok::<_, io::Error>(Message::Binary(piece))));
    (StreamReader::new(Box::pin(pieces)), Box::pin(SinkWriter::new(CopyToBytes::new(messages))))
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::other(other),
    }
}
