//! A real etcd on free loopback ports.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::TestkitError;

/// One member, as Debian packages it (`etcd-server`), with its data below a folder of the caller's. Killed when
/// dropped; the data stays in the folder.
#[derive(Debug)]
pub struct Etcd {
    url: String,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

/// Files a member serves and checks TLS with, all PEM.
#[derive(Clone, Debug)]
pub struct EtcdTlsFiles {
    /// Whose clients are let in.
    pub ca: PathBuf,
    /// What it shows.
    pub cert: PathBuf,
    /// The key of `cert`.
    pub key: PathBuf,
}

impl Etcd {
    /// Starts a cluster of one and waits until it listens.
    pub async fn start(dir: &Path) -> Result<Self, TestkitError> {
        let mut members = Self::start_members(dir, 1, None).await?;
        members.pop().ok_or_else(|| TestkitError::failed(PROGRAM, "it never ran"))
    }

    /// A cluster of one that speaks TLS and asks its clients for a certificate.
    pub async fn start_tls(dir: &Path, files: &EtcdTlsFiles) -> Result<Self, TestkitError> {
        let mut members = Self::start_members(dir, 1, Some(files)).await?;
        members.pop().ok_or_else(|| TestkitError::failed(PROGRAM, "it never ran"))
    }

    /// Starts a cluster of so many members.
    pub async fn start_cluster(dir: &Path, members: usize) -> Result<Vec<Self>, TestkitError> {
        Self::start_members(dir, members, None).await
    }

    async fn start_members(
        dir: &Path,
        count: usize,
        tls: Option<&EtcdTlsFiles>,
    ) -> Result<Vec<Self>, TestkitError> {
        let mut last = TestkitError::failed(PROGRAM, "it never ran");
        for attempt in 0..STARTS {
            // Between finding free ports and the program's taking them, somebody else may.
            match Self::try_start(&dir.join(format!("etcd-{attempt}")), count, tls).await {
                Ok(members) => return Ok(members),
                Err(error @ TestkitError::Failed { .. }) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    async fn try_start(
        dir: &Path,
        count: usize,
        tls: Option<&EtcdTlsFiles>,
    ) -> Result<Vec<Self>, TestkitError> {
        let ports = free_ports(2 * count)?;
        let peer = |index: usize| format!("http://127.0.0.1:{}", ports[count + index]);
        let cluster: Vec<String> = (0..count).map(|index| format!("m{index}={}", peer(index))).collect();
        let mut members = Vec::new();
        for (index, port) in ports.iter().take(count).enumerate() {
            let scheme = if tls.is_some() { "https" } else { "http" };
            let url = format!("{scheme}://127.0.0.1:{port}");
            let folder = dir.join(format!("m{index}"));
            fs::create_dir_all(&folder).map_err(TestkitError::io("make folder", &folder))?;
            let mut arguments = vec![
                format!("--name=m{index}"),
                format!("--data-dir={}", folder.join("data").display()),
                format!("--listen-client-urls={url}"),
                format!("--advertise-client-urls={url}"),
                format!("--listen-peer-urls={}", peer(index)),
                format!("--initial-advertise-peer-urls={}", peer(index)),
                format!("--initial-cluster={}", cluster.join(",")),
                "--logger=zap".to_owned(),
                "--log-level=warn".to_owned(),
            ];
            if let Some(files) = tls {
                arguments.push(format!("--cert-file={}", files.cert.display()));
                arguments.push(format!("--key-file={}", files.key.display()));
                arguments.push(format!("--trusted-ca-file={}", files.ca.display()));
                arguments.push("--client-cert-auth".to_owned());
            }
            let mut member = Self { url, arguments, log: folder.join("log"), child: None };
            member.spawn()?;
            members.push(member);
        }
        for member in &mut members {
            member.wait().await?;
        }
        Ok(members)
    }

    /// Where clients reach it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process, for tests that send it signals; `None` after [`Etcd::kill`].
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills it (SIGKILL) and waits: what a crash looks like.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; either way it is gone.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Starts it again where it was, with the data it has.
    pub async fn restart(&mut self) -> Result<(), TestkitError> {
        self.kill();
        self.spawn()?;
        self.wait().await
    }

    fn spawn(&mut self) -> Result<(), TestkitError> {
        let log = || File::options().create(true).append(true).open(&self.log);
        let child = Command::new(PROGRAM)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log().map_err(TestkitError::io("open", &self.log))?)
            .stderr(log().map_err(TestkitError::io("open", &self.log))?)
            .spawn();
        match child {
            Ok(child) => {
                self.child = Some(child);
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(TestkitError::Missing { program: PROGRAM.to_owned(), package: "etcd-server" })
            }
            Err(error) => Err(TestkitError::io("run", PROGRAM)(error)),
        }
    }

    async fn wait(&mut self) -> Result<(), TestkitError> {
        let address = self.url.split("//").last().unwrap_or_default().to_owned();
        let mut detail = "it does not listen".to_owned();
        for _ in 0..POLLS {
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                detail = format!("it ended with {status}");
                break;
            }
            if tokio::net::TcpStream::connect(&address).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(POLL_PAUSE).await;
        }
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(3).collect();
        Err(TestkitError::failed(PROGRAM, format!("{detail}: {}", tail.join(" / "))))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ports nobody has, all different.
fn free_ports(count: usize) -> Result<Vec<u16>, TestkitError> {
    let listeners: Result<Vec<_>, _> = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect();
    let listeners = listeners.map_err(TestkitError::io("find a port on", "127.0.0.1"))?;
    let ports = listeners.iter().map(|listener| listener.local_addr().map(|address| address.port()));
    ports.collect::<Result<_, _>>().map_err(TestkitError::io("find a port on", "127.0.0.1"))
}

const PROGRAM: &str = "etcd";
const STARTS: usize = 5;
const POLLS: usize = 1500;
const POLL_PAUSE: Duration = Duration::from_millis(20);
