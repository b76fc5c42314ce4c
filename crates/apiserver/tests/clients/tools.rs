//! A server with a kubeconfig, and the programs that use it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use outrigger_api::clock::{SharedClock, SystemClock};
use outrigger_apiserver::{ApiServer, Config, NoNodes, Running, ServiceRange};
use outrigger_store::{EmbeddedStore, HistoryLimits, Store as _};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// How long anything may take before a test gives up: far more than it does, as machines differ.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server of one's own, with its data in a folder that goes with it.
pub(crate) struct Server {
    running: Running,
    store: Arc<EmbeddedStore>,
    pub(crate) folder: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: SharedClock = Arc::new(SystemClock);
        let store =
            EmbeddedStore::open(&folder.path().join("store"), HistoryLimits::default(), clock.clone());
        let store = Arc::new(store.unwrap());
        let running = ApiServer::start(Config {
            listen: ([127, 0, 0, 1], 0).into(),
            advertise: [127, 0, 0, 1].into(),
            data_dir: folder.path().to_owned(),
            node_name: "test".to_owned(),
            service_range: ServiceRange::DEFAULT,
            store: store.clone(),
            clock,
            nodes: Arc::new(NoNodes),
        });
        let running = running.await.unwrap();
        std::fs::write(folder.path().join("kubeconfig"), running.admin_kubeconfig()).unwrap();
        Self { running, store, folder }
    }

    pub(crate) fn tool(&self, program: &Path) -> Tool {
        Tool { program: program.to_owned(), home: self.folder.path().to_owned() }
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await;
        self.store.close().await;
    }
}

/// A program with a home of its own, so that no cache of another server answers.
pub(crate) struct Tool {
    program: PathBuf,
    home: PathBuf,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

impl Tool {
    pub(crate) async fn try_run(&self, line: &str, input: &str) -> Said {
        let mut command = Command::new(&self.program);
        command.env("HOME", &self.home).env("KUBECONFIG", self.home.join("kubeconfig"));
        command.env("KUBE_EDITOR", "sed -i s/after/edited/");
        // `·` stands for a space inside a word.
        let words = line.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace('·', " "));
        command.args(words).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that reads no input may be gone.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let output = output.unwrap_or_else(|_| panic!("{line} does not end")).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            out: text(&output.stdout),
            err: text(&output.stderr),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// Runs a command that must succeed; what it printed.
    pub(crate) async fn run_with(&self, line: &str, input: &str) -> String {
        let said = self.try_run(line, input).await;
        assert_eq!(said.code, 0, "{line}\n{}{}", said.out, said.err);
        said.out
    }

    pub(crate) async fn run(&self, line: &str) -> String {
        self.run_with(line, "").await
    }
}

/// Every program of that name the test command has fetched.
pub(crate) fn fetched(name: &str) -> Vec<PathBuf> {
    let folder = std::env::var_os("OUTRIGGER_TOOLS").map(PathBuf::from);
    let found: Vec<PathBuf> = folder
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten())
        .map(|entry| entry.path().join(name))
        .filter(|path| path.exists())
        .collect();
    assert!(!found.is_empty(), "no {name}: OUTRIGGER_TOOLS must name the folder the test command fills");
    found
}
