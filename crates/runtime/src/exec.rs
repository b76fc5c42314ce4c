//! Streams of exec'd processes and attached containers: pipes and terminals as async readers and writers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// Sizes waiting to be applied; a client that resizes faster loses none but the order.
const RESIZES: usize = 4;

/// A pipe whose reading end is ours.
pub(crate) fn output_pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    set_nonblocking(&read)?;
    Ok((pipe::Receiver::from_owned_fd(read)?, write))
}

/// A pipe whose writing end is ours.
pub(crate) fn input_pipe() -> io::Result<(Input, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    Ok((sender(write)?, read))
}

/// The writing end of a pipe somebody else made.
pub(crate) fn sender(write: OwnedFd) -> io::Result<Input> {
    set_nonblocking(&write)?;
    Ok(Input(Some(pipe::Sender::from_owned_fd(write)?)))
}

/// A process's input. Shutting it down closes the pipe, because a pipe has no other way to say that this was all.
#[derive(Debug)]
pub(crate) struct Input(Option<pipe::Sender>);

impl AsyncWrite for Input {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Some(pipe) => Pin::new(pipe).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

/// The master side of a terminal.
#[derive(Debug)]
pub(crate) struct Terminal(AsyncFd<OwnedFd>);

impl Terminal {
    pub(crate) fn new(master: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&master)?;
        // SAFETY: the descriptor is owned by the value it is registered with and stays the same until it is dropped.
        Ok(Self(unsafe { AsyncFd::register(master)? }))
    }
}

impl AsyncRead for Terminal {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let read = guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), buf.initialize_unfilled())?));
            match read {
                Ok(Ok(count)) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // The last program closed its side: that is the end.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Applies sizes to a terminal until the sender is gone.
pub(crate) fn resizer(master: OwnedFd) -> mpsc::Sender<(u16, u16)> {
    let (sender, mut sizes) = mpsc::channel::<(u16, u16)>(RESIZES);
    tokio::spawn(async move {
        while let Some((columns, rows)) = sizes.recv().await {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            if let Err(error) = rustix::termios::tcsetwinsize(master.as_fd(), size) {
                tracing::debug!(%error, "a terminal could not be resized");
            }
        }
    });
    sender
}
