//! The program under test with a registry of its own, and the real kubectls in front of it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use outrigger_testkit::{LoopbackRegistry, Program, binary, busybox};
use tokio::process::Command;

/// How long anything may take before a test gives up: far more than it does, as machines differ.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A registry with busybox, and the mirror configuration that leads there.
pub(crate) struct Images {
    registry: LoopbackRegistry,
    pub(crate) certs: PathBuf,
    pub(crate) folder: tempfile::TempDir,
}

impl Images {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = LoopbackRegistry::start(&folder.path().join("registry")).await.unwrap();
        registry.push(&busybox().unwrap().pack()).await.unwrap();
        let certs = registry.mirror_config(&folder.path().join("certs.d")).unwrap();
        Self { registry, certs, folder }
    }

    /// With a Python image too, made of this machine's interpreter.
    pub(crate) async fn with_python() -> Self {
        let images = Self::start().await;
        let python = outrigger_testkit::python(&images.folder.path().join("cache")).unwrap();
        images.registry.push(&python).await.unwrap();
        images
    }
}

/// A cluster made by `outrigger up`.
pub(crate) struct Cluster {
    pub(crate) program: Option<Program>,
    pub(crate) data: PathBuf,
    images: Arc<Images>,
    pod_cidr: String,
    extra: Vec<String>,
}

impl Cluster {
    /// Each test names a Pod range of its own: clusters on one machine must not share one.
    pub(crate) async fn up(images: Arc<Images>, pod_cidr: &str) -> Self {
        Self::up_with(images, pod_cidr, &[]).await
    }

    /// The same with more flags.
    pub(crate) async fn up_with(images: Arc<Images>, pod_cidr: &str, extra: &[&str]) -> Self {
        let extra = extra.iter().map(|flag| (*flag).to_owned()).collect();
        let data = images.folder.path().join(pod_cidr.replace(['.', '/'], "-"));
        let mut cluster = Self { program: None, data, images, pod_cidr: pod_cidr.to_owned(), extra };
        cluster.start().await;
        cluster
    }

    pub(crate) async fn start(&mut self) {
        let mut command = Command::new(binary("outrigger").unwrap());
        command
            .args(["up", "--listen", "127.0.0.1:0", "--pod-cidr", &self.pod_cidr, "--data-dir"])
            .arg(&self.data);
        command.arg("--registry-config").arg(&self.images.certs).args(&self.extra);
        let mut program = Program::start(command).unwrap();
        program.wait_for(PATIENCE, |line| line.contains("ready")).await.unwrap();
        self.program = Some(program);
    }

    /// Ends the agent without a word; containers must not notice.
    pub(crate) async fn kill(&mut self) {
        self.program.take().unwrap().kill().await.unwrap();
    }

    pub(crate) fn kubectl(&self, kubectl: &Path) -> Kubectl {
        Kubectl { program: kubectl.to_owned(), config: self.data.join("kubeconfig") }
    }

    /// Stops everything and checks that nothing is left on the machine.
    pub(crate) async fn down(mut self) {
        drop(self.program.take());
        let mut command = Command::new(binary("outrigger").unwrap());
        let output = command.arg("down").arg("--data-dir").arg(&self.data).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.data.to_str().unwrap()), "a mount is left");
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let root = std::fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let line = std::fs::read_to_string(process.path().join("environ")).unwrap_or_default();
            assert!(!line.contains(self.data.to_str().unwrap()), "{name} {root} is left");
        }
    }
}

/// A test that fails leaves nothing of its cluster behind either.
impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(program) = binary("outrigger")
        {
            drop(self.program.take());
            let down =
                std::process::Command::new(program).arg("down").arg("--data-dir").arg(&self.data).output();
            if let Err(error) = down {
                eprintln!("the cluster in {} may still run: {error}", self.data.display());
            }
        }
    }
}

/// One kubectl against one cluster.
pub(crate) struct Kubectl {
    program: PathBuf,
    config: PathBuf,
}

/// What a command printed, and how it ended.
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

impl Kubectl {
    /// The same program with another kubeconfig.
    pub(crate) fn with_config(&self, config: PathBuf) -> Self {
        Self { program: self.program.clone(), config }
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.program);
        // A cache of its own: discovery of another cluster on the same port would answer otherwise.
        command
            .arg("--kubeconfig")
            .arg(&self.config)
            .arg("--cache-dir")
            .arg(self.config.with_extension("cache"));
        command.args(line.split(' ').filter(|word| !word.is_empty())).kill_on_drop(true);
        command
    }

    pub(crate) async fn try_run(&self, line: &str, input: &str) -> Said {
        use tokio::io::AsyncWriteExt as _;
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that reads no input may be gone.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let output = output.unwrap_or_else(|_| panic!("kubectl {line} does not end")).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            out: text(&output.stdout),
            err: text(&output.stderr),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// Runs a command that must succeed; what it printed.
    pub(crate) async fn run(&self, line: &str) -> String {
        self.run_with(line, "").await
    }

    pub(crate) async fn run_with(&self, line: &str, input: &str) -> String {
        let said = self.try_run(line, input).await;
        assert_eq!(said.code, 0, "kubectl {line}\n{}{}", said.out, said.err);
        said.out
    }

    pub(crate) async fn apply(&self, manifest: &str) -> String {
        self.run_with("apply -f -", manifest).await
    }
}

/// Every kubectl the test command has installed, or the one in PATH.
pub(crate) fn kubectls() -> Vec<PathBuf> {
    let folder = std::env::var_os("OUTRIGGER_TOOLS").map(PathBuf::from);
    let found: Vec<PathBuf> = folder
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten())
        .map(|entry| entry.path().join("kubectl"))
        .filter(|path| path.exists())
        .collect();
    if found.is_empty() { vec![outrigger_testkit::kubectl().unwrap()] } else { found }
}
