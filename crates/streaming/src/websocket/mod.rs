//! Exec and attach over a WebSocket whose messages are tagged with a channel (H21 to H28).
//!
//! Start at [`negotiate`], before the upgrade, and [`serve`], after it.

mod protocol;

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tracing::debug;

use self::protocol::{Channel, Said};
pub use self::protocol::{Protocol, Unsupported, Version, negotiate};
use crate::agent::{Input, Output, Session, TerminalSize};
use crate::last_word::last_word;

/// Frames waiting for the client; beyond it the process's output is not read any further.
const OUTGOING: usize = 16;
/// Pieces of input waiting for the process; beyond it the socket is not read any further, pings included, as a client
/// that sends faster than the process reads has to wait.
const INCOMING: usize = 64;
/// How much output travels in one message (H28).
const CHUNK: usize = 32 * 1024;
/// The largest message taken from a client (H28 asks for at least 1 MiB).
const LARGEST_MESSAGE: usize = 4 * 1024 * 1024;
/// How long the client may take to answer our close before the connection is dropped under it.
const LINGER: Duration = Duration::from_secs(5);

/// Serves one session over a connection that has just been upgraded, until the process ends or the client leaves.
/// A client that leaves drops the session, which ends an exec'd process. Dropping the future does the same.
pub async fn serve<S>(connection: S, protocol: Protocol, mut session: Session)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let limits = WebSocketConfig::default()
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE));
    let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(limits)).await;
    let (sink, source) = socket.split();
    let (outgoing, frames) = mpsc::channel(OUTGOING);
    let (input, pieces) = mpsc::channel(INCOMING);
    let stdin = session.stdin.take();
    let listening = listen(source, protocol, input, session.resize.take());
    let talking = async {
        tokio::join!(write(sink, frames), tell(protocol, session, outgoing));
    };
    let feeding = feed(stdin, pieces);
    let mut listening = std::pin::pin!(listening);
    let mut feeding = std::pin::pin!(feeding);
    let mut talking = std::pin::pin!(talking);
    let mut fed = false;
    loop {
        tokio::select! {
            () = &mut listening => return,
            () = &mut feeding, if !fed => fed = true,
            () = &mut talking => break,
        }
    }
    // The close was sent. Input still under way is read and dropped, so that the client sees the close and no reset.
    let _ =
        tokio::time::timeout(LINGER, async { tokio::join!(&mut listening, drain(fed, &mut feeding)) }).await;
}

async fn drain(fed: bool, feeding: &mut (impl Future<Output = ()> + Unpin)) {
    if !fed {
        feeding.await;
    }
}

/// Output first, then the one word about the end, then a close that clients take for a normal end (H23, H26, H27).
async fn tell(protocol: Protocol, session: Session, outgoing: mpsc::Sender<Message>) {
    let Session { stdout, stderr, end, .. } = session;
    let ready = match (&stdout, &stderr) {
        (Some(_), _) => Channel::Stdout,
        (None, Some(_)) => Channel::Stderr,
        (None, None) => Channel::Error,
    };
    // Failing to send means that the client is gone, which the listening side notices.
    let _ = outgoing.send(protocol.encode(ready, b"")).await;
    let ((), (), end) = tokio::join!(
        pump(stdout, Channel::Stdout, protocol, &outgoing),
        pump(stderr, Channel::Stderr, protocol, &outgoing),
        end,
    );
    if let Some(word) = last_word(protocol.version == Version::Legacy, &end) {
        let _ = outgoing.send(protocol.encode(Channel::Error, word.as_bytes())).await;
    }
    let close = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
    let _ = outgoing.send(Message::Close(Some(close))).await;
}

async fn pump(
    output: Option<Output>,
    channel: Channel,
    protocol: Protocol,
    outgoing: &mpsc::Sender<Message>,
) {
    let Some(mut output) = output else { return };
    let mut chunk = vec![0; CHUNK];
    loop {
        match output.read(&mut chunk).await {
            Ok(0) => return,
            Ok(length) => {
                if outgoing.send(protocol.encode(channel, &chunk[..length])).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                debug!(%error, "reading a process's output failed");
                return;
            }
        }
    }
}

async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    mut frames: mpsc::Receiver<Message>,
) {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = sink.send(frame).await {
            debug!(%error, "the client of a session is gone");
            return;
        }
    }
}

/// Reads until the client closes or vanishes. Pings are answered by the WebSocket library.
async fn listen<S: AsyncRead + AsyncWrite + Unpin>(
    mut source: SplitStream<WebSocketStream<S>>,
    protocol: Protocol,
    input: mpsc::Sender<Bytes>,
    resize: Option<mpsc::Sender<TerminalSize>>,
) {
    let mut input = Some(input);
    while let Some(Ok(message)) = source.next().await {
        match protocol.decode(&message) {
            Some(Said::Stdin(piece)) => {
                if let Some(open) = &input {
                    // A process that reads no more gets no more; the session goes on.
                    let _ = open.send(piece).await;
                }
            }
            Some(Said::StdinEnd) => input = None,
            Some(Said::Resize(size)) => {
                if let Some(resize) = &resize {
                    let _ = resize.send(size).await;
                }
            }
            None => {}
        }
    }
}

/// Hands input to the process; the end of input is the end of its stdin (H24).
async fn feed(stdin: Option<Input>, mut pieces: mpsc::Receiver<Bytes>) {
    let Some(mut stdin) = stdin else { return while pieces.recv().await.is_some() {} };
    while let Some(piece) = pieces.recv().await {
        if let Err(error) = stdin.write_all(&piece).await {
            debug!(%error, "the process takes no more input");
            return;
        }
        if stdin.flush().await.is_err() {
            return;
        }
    }
    let _ = stdin.shutdown().await;
}

#[cfg(test)]
mod tests;
