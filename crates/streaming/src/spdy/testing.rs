//! The client's side of a SPDY connection, for tests.

use std::collections::BTreeMap;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::frame::{Decoder, Encoder, Frame};

/// What was heard of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) accepted: bool,
    pub(crate) data: Vec<u8>,
    /// The server's end of the stream, or the reset's status.
    pub(crate) end: Option<Result<(), u32>>,
}

pub(crate) struct Client {
    connection: DuplexStream,
    encoder: Encoder,
    decoder: Decoder,
    buffer: BytesMut,
    heard: BTreeMap<u32, Heard>,
}

impl Client {
    pub(crate) fn new(connection: DuplexStream) -> Self {
        Self {
            connection,
            encoder: Encoder::new(),
            decoder: Decoder::new(),
            buffer: BytesMut::new(),
            heard: BTreeMap::new(),
        }
    }

    async fn send(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        self.encoder.encode(&frame, &mut bytes);
        self.connection.write_all(&bytes).await.unwrap();
    }

    pub(crate) async fn open(&mut self, stream: u32, fin: bool, headers: Vec<(&'static str, String)>) {
        self.send(Frame::SynStream { stream, fin, headers: headers.into_iter().collect() }).await;
    }

    pub(crate) async fn say(&mut self, stream: u32, data: &[u8], fin: bool) {
        self.send(Frame::Data { stream, fin, data: data.to_vec().into() }).await;
    }

    pub(crate) async fn reset(&mut self, stream: u32) {
        self.send(Frame::Reset { stream, status: 5 }).await;
    }

    /// Sends bytes that may be no frame.
    pub(crate) async fn noise(&mut self, bytes: &[u8]) {
        self.connection.write_all(bytes).await.unwrap();
    }

    /// The next frame; `None` at the end of the connection.
    pub(super) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            if self.connection.read_buf(&mut self.buffer).await.unwrap() == 0 {
                return None;
            }
        }
    }

    /// Reads until all of `streams` have ended.
    pub(crate) async fn listen(&mut self, streams: &[u32]) -> BTreeMap<u32, Heard> {
        while streams.iter().any(|id| self.heard.get(id).is_none_or(|heard| heard.end.is_none())) {
            let frame = self.frame().await.expect("the connection goes on");
            self.note(frame);
        }
        self.heard.clone()
    }

    fn note(&mut self, frame: Frame) {
        match frame {
            Frame::SynReply { stream, .. } => self.heard.entry(stream).or_default().accepted = true,
            Frame::Data { stream, fin, data } => {
                let heard = self.heard.entry(stream).or_default();
                heard.data.extend_from_slice(&data);
                if fin {
                    heard.end = Some(Ok(()));
                }
            }
            Frame::Reset { stream, status } => self.heard.entry(stream).or_default().end = Some(Err(status)),
            Frame::Ping { .. } | Frame::GoAway { .. } => {}
            other => panic!("servers do not send {other:?}"),
        }
    }

    /// Sends a ping and reads until it comes back.
    pub(crate) async fn ping(&mut self, id: u32) {
        self.send(Frame::Ping { id }).await;
        loop {
            match self.frame().await.expect("the connection goes on") {
                Frame::Ping { id: back } => return assert_eq!(back, id),
                frame => self.note(frame),
            }
        }
    }
}
