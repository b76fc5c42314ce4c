//! A real registry on a free loopback port.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::client::Api;
use crate::{Blob, PackedImage, TestkitError};

/// The distribution project's registry as Debian packages it (`docker-registry`), with its files below a folder of
/// the caller's. Ends when dropped; what was pushed stays in the folder.
#[derive(Debug)]
pub struct LoopbackRegistry {
    address: String,
    child: Child,
}

impl LoopbackRegistry {
    /// Starts a registry with its files in `dir` and waits until it answers.
    pub async fn start(dir: &Path) -> Result<Self, TestkitError> {
        fs::create_dir_all(dir).map_err(TestkitError::io("make folder", dir))?;
        let mut last = TestkitError::failed(PROGRAM, "it never ran");
        for _ in 0..STARTS {
            // Between finding a free port and the program's taking it, somebody else may.
            match Self::try_start(dir).await {
                Ok(registry) => return Ok(registry),
                Err(error @ TestkitError::Failed { .. }) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    async fn try_start(dir: &Path) -> Result<Self, TestkitError> {
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
        let address = free.map_err(TestkitError::io("find a port on", "127.0.0.1"))?.to_string();
        let config = dir.join("config.yml");
        fs::write(&config, configuration(&dir.join("data"), &address))
            .map_err(TestkitError::io("write", &config))?;
        let log_path = dir.join("log");
        let log = || File::options().create(true).append(true).open(&log_path);
        let child = Command::new(PROGRAM)
            .arg("serve")
            .arg(&config)
            .env_remove("OTEL_TRACES_EXPORTER")
            .stdin(Stdio::null())
            .stdout(log().map_err(TestkitError::io("open", &log_path))?)
            .stderr(log().map_err(TestkitError::io("open", &log_path))?)
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(TestkitError::Missing { program: PROGRAM.to_owned(), package: PROGRAM });
            }
            Err(error) => return Err(TestkitError::io("run", PROGRAM)(error)),
        };
        let mut registry = Self { address, child };
        match registry.wait().await {
            Ok(()) => Ok(registry),
            Err(detail) => {
                let log = fs::read_to_string(&log_path).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(3).collect();
                Err(TestkitError::failed(PROGRAM, format!("{detail}: {}", tail.join(" / "))))
            }
        }
    }

    async fn wait(&mut self) -> Result<(), String> {
        for _ in 0..POLLS {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended with {status}"));
            }
            if tokio::net::TcpStream::connect(&self.address).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(POLL_PAUSE).await;
        }
        Err("it does not listen".to_owned())
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The process, for tests that stop or kill it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Pushes an image under its own repository and tag.
    pub async fn push(&self, image: &PackedImage) -> Result<(), TestkitError> {
        Api::new(&self.address).push(image).await
    }

    /// Pushes a manifest or index under a tag.
    pub async fn push_manifest(
        &self,
        repository: &str,
        tag: &str,
        manifest: &Blob,
    ) -> Result<(), TestkitError> {
        Api::new(&self.address).push_manifest(repository, tag, manifest).await
    }

    /// Writes mirror files below `dir` that make this registry stand for every registry there is, and returns the
    /// `certs.d` folder they are in. Nothing outside the machine is asked, even for images this registry lacks.
    pub fn mirror_config(&self, dir: &Path) -> Result<PathBuf, TestkitError> {
        mirror_config(&self.address, dir)
    }
}

pub(crate) fn mirror_config(address: &str, dir: &Path) -> Result<PathBuf, TestkitError> {
    let certs = dir.join("certs.d");
    let text = format!(
        "server = \"http://{address}\"\n\n[host.\"http://{address}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
    );
    for registry in ["docker.io", "_default"] {
        let folder = certs.join(registry);
        fs::create_dir_all(&folder).map_err(TestkitError::io("make folder", &folder))?;
        let file = folder.join("hosts.toml");
        fs::write(&file, &text).map_err(TestkitError::io("write", &file))?;
    }
    Ok(certs)
}

impl Drop for LoopbackRegistry {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left behind.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn configuration(data: &Path, address: &str) -> String {
    format!(
        "version: 0.1\nlog:\n  level: warn\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
         rootdirectory: {}\n  delete:\n    enabled: true\n  maintenance:\n    uploadpurging:\n      enabled: false\n\
         http:\n  addr: {address}\n",
        data.display(),
    )
}

const PROGRAM: &str = "docker-registry";
const STARTS: usize = 5;
const POLLS: usize = 500;
const POLL_PAUSE: Duration = Duration::from_millis(20);
