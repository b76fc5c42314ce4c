//! Running binaries under test.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::TestkitError;

/// A running program whose output is read line by line. Killed by its process id when dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    lines: mpsc::Receiver<String>,
    last: Arc<Mutex<VecDeque<String>>>,
}

impl Program {
    /// Starts `command` with its standard output and error read. Nobody has to call [`Program::wait_for`]: lines
    /// nobody waits for are dropped beyond a bound, the last 200 are kept for messages.
    pub fn start(mut command: Command) -> Result<Self, TestkitError> {
        let program = PathBuf::from(command.as_std().get_program());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(TestkitError::io("run", &program))?;
        let (sender, lines) = mpsc::channel(QUEUED_LINES);
        let last = Arc::new(Mutex::new(VecDeque::new()));
        // Both readers end with the pipe they read, which ends with the program.
        if let Some(out) = child.stdout.take() {
            drop(tokio::spawn(read(out, sender.clone(), Arc::clone(&last))));
        }
        if let Some(err) = child.stderr.take() {
            drop(tokio::spawn(read(err, sender, Arc::clone(&last))));
        }
        Ok(Self { name: program.display().to_string(), child, lines, last })
    }

    /// The process id, until the program has been waited for.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The first line from now on that `matches`, from standard output or error.
    pub async fn wait_for(
        &mut self,
        within: Duration,
        matches: impl Fn(&str) -> bool,
    ) -> Result<String, TestkitError> {
        let search = async {
            while let Some(line) = self.lines.recv().await {
                if matches(&line) {
                    return Some(line);
                }
            }
            None
        };
        match tokio::time::timeout(within, search).await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(TestkitError::failed(&self.name, format!("it ended first\n{}", self.output()))),
            Err(_) => {
                let text = format!("no such line within {within:?}\n{}", self.output());
                Err(TestkitError::failed(&self.name, text))
            }
        }
    }

    /// The last lines it wrote.
    pub fn output(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), TestkitError> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| TestkitError::failed(&self.name, "it has ended"))?;
        rustix::process::kill_process(pid, signal)
            .map_err(|e| TestkitError::io("signal", &self.name)(e.into()))
    }

    /// Waits for the end.
    pub async fn wait(&mut self, within: Duration) -> Result<ExitStatus, TestkitError> {
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => status.map_err(TestkitError::io("wait for", &self.name)),
            Err(_) => {
                let text = format!("still running after {within:?}\n{}", self.output());
                Err(TestkitError::failed(&self.name, text))
            }
        }
    }

    /// Asks it to end (SIGTERM) and waits; kills it if it does not.
    pub async fn stop(mut self, within: Duration) -> Result<ExitStatus, TestkitError> {
        self.signal(Signal::TERM)?;
        self.wait(within).await
    }

    /// Kills it (SIGKILL) and waits: what a crash looks like.
    pub async fn kill(mut self) -> Result<ExitStatus, TestkitError> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(10)).await
    }
}

async fn read(from: impl AsyncRead + Unpin, to: mpsc::Sender<String>, last: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.len() == KEPT_LINES {
                last.pop_front();
            }
            last.push_back(line.clone());
        }
        // A full queue means nobody looks for lines now; the program must not block on its own output.
        drop(to.try_send(line));
    }
}

/// A binary of this workspace, built for the same profile as the running test.
pub fn binary(name: &str) -> Result<PathBuf, TestkitError> {
    let own = std::env::current_exe().map_err(TestkitError::io("find", "the running test"))?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| TestkitError::failed(name, "it is not built; build the whole workspace first"))
}

/// kubectl: `$OUTRIGGER_KUBECTL`, else the first in `$PATH`.
pub fn kubectl() -> Result<PathBuf, TestkitError> {
    if let Some(path) = std::env::var_os("OUTRIGGER_KUBECTL") {
        return Ok(PathBuf::from(path));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.is_file());
    found.ok_or_else(|| TestkitError::Missing {
        program: "kubectl (set OUTRIGGER_KUBECTL or put it in PATH)".to_owned(),
        package: "kubernetes-client",
    })
}

const QUEUED_LINES: usize = 10_000;
const KEPT_LINES: usize = 200;
