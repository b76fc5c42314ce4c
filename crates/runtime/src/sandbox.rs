//! One sandbox as this process knows it: what it was asked to be, what its process reports, what lies on disk.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use outrigger_api::WallTime;
use outrigger_shim_protocol::{ContainerRecord, ExitRecord, State};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::client::Client;
use crate::cri::{Container, ContainerConfig, ContainerState, Exit, RuntimeError, Sandbox, SandboxConfig};

/// Exit codes of exec'd processes nobody has asked for yet; more than this many are forgotten, oldest first.
const UNCLAIMED: usize = 64;

/// What is on disk of a sandbox, besides its process's own files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedSandbox {
    pub(crate) config: SandboxConfig,
    pub(crate) created_at: WallTime,
}

/// What is on disk of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedContainer {
    pub(crate) config: ContainerConfig,
    pub(crate) created_at: WallTime,
}

/// A container and its newest record.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) saved: SavedContainer,
    pub(crate) record: Option<ContainerRecord>,
}

/// A sandbox.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) saved: SavedSandbox,
    pub(crate) dir: PathBuf,
    state: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    client: Option<Client>,
    containers: BTreeMap<String, Known>,
    /// Labels given later; they win over those it was made with.
    labels: BTreeMap<String, String>,
    exits: HashMap<u64, oneshot::Sender<i32>>,
    unclaimed: Vec<(u64, i32)>,
}

impl Entry {
    pub(crate) fn new(saved: SavedSandbox, dir: PathBuf) -> Self {
        Self { saved, dir, state: Mutex::default() }
    }

    /// A sandbox found on disk, with its containers and the exit records its process left.
    pub(crate) fn load(dir: &Path) -> io::Result<Self> {
        let saved: SavedSandbox = read_json(&dir.join("sandbox.json"))?;
        let entry = Self::new(saved, dir.to_owned());
        for file in fs::read_dir(dir.join("containers"))?.flatten() {
            if file.path().extension().is_some_and(|extension| extension == "json") {
                let saved: SavedContainer = read_json(&file.path())?;
                let record = read_json(&dir.join(format!("exit-{}.json", saved.config.id))).ok();
                entry.inside().containers.insert(saved.config.id.clone(), Known { saved, record });
            }
        }
        Ok(entry)
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to its process.
    ///
    /// # Errors
    /// [`RuntimeError::SandboxGone`] if there is none.
    pub(crate) fn client(&self) -> Result<Client, RuntimeError> {
        let client = self.inside().client.clone();
        client.ok_or_else(|| RuntimeError::SandboxGone(self.saved.config.pod.uid.clone()))
    }

    pub(crate) fn set_client(&self, client: Option<Client>) {
        let mut inside = self.inside();
        inside.client = client;
        if inside.client.is_none() {
            // Whoever waits for an exec learns that it will not be told.
            inside.exits.clear();
        }
    }

    pub(crate) fn add(&self, saved: SavedContainer) -> io::Result<()> {
        write_json(&self.container_file(&saved.config.id), &saved)?;
        let id = saved.config.id.clone();
        self.inside().containers.insert(id, Known { saved, record: None });
        Ok(())
    }

    /// Adds labels to a container, on disk too.
    pub(crate) fn relabel_container(&self, id: &str, labels: &BTreeMap<String, String>) -> io::Result<()> {
        let mut inside = self.inside();
        let Some(known) = inside.containers.get_mut(id) else { return Ok(()) };
        known.saved.config.labels.extend(labels.clone());
        write_json(&self.container_file(id), &known.saved)
    }

    /// Adds labels to the sandbox, on disk too.
    pub(crate) fn relabel(&self, labels: &BTreeMap<String, String>) -> io::Result<()> {
        let mut inside = self.inside();
        inside.labels.extend(labels.clone());
        let mut saved = self.saved.clone();
        saved.config.labels.extend(inside.labels.clone());
        write_json(&self.dir.join("sandbox.json"), &saved)
    }

    pub(crate) fn container_file(&self, id: &str) -> PathBuf {
        self.dir.join(format!("containers/{id}.json"))
    }

    pub(crate) fn find(&self, id: &str) -> Option<Known> {
        self.inside().containers.get(id).cloned()
    }

    pub(crate) fn forget(&self, id: &str) {
        self.inside().containers.remove(id);
    }

    pub(crate) fn record(&self, record: ContainerRecord) {
        if let Some(known) = self.inside().containers.get_mut(&record.container) {
            known.record = Some(record);
        }
    }

    /// Learns what a process that is gone had written down of containers that ended.
    pub(crate) fn read_exit_records(&self) {
        for (id, known) in &mut self.inside().containers {
            let open = known.record.as_ref().is_some_and(|record| record.exit.is_none());
            if open && let Ok(record) = read_json(&self.dir.join(format!("exit-{id}.json"))) {
                known.record = Some(record);
            }
        }
    }

    /// Takes over everything its process knows.
    pub(crate) fn take_state(&self, state: State) {
        for record in state.containers {
            self.record(record);
        }
    }

    /// Waits for an exec'd process.
    pub(crate) fn expect_exit(&self, exec: u64) -> oneshot::Receiver<i32> {
        let (sender, receiver) = oneshot::channel();
        let mut inside = self.inside();
        match inside.unclaimed.iter().position(|(of, _)| *of == exec) {
            Some(at) => {
                let (_, code) = inside.unclaimed.remove(at);
                // The receiver is right here.
                let _ = sender.send(code);
            }
            None => {
                inside.exits.insert(exec, sender);
            }
        }
        receiver
    }

    pub(crate) fn exec_exited(&self, exec: u64, code: i32) {
        let mut inside = self.inside();
        match inside.exits.remove(&exec) {
            // Nobody waits any more.
            Some(waiting) => drop(waiting.send(code)),
            None => {
                if inside.unclaimed.len() >= UNCLAIMED {
                    inside.unclaimed.remove(0);
                }
                inside.unclaimed.push((exec, code));
            }
        }
    }

    /// What callers see of it.
    pub(crate) fn facts(&self) -> Sandbox {
        let inside = self.inside();
        let alive = inside.client.is_some();
        let mut containers: Vec<Container> =
            inside.containers.values().map(|known| known.facts(alive)).collect();
        containers.sort_by_key(|container| (container.attempt, container.created_at));
        Sandbox {
            id: self.saved.config.id.clone(),
            pod: self.saved.config.pod.clone(),
            attempt: self.saved.config.attempt,
            ready: alive,
            created_at: self.saved.created_at,
            netns: self.saved.config.netns.clone(),
            labels: self.saved.config.labels.clone().into_iter().chain(inside.labels.clone()).collect(),
            containers,
        }
    }
}

impl Known {
    fn facts(&self, alive: bool) -> Container {
        let config = &self.saved.config;
        let state = match &self.record {
            None => ContainerState::Created,
            Some(record) => match &record.exit {
                Some(exit) => ContainerState::Exited(exit_of(record, exit)),
                None if alive => {
                    ContainerState::Running { started_at: moment(record.started_at), pid: record.pid }
                }
                // Its process died with the sandbox's, untold.
                None => ContainerState::Exited(Exit {
                    code: 137,
                    signal: Some(9),
                    started_at: Some(moment(record.started_at)),
                    finished_at: moment(record.started_at),
                    oom_killed: false,
                    start_error: String::new(),
                }),
            },
        };
        Container {
            id: config.id.clone(),
            name: config.name.clone(),
            attempt: config.attempt,
            state,
            created_at: self.saved.created_at,
            log_path: config.log_path.clone(),
            labels: config.labels.clone(),
        }
    }
}

fn exit_of(record: &ContainerRecord, exit: &ExitRecord) -> Exit {
    Exit {
        code: exit.code,
        signal: exit.signal,
        started_at: (record.started_at != 0).then(|| moment(record.started_at)),
        finished_at: moment(exit.at),
        oom_killed: exit.oom_killed,
        start_error: exit.start_error.clone(),
    }
}

fn moment(nanos: i64) -> WallTime {
    WallTime::from_nanosecond(i128::from(nanos)).unwrap_or(WallTime::UNIX_EPOCH)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let bytes = fs::read(path)?;
    serde_json::from_slice(&bytes).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
}

/// Written beside and renamed, so that no reader sees half of it. Not synced: after a crash of the machine nothing it
/// describes exists any more.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let temporary = path.with_extension("new");
    fs::write(&temporary, serde_json::to_vec(value)?)?;
    fs::rename(temporary, path)
}
