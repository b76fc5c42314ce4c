//! The sandbox process: one per Pod, holds its namespaces, starts and reaps its containers, writes their logs, and
//! outlives the agent.
//!
//! It is one thread around poll(2). Its listening socket comes as standard input; what it is asked is in
//! `outrigger-shim-protocol`. It decides nothing: when to start, stop or restart is the agent's business.
//!
//! Start at [`main`], then [`sandbox::Sandbox::answer`].

mod child;
mod container;
mod log;
mod sandbox;
mod spawn;
mod sys;
mod users;
mod volume;
mod wire;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use outrigger_shim_protocol::Message;
use sandbox::Sandbox;
use wire::Connection;

/// More agents than this at once is a mistake somewhere; the newest are not taken.
const CONNECTIONS: usize = 8;

fn main() {
    let outcome = run();
    if let Err(error) = outcome {
        eprintln!("outrigger-shim: {error}");
        sys::exit_now(1);
    }
}

fn run() -> io::Result<()> {
    // Already leading a session is as good.
    let _ = sys::setsid();
    sys::ignore_signal(libc::SIGPIPE);
    sys::ignore_signal(libc::SIGINT);
    sys::ignore_signal(libc::SIGTERM);
    sys::ignore_signal(libc::SIGHUP);
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1)?;
    let listener = sys::dup(&0)?;
    sys::set_nonblocking(&listener)?;
    let null = std::fs::File::open("/dev/null")?;
    sys::become_stream(&null, 0)?;
    let signals = sys::child_signals()?;
    serve(&listener, &signals)
}

fn serve(listener: &OwnedFd, signals: &OwnedFd) -> io::Result<()> {
    let mut sandbox = Sandbox::default();
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        let outputs = sandbox.outputs();
        let entry = |fd: i32, events: libc::c_short| libc::pollfd { fd, events, revents: 0 };
        let mut ready =
            vec![entry(listener.as_raw_fd(), libc::POLLIN), entry(signals.as_raw_fd(), libc::POLLIN)];
        ready.extend(outputs.iter().map(|(_, _, fd)| entry(*fd, libc::POLLIN)));
        ready.extend(connections.iter().map(|connection| {
            let events = if connection.has_outgoing() { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN };
            entry(connection.socket.as_raw_fd(), events)
        }));
        sys::poll(&mut ready, -1)?;
        let is_ready = |index: usize| ready[index].revents != 0;
        // Backwards: a stream that ends moves those after it.
        for (index, (container, stream, _)) in outputs.iter().enumerate().rev() {
            if is_ready(2 + index)
                && let Some(container) = sandbox.containers.get_mut(*container)
            {
                container.pump(*stream);
            }
        }
        if is_ready(1) {
            let mut drained = [0; 1024];
            while sys::read(signals, &mut drained).is_ok_and(|got| got > 0) {}
        }
        let first = 2 + outputs.len();
        for (index, connection) in connections.iter_mut().enumerate() {
            if ready[first + index].revents & libc::POLLOUT != 0 {
                connection.flush();
            }
            if ready[first + index].revents & !libc::POLLOUT != 0 {
                for (envelope, fds) in connection.receive() {
                    if let Message::Request(request) = envelope.message {
                        let (response, fds) = sandbox.answer(request, fds);
                        connection.send(envelope.id, Message::Response(response), fds);
                    }
                }
            }
        }
        for event in sandbox.reap() {
            for connection in &mut connections {
                connection.send(sandbox.last_event, Message::Event(event.clone()), Vec::new());
            }
        }
        connections.retain(|connection| !connection.broken);
        if sandbox.stopping && connections.iter().all(|connection| !connection.has_outgoing()) {
            return Ok(());
        }
        if is_ready(0)
            && let Ok(socket) = sys::accept(listener)
            && connections.len() < CONNECTIONS
        {
            connections.push(Connection::new(socket));
        }
    }
}
