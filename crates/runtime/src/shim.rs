//! The sandbox process as a file in memory, and how it is started.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

use rustix::fs::{MemfdFlags, SealFlags};

static BINARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/outrigger-shim"));

/// The program in a sealed memory file: nothing on disk can be changed under it.
#[derive(Debug)]
pub(crate) struct Shim(OwnedFd);

impl Shim {
    pub(crate) fn load() -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("outrigger-shim", flags)?;
        let mut file = std::fs::File::from(fd);
        file.write_all(BINARY)?;
        let fd = OwnedFd::from(file);
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals)?;
        Ok(Self(fd))
    }

    /// Starts a sandbox process that listens on `socket` in `dir`. It is nobody's to wait for: it outlives us.
    pub(crate) fn start(&self, dir: &Path) -> io::Result<()> {
        let listener = bind(dir)?;
        let log = std::fs::File::options().create(true).append(true).open(dir.join("shim.log"))?;
        let child = tokio::process::Command::new(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
            .arg0("outrigger-shim")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .current_dir("/")
            .env_clear()
            .spawn()?;
        drop(child);
        Ok(())
    }
}

/// The path of the socket by way of an open folder: socket paths may have no more than 107 bytes.
fn by_folder(folder: &OwnedFd) -> String {
    format!("/proc/self/fd/{}/shim.sock", folder.as_raw_fd())
}

fn bind(dir: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let folder = OwnedFd::from(std::fs::File::open(dir)?);
    match std::fs::remove_file(dir.join("shim.sock")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::net::UnixListener::bind(by_folder(&folder))
}

/// Connects to the sandbox process of a folder.
pub(crate) fn connect(dir: &Path) -> io::Result<tokio::net::UnixStream> {
    let folder = OwnedFd::from(std::fs::File::open(dir)?);
    let stream = std::os::unix::net::UnixStream::connect(by_folder(&folder))?;
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}
