//! Port-forward as the JavaScript and Python clients and kube-rs ask for it: two channels of a WebSocket per port (H39).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tracing::debug;

use super::Forwarder;

/// The largest message taken from a client.
const LARGEST_MESSAGE: usize = 4 * 1024 * 1024;
/// Messages waiting for the client; beyond it the Pod's output is not read any further.
const OUTGOING: usize = 16;
/// Pieces waiting for one port; beyond it the socket is not read any further.
const INCOMING: usize = 64;
/// How much output travels in one message.
const CHUNK: usize = 32 * 1024;
/// Every port takes two channels, and as text a channel is one ASCII character from `0` on.
const MOST_PORTS: usize = 32;

/// A subprotocol that client and server agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// For the answer's `Sec-WebSocket-Protocol`; empty if the client offered none.
    pub name: &'static str,
    base64: bool,
}

const KNOWN: [Protocol; 2] = [
    Protocol { name: "v4.channel.k8s.io", base64: false },
    Protocol { name: "v4.base64.channel.k8s.io", base64: true },
];

/// What a client that offers none is spoken to with.
pub(super) const UNNAMED: Protocol = Protocol { name: "", base64: false };

pub(super) fn named(name: &str) -> Option<Protocol> {
    KNOWN.into_iter().find(|known| known.name == name)
}

/// The ports of `?ports=80&ports=443,8080`.
///
/// # Errors
/// In the words of the 400 that answers.
pub fn ports<'a>(values: impl Iterator<Item = &'a str>) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    for word in values.flat_map(|value| value.split(',')) {
        if word.is_empty() {
            return Err("query parameter \"ports\" cannot be empty".to_owned());
        }
        match word.parse() {
            Ok(0) => return Err(format!("port {word:?} must be > 0")),
            Ok(port) => ports.push(port),
            Err(error) => return Err(format!("unable to parse {word:?} as a port: {error}")),
        }
    }
    match ports.len() {
        0 => Err("query parameter \"ports\" is required".to_owned()),
        1..=MOST_PORTS => Ok(ports),
        _ => Err(format!("at most {MOST_PORTS} ports can be forwarded over one connection")),
    }
}

/// Serves one connection per port until all have ended or the client leaves. Dropping the future ends them.
pub async fn serve<S>(connection: S, protocol: Protocol, ports: Vec<u16>, forwarder: Forwarder)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let limits = WebSocketConfig::default()
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE));
    let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(limits)).await;
    let (mut sink, mut source) = socket.split();
    let (outgoing, mut messages) = mpsc::channel::<Message>(OUTGOING);
    let (inputs, forwards): (Vec<_>, Vec<_>) = ports
        .into_iter()
        .enumerate()
        .map(|(index, port)| {
            let (input, pieces) = mpsc::channel::<Bytes>(INCOMING);
            let channel = u8::try_from(2 * index).unwrap_or(u8::MAX);
            let wire = Wire { protocol, channel, outgoing: outgoing.clone() };
            (input, port_of(wire, port, pieces, &forwarder))
        })
        .unzip();
    drop(outgoing);
    let listening = async {
        while let Some(Ok(message)) = source.next().await {
            let Some((channel, piece)) = protocol.split(&message) else { continue };
            // Error channels are ours alone; a port that has ended takes no more.
            if let Some(input) = inputs.get(usize::from(channel / 2)).filter(|_| channel % 2 == 0) {
                let _ = input.send(piece).await;
            }
        }
    };
    let writing = async {
        while let Some(message) = messages.recv().await {
            if let Err(error) = sink.send(message).await {
                debug!(%error, "the client of a port-forward is gone");
                return;
            }
        }
        let close = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let _ = sink.send(Message::Close(Some(close))).await;
    };
    let forwarding = async {
        tokio::join!(futures::future::join_all(forwards), writing);
    };
    tokio::select! {
        () = listening => {}
        () = forwarding => {}
    }
}

/// One port's two channels.
struct Wire {
    protocol: Protocol,
    channel: u8,
    outgoing: mpsc::Sender<Message>,
}

impl Wire {
    /// Whether there still is somebody to tell.
    async fn say(&self, offset: u8, payload: &[u8]) -> bool {
        self.outgoing.send(self.protocol.encode(self.channel + offset, payload)).await.is_ok()
    }
}

async fn port_of(wire: Wire, port: u16, mut pieces: mpsc::Receiver<Bytes>, forwarder: &Forwarder) {
    wire.say(0, &port.to_le_bytes()).await;
    wire.say(1, &port.to_le_bytes()).await;
    let connection = match forwarder.connect(port).await {
        Ok(connection) => connection,
        Err(message) => {
            wire.say(1, message.as_bytes()).await;
            return;
        }
    };
    let (mut output, mut input) = tokio::io::split(connection);
    let to_pod = async {
        while let Some(piece) = pieces.recv().await {
            if let Err(error) = input.write_all(&piece).await {
                debug!(%error, port, "a forwarded port takes no more");
                break;
            }
        }
        // The output may go on.
        std::future::pending::<()>().await;
    };
    let to_client = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            match output.read(&mut chunk).await {
                Ok(0) => return,
                Ok(length) => {
                    if !wire.say(0, &chunk[..length]).await {
                        return;
                    }
                }
                Err(error) => {
                    wire.say(1, format!("error forwarding port {port}: {error}").as_bytes()).await;
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = to_pod => {}
        () = to_client => {}
    }
}

impl Protocol {
    fn encode(self, channel: u8, payload: &[u8]) -> Message {
        if self.base64 {
            return Message::text(format!("{}{}", char::from(b'0' + channel), STANDARD.encode(payload)));
        }
        let mut frame = Vec::with_capacity(payload.len() + 1);
        frame.push(channel);
        frame.extend_from_slice(payload);
        Message::binary(frame)
    }

    fn split(self, message: &Message) -> Option<(u8, Bytes)> {
        match message {
            Message::Binary(frame) if !self.base64 => Some((*frame.first()?, frame.slice(1..))),
            Message::Text(frame) if self.base64 => {
                let (digit, payload) = frame.as_bytes().split_first()?;
                Some((digit.checked_sub(b'0')?, STANDARD.decode(payload).ok()?.into()))
            }
            _ => None,
        }
    }
}
