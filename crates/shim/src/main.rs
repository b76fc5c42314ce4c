//! The sandbox process: one small supervisor per Pod.
//!
//! It owns the Pod's namespaces, is the parent of every container's main process, writes the container logs and
//! keeps exit records, all of it independent of the node agent, which may come and go. It is single-threaded: that
//! makes running ordinary code between clone and exec sound. It decides nothing; it refuses to restart, to retry and
//! to remember anything it was told to forget.
//!
//! Start at [`server::Server`]. The launcher gives it a listening socket as standard input; it moves away from the
//! launcher (own session, child of the machine's init) before it serves.

mod child;
mod client;
mod container;
mod fault;
mod identity;
mod log;
mod output;
mod requests;
mod rootfs;
mod sandbox;
mod server;
mod spawn;
mod sys;
mod tree;

use std::os::fd::{FromRawFd, OwnedFd};

fn main() {
    match sys::fork() {
        Ok(None) => {}
        // The launcher waits for this exit, so it needs no thread to reap the supervisor.
        Ok(Some(_)) => sys::exit_now(0),
        Err(_) => sys::exit_now(1),
    }
    if let Err(error) = serve() {
        eprintln!("sandbox process: {error}");
        sys::exit_now(1);
    }
    sys::exit_now(0);
}

fn serve() -> std::io::Result<()> {
    sys::set_session()?;
    sys::set_child_subreaper()?;
    sys::set_name(c"outrigger-shim");
    // SAFETY: the launcher gives the listening socket as descriptor 0 and nothing else here owns it.
    let listener = sys::duplicate_high(&unsafe { OwnedFd::from_raw_fd(0) })?;
    sys::null_stdin()?;
    server::Server::new(listener)?.run()
}
