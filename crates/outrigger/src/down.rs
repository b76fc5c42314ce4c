//! `outrigger down`: stops the process of a data folder, its containers and its network.

use std::path::Path;
use std::sync::Arc;

use outrigger_api::clock::SystemClock;
use outrigger_runtime::{EmbeddedRuntime, RuntimeConfig};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cli::DownOptions;
use crate::cluster::{
    RANGE_FILE, open_network, remove_containers, remove_network, require_features, unmount_below,
};
use crate::failure::Failure;
use crate::up::PID_FILE;

/// Seconds the process may take to stop by itself.
const PATIENCE: i64 = 30;

pub(crate) async fn down(options: DownOptions) -> Result<u8, Failure> {
    let data_dir = &options.data_dir;
    if !data_dir.exists() {
        return Err(Failure::other(format!("{} does not exist; nothing to stop", data_dir.display())));
    }
    require_features()?;
    stop_process(data_dir).await?;
    let config = RuntimeConfig { root: data_dir.join("runtime"), clock: Arc::new(SystemClock) };
    let runtime = EmbeddedRuntime::open(config).await;
    remove_containers(&runtime.map_err(Failure::doing("cannot open the container runtime"))?).await;
    let any = ipnet::Ipv4Net::new([10, 88, 0, 0].into(), 16).map_err(Failure::doing("range"))?;
    let network = open_network(data_dir, recorded_range(data_dir).unwrap_or(any)).await?;
    remove_network(&network).await;
    unmount_below(data_dir);
    Ok(0)
}

/// The range the network was made with.
fn recorded_range(data_dir: &Path) -> Option<ipnet::Ipv4Net> {
    std::fs::read_to_string(data_dir.join(RANGE_FILE)).ok()?.trim().parse().ok()
}

async fn stop_process(data_dir: &Path) -> Result<(), Failure> {
    let file = data_dir.join(PID_FILE);
    let Ok(text) = std::fs::read_to_string(&file) else { return Ok(()) };
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    let Some(pid) = pid else {
        return Err(Failure::other(format!("{} holds no process id", file.display())));
    };
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap_or_default();
    if name.trim() != "outrigger" {
        // It was killed, and its number may be somebody else's now.
        return Ok(());
    }
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    pidfd_send_signal(&process, Signal::TERM)
        .map_err(|error| Failure::other(format!("cannot stop process {}: {error}", pid.as_raw_nonzero())))?;
    let limit = rustix::event::Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
    let waiting = tokio::task::spawn_blocking(move || {
        let mut ready = [PollFd::new(&process, PollFlags::IN)];
        poll(&mut ready, Some(&limit))
    });
    match waiting.await {
        Ok(Ok(1..)) => Ok(()),
        _ => Err(Failure::other(format!("process {} does not stop", pid.as_raw_nonzero()))),
    }
}
