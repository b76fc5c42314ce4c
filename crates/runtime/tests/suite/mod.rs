//! One Pod of a runtime of its own, for a test.

use std::path::PathBuf;
use std::sync::Arc;

use outrigger_api::clock::SystemClock;
use outrigger_runtime::{
    Container, ContainerConfig, ContainerState, EmbeddedRuntime, Exit, PodRef, Rootfs, Runtime,
    RuntimeConfig, SandboxConfig, Security,
};
use tokio::io::{AsyncRead, AsyncReadExt};

pub(crate) struct Pod {
    pub(crate) runtime: EmbeddedRuntime,
    pub(crate) sandbox: String,
    pub(crate) cgroup: String,
    root: Arc<tempfile::TempDir>,
}

impl Pod {
    pub(crate) async fn new(name: &str) -> Self {
        Self::with(name, |_| {}).await
    }

    /// A Pod whose sandbox is not the usual one.
    pub(crate) async fn with(name: &str, change: impl FnOnce(&mut SandboxConfig)) -> Self {
        let root = Arc::new(tempfile::tempdir().unwrap());
        image(&root.path().join("image"));
        let runtime = open(&root).await;
        let cgroup = format!("outrigger-test/{name}-{}", std::process::id());
        let mut config = SandboxConfig {
            id: format!("{name}-0"),
            pod: PodRef { name: name.into(), namespace: "default".into(), uid: name.into() },
            hostname: "box".into(),
            cgroup: cgroup.clone(),
            log_directory: root.path().join("logs"),
            ..SandboxConfig::default()
        };
        change(&mut config);
        runtime.run_pod_sandbox(config).await.unwrap();
        Self { runtime, sandbox: format!("{name}-0"), cgroup, root }
    }

    pub(crate) fn root(&self) -> Arc<tempfile::TempDir> {
        Arc::clone(&self.root)
    }

    pub(crate) fn id(&self, container: &str) -> String {
        format!("{}-{container}", self.sandbox)
    }

    pub(crate) fn config(&self, name: &str, command: &[&str], security: Security) -> ContainerConfig {
        ContainerConfig {
            id: self.id(name),
            name: name.into(),
            rootfs: Rootfs { lower: vec![self.root.path().join("image")], ..Rootfs::default() },
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            working_dir: "/".into(),
            security,
            log_path: PathBuf::from(format!("{name}/0.log")),
            ..ContainerConfig::default()
        }
    }

    pub(crate) async fn create(&self, name: &str, command: &[&str], security: Security) {
        let config = self.config(name, command, security);
        self.runtime.create_container(&self.sandbox, config).await.unwrap();
    }

    pub(crate) async fn run(&self, name: &str, command: &[&str]) {
        self.create(name, command, Security::default()).await;
        self.runtime.start_container(&self.id(name)).await.unwrap();
    }

    pub(crate) async fn container(&self, name: &str) -> Container {
        let all = self.runtime.list().await.unwrap();
        all[0].containers.iter().find(|container| container.name == name).unwrap().clone()
    }

    /// Waits until the container has ended.
    pub(crate) async fn exit(&self, name: &str) -> Exit {
        let mut events = self.runtime.events();
        loop {
            if let ContainerState::Exited(exit) = self.container(name).await.state {
                return exit;
            }
            events.recv().await.unwrap();
        }
    }

    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.root.path().join("logs").join(name).join("0.log")).unwrap()
    }

    /// Waits until the log holds a text; nothing tells, so it looks.
    pub(crate) async fn wait_for_log(&self, name: &str, text: &str) {
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(5));
        while !self.log(name).contains(text) {
            tick.tick().await;
        }
    }

    /// The agent dies and another one starts.
    pub(crate) async fn reopen(&mut self) {
        self.runtime = open(&self.root).await;
    }

    pub(crate) async fn close(self) {
        self.runtime.stop_pod_sandbox(&self.sandbox).await.unwrap();
        self.runtime.remove_pod_sandbox(&self.sandbox).await.unwrap();
    }
}

async fn open(root: &tempfile::TempDir) -> EmbeddedRuntime {
    let config = RuntimeConfig { root: root.path().join("runtime"), clock: Arc::new(SystemClock) };
    EmbeddedRuntime::open(config).await.unwrap()
}

/// A root file system of busybox and its names.
fn image(folder: &std::path::Path) {
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::create_dir_all(folder.join("tmp")).unwrap();
    std::fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
    for name in ["sh", "cat", "echo", "sleep", "id", "grep", "hostname", "mount", "tty", "stty", "mkfifo"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.join("go"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o666),
        0,
    )
    .unwrap();
}

pub(crate) async fn read_all(stream: Option<Box<dyn AsyncRead + Send + Unpin>>) -> String {
    let mut text = Vec::new();
    stream.unwrap().read_to_end(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}
