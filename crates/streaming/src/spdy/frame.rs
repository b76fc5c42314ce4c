//! Frames of SPDY/3.1 as bytes and back; no I/O. Everything a peer can make grow has a bound here.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::headers::{BadBlock, Headers, Packer, Unpacker};

/// The only version there is.
const VERSION: u16 = 3;
/// The largest control frame taken; header blocks here have three short pairs.
const LARGEST_CONTROL: usize = 16 * 1024;
/// Frame header of both kinds.
const HEADER: usize = 8;
/// The largest payload of a data frame sent; those received may be larger and are taken in pieces.
pub(super) const CHUNK: usize = 32 * 1024;

const FIN: u8 = 1;

/// Why a stream is ended from one side (SPDY/3, 2.6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResetStatus {
    ProtocolError,
    InvalidStream,
    RefusedStream,
    Cancel,
}

impl ResetStatus {
    const fn number(self) -> u32 {
        match self {
            Self::ProtocolError => 1,
            Self::InvalidStream => 2,
            Self::RefusedStream => 3,
            Self::Cancel => 5,
        }
    }
}

/// A frame, or a piece of a data frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    SynStream {
        stream: u32,
        fin: bool,
        headers: Headers,
    },
    SynReply {
        stream: u32,
        fin: bool,
        headers: Headers,
    },
    Headers {
        stream: u32,
        fin: bool,
        headers: Headers,
    },
    Reset {
        stream: u32,
        status: u32,
    },
    Ping {
        id: u32,
    },
    GoAway {
        last: u32,
    },
    /// The last piece of a frame carries its end-of-stream mark.
    Data {
        stream: u32,
        fin: bool,
        data: Bytes,
    },
    /// SETTINGS, WINDOW_UPDATE, and kinds nobody knows, which SPDY says to skip.
    Skipped {
        kind: u16,
    },
}

impl Frame {
    pub(super) fn reset(stream: u32, status: ResetStatus) -> Self {
        Self::Reset { stream, status: status.number() }
    }
}

/// What a peer sent is not SPDY/3.1, or more than anyone needs. Nothing after it can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Another protocol, most likely.
    #[error("a control frame of SPDY version {0}, not 3")]
    Version(u16),
    /// A control frame beyond the bound.
    #[error("a control frame of {0} bytes")]
    TooLong(usize),
    /// A control frame whose length does not fit its kind.
    #[error("a control frame of kind {kind} with {length} bytes")]
    Length {
        /// Its type number.
        kind: u16,
        /// Its payload.
        length: usize,
    },
    /// Stream 0 does not exist.
    #[error("a frame for stream 0")]
    StreamZero,
    /// See [`BadBlock`].
    #[error("a header block: {0}")]
    Block(#[from] BadBlock),
}

/// Bytes to frames.
#[derive(Debug)]
pub(super) struct Decoder {
    unpacker: Unpacker,
    /// The data frame whose payload is being taken.
    data: Option<Payload>,
}

#[derive(Debug)]
struct Payload {
    stream: u32,
    fin: bool,
    left: usize,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { unpacker: Unpacker::new(), data: None }
    }

    /// Takes one frame, or one piece of a data frame, off the front of `input`; `None` if more bytes are needed.
    /// Never needs more than [`LARGEST_CONTROL`] and a header at once. After an error nothing more can be decoded.
    pub(super) fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
        if let Some(payload) = self.data.take() {
            return Ok(self.piece(payload, input));
        }
        let Some(header) = input.first_chunk::<HEADER>() else { return Ok(None) };
        let first = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
        let flags = header[4];
        let length = usize::from(header[5]) << 16 | usize::from(header[6]) << 8 | usize::from(header[7]);
        if first >> 31 == 0 {
            input.advance(HEADER);
            if first == 0 {
                return Err(Malformed::StreamZero);
            }
            let payload = Payload { stream: first, fin: flags & FIN != 0, left: length };
            return Ok(self.piece(payload, input));
        }
        let [version, kind] =
            [(first >> 16) & 0x7fff, first & 0xffff].map(|it| u16::try_from(it).unwrap_or(0));
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        if length > LARGEST_CONTROL {
            return Err(Malformed::TooLong(length));
        }
        if input.len() < HEADER + length {
            return Ok(None);
        }
        input.advance(HEADER);
        let payload = input.split_to(length).freeze();
        self.control(kind, flags, payload).map(Some)
    }

    fn piece(&mut self, payload: Payload, input: &mut BytesMut) -> Option<Frame> {
        let Payload { stream, fin, left } = payload;
        if left > 0 && input.is_empty() {
            self.data = Some(payload);
            return None;
        }
        let taken = left.min(input.len());
        // A copy of its own size, so that a small piece does not keep a whole buffer alive.
        let data = Bytes::copy_from_slice(&input[..taken]);
        input.advance(taken);
        let left = left - taken;
        if left > 0 {
            self.data = Some(Payload { stream, fin, left });
        }
        Some(Frame::Data { stream, fin: fin && left == 0, data })
    }

    fn control(&mut self, kind: u16, flags: u8, mut payload: Bytes) -> Result<Frame, Malformed> {
        let length = payload.len();
        let fits = match kind {
            1 => length >= 10,
            2 | 8 => length >= 4,
            3 | 7 | 9 => length == 8,
            6 => length == 4,
            _ => return Ok(Frame::Skipped { kind }),
        };
        if !fits {
            return Err(Malformed::Length { kind, length });
        }
        let number = payload.get_u32();
        let (stream, fin) = (number & 0x7fff_ffff, flags & FIN != 0);
        if stream == 0 && matches!(kind, 1 | 2 | 3 | 8) {
            return Err(Malformed::StreamZero);
        }
        Ok(match kind {
            1 => {
                // The stream it belongs to, priority and slot mean nothing to forwarded bytes.
                payload.advance(6);
                Frame::SynStream { stream, fin, headers: self.unpacker.unpack(&payload)? }
            }
            2 => Frame::SynReply { stream, fin, headers: self.unpacker.unpack(&payload)? },
            8 => Frame::Headers { stream, fin, headers: self.unpacker.unpack(&payload)? },
            3 => Frame::Reset { stream, status: payload.get_u32() },
            6 => Frame::Ping { id: number },
            7 => Frame::GoAway { last: stream },
            other => Frame::Skipped { kind: other },
        })
    }
}

/// Frames to bytes.
#[derive(Debug)]
pub(super) struct Encoder(Packer);

impl Encoder {
    pub(super) fn new() -> Self {
        Self(Packer::new())
    }

    /// Appends a frame. A payload beyond 2^24 - 1 bytes cannot be told; [`CHUNK`] is far below.
    pub(super) fn encode(&mut self, frame: &Frame, output: &mut BytesMut) {
        match frame {
            Frame::SynStream { stream, fin, headers } => {
                let block = self.0.pack(headers);
                control(1, *fin, 10 + block.len(), output);
                output.put_u32(*stream);
                output.put_bytes(0, 6);
                output.put_slice(&block);
            }
            Frame::SynReply { stream, fin, headers } => self.block(2, *stream, *fin, headers, output),
            Frame::Headers { stream, fin, headers } => self.block(8, *stream, *fin, headers, output),
            Frame::Reset { stream, status } => {
                control(3, false, 8, output);
                output.put_u32(*stream);
                output.put_u32(*status);
            }
            Frame::Ping { id } => {
                control(6, false, 4, output);
                output.put_u32(*id);
            }
            Frame::GoAway { last } => {
                control(7, false, 8, output);
                output.put_u32(*last);
                output.put_u32(0);
            }
            Frame::Data { stream, fin, data } => {
                output.put_u32(*stream);
                length(*fin, data.len(), output);
                output.put_slice(data);
            }
            Frame::Skipped { kind } => control(*kind, false, 0, output),
        }
    }

    fn block(&mut self, kind: u16, stream: u32, fin: bool, headers: &Headers, output: &mut BytesMut) {
        let block = self.0.pack(headers);
        control(kind, fin, 4 + block.len(), output);
        output.put_u32(stream);
        output.put_slice(&block);
    }
}

fn control(kind: u16, fin: bool, payload: usize, output: &mut BytesMut) {
    output.put_u16(0x8000 | VERSION);
    output.put_u16(kind);
    length(fin, payload, output);
}

fn length(fin: bool, payload: usize, output: &mut BytesMut) {
    let payload = u32::try_from(payload).unwrap_or(u32::MAX) & 0x00ff_ffff;
    output.put_u32(u32::from(if fin { FIN } else { 0 }) << 24 | payload);
}

#[cfg(test)]
mod tests;
