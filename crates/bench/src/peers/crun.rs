//! `crun run` on bundles of its own: no overlay, no image, no network beyond an empty namespace.
//!
//! It refuses hosts with control groups of both versions ("hybrid"). There it runs in a mount namespace of its own in
//! which only those of version 1 are left; making that is in its times and takes well below a millisecond.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::Command;

use super::SERVE;
use crate::cluster::finish;
use crate::error::Error;

/// Bundles to run.
#[derive(Debug)]
pub(crate) struct Crun {
    folder: PathBuf,
    made: usize,
    /// Where a hybrid host has version 2.
    unified: Option<CString>,
}

impl Crun {
    pub(crate) fn new(folder: PathBuf) -> Result<Self, Error> {
        for (name, command) in [("once", &["/bin/true"][..]), ("server", &["/bin/sh", "-c", SERVE])] {
            let bundle = folder.join(name);
            super::root_folder(&bundle.join("rootfs"))?;
            std::fs::write(bundle.join("config.json"), config(command).to_string())
                .map_err(Error::doing("write a bundle"))?;
        }
        Ok(Self { folder, made: 0, unified: unified_mount() })
    }

    /// `crun run` of a program that ends at once.
    pub(crate) async fn one_container(&mut self) -> Result<Duration, Error> {
        let began = Instant::now();
        self.run("once", &[]).await?;
        Ok(began.elapsed())
    }

    /// One container to its end, one that stays, another to its end; then the stay is over.
    pub(crate) async fn three_containers(&mut self) -> Result<Duration, Error> {
        let began = Instant::now();
        self.run("once", &[]).await?;
        let sidecar = self.run("server", &["--detach"]).await?;
        self.run("once", &[]).await?;
        finish(self.command().args(["delete", "--force", &sidecar])).await?;
        Ok(began.elapsed())
    }

    async fn run(&mut self, bundle: &str, options: &[&str]) -> Result<String, Error> {
        self.made += 1;
        let id = format!("outrigger-bench-{}-{}", std::process::id(), self.made);
        let mut command = self.command();
        command.arg("run").args(options).arg("--bundle").arg(self.folder.join(bundle)).arg(&id);
        // Pipes would be kept open by a container that stays.
        let null = std::process::Stdio::null;
        command.stdin(null()).stdout(null()).stderr(null());
        let status = command.status().await.map_err(Error::doing("run crun (Debian package crun)"))?;
        if status.success() {
            Ok(id)
        } else {
            Err(Error::Unexpected(format!("crun run ended with {status}")))
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("crun");
        command.arg("--cgroup-manager=cgroupfs").arg("--root").arg(self.state());
        if let Some(unified) = self.unified.clone() {
            let hide = move || {
                let none = std::ptr::null();
                // SAFETY: system calls with strings that end with NUL and live as long as this closure.
                let done = unsafe {
                    libc::unshare(libc::CLONE_NEWNS) == 0
                        && libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_SLAVE, none.cast())
                            == 0
                        && libc::umount2(unified.as_ptr(), libc::MNT_DETACH) == 0
                };
                if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            };
            // SAFETY: between fork and exec the closure makes system calls only; it neither allocates nor locks.
            unsafe { command.pre_exec(hide) };
        }
        command
    }

    fn state(&self) -> PathBuf {
        Path::new(&self.folder).join("state")
    }
}

/// The mount point of version 2 beside those of version 1.
fn unified_mount() -> Option<CString> {
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let of_kind = |kind: &str| {
        let mut words = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        words.find(|words| words.get(2) == Some(&kind)).map(|words| words[1].to_owned())
    };
    of_kind("cgroup")?;
    CString::new(of_kind("cgroup2")?).ok()
}

fn config(command: &[&str]) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": command,
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "noNewPrivileges": true,
        },
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"},
            ],
        },
    })
}
