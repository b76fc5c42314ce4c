//! The wire to one sandbox process: requests with numbers, answers in any order, events in between.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use outrigger_shim_protocol::{Decoder, Envelope, Event, MAX_FRAME_FDS, Message, Request, Response, encode};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

/// An answer with its descriptors.
pub(crate) type Answer = (Response, Vec<OwnedFd>);

/// Told of every event, and of the end of the connection as `None`.
pub(crate) type Listener = Arc<dyn Fn(Option<Event>) + Send + Sync>;

/// A connection to a sandbox process. Clones share it; it closes with the last of them.
#[derive(Clone)]
pub(crate) struct Client {
    stream: Arc<UnixStream>,
    pending: Arc<Mutex<Pending>>,
    /// Frames must not mix.
    sending: Arc<tokio::sync::Mutex<()>>,
    next: Arc<AtomicU64>,
}

#[derive(Default)]
struct Pending {
    closed: bool,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Takes over a fresh connection.
    pub(crate) fn new(stream: UnixStream, listener: Listener) -> Self {
        let client = Self {
            stream: Arc::new(stream),
            pending: Arc::default(),
            sending: Arc::default(),
            next: Arc::new(AtomicU64::new(1)),
        };
        let (stream, pending) = (Arc::clone(&client.stream), Arc::clone(&client.pending));
        tokio::spawn(async move {
            if let Err(error) = read(&stream, &pending, &listener).await {
                tracing::debug!(%error, "the connection to a sandbox process ended");
            }
            let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.closed = true;
            pending.answers.clear();
            drop(pending);
            listener(None);
        });
        client
    }

    /// Asks and waits for the answer. Dropping the future abandons the wait, not the request.
    pub(crate) async fn ask(&self, request: Request, fds: &[BorrowedFd<'_>]) -> io::Result<Answer> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let envelope = Envelope { id, fds: fds.len(), message: Message::Request(request) };
        let bytes = encode(&envelope).map_err(io::Error::other)?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            if pending.closed {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            pending.answers.insert(id, sender);
        }
        let guard = self.sending.lock().await;
        let sent = self.send(&bytes, fds).await;
        drop(guard);
        if let Err(error) = sent {
            self.pending.lock().unwrap_or_else(PoisonError::into_inner).answers.remove(&id);
            return Err(error);
        }
        receiver.await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    async fn send(&self, mut bytes: &[u8], mut fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.writable().await?;
            let sent = self.stream.try_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FRAME_FDS))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !fds.is_empty() {
                    control.push(SendAncillaryMessage::ScmRights(fds));
                }
                let part = [IoSlice::new(bytes)];
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                Ok(rustix::net::sendmsg(self.stream.as_fd(), &part, &mut control, flags)?)
            });
            match sent {
                Ok(count) => {
                    bytes = &bytes[count..];
                    fds = &[];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

async fn read(stream: &UnixStream, pending: &Mutex<Pending>, listener: &Listener) -> io::Result<()> {
    let mut decoder = Decoder::default();
    let mut received: VecDeque<OwnedFd> = VecDeque::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        stream.readable().await?;
        let got = stream.try_io(Interest::READABLE, || receive(stream, &mut buffer, &mut received));
        match got {
            Ok(0) => return Ok(()),
            Ok(count) => decoder.push(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        while let Some(envelope) = decoder.next_envelope().map_err(io::Error::other)? {
            let fds: Vec<OwnedFd> = received.drain(..envelope.fds.min(received.len())).collect();
            match envelope.message {
                Message::Response(response) => {
                    let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(waiting) = pending.answers.remove(&envelope.id) {
                        // Nobody waits any more: the descriptors close here.
                        let _ = waiting.send((response, fds));
                    }
                }
                Message::Event(event) => listener(Some(event)),
                Message::Request(_) => {}
            }
        }
    }
}

fn receive(stream: &UnixStream, buffer: &mut [u8], fds: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FRAME_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut part = [IoSliceMut::new(buffer)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = rustix::net::recvmsg(stream.as_fd(), &mut part, &mut control, flags)?;
    for one in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = one {
            fds.extend(rights);
        }
    }
    Ok(message.bytes)
}
