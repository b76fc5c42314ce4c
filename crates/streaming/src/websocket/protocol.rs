//! Subprotocols and frames of the channel WebSockets (H21, H22, H24, H25).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use tokio_tungstenite::tungstenite::Message;

use crate::agent::TerminalSize;

/// A stream inside the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Stdin,
    Stdout,
    Stderr,
    Error,
    Resize,
}

impl Channel {
    const ALL: [Self; 5] = [Self::Stdin, Self::Stdout, Self::Stderr, Self::Error, Self::Resize];

    const fn number(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Error => 3,
            Self::Resize => 4,
        }
    }

    fn numbered(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.number() == number)
    }
}

/// Which generation of the protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The end is told as plain text, and only if it is a failure.
    Legacy,
    /// The end is told as a `Status`.
    V4,
    /// As [`Version::V4`], and the client can close its input without closing the socket.
    V5,
}

/// A subprotocol that client and server agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// For the response's `Sec-WebSocket-Protocol`; empty if the client offered none.
    pub name: &'static str,
    /// What may be said.
    pub version: Version,
    /// Text frames with base64 instead of binary ones.
    pub base64: bool,
}

/// None of the offered subprotocols is known: the answer is 403 with an empty body (H21).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("none of the offered WebSocket subprotocols is supported")]
pub struct Unsupported;

/// Newest first.
const KNOWN: [Protocol; 5] = [
    Protocol { name: "v5.channel.k8s.io", version: Version::V5, base64: false },
    Protocol { name: "v4.channel.k8s.io", version: Version::V4, base64: false },
    Protocol { name: "v4.base64.channel.k8s.io", version: Version::V4, base64: true },
    Protocol { name: "channel.k8s.io", version: Version::Legacy, base64: false },
    Protocol { name: "base64.channel.k8s.io", version: Version::Legacy, base64: true },
];

/// What a client offered none is spoken to with.
const UNNAMED: Protocol = Protocol { name: "", version: Version::Legacy, base64: false };

/// Chooses the first of the client's offers that is known (H21). `offered` is the value of
/// `Sec-WebSocket-Protocol`; no header is the empty text.
///
/// # Errors
/// If there are offers and none is known.
pub fn negotiate(offered: &str) -> Result<Protocol, Unsupported> {
    let mut names = offered.split(',').map(str::trim).filter(|name| !name.is_empty()).peekable();
    if names.peek().is_none() {
        return Ok(UNNAMED);
    }
    names.find_map(|name| KNOWN.into_iter().find(|known| known.name == name)).ok_or(Unsupported)
}

/// What a client can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Stdin(Bytes),
    /// No more input will come (H24).
    StdinEnd,
    Resize(TerminalSize),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

impl Protocol {
    /// A frame for the client.
    pub(super) fn encode(self, channel: Channel, payload: &[u8]) -> Message {
        if self.base64 {
            let digit = char::from(b'0' + channel.number());
            return Message::text(format!("{digit}{}", STANDARD.encode(payload)));
        }
        let mut frame = Vec::with_capacity(payload.len() + 1);
        frame.push(channel.number());
        frame.extend_from_slice(payload);
        Message::binary(frame)
    }

    /// What a frame says; `None` for one that says nothing we know, which is dropped (H28).
    pub(super) fn decode(self, message: &Message) -> Option<Said> {
        let (number, payload) = self.split(message)?;
        if number == CLOSE {
            let closed = payload.first().copied().and_then(Channel::numbered);
            return (self.version == Version::V5 && closed == Some(Channel::Stdin)).then_some(Said::StdinEnd);
        }
        match Channel::numbered(number)? {
            Channel::Stdin => (!payload.is_empty()).then_some(Said::Stdin(payload)),
            Channel::Resize => {
                let size: Size = serde_json::from_slice(&payload).ok()?;
                Some(Said::Resize(TerminalSize { width: size.width, height: size.height }))
            }
            Channel::Stdout | Channel::Stderr | Channel::Error => None,
        }
    }

    fn split(self, message: &Message) -> Option<(u8, Bytes)> {
        match message {
            Message::Binary(frame) if !self.base64 => Some((*frame.first()?, frame.slice(1..))),
            Message::Text(frame) if self.base64 => {
                let (digit, payload) = frame.as_bytes().split_first()?;
                Some((digit.checked_sub(b'0')?, STANDARD.decode(payload).ok()?.into()))
            }
            Message::Binary(_)
            | Message::Text(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_) => None,
        }
    }
}

/// The channel number that closes another channel (H24).
const CLOSE: u8 = 0xff;

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Protocol {
        negotiate(name).unwrap()
    }

    /// H21.
    #[test]
    fn the_first_known_offer_is_taken() {
        assert_eq!(named("v9.channel.k8s.io, v4.channel.k8s.io").version, Version::V4);
        assert_eq!(named("v5.channel.k8s.io").name, "v5.channel.k8s.io");
        assert_eq!(named(""), UNNAMED);
        assert_eq!(negotiate("chat, v9.channel.k8s.io"), Err(Unsupported));
    }

    /// H22.
    #[test]
    fn frames_carry_their_channel() {
        let v5 = named("v5.channel.k8s.io");
        assert_eq!(v5.encode(Channel::Stdout, b"hi"), Message::binary(b"\x01hi".to_vec()));
        let text = named("v4.base64.channel.k8s.io");
        assert_eq!(text.encode(Channel::Stderr, b"hi"), Message::text("2aGk="));
        assert_eq!(text.decode(&Message::text("0aGk=")), Some(Said::Stdin(Bytes::from_static(b"hi"))));
    }

    /// H24, H25, H28.
    #[test]
    fn clients_close_input_resize_and_may_say_nonsense() {
        let v5 = named("v5.channel.k8s.io");
        let v4 = named("v4.channel.k8s.io");
        let close = Message::binary(vec![0xff, 0]);
        assert_eq!(v5.decode(&close), Some(Said::StdinEnd));
        assert_eq!(v4.decode(&close), None, "only v5 can half-close");
        let resize = Message::binary(b"\x04{\"Width\":80,\"Height\":24}".to_vec());
        assert_eq!(v4.decode(&resize), Some(Said::Resize(TerminalSize { width: 80, height: 24 })));
        for nothing in [vec![], vec![0], vec![9, 1], vec![1, 1], b"\x04{}".to_vec()] {
            assert_eq!(v5.decode(&Message::binary(nothing.clone())), None, "{nothing:?}");
        }
    }
}
