//! The parent's side of a new process: where it is born, and whether it came to life.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use outrigger_shim_protocol::{PidNamespace, Start};

use crate::child::Failed;
use crate::sandbox::Sandbox;
use crate::sys;

/// Where a process is born.
#[derive(Default)]
pub struct Place {
    flags: u64,
    /// A v2 cgroup to be born in.
    v2: Option<OwnedFd>,
    /// Files of cgroups the process writes itself into before it goes on.
    cgroups: Vec<String>,
    /// A process whose pid namespace it joins, and our own to come back to.
    pid_of: Option<OwnedFd>,
    /// Descriptors the child goes on with.
    pub keep: Vec<i32>,
    /// Enter the files of that process too.
    enter: bool,
}

/// A failure of the parent's side.
pub fn failed(step: &str, error: &io::Error) -> Failed {
    Failed { message: format!("{step}: {error}"), errno: error.raw_os_error().unwrap_or(0), at_exec: false }
}

impl Place {
    pub fn of_container(sandbox: &Sandbox, start: &Start) -> Result<Self, Failed> {
        let mut place = Self { flags: libc::CLONE_NEWNS as u64, ..Self::default() };
        place.cgroups.clone_from(&start.cgroup.procs);
        if let Some(dir) = &start.cgroup.v2_dir {
            let dir = fs::File::open(dir).map_err(|error| failed(&format!("open cgroup {dir}"), &error))?;
            place.v2 = Some(dir.into());
            place.flags |= libc::CLONE_NEWCGROUP as u64;
        }
        match &start.pid {
            PidNamespace::Own => place.flags |= libc::CLONE_NEWPID as u64,
            PidNamespace::Sandbox => place.pid_of = sandbox.pause_pidfd()?,
            PidNamespace::Of(container) => {
                let pid = sandbox.pid_of(container).ok_or_else(|| {
                    failed(&format!("join the processes of {container}"), &io::ErrorKind::NotFound.into())
                })?;
                place.pid_of =
                    Some(sys::pidfd(pid).map_err(|error| failed("open the target process", &error))?);
            }
        }
        Ok(place)
    }

    /// Beside a container's processes: same pid namespace, same cgroups, no namespace of its own.
    pub fn beside(main: i32, start: &Start) -> Result<Self, Failed> {
        let mut cgroups = start.cgroup.procs.clone();
        cgroups.extend(start.cgroup.v2_dir.iter().map(|dir| format!("{dir}/cgroup.procs")));
        let pid_of = sys::pidfd(main).map_err(|error| failed("open the container's process", &error))?;
        Ok(Self { cgroups, pid_of: Some(pid_of), enter: true, ..Self::default() })
    }
}

/// Moves the calling process, which must have one thread, into the cgroup of a `cgroup.procs` or `tasks` file. Nought
/// means the writer; a number would make the kernel wait until no process forks or ends anywhere.
pub fn enter_cgroup(file: &str) -> io::Result<()> {
    fs::write(file, "0")
}

/// Clones; the child gets `io` as its standard streams and runs `body`, which returns only if it fails.
pub fn spawn(
    place: Place,
    io: [Option<OwnedFd>; 3],
    tty: bool,
    body: impl FnOnce() -> Failed,
) -> Result<i32, Failed> {
    let (mut report, told) = sys::pipe()
        .map(|(read, write)| (fs::File::from(read), write))
        .map_err(|error| failed("make a pipe", &error))?;
    if let Some(target) = &place.pid_of {
        sys::setns(target, libc::CLONE_NEWPID).map_err(|error| failed("join a pid namespace", &error))?;
    }
    let pid = sys::clone3(place.flags, place.v2.as_ref());
    if pid.as_ref().is_ok_and(|pid| *pid == 0) {
        drop(report);
        let failure = in_child(&place, &told, &io, tty, body);
        let text = format!("{}\n{}\n{}", failure.errno, u8::from(failure.at_exec), failure.message);
        // Nobody is left to be told if this fails.
        let _ = sys::write(&REPORT, text.as_bytes());
        sys::exit_now(127);
    }
    if place.pid_of.is_some() {
        // Children of ours are born here again.
        let own = fs::File::open("/proc/self/ns/pid");
        let _ = own.and_then(|own| sys::setns(&own, libc::CLONE_NEWPID));
    }
    let pid = pid.map_err(|error| failed("clone", &error))?;
    drop((told, io));
    let mut text = String::new();
    let _ = report.read_to_string(&mut text);
    if text.is_empty() {
        return Ok(pid);
    }
    sys::wait_for(pid);
    let mut parts = text.splitn(3, '\n');
    let errno = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    let at_exec = parts.next() == Some("1");
    Err(Failed { message: parts.next().unwrap_or_default().to_owned(), errno, at_exec })
}

/// Where a child keeps the pipe it reports on.
const REPORT: i32 = 3;

fn in_child(
    place: &Place,
    told: &OwnedFd,
    io: &[Option<OwnedFd>; 3],
    tty: bool,
    body: impl FnOnce() -> Failed,
) -> Failed {
    for file in &place.cgroups {
        if let Err(error) = enter_cgroup(file) {
            return failed(&format!("enter cgroup {file}"), &error);
        }
    }
    if let Err(error) = sys::setsid() {
        return failed("begin a session", &error);
    }
    let null = fs::File::options().read(true).write(true).open("/dev/null");
    for (number, stream) in (0..).zip(io) {
        let became = match (stream, &null) {
            (Some(stream), _) => sys::become_stream(stream, number),
            (None, Ok(null)) => sys::become_stream(null, number),
            (None, Err(error)) => Err(io::Error::from(error.kind())),
        };
        if let Err(error) = became {
            return failed("set up standard streams", &error);
        }
    }
    if tty && let Err(error) = sys::take_terminal() {
        return failed("take the terminal", &error);
    }
    if let Err(error) = sys::keep_as(told, REPORT) {
        return failed("keep the report", &error);
    }
    if let Some(target) = place.pid_of.as_ref().filter(|_| place.enter)
        && let Err(error) = sys::setns(target, libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP)
    {
        return failed("enter the container", &error);
    }
    // A container's paths may lead through /proc/self/fd: nothing of the node's may be found there.
    sys::close_all_but(REPORT + 1, &place.keep);
    body()
}
