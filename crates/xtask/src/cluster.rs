//! A cluster of its own with fixture images, for the verbs that show or compare what the program does.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::run::{cargo, run as finish, target};
use crate::{Failure, tools};

/// A registry on loopback with the images the tests are made of. Ends when dropped.
pub(crate) struct Fixtures {
    process: Child,
    certs: PathBuf,
}

impl Fixtures {
    /// Serves the images with files below `folder`; `options` as the `fixtures` program takes them.
    pub(crate) fn serve(folder: &Path, options: &[&str]) -> Result<Self, Failure> {
        finish(&mut cargo(&["build", "--quiet", "-p", "outrigger-testkit", "--bin", "fixtures"]))?;
        let mut process = Command::new(target().join("debug/fixtures"))
            .arg(folder.join("registry"))
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run the fixture registry: {error}"))?;
        let output = process.stdout.take().ok_or("the fixture registry has no output")?;
        let mut fixtures = Self { process, certs: PathBuf::new() };
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|error| format!("the fixture registry: {error}"))?;
            if let Some(path) = line.strip_prefix("certs-dir ") {
                fixtures.certs = PathBuf::from(path);
            }
            if line == "ready" {
                return Ok(fixtures);
            }
        }
        Err("the fixture registry ended before it was ready".to_owned())
    }

    /// The mirror configuration that leads to the registry.
    pub(crate) fn certs(&self) -> &Path {
        &self.certs
    }
}

impl Drop for Fixtures {
    fn drop(&mut self) {
        // Asked, not killed: its end takes the registry along.
        let _ = finish(Command::new("kill").arg(self.process.id().to_string()));
        let _ = self.process.wait();
    }
}

/// A cluster in the background.
pub(crate) struct Cluster {
    program: PathBuf,
    data: PathBuf,
}

impl Cluster {
    /// Starts `program` with its data below `folder`, on any free port and as `options` say.
    pub(crate) fn up(
        program: PathBuf,
        folder: &Path,
        options: &[&str],
        certs: Option<&Path>,
    ) -> Result<Self, Failure> {
        let cluster = Self { program, data: folder.join("data") };
        println!("== outrigger up");
        let mut up = Command::new(&cluster.program);
        up.args(["up", "--detach", "--listen", "127.0.0.1:0"]).args(options);
        up.arg("--data-dir").arg(&cluster.data);
        if let Some(certs) = certs {
            up.arg("--registry-config").arg(certs);
        }
        match finish(&mut up) {
            Ok(()) => Ok(cluster),
            Err(failure) => {
                // Whatever it managed to start goes, too.
                let _ = cluster.down();
                Err(failure)
            }
        }
    }

    /// Stops everything and removes the data.
    pub(crate) fn down(self) -> Result<(), Failure> {
        println!("== outrigger down");
        finish(Command::new(&self.program).arg("down").arg("--data-dir").arg(&self.data))?;
        std::fs::remove_dir_all(&self.data).map_err(|error| format!("{}: {error}", self.data.display()))
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }

    /// The newest kubectl, told where the cluster is.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tools::newest_kubectl());
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        command
    }
}
