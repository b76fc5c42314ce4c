//! The Pod's namespaces, its containers, and the answers to an agent's requests.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use outrigger_shim_protocol::{
    Event, Exec, Failure, FailureKind, Init, PROTOCOL_VERSION, Request, Response, Start, State,
};

use crate::child::{self, Failed};
use crate::container::{Container, exit_of};
use crate::spawn::{self, Place};
use crate::sys;
use crate::users::Users;

/// Everything this process keeps for one Pod.
#[derive(Default)]
pub struct Sandbox {
    pub init: Option<Init>,
    pub containers: Vec<Container>,
    /// Where the Pod's shared memory is mounted, if it has its own.
    pub shm: Option<String>,
    /// The Pod's user namespace, if it has its own (`hostUsers: false`).
    pub users: Option<Users>,
    pause: Option<i32>,
    execs: Vec<(u64, i32)>,
    next_exec: u64,
    pub last_event: u64,
    pub stopping: bool,
}

/// An answer with its descriptors.
pub type Answer = (Response, Vec<OwnedFd>);

fn refused(kind: FailureKind, message: impl Into<String>) -> Answer {
    (Response::Failed(Failure { kind, message: message.into(), errno: 0 }), Vec::new())
}

fn system(step: &str, error: &io::Error) -> Answer {
    let failure = Failure {
        kind: FailureKind::System,
        message: format!("{step}: {error}"),
        errno: error.raw_os_error().unwrap_or(0),
    };
    (Response::Failed(failure), Vec::new())
}

fn failure_of(failed: Failed) -> Failure {
    let kind = if failed.at_exec { FailureKind::CannotExecute } else { FailureKind::System };
    Failure { kind, message: failed.message, errno: failed.errno }
}

impl Sandbox {
    /// Carries out one request.
    pub fn answer(&mut self, request: Request, fds: Vec<OwnedFd>) -> Answer {
        match request {
            Request::Init(init) => match self.become_sandbox(*init) {
                Ok(()) => (Response::State(self.state()), Vec::new()),
                Err((step, error)) => system(step, &error),
            },
            Request::State => (Response::State(self.state()), Vec::new()),
            Request::Start(start) => (self.start(*start, fds), Vec::new()),
            Request::Kill { container, signal } => self.kill(&container, signal),
            Request::Forget { container } => self.forget(&container),
            Request::Exec(exec) => self.exec(*exec, fds),
            Request::KillExec { exec } => {
                if let Some((_, pid)) = self.execs.iter().find(|(id, _)| *id == exec) {
                    // It may have ended meanwhile.
                    let _ = sys::kill(*pid, libc::SIGKILL);
                }
                (Response::Done, Vec::new())
            }
            Request::Attach { container, stdin, stdout, stderr } => {
                self.attach(&container, stdin, stdout, stderr, fds)
            }
            Request::Detach { container } => {
                if let Some(found) = self.find(&container)
                    && found.start.stdin_once
                {
                    found.stdin = None;
                }
                (Response::Done, Vec::new())
            }
            Request::ReopenLog { container } => match self.find(&container) {
                Some(found) => {
                    found.reopen_log();
                    (Response::Done, Vec::new())
                }
                None => not_found(&container),
            },
            Request::Socket { v6 } => match sys::tcp_socket(v6) {
                Ok(socket) => (Response::Done, vec![socket]),
                Err(error) => system("open a socket", &error),
            },
            Request::Stop => {
                self.stop();
                (Response::State(self.state()), Vec::new())
            }
        }
    }

    pub fn state(&self) -> State {
        State {
            version: PROTOCOL_VERSION,
            pid: i32::try_from(std::process::id()).unwrap_or(0),
            last_event: self.last_event,
            containers: self.containers.iter().map(|container| container.record.clone()).collect(),
        }
    }

    fn find(&mut self, container: &str) -> Option<&mut Container> {
        self.containers.iter_mut().find(|found| found.record.container == container)
    }

    /// The main process of a running container.
    pub fn pid_of(&self, container: &str) -> Option<i32> {
        let found = self.containers.iter().find(|found| found.record.container == container)?;
        found.is_running().then_some(found.record.pid)
    }

    /// The process that stands for a shared pid namespace, if there is one.
    pub fn pause_pidfd(&self) -> Result<Option<OwnedFd>, Failed> {
        let pidfd = self.pause.map(sys::pidfd).transpose();
        pidfd.map_err(|error| spawn::failed("open the pause process", &error))
    }

    fn become_sandbox(&mut self, init: Init) -> Result<(), (&'static str, io::Error)> {
        if self.init.is_some() {
            return Ok(());
        }
        for file in &init.cgroup_procs {
            spawn::enter_cgroup(file).map_err(|error| ("enter the Pod's cgroup", error))?;
        }
        if let Some(path) = &init.netns {
            let netns = fs::File::open(path).map_err(|error| ("open the network namespace", error))?;
            sys::setns(&netns, libc::CLONE_NEWNET).map_err(|error| ("join the network namespace", error))?;
        }
        sys::unshare(libc::CLONE_NEWNS).map_err(|error| ("make a mount namespace", error))?;
        sys::mount("", "/", "", libc::MS_REC | libc::MS_SLAVE, "")
            .map_err(|error| ("make mounts private", error))?;
        if let Some(name) = &init.hostname {
            sys::unshare(libc::CLONE_NEWUTS).map_err(|error| ("make a UTS namespace", error))?;
            sys::sethostname(name).map_err(|error| ("set the host name", error))?;
        }
        if init.private_ipc {
            sys::unshare(libc::CLONE_NEWIPC).map_err(|error| ("make an IPC namespace", error))?;
        }
        for (file, value) in &init.sysctls {
            fs::write(file, value).map_err(|error| ("write a kernel setting", error))?;
        }
        if init.private_ipc {
            let path = format!("{}/shm", init.state_dir);
            let options = format!("mode=1777,size={}", init.shm_bytes);
            let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            fs::create_dir_all(&path)
                .and_then(|()| sys::mount("shm", &path, "tmpfs", flags, &options))
                .map_err(|error| ("mount shared memory", error))?;
            self.shm = Some(path);
        } else {
            self.shm = Some("/dev/shm".to_owned());
        }
        if let Some(range) = init.user_namespace {
            self.users = Some(Users::make(range).map_err(|error| ("make a user namespace", error))?);
        }
        if init.shared_pid {
            let pid = sys::clone3(libc::CLONE_NEWPID as u64, None)
                .map_err(|error| ("make a pid namespace", error))?;
            if pid == 0 {
                pause();
            }
            self.pause = Some(pid);
        }
        self.init = Some(init);
        Ok(())
    }

    fn state_dir(&self) -> String {
        self.init.as_ref().map(|init| init.state_dir.clone()).unwrap_or_default()
    }

    fn start(&mut self, start: Start, mut fds: Vec<OwnedFd>) -> Response {
        if self.init.is_none() || self.stopping {
            let message = "the sandbox is not running".to_owned();
            return Response::Failed(Failure { kind: FailureKind::Refused, message, errno: 0 });
        }
        if let Some(found) = self.find(&start.container) {
            // Asked again by an agent that missed the answer.
            return Response::Started { pid: found.record.pid, at: found.record.started_at };
        }
        let seccomp = if start.process.seccomp { fds.pop() } else { None };
        match Container::start(self, start, seccomp, fds) {
            Ok(container) => {
                let (pid, at) = (container.record.pid, container.record.started_at);
                self.containers.push(container);
                Response::Started { pid, at }
            }
            Err((container, failed)) => {
                container.save(&self.state_dir());
                self.containers.push(container);
                Response::StartFailed(failure_of(failed))
            }
        }
    }

    fn kill(&mut self, container: &str, signal: i32) -> Answer {
        match self.pid_of(container) {
            Some(pid) => match sys::kill(pid, signal) {
                Ok(()) => (Response::Done, Vec::new()),
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => (Response::Done, Vec::new()),
                Err(error) => system("signal", &error),
            },
            None if self.find(container).is_some() => (Response::Done, Vec::new()),
            None => not_found(container),
        }
    }

    fn forget(&mut self, container: &str) -> Answer {
        if self.pid_of(container).is_some() {
            return refused(FailureKind::Refused, format!("container {container} is running"));
        }
        self.containers.retain(|found| found.record.container != container);
        // Gone already is as good.
        let _ = fs::remove_file(format!("{}/exit-{container}.json", self.state_dir()));
        (Response::Done, Vec::new())
    }

    fn exec(&mut self, exec: Exec, fds: Vec<OwnedFd>) -> Answer {
        let Some(main) = self.pid_of(&exec.container) else {
            let known = self.find(&exec.container).is_some();
            let kind = if known { FailureKind::NotRunning } else { FailureKind::NotFound };
            return refused(kind, format!("container {} is not running", exec.container));
        };
        let Some(start) = self.find(&exec.container).map(|found| found.start.clone()) else {
            return not_found(&exec.container);
        };
        let mut seccomp = None;
        let mut fds = fds;
        if exec.process.seccomp {
            seccomp = fds.pop();
        }
        let mut given = fds.into_iter();
        let mut io = exec.streams.map(|sent| if sent { given.next() } else { None });
        let mut answer_fds = Vec::new();
        if exec.process.tty {
            let opened = sys::open_terminal(&format!("/proc/{main}/root/dev/pts/ptmx"));
            let opened = opened.and_then(|(master, slave)| {
                io = [Some(sys::dup(&slave)?), Some(sys::dup(&slave)?), Some(slave)];
                Ok(master)
            });
            match opened {
                Ok(master) => answer_fds.push(master),
                Err(error) => return system("open a terminal", &error),
            }
        }
        let programs = match seccomp.map(child::read_programs).transpose() {
            Ok(programs) => programs.unwrap_or_default(),
            Err(error) => return system("read the seccomp program", &error),
        };
        for stream in io.iter().flatten() {
            // Somebody else's kind of file may refuse; the open descriptor works all the same.
            let on_node = |id| self.users.as_ref().map_or(id, |users| users.on_node(id));
            let _ = sys::chown(stream, on_node(exec.process.uid), on_node(exec.process.gid));
        }
        let spawned = Place::beside(main, &start).and_then(|place| {
            let users = self.users.as_ref().map(Users::share).transpose();
            let mut place = place;
            let users = users.map_err(|error| spawn::failed("share the user namespace", &error))?;
            place.keep.extend(users.as_ref().map(Users::number));
            spawn::spawn(place, io, exec.process.tty, || {
                child::execute(&exec.process, &programs, users.as_ref(), false)
            })
        });
        match spawned {
            Ok(pid) => {
                self.next_exec += 1;
                self.execs.push((self.next_exec, pid));
                (Response::ExecStarted { exec: self.next_exec, pid }, answer_fds)
            }
            Err(failed) => (Response::Failed(failure_of(failed)), Vec::new()),
        }
    }

    fn attach(
        &mut self,
        container: &str,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        fds: Vec<OwnedFd>,
    ) -> Answer {
        let Some(found) = self.find(container) else { return not_found(container) };
        if !found.is_running() {
            return refused(FailureKind::NotRunning, format!("container {container} is not running"));
        }
        let mut given = fds.into_iter();
        for (wanted, name) in [(stdout, "stdout"), (stderr, "stderr")] {
            if wanted && let Some(sink) = given.next() {
                found.attach(name, sink);
            }
        }
        let input = found.stdin.as_ref().filter(|_| stdin).map(sys::dup);
        match input.transpose() {
            Ok(input) => (Response::Attached, input.into_iter().collect()),
            Err(error) => system("attach", &error),
        }
    }

    /// Collects ended children; returns what there is to tell.
    pub fn reap(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let state_dir = self.state_dir();
        while let Some((pid, status)) = sys::reap() {
            if let Some(at) = self.execs.iter().position(|(_, of)| *of == pid) {
                let (exec, _) = self.execs.remove(at);
                events.push(Event::ExecExited { exec, code: exit_of(status).0 });
            }
            let ended = self.containers.iter_mut().find(|it| it.is_running() && it.record.pid == pid);
            if let Some(container) = ended {
                container.end(status, &state_dir);
                events.push(Event::Exited(container.record.clone()));
            }
            if self.pause.is_some_and(|pause| pause == pid || is_exiting(pause)) {
                // R2.14: with process 1 the whole namespace ends, and with it the sandbox. Its containers' ends are
                // read from their records: told one by one they would look like ends of their own.
                self.stop();
                return Vec::new();
            }
        }
        self.last_event += events.len() as u64;
        events
    }

    /// Kills everything and collects it.
    fn stop(&mut self) {
        self.stopping = true;
        let execs = self.execs.iter().map(|(_, pid)| *pid);
        let running = self.containers.iter().filter(|it| it.is_running()).map(|it| it.record.pid);
        let pids: Vec<i32> = execs.chain(running).chain(self.pause.take()).collect();
        for pid in &pids {
            let _ = sys::kill(*pid, libc::SIGKILL);
        }
        let state_dir = self.state_dir();
        for pid in pids {
            let status = sys::wait_for(pid);
            if let Some(container) =
                self.containers.iter_mut().find(|it| it.is_running() && it.record.pid == pid)
            {
                container.end(status, &state_dir);
            }
        }
    }

    /// The output streams of running containers: container, stream, descriptor.
    pub fn outputs(&self) -> Vec<(usize, usize, i32)> {
        let mut all = Vec::new();
        for (container, found) in self.containers.iter().enumerate() {
            for (stream, output) in found.streams.iter().enumerate() {
                all.push((container, stream, output.fd.as_raw_fd()));
            }
        }
        all
    }
}

fn not_found(container: &str) -> Answer {
    refused(FailureKind::NotFound, format!("container {container} not found"))
}

/// Whether a process is ending (`PF_EXITING`, the ninth field of proc(5) stat): process 1 of a namespace does so for
/// as long as others of it are left.
fn is_exiting(pid: i32) -> bool {
    const EXITING: u64 = 4;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields
        .split_whitespace()
        .nth(6)
        .and_then(|flags| flags.parse::<u64>().ok())
        .is_some_and(|flags| flags & EXITING != 0)
}

/// Process 1 of a shared pid namespace: collects orphans and leaves when it is told to. It keeps nothing open, so
/// that the end of its parent is seen as such.
fn pause() -> ! {
    sys::reset_signals();
    sys::close_from(0);
    sys::sleep_as_init()
}
