//! Length-prefixed frames, as pure functions over byte buffers.

use std::fmt;

use serde::Serialize;

use crate::Envelope;

/// A longer frame is an attack or a bug; the peer is dropped.
pub const MAX_FRAME_BYTES: usize = 4 << 20;
/// No message carries more descriptors.
pub const MAX_FRAME_FDS: usize = 8;

const PREFIX_BYTES: usize = 4;

/// Why bytes are not a frame.
#[derive(Debug)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME_BYTES`].
    TooLong(usize),
    /// Not the JSON of an envelope.
    Json(serde_json::Error),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(bytes) => {
                write!(f, "a frame of {bytes} bytes is over the limit of {MAX_FRAME_BYTES}")
            }
            Self::Json(_) => f.write_str("a frame is not a valid message"),
        }
    }
}

impl std::error::Error for FrameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooLong(_) => None,
            Self::Json(error) => Some(error),
        }
    }
}

/// The bytes of one frame.
///
/// # Errors
/// If the message is too long; every message type of this crate has a JSON form.
pub fn encode(envelope: &Envelope) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; PREFIX_BYTES];
    envelope.serialize(&mut serde_json::Serializer::new(&mut bytes)).map_err(FrameError::Json)?;
    let body = bytes.len() - PREFIX_BYTES;
    if body > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong(body));
    }
    let prefix = u32::try_from(body).map_err(|_| FrameError::TooLong(body))?;
    bytes[..PREFIX_BYTES].copy_from_slice(&prefix.to_le_bytes());
    Ok(bytes)
}

/// Collects bytes as they arrive and gives back whole envelopes.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    taken: usize,
}

impl Decoder {
    /// Adds bytes read from the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole envelope, `None` if more bytes are needed.
    ///
    /// # Errors
    /// If the bytes cannot be a frame; the stream is then useless.
    pub fn next_envelope(&mut self) -> Result<Option<Envelope>, FrameError> {
        let rest = &self.buffer[self.taken..];
        let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let envelope = serde_json::from_slice(body).map_err(FrameError::Json)?;
        self.taken += PREFIX_BYTES + length;
        Ok(Some(envelope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, Request};

    #[test]
    fn frames_survive_any_split() {
        let first = Envelope { id: 7, fds: 2, message: Message::Request(Request::State) };
        let second = Envelope { id: 8, fds: 0, message: Message::Request(Request::Stop) };
        let mut bytes = encode(&first).unwrap();
        bytes.extend(encode(&second).unwrap());
        for split in 0..bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for part in [&bytes[..split], &bytes[split..]] {
                decoder.push(part);
                while let Some(envelope) = decoder.next_envelope().unwrap() {
                    seen.push(envelope);
                }
            }
            assert_eq!(seen, [first.clone(), second.clone()], "split at {split}");
        }
    }

    #[test]
    fn a_monstrous_length_is_refused_before_it_is_buffered() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_le_bytes());
        assert!(matches!(decoder.next_envelope(), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn a_newer_peers_fields_are_ignored() {
        let json = br#"{"id":1,"colour":"red","message":{"request":{"kill":{"container":"a","signal":9,"gently":true}}}}"#;
        let envelope: Envelope = serde_json::from_slice(json).unwrap();
        assert_eq!(envelope.message, Message::Request(Request::Kill { container: "a".into(), signal: 9 }));
    }
}
