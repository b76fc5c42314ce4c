//! A container from start to exit record: its process, its output, what is left of it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use outrigger_shim_protocol::{ContainerRecord, ExitRecord, Start};

use crate::child::{self, Failed};
use crate::log::{Line, Log};
use crate::sandbox::Sandbox;
use crate::spawn::{self, Place};
use crate::sys;
use crate::users::Users;

/// One read from a stream.
const CHUNK: usize = 16 * 1024;
/// How much of a dead container's output is collected before its end is told: what a pipe can hold, and some more.
const DRAIN: usize = 256 * 1024;

/// A stream of output that is copied to the log and to whoever is attached.
pub struct Stream {
    pub fd: OwnedFd,
    name: &'static str,
    line: Line,
    sinks: Vec<OwnedFd>,
}

/// A container that was started, running or not.
pub struct Container {
    pub record: ContainerRecord,
    pub start: Start,
    pub streams: Vec<Stream>,
    /// The input side: a pipe, or the terminal's master.
    pub stdin: Option<OwnedFd>,
    log: Log,
    oom_before: u64,
}

impl Container {
    /// Starts a container.
    ///
    /// # Errors
    /// Which step failed; the container is then an exited one (R5.32).
    #[allow(clippy::result_large_err, reason = "once per failed start")]
    pub fn start(
        sandbox: &Sandbox,
        start: Start,
        seccomp: Option<OwnedFd>,
        shared: Vec<OwnedFd>,
    ) -> Result<Self, (Self, Failed)> {
        let log = Log::open(&start.log_path);
        let oom_before = oom_kills(&start);
        let record = ContainerRecord { container: start.container.clone(), ..ContainerRecord::default() };
        let mut container = Self { record, start, streams: Vec::new(), stdin: None, log, oom_before };
        match container.launch(sandbox, seccomp, shared) {
            Ok(pid) => {
                container.record.pid = pid;
                container.record.started_at = sys::now();
                Ok(container)
            }
            Err(failed) => {
                container.streams.clear();
                container.stdin = None;
                container.record.exit = Some(ExitRecord {
                    code: 128,
                    at: sys::now(),
                    start_error: failed.message.clone(),
                    ..ExitRecord::default()
                });
                Err((container, failed))
            }
        }
    }

    fn launch(
        &mut self,
        sandbox: &Sandbox,
        seccomp: Option<OwnedFd>,
        shared: Vec<OwnedFd>,
    ) -> Result<i32, Failed> {
        let users = sandbox.users.as_ref();
        // The terminal's name must lead to it inside; with the node's own devices the node's do.
        let terminals = (self.start.process.tty && !self.start.all_devices)
            .then(|| sys::new_terminals(child::tty_group(users)))
            .transpose()
            .map_err(|error| spawn::failed("make the container's /dev/pts", &error))?;
        let io = self
            .open_streams(users, terminals.as_ref())
            .map_err(|error| spawn::failed("make the container's streams", &error))?;
        let programs = seccomp.map(child::read_programs).transpose();
        let programs = programs.map_err(|error| spawn::failed("read the seccomp program", &error))?;
        let programs = programs.unwrap_or_default();
        let mut place = Place::of_container(sandbox, &self.start)?;
        place.keep = shared.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
        place.keep.extend(users.map(Users::number));
        place.keep.extend(terminals.as_ref().map(std::os::fd::AsRawFd::as_raw_fd));
        let (start, shm) = (&self.start, sandbox.shm.as_deref());
        let tty = start.process.tty;
        spawn::spawn(place, io, tty, || {
            child::run(start, shm, &programs, child::Kept { shared, terminals }, users)
        })
    }

    /// The child's standard streams; ours are kept.
    fn open_streams(
        &mut self,
        users: Option<&Users>,
        terminals: Option<&OwnedFd>,
    ) -> io::Result<[Option<OwnedFd>; 3]> {
        let on_node = |id| users.map_or(id, |users| users.on_node(id));
        let (uid, gid) = (on_node(self.start.process.uid), on_node(self.start.process.gid));
        if self.start.process.tty {
            let (master, slave) = match terminals {
                Some(terminals) => sys::open_terminal_in(terminals)?,
                None => sys::open_terminal("/dev/ptmx")?,
            };
            sys::chown(&slave, uid, gid)?;
            sys::set_nonblocking(&master)?;
            if self.start.stdin {
                self.stdin = Some(sys::dup(&master)?);
            }
            self.streams.push(Stream::new(master, "stdout"));
            return Ok([Some(sys::dup(&slave)?), Some(sys::dup(&slave)?), Some(slave)]);
        }
        let mut io = [None, None, None];
        if self.start.stdin {
            let (read, write) = sys::pipe()?;
            sys::chown(&read, uid, gid)?;
            io[0] = Some(read);
            self.stdin = Some(write);
        }
        for (slot, name) in [(1, "stdout"), (2, "stderr")] {
            let (read, write) = sys::pipe()?;
            sys::set_nonblocking(&read)?;
            // /dev/stdout is opened anew by programs of other users.
            sys::chown(&write, uid, gid)?;
            self.streams.push(Stream::new(read, name));
            io[slot] = Some(write);
        }
        Ok(io)
    }

    /// Copies what stream `index` has. Says whether the stream goes on.
    pub fn pump(&mut self, index: usize) -> bool {
        let Some(stream) = self.streams.get_mut(index) else { return false };
        let mut buffer = [0; CHUNK];
        match sys::read(&stream.fd, &mut buffer) {
            Ok(0) => {}
            Ok(got) => {
                let now = sys::now();
                // A terminal ends lines with CR LF; the log has them as programs wrote them.
                self.log.take(&mut stream.line, stream.name, &buffer[..got], now);
                stream.copy(&buffer[..got]);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            // A terminal whose last slave was closed answers EIO.
            Err(_) => {}
        }
        let mut stream = self.streams.remove(index);
        self.log.finish(&mut stream.line, stream.name, sys::now());
        false
    }

    /// The main process ended: collects the rest of its output and writes the record.
    pub fn end(&mut self, status: i32, state_dir: &str) {
        let mut left = DRAIN / CHUNK;
        let mut index = 0;
        while index < self.streams.len() && left > 0 {
            let mut ready =
                [libc::pollfd { fd: raw(&self.streams[index].fd), events: libc::POLLIN, revents: 0 }];
            let quiet = sys::poll(&mut ready, 0).is_err() || ready[0].revents == 0;
            if quiet {
                index += 1;
            } else if self.pump(index) {
                left -= 1;
            }
        }
        let now = sys::now();
        for stream in &mut self.streams {
            self.log.finish(&mut stream.line, stream.name, now);
        }
        // Whoever still holds the other end of a pipe has no container to write for.
        self.streams.clear();
        self.stdin = None;
        let (code, signal) = exit_of(status);
        let oom_killed = signal == Some(libc::SIGKILL) && oom_kills(&self.start) > self.oom_before;
        self.record.exit = Some(ExitRecord { code, signal, at: now, oom_killed, start_error: String::new() });
        self.save(state_dir);
    }

    /// Puts the record beside the socket, so that it outlives this process. Not synced: a crash of the machine ends
    /// the containers too.
    pub fn save(&self, state_dir: &str) {
        let path = format!("{state_dir}/exit-{}.json", self.record.container);
        let temporary = format!("{path}.new");
        let written = serde_json::to_vec(&self.record)
            .map_err(io::Error::from)
            .and_then(|bytes| fs::write(&temporary, bytes))
            .and_then(|()| fs::rename(&temporary, &path));
        // The record is in memory still, and asked for there first.
        let _ = written;
    }

    pub fn is_running(&self) -> bool {
        self.record.exit.is_none()
    }

    pub fn reopen_log(&mut self) {
        self.log.reopen();
    }

    /// Adds a listener to an output stream.
    pub fn attach(&mut self, name: &str, sink: OwnedFd) {
        // A listener that does not keep up loses output, never delays the container.
        let _ = sys::set_nonblocking(&sink);
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.name == name) {
            stream.sinks.push(sink);
        }
    }
}

impl Stream {
    fn new(fd: OwnedFd, name: &'static str) -> Self {
        Self { fd, name, line: Line::default(), sinks: Vec::new() }
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.sinks.retain(|sink| match sys::write(sink, bytes) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        });
    }
}

fn raw(fd: &OwnedFd) -> i32 {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd()
}

/// Code and signal behind a wait status.
pub fn exit_of(status: i32) -> (i32, Option<i32>) {
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        (128 + signal, Some(signal))
    } else {
        (libc::WEXITSTATUS(status), None)
    }
}

/// How often the kernel killed in the container's memory cgroup.
fn oom_kills(start: &Start) -> u64 {
    let Some(text) = start.cgroup.oom_file.as_ref().and_then(|path| fs::read_to_string(path).ok()) else {
        return 0;
    };
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
