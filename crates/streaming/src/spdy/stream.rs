//! One stream of a connection as something to read from and write to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::{CancellationToken, PollSender};

use super::Headers;
use super::frame::CHUNK;

/// Bytes from the client, with their share of what a connection may hold.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) data: Bytes,
    pub(super) _share: OwnedSemaphorePermit,
}

/// What a stream asks of its connection. The end of the channel is the end of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Accepted,
    Data(Bytes),
    End,
}

/// An accepted stream. Shutting it down ends our side; dropping it before that resets it. Reading gives end of file
/// when the client has ended its side, and an error when the client reset the stream or the connection is gone.
#[derive(Debug)]
pub struct Stream {
    pub(super) id: u32,
    pub(super) headers: Headers,
    pub(super) input: mpsc::Receiver<Piece>,
    pub(super) rest: Option<Piece>,
    pub(super) output: PollSender<Said>,
    /// Set before `input` ends if it ends by reset.
    pub(super) reset: CancellationToken,
    pub(super) _place: OwnedSemaphorePermit,
}

impl Stream {
    /// The stream's number on its connection: odd, rising.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What it was opened with.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Resolves when the client has reset the stream or the connection is gone.
    pub async fn gone(&self) {
        self.reset.cancelled().await;
    }
}

fn broken<T>(_: T) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if let Some(piece) = &mut this.rest {
                let length = piece.data.len().min(buffer.remaining());
                buffer.put_slice(&piece.data[..length]);
                piece.data.advance(length);
                if piece.data.is_empty() {
                    this.rest = None;
                }
                if length > 0 || buffer.remaining() == 0 {
                    return Poll::Ready(Ok(()));
                }
            }
            match ready!(this.input.poll_recv(context)) {
                Some(piece) => this.rest = Some(piece),
                None if this.reset.is_cancelled() => {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.reset.is_cancelled() {
            return Poll::Ready(Err(broken(())));
        }
        ready!(self.output.poll_reserve(context)).map_err(broken)?;
        let length = bytes.len().min(CHUNK);
        let data = Bytes::copy_from_slice(&bytes[..length]);
        self.output.send_item(Said::Data(data)).map_err(broken)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection flushes every frame it writes.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.output.is_closed() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.output.poll_reserve(context)).map_err(broken)?;
        self.output.send_item(Said::End).map_err(broken)?;
        self.output.close();
        Poll::Ready(Ok(()))
    }
}
