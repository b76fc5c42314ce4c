//! `outrigger down`: stops the process of a data folder, its containers and its network.

use std::path::Path;
use std::sync::Arc;

use outrigger_api::clock::SystemClock;
use outrigger_network::NodeNetwork;
use outrigger_runtime::{EmbeddedRuntime, RuntimeConfig};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::claim::{Claim, ClaimError};
use crate::cli::DownOptions;
use crate::cluster::{network_names, remove_containers, require_features, unmount_below};
use crate::failure::Failure;

/// Seconds the process may take to stop by itself.
const PATIENCE: i64 = 30;

pub(crate) async fn down(options: DownOptions) -> Result<u8, Failure> {
    let data_dir = &options.data_dir;
    if !data_dir.exists() {
        return Err(Failure::other(format!("{} does not exist; nothing to stop", data_dir.display())));
    }
    require_features()?;
    // Held until all is gone, so that nobody starts in the middle.
    let _claim = match Claim::take(data_dir) {
        Err(ClaimError::Held { pid: Some(pid), .. }) => {
            stop_process(pid).await?;
            Claim::take(data_dir)?
        }
        other => other?,
    };
    clear(data_dir).await.map(|()| 0)
}

/// Ends every container of a data folder nobody runs, takes its network down and leaves no mount below it.
pub(crate) async fn clear(data_dir: &Path) -> Result<(), Failure> {
    let config = RuntimeConfig { root: data_dir.join("runtime"), clock: Arc::new(SystemClock) };
    let runtime = EmbeddedRuntime::open(config).await;
    remove_containers(&runtime.map_err(Failure::doing("cannot open the container runtime"))?).await;
    let (bridge, table) = network_names(data_dir);
    NodeNetwork::remove_remains(&bridge, &table, &data_dir.join("network"), &data_dir.join("netns"))
        .await
        .map_err(Failure::doing("cannot remove the Pod network"))?;
    unmount_below(data_dir);
    Ok(())
}

async fn stop_process(pid: u32) -> Result<(), Failure> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let Ok(process) = pidfd_open(raw, PidfdFlags::empty()) else { return Ok(()) };
    pidfd_send_signal(&process, Signal::TERM)
        .map_err(|error| Failure::other(format!("cannot stop process {pid}: {error}")))?;
    let limit = rustix::event::Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
    let waiting = tokio::task::spawn_blocking(move || {
        let mut ready = [PollFd::new(&process, PollFlags::IN)];
        poll(&mut ready, Some(&limit))
    });
    match waiting.await {
        Ok(Ok(1..)) => Ok(()),
        _ => Err(Failure::other(format!(
            "process {pid} does not stop within {PATIENCE} s; `kill -9 {pid}` ends it"
        ))),
    }
}
