//! Exec and attach over the streams of a SPDY connection, as clients without WebSocket ask for them (H30, H31).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use super::connection::{self, Offer};
use super::stream::Stream;
use crate::agent::{Output, Session, StreamOptions, TerminalSize};
use crate::last_word::last_word;

/// How long the client may take to open what it asked for (H31).
const OPENING: Duration = Duration::from_secs(30);

/// A generation of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// For the answer's `X-Stream-Protocol-Version`.
    pub name: &'static str,
    /// Failures are told as text.
    legacy: bool,
    /// The terminal's size has a stream.
    resizes: bool,
}

/// What can be spoken, newest first. The first generation had no name in use for long and reads like the second.
pub const PROTOCOLS: [Protocol; 4] = [
    Protocol { name: "v4.channel.k8s.io", legacy: false, resizes: true },
    Protocol { name: "v3.channel.k8s.io", legacy: true, resizes: true },
    Protocol { name: "v2.channel.k8s.io", legacy: true, resizes: false },
    Protocol { name: "channel.k8s.io", legacy: true, resizes: false },
];

/// The first of the client's offers that is known (H30).
pub fn negotiate<'a>(mut offered: impl Iterator<Item = &'a str>) -> Option<Protocol> {
    offered.find_map(|name| PROTOCOLS.into_iter().find(|known| known.name == name))
}

/// The streams of one session.
#[derive(Debug, Default)]
struct Opened {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Opened {
    /// The place for a stream of this type, if it is one that was asked for and is still missing.
    fn place(
        &mut self,
        kind: &str,
        wanted: StreamOptions,
        protocol: Protocol,
    ) -> Option<&mut Option<Stream>> {
        let place = match kind {
            "error" => &mut self.error,
            "stdin" if wanted.stdin => &mut self.stdin,
            "stdout" if wanted.stdout => &mut self.stdout,
            "stderr" if wanted.stderr => &mut self.stderr,
            "resize" if wanted.tty && protocol.resizes => &mut self.resize,
            _ => return None,
        };
        place.is_none().then_some(place)
    }

    fn complete(&self, wanted: StreamOptions, protocol: Protocol) -> bool {
        self.error.is_some()
            && (self.stdin.is_some() || !wanted.stdin)
            && (self.stdout.is_some() || !wanted.stdout)
            && (self.stderr.is_some() || !wanted.stderr)
            && (self.resize.is_some() || !(wanted.tty && protocol.resizes))
    }
}

/// Waits for the streams in `wanted`, then begins the session with `start` and serves it until the process ends or the
/// client leaves. A client that leaves drops the session; dropping the future does the same.
pub async fn serve<R, W, F>(
    (reader, writer): (R, W),
    protocol: Protocol,
    wanted: StreamOptions,
    start: impl FnOnce() -> F,
) where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
    F: Future<Output = Session>,
{
    let (sender, mut offers) = mpsc::channel(8);
    let session = async {
        match timeout(OPENING, collect(&mut offers, protocol, wanted)).await {
            Ok(Some(opened)) => {
                // Nothing more may be opened.
                drop(offers);
                carry(opened, protocol, start().await).await;
            }
            Ok(None) => {}
            Err(_) => debug!("a client did not open the streams it asked for"),
        }
        // The connection ends once the streams' last words are written.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = connection::run(reader, writer, sender) => {}
        () = session => {}
    }
}

/// The streams of the session; `None` if the client left before.
async fn collect(
    offers: &mut mpsc::Receiver<Offer>,
    protocol: Protocol,
    wanted: StreamOptions,
) -> Option<Opened> {
    let mut opened = Opened::default();
    while !opened.complete(wanted, protocol) {
        let offer = offers.recv().await?;
        let kind = offer.headers().get("streamtype").to_owned();
        match opened.place(&kind, wanted, protocol) {
            Some(place) => *place = Some(offer.accept()),
            None => debug!(kind, "a stream nobody asked for is refused"),
        }
    }
    Some(opened)
}

/// Moves bytes until the process has ended and its output is written, then says how it ended (H26).
async fn carry(opened: Opened, protocol: Protocol, session: Session) {
    let Opened { error, stdin, stdout, stderr, resize } = opened;
    let Some(mut error) = error else { return };
    let Session { stdin: towards, stdout: output, stderr: errors, resize: sizes, end } = session;
    let feeding = async {
        if let (Some(mut from), Some(mut towards)) = (stdin, towards) {
            let fed = tokio::io::copy(&mut from, &mut towards).await;
            if let Err(error) = fed {
                debug!(%error, "input of a session ended");
            }
            let _ = towards.shutdown().await;
        }
        std::future::pending::<()>().await;
    };
    let resizing = async {
        if let (Some(from), Some(sizes)) = (resize, sizes) {
            resize_until_closed(from, sizes).await;
        }
        std::future::pending::<()>().await;
    };
    let talking = async {
        let ((), (), end) = tokio::join!(pump(output, stdout), pump(errors, stderr), end);
        if let Some(word) = last_word(protocol.legacy, &end) {
            let _ = error.write_all(word.as_bytes()).await;
        }
        let _ = error.shutdown().await;
    };
    tokio::select! {
        () = talking => {}
        () = feeding => {}
        () = resizing => {}
    }
}

async fn pump(output: Option<Output>, stream: Option<Stream>) {
    let Some(mut stream) = stream else { return };
    if let Some(mut output) = output
        && let Err(error) = tokio::io::copy(&mut output, &mut stream).await
    {
        debug!(%error, "output of a session ended");
    }
    let _ = stream.shutdown().await;
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// The largest size message taken; a longer one ends the resizing.
const LARGEST_SIZE: usize = 1024;

/// Sizes come as JSON values one behind the other (H25); line ends between them are optional.
async fn resize_until_closed(mut from: Stream, sizes: mpsc::Sender<TerminalSize>) {
    use tokio::io::AsyncReadExt as _;
    let mut text = Vec::new();
    while text.len() < LARGEST_SIZE && matches!(from.read_buf(&mut text).await, Ok(1..)) {
        let mut taken = 0;
        loop {
            let mut values = serde_json::Deserializer::from_slice(&text[taken..]).into_iter::<Size>();
            match values.next() {
                Some(Ok(Size { width, height })) => {
                    taken += values.byte_offset();
                    if sizes.send(TerminalSize { width, height }).await.is_err() {
                        return;
                    }
                }
                Some(Err(error)) if error.is_eof() => break,
                Some(Err(_)) => return,
                None => {
                    taken = text.len();
                    break;
                }
            }
        }
        text.drain(..taken);
    }
}
