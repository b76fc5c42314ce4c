//! Connections of agents: frames in, frames out, descriptors with both.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use outrigger_shim_protocol::{Decoder, Envelope, Message, encode};

use crate::sys;

/// An agent that reads so little is dropped; its next connection asks for the state anew.
const OUTGOING_LIMIT: usize = 1 << 20;

/// One agent.
pub struct Connection {
    pub socket: OwnedFd,
    decoder: Decoder,
    received: VecDeque<OwnedFd>,
    outgoing: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    waiting: usize,
    pub broken: bool,
}

impl Connection {
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            decoder: Decoder::default(),
            received: VecDeque::new(),
            outgoing: VecDeque::new(),
            waiting: 0,
            broken: false,
        }
    }

    /// Whether something waits to be sent.
    pub fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Reads what is there; returns whole requests with their descriptors.
    pub fn receive(&mut self) -> Vec<(Envelope, Vec<OwnedFd>)> {
        let mut buffer = [0; 16 * 1024];
        let mut fds = Vec::new();
        match sys::receive(&self.socket, &mut buffer, &mut fds) {
            Ok(0) => self.broken = true,
            Ok(got) => self.decoder.push(&buffer[..got]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.broken = true,
        }
        self.received.extend(fds);
        let mut requests = Vec::new();
        loop {
            match self.decoder.next_envelope() {
                Ok(Some(envelope)) => {
                    let count = envelope.fds.min(self.received.len());
                    requests.push((envelope, self.received.drain(..count).collect()));
                }
                Ok(None) => return requests,
                Err(_) => {
                    self.broken = true;
                    return requests;
                }
            }
        }
    }

    /// Queues a message and sends what goes out at once.
    pub fn send(&mut self, id: u64, message: Message, fds: Vec<OwnedFd>) {
        let Ok(bytes) = encode(&Envelope { id, fds: fds.len(), message }) else {
            self.broken = true;
            return;
        };
        self.waiting += bytes.len();
        if self.waiting > OUTGOING_LIMIT {
            self.broken = true;
            return;
        }
        self.outgoing.push_back((bytes, fds));
        self.flush();
    }

    pub fn flush(&mut self) {
        while let Some((bytes, fds)) = self.outgoing.front_mut() {
            match sys::send(&self.socket, bytes, fds) {
                Ok(sent) => {
                    self.waiting = self.waiting.saturating_sub(sent);
                    fds.clear();
                    if sent == bytes.len() {
                        self.outgoing.pop_front();
                    } else {
                        bytes.drain(..sent);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }
}
