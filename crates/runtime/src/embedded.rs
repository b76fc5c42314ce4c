//! [`Runtime`] over one sandbox process per Pod.

mod connect;
mod node_side;
mod session;
mod usage;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use outrigger_api::clock::SharedClock;
use outrigger_shim_protocol::{Event, Exec, FailureKind, Request, Response};
use tokio::net::TcpStream;
use tokio::sync::broadcast;

use crate::cgroup::CgroupLayout;
use crate::client::{Answer, Client, Listener};
use crate::cri::*;
use crate::sandbox::{Entry, Known, SavedContainer, SavedSandbox, write_json};
use crate::shim::{self, Shim};
use crate::stats::SandboxStats;
use crate::{exec, prepare};
pub(crate) use node_side::is_shared;
use session::{ExecGuard, terminal_io, wait_for_exec};

/// Hints waiting for slow readers.
const HINTS: usize = 256;
/// How long processes of a dead sandbox may take to go away after KILL.
const DYING: Duration = Duration::from_secs(5);
/// How long a sandbox process of an earlier agent may take to say what it knows.
const ADOPTING: Duration = Duration::from_secs(5);

/// What the runtime needs to know.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Holds one folder per sandbox; made if missing.
    pub root: PathBuf,
    /// The program's clock.
    pub clock: SharedClock,
}

/// The runtime that comes with the program. Clones share it.
#[derive(Clone, Debug)]
pub struct EmbeddedRuntime(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: RuntimeConfig,
    shim: Shim,
    cgroups: CgroupLayout,
    sandboxes: Mutex<BTreeMap<SandboxId, Arc<Entry>>>,
    events: broadcast::Sender<RuntimeEvent>,
}

fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> RuntimeError {
    let doing = what.into();
    move |source| RuntimeError::Io { doing, source }
}

impl EmbeddedRuntime {
    /// Opens the folder and takes over every sandbox process that still lives.
    ///
    /// # Errors
    /// If the folder cannot be used. A single sandbox that cannot be read is reported and left alone.
    pub async fn open(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let what = format!("open the runtime's folder {}", config.root.display());
        fs::create_dir_all(&config.root).map_err(doing(what.clone()))?;
        let runtime = Self(Arc::new(Inner {
            shim: Shim::load().map_err(doing("load the sandbox program"))?,
            cgroups: CgroupLayout::detect(),
            sandboxes: Mutex::default(),
            events: broadcast::Sender::new(HINTS),
            config,
        }));
        let mut adopted = Vec::new();
        for folder in fs::read_dir(&runtime.0.config.root).map_err(doing(what))?.flatten() {
            match Entry::load(&folder.path()) {
                Ok(entry) => adopted.push(runtime.adopt(Arc::new(entry))),
                Err(error) => {
                    tracing::warn!(%error, folder = %folder.path().display(), "a sandbox cannot be read");
                }
            }
        }
        futures::future::join_all(adopted).await;
        Ok(runtime)
    }

    /// Connects to a process of an earlier agent.
    async fn adopt(&self, entry: Arc<Entry>) {
        let id = entry.saved.config.id.clone();
        self.sandboxes().insert(id.clone(), Arc::clone(&entry));
        let Ok(stream) = shim::connect(&entry.dir) else {
            tracing::info!(sandbox = id, "a sandbox process is gone");
            return;
        };
        let client = Client::new(stream, self.listener(&entry));
        match tokio::time::timeout(ADOPTING, client.ask(Request::State, &[])).await {
            Ok(Ok((Response::State(state), _))) => {
                entry.take_state(state);
                entry.set_client(Some(client));
            }
            Ok(_) | Err(_) => tracing::warn!(sandbox = id, "a sandbox process does not answer"),
        }
    }

    fn listener(&self, entry: &Arc<Entry>) -> Listener {
        let (entry, events) = (Arc::downgrade(entry), self.0.events.clone());
        Arc::new(move |event| {
            let Some(entry) = entry.upgrade() else { return };
            match event {
                Some(Event::Exited(record)) => entry.record(record),
                Some(Event::ExecExited { exec, code }) => return entry.exec_exited(exec, code),
                None => {
                    entry.read_exit_records();
                    entry.set_client(None);
                }
            }
            let hint = RuntimeEvent { pod_uid: entry.saved.config.pod.uid.clone() };
            // Nobody listens at the moment: the next list tells the same.
            let _ = events.send(hint);
        })
    }

    fn sandboxes(&self) -> MutexGuard<'_, BTreeMap<SandboxId, Arc<Entry>>> {
        self.0.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, id: &str) -> Result<Arc<Entry>, RuntimeError> {
        self.sandboxes().get(id).cloned().ok_or_else(|| RuntimeError::NotFound(format!("sandbox {id}")))
    }

    fn container(&self, id: &str) -> Result<(Arc<Entry>, Known), RuntimeError> {
        let found = self.sandboxes().values().find_map(|entry| Some((Arc::clone(entry), entry.find(id)?)));
        found.ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))
    }

    async fn ask(
        &self,
        entry: &Entry,
        request: Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Answer, RuntimeError> {
        let answer = entry.client()?.ask(request, fds).await;
        let gone = |_| RuntimeError::SandboxGone(entry.saved.config.pod.uid.clone());
        let (response, fds) = answer.map_err(gone)?;
        match response {
            Response::Failed(failure) => Err(match failure.kind {
                FailureKind::NotFound => RuntimeError::NotFound(failure.message),
                FailureKind::NotRunning => RuntimeError::NotRunning(failure.message),
                FailureKind::CannotExecute => RuntimeError::CannotExecute(failure.message),
                FailureKind::System | FailureKind::Refused => RuntimeError::Io {
                    source: io::Error::from_raw_os_error(failure.errno),
                    doing: failure.message,
                },
            }),
            response => Ok((response, fds)),
        }
    }

    async fn start_process(&self, config: &SandboxConfig, entry: &Arc<Entry>) -> Result<(), RuntimeError> {
        let cgroup = &config.cgroup;
        let procs = self.0.cgroups.make_pod(cgroup, &config.resources);
        let procs = procs.map_err(doing(format!("make control groups {cgroup}")))?;
        self.0.shim.start(&entry.dir).map_err(doing("start the sandbox process"))?;
        let stream = shim::connect(&entry.dir).map_err(doing("connect to the sandbox process"))?;
        let client = Client::new(stream, self.listener(entry));
        entry.set_client(Some(client));
        let init = prepare::init(config, &entry.dir, procs);
        self.ask(entry, Request::Init(Box::new(init)), &[]).await.map(drop)
    }
}

#[async_trait]
impl Runtime for EmbeddedRuntime {
    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<(), RuntimeError> {
        if self.entry(&config.id).is_ok_and(|entry| entry.client().is_ok()) {
            return Ok(());
        }
        let dir = self.0.config.root.join(&config.id);
        let what = format!("make {}", dir.display());
        fs::create_dir_all(dir.join("containers")).map_err(doing(what.clone()))?;
        fs::create_dir_all(&config.log_directory).map_err(doing("make the log folder"))?;
        let saved = SavedSandbox { config: config.clone(), created_at: self.0.config.clock.now().wall };
        write_json(&dir.join("sandbox.json"), &saved).map_err(doing(what))?;
        let entry = Arc::new(Entry::new(saved, dir));
        self.sandboxes().insert(config.id.clone(), Arc::clone(&entry));
        let started = self.start_process(&config, &entry).await;
        if started.is_err() {
            // Nothing of a failed attempt stays.
            let _ = self.stop_pod_sandbox(&config.id).await;
            let _ = self.remove_pod_sandbox(&config.id).await;
        }
        started
    }

    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        let Ok(entry) = self.entry(id) else { return Ok(()) };
        if let Ok(client) = entry.client()
            && let Ok((Response::State(state), _)) = client.ask(Request::Stop, &[]).await
        {
            entry.take_state(state);
        }
        entry.set_client(None);
        self.kill_leftovers(&entry.saved.config.cgroup).await;
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        let Ok(entry) = self.entry(id) else { return Ok(()) };
        if entry.client().is_ok() {
            let message = format!("sandbox {id} is running");
            return Err(doing("remove a sandbox")(io::Error::other(message)));
        }
        let cgroup = entry.saved.config.cgroup.clone();
        let shared = self
            .sandboxes()
            .values()
            .any(|other| other.saved.config.id != *id && other.saved.config.cgroup == cgroup);
        if !shared {
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            for _ in 0..200 {
                if self.0.cgroups.remove_pod(&cgroup) {
                    break;
                }
                tick.tick().await;
            }
        }
        match fs::remove_dir_all(&entry.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(doing(format!("remove {}", entry.dir.display()))(error));
            }
            _ => {}
        }
        self.sandboxes().remove(id);
        Ok(())
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<(), RuntimeError> {
        let entry = self.entry(sandbox)?;
        // A profile that cannot be used is told before anything is made.
        prepare::seccomp_fd(&config.security, 0)
            .map_err(doing(format!("prepare container {}", config.name)))?;
        let mut config = config;
        if config.rootfs.writable.as_os_str().is_empty() {
            config.rootfs.writable = entry.dir.join("containers").join(&config.id);
        }
        for folder in ["upper", "work", "root"] {
            let path = config.rootfs.writable.join(folder);
            fs::create_dir_all(&path).map_err(doing(format!("make {}", path.display())))?;
        }
        for (index, mount) in
            config.mounts.iter_mut().enumerate().filter(|(_, mount)| !mount.layers.is_empty())
        {
            mount.source = config.rootfs.writable.join(format!("image-{index}"));
            fs::create_dir_all(&mount.source).map_err(doing("make a place for an image volume"))?;
        }
        let log = entry.saved.config.log_directory.join(&config.log_path);
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder).map_err(doing(format!("make {}", folder.display())))?;
        }
        let saved = SavedContainer { created_at: self.0.config.clock.now().wall, config };
        entry.add(saved).map_err(doing("save a container"))
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let (entry, known) = self.container(id)?;
        let (sandbox, config) = (&entry.saved.config, &known.saved.config);
        let cgroups = &self.0.cgroups;
        let made = cgroups.make_container(&sandbox.cgroup, id, &config.resources, config.security.privileged);
        let cgroup = made.map_err(doing(format!("make control groups of {}", config.name)))?;
        let (start, seccomp) = prepare::start(sandbox, config, cgroup, cgroups.limits_devices())
            .map_err(doing(format!("prepare container {}", config.name)))?;
        let shared = node_side::shared_trees(&config.mounts)?;
        let fds: Vec<BorrowedFd<'_>> = shared.iter().chain(&seccomp).map(AsFd::as_fd).collect();
        match self.ask(&entry, Request::Start(Box::new(start)), &fds).await? {
            (Response::Started { pid, at }, _) => {
                let known_exit = entry.find(id).and_then(|known| known.record).and_then(|record| record.exit);
                if known_exit.is_none() {
                    entry.record(outrigger_shim_protocol::ContainerRecord {
                        container: id.clone(),
                        pid,
                        started_at: at,
                        exit: None,
                    });
                }
                Ok(())
            }
            (Response::StartFailed(failure), _) => {
                if let (Response::State(state), _) = self.ask(&entry, Request::State, &[]).await? {
                    entry.take_state(state);
                }
                Err(RuntimeError::CannotExecute(failure.message))
            }
            _ => Err(RuntimeError::SandboxGone(sandbox.pod.uid.clone())),
        }
    }

    async fn signal_container(&self, id: &ContainerId, signal: i32) -> Result<(), RuntimeError> {
        let (entry, _) = self.container(id)?;
        match self.ask(&entry, Request::Kill { container: id.clone(), signal }, &[]).await {
            Err(RuntimeError::NotFound(_) | RuntimeError::NotRunning(_)) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let Ok((entry, known)) = self.container(id) else { return Ok(()) };
        if entry.client().is_ok() {
            self.ask(&entry, Request::Forget { container: id.clone() }, &[]).await?;
        }
        self.0.cgroups.remove_container(&entry.saved.config.cgroup, id);
        let folder = &known.saved.config.rootfs.writable;
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(doing(format!("remove {}", folder.display()))(error));
            }
            _ => {}
        }
        for file in [entry.container_file(id), entry.dir.join(format!("exit-{id}.json"))] {
            // Not there is as good.
            let _ = fs::remove_file(file);
        }
        entry.forget(id);
        Ok(())
    }

    async fn update_resources(
        &self,
        id: &ContainerId,
        resources: &Resources,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), RuntimeError> {
        let (entry, known) = self.container(id)?;
        let name = &known.saved.config.name;
        let path = format!("{}/{id}", entry.saved.config.cgroup);
        self.change(&path, &format!("container \"{name}\""), resources)?;
        entry.relabel_container(id, labels).map_err(doing(format!("save container {name}")))
    }

    async fn update_pod_resources(
        &self,
        id: &SandboxId,
        resources: &Resources,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), RuntimeError> {
        let entry = self.entry(id)?;
        self.change(&entry.saved.config.cgroup, "pod", resources)?;
        entry.relabel(labels).map_err(doing("save a sandbox"))
    }

    async fn exec(
        &self,
        id: &ContainerId,
        command: &[String],
        io: IoOptions,
    ) -> Result<ProcessIo, RuntimeError> {
        let (entry, known) = self.container(id)?;
        let config = &known.saved.config;
        let failed = || doing(format!("prepare a command in {}", config.name));
        let mut process = prepare::process(config, command.to_vec(), io.tty, self.0.cgroups.limits_devices());
        process.make_cwd = false;
        let seccomp = prepare::seccomp_fd(&config.security, process.capabilities).map_err(failed())?;
        process.seccomp = seccomp.is_some();
        let (mut stdin, mut stdout, mut stderr) = (None, None, None);
        let mut theirs: Vec<OwnedFd> = Vec::new();
        let streams = [io.stdin && !io.tty, io.stdout && !io.tty, io.stderr && !io.tty];
        if streams[0] {
            let (ours, end) = exec::input_pipe().map_err(failed())?;
            stdin = Some(ours);
            theirs.push(end);
        }
        for (wanted, slot) in [(streams[1], &mut stdout), (streams[2], &mut stderr)] {
            if wanted {
                let (ours, end) = exec::output_pipe().map_err(failed())?;
                *slot = Some(ours);
                theirs.push(end);
            }
        }
        theirs.extend(seccomp);
        let fds: Vec<BorrowedFd<'_>> = theirs.iter().map(AsFd::as_fd).collect();
        let request = Request::Exec(Box::new(Exec { container: id.clone(), process, streams }));
        let (response, mut given) = self.ask(&entry, request, &fds).await?;
        drop(theirs);
        let Response::ExecStarted { exec: number, .. } = response else {
            return Err(RuntimeError::SandboxGone(entry.saved.config.pod.uid.clone()));
        };
        let guard = ExecGuard { client: entry.client()?, exec: number, ended: false };
        let exit = entry.expect_exit(number);
        let exit = Box::pin(wait_for_exec(exit, guard, entry.saved.config.pod.uid.clone()));
        match given.pop().filter(|_| io.tty) {
            Some(master) => terminal_io(master, io, exit).map_err(failed()),
            None => Ok(ProcessIo {
                stdin: stdin.map(|pipe| Box::new(pipe) as _),
                stdout: stdout.map(|pipe| Box::new(pipe) as _),
                stderr: stderr.map(|pipe| Box::new(pipe) as _),
                resize: None,
                exit,
            }),
        }
    }

    async fn attach(&self, id: &ContainerId, io: IoOptions) -> Result<ProcessIo, RuntimeError> {
        let (entry, known) = self.container(id)?;
        let tty = known.saved.config.tty;
        let failed = || doing(format!("attach to {}", known.saved.config.name));
        let (mut stdout, mut stderr) = (None, None);
        let mut theirs: Vec<OwnedFd> = Vec::new();
        let wanted = [io.stdout, io.stderr && !tty];
        for (wanted, slot) in wanted.into_iter().zip([&mut stdout, &mut stderr]) {
            if wanted {
                let (ours, end) = exec::output_pipe().map_err(failed())?;
                *slot = Some(ours);
                theirs.push(end);
            }
        }
        let fds: Vec<BorrowedFd<'_>> = theirs.iter().map(AsFd::as_fd).collect();
        let request =
            Request::Attach { container: id.clone(), stdin: io.stdin, stdout: wanted[0], stderr: wanted[1] };
        let (_, mut given) = self.ask(&entry, request, &fds).await?;
        let (mut stdin, mut resize): (Option<Box<dyn tokio::io::AsyncWrite + Send + Unpin>>, _) =
            (None, None);
        if let Some(input) = given.pop() {
            if tty {
                resize = Some(exec::resizer(input.try_clone().map_err(failed())?));
                stdin = Some(Box::new(exec::Terminal::new(input).map_err(failed())?));
            } else {
                stdin = Some(Box::new(exec::sender(input).map_err(failed())?));
            }
        }
        let (runtime, container) = (self.clone(), id.clone());
        let once = known.saved.config.stdin_once && io.stdin;
        let exit = Box::pin(async move { runtime.wait_for_end(&container, once).await });
        Ok(ProcessIo {
            stdin,
            stdout: stdout.map(|pipe| Box::new(pipe) as _),
            stderr: stderr.map(|pipe| Box::new(pipe) as _),
            resize,
            exit,
        })
    }

    async fn port_forward(&self, sandbox: &SandboxId, port: u16) -> Result<TcpStream, RuntimeError> {
        self.connect_to_loopback(&self.entry(sandbox)?, port).await
    }

    async fn reopen_log(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let (entry, _) = self.container(id)?;
        self.ask(&entry, Request::ReopenLog { container: id.clone() }, &[]).await.map(drop)
    }

    async fn list(&self) -> Result<Vec<Sandbox>, RuntimeError> {
        let mut all: Vec<Sandbox> = self.sandboxes().values().map(|entry| entry.facts()).collect();
        all.sort_by_key(|sandbox| (sandbox.pod.uid.clone(), sandbox.attempt));
        Ok(all)
    }

    async fn list_pod(&self, pod_uid: &str) -> Result<Vec<Sandbox>, RuntimeError> {
        let of_pod = |entry: &&Arc<Entry>| entry.saved.config.pod.uid == pod_uid;
        let mut all: Vec<Sandbox> =
            self.sandboxes().values().filter(of_pod).map(|entry| entry.facts()).collect();
        all.sort_by_key(|sandbox| sandbox.attempt);
        Ok(all)
    }

    async fn stats(&self) -> Result<Vec<SandboxStats>, RuntimeError> {
        let runtime = self.clone();
        let read = tokio::task::spawn_blocking(move || usage::of_all(&runtime)).await;
        read.map_err(|error| doing("read control groups")(io::Error::other(error)))
    }

    async fn limit_pods(&self, cgroup: &str, resources: &Resources) -> Result<(), RuntimeError> {
        self.0.cgroups.make(cgroup, resources).map_err(doing(format!("limit control group {cgroup}")))
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.0.events.subscribe()
    }
}
