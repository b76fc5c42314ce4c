//! A cluster under measurement: `outrigger up` in a folder of its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outrigger_testkit::{Program, busybox};
use tokio::process::Command;

use crate::Options;
use crate::client::{Client, Target};
use crate::error::Error;
use crate::watch::PATIENCE;

/// Where the measured Pods live.
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    program: PathBuf,
    up: Option<Program>,
    pub(crate) data: PathBuf,
    /// From the start of the program to its line `ready`.
    pub(crate) took: Duration,
}

impl Cluster {
    /// A cluster on a new folder with the image of all measured Pods.
    pub(crate) async fn new(options: &Options, name: &str) -> Result<Self, Error> {
        let data = options.data.join(name);
        clear(&data)?;
        std::fs::create_dir_all(&data).map_err(Error::doing(format!("make {}", data.display())))?;
        let archive = options.data.join("busybox.tar");
        std::fs::write(&archive, busybox()?.pack().oci_archive()).map_err(Error::doing("write an image"))?;
        let mut import = Command::new(&options.program);
        import.arg("image").arg("--data-dir").arg(&data).arg("import").arg(&archive);
        finish(&mut import).await?;
        let mut cluster =
            Self { program: options.program.clone(), up: None, data, took: Duration::default() };
        cluster.start().await?;
        Ok(cluster)
    }

    /// Starts the program on the folder as it is.
    pub(crate) async fn start(&mut self) -> Result<(), Error> {
        let mut command = Command::new(&self.program);
        command
            .args(["up", "--listen", "127.0.0.1:0", "--pod-cidr", POD_RANGE, "--data-dir"])
            .arg(&self.data);
        let began = Instant::now();
        let mut up = Program::start(command)?;
        up.wait_for(PATIENCE, |line| line.starts_with("ready")).await?;
        self.took = began.elapsed();
        self.up = Some(up);
        Ok(())
    }

    /// Stops the program; containers run on.
    pub(crate) async fn stop(&mut self) -> Result<(), Error> {
        if let Some(up) = self.up.take() {
            up.stop(PATIENCE).await?;
        }
        Ok(())
    }

    /// Forgets everything, so that the next start is the first.
    pub(crate) async fn reset(&mut self) -> Result<(), Error> {
        self.down().await?;
        clear(&self.data)
    }

    pub(crate) fn pid(&self) -> Result<u32, Error> {
        let pid = self.up.as_ref().and_then(Program::pid);
        pid.ok_or_else(|| Error::Unexpected("the cluster has ended".to_owned()))
    }

    pub(crate) fn target(&self) -> Result<Target, Error> {
        Target::from_kubeconfig(&self.data.join("kubeconfig"))
    }

    /// A client whose namespace is ready for Pods.
    pub(crate) async fn client(&self) -> Result<Client, Error> {
        self.target()?.connect().await
    }

    /// Stops everything, containers and network included.
    async fn down(&mut self) -> Result<(), Error> {
        drop(self.up.take());
        let mut down = Command::new(&self.program);
        finish(down.arg("down").arg("--data-dir").arg(&self.data)).await
    }

    /// Stops everything and removes the folder.
    pub(crate) async fn remove(mut self) -> Result<(), Error> {
        self.reset().await
    }
}

/// Runs a command to its end, silently unless it fails.
pub(crate) async fn finish(command: &mut Command) -> Result<(), Error> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.output().await.map_err(Error::doing(format!("run {name}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Unexpected(format!("{name} ended with {}: {text}", output.status)))
}

fn clear(folder: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::doing(format!("remove {}", folder.display()))(error))
        }
        _ => Ok(()),
    }
}

const POD_RANGE: &str = "10.86.0.0/24";
