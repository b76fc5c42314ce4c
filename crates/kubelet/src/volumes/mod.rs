//! Volumes of one Pod (section 12): made before its containers, kept while the Pod lives, refreshed while it runs.
//! Image volumes are the runtime's and have nothing here. Claims are not supported: such a volume reports that it cannot
//! be mounted. Start reading at [`mount_all`].

mod atomic;
mod host_path;
mod ownership;
mod payload;
mod sub_path;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Volume};

use tokio::sync::Notify;

pub(crate) use sub_path::{resolve_beneath, sub_path};

use crate::context::{Context, PodKey};
use crate::env::PodAddresses;
use crate::quantity;

/// R12.1: waits between attempts at one volume.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(122);

/// Why a volume is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    /// Something it names does not exist, or is not what it should be.
    #[error("{0}")]
    Source(String),
    /// The API server did not answer.
    #[error("{0}")]
    Api(#[from] kube::Error),
    /// The node refused a step.
    #[error("{doing}: {source}")]
    Io {
        /// The step and its object.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// One volume of a Pod, by name.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    Volume {
        /// The volume's name.
        volume: String,
        /// What went wrong with it.
        source: Box<MountError>,
    },
}

impl MountError {
    fn io(verb: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let doing = format!("{verb} {}", path.display());
        move |source| Self::Io { doing, source }
    }
}

/// Where a volume lies on the node and whether containers may only read it (R12.4); `None` if the Pod has no such
/// volume or its kind is not supported.
pub(crate) fn located(pod: &Pod, pod_dir: &Path, volume: &str) -> Option<(PathBuf, bool)> {
    let volume = volumes(pod).iter().find(|found| found.name == volume)?;
    Some((source_path(pod_dir, volume)?, is_projected(volume)))
}

/// Where an emptyDir lies on the node; `None` for everything else.
pub(crate) fn empty_dir_of(pod: &Pod, pod_dir: &Path, volume: &str) -> Option<PathBuf> {
    let volume = volumes(pod).iter().find(|found| found.name == volume && found.empty_dir.is_some())?;
    source_path(pod_dir, volume)
}

/// Sets up every volume, each tried again until it is there (R12.1). `problem` shows the newest error meanwhile, and
/// `changed` is notified of it. Dropped midway it leaves something a later call completes.
pub(crate) async fn mount_all(
    context: &Context,
    pod: &Pod,
    addresses: &PodAddresses,
    problem: &Mutex<Option<String>>,
    changed: &Notify,
) {
    let each = volumes(pod).iter().map(|volume| async move {
        let mut wait = FIRST_RETRY;
        while let Err(error) = mount_telling(context, pod, volume, addresses).await {
            *problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            changed.notify_one();
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(LONGEST_RETRY);
        }
    });
    futures::future::join_all(each).await;
    *problem.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Whether [`refresh`] has anything to do.
pub(crate) fn needs_refresh(pod: &Pod) -> bool {
    volumes(pod).iter().any(is_projected)
}

/// Rewrites what comes from objects, if it changed (R12.21). A failure leaves the last content and is told (R12.23).
pub(crate) async fn refresh(context: &Context, pod: &Pod, addresses: &PodAddresses) {
    for volume in volumes(pod).iter().filter(|volume| is_projected(volume)) {
        // The event is all there is to say; the next refresh tries again.
        let _ = mount_telling(context, pod, volume, addresses).await;
    }
}

/// Takes everything down and removes it; blocks. Content of hostPath volumes is never touched.
///
/// # Errors
/// The first step the node refused; nothing behind a mount that stays is deleted.
pub(crate) fn unmount_all(context: &Context, uid: &str) -> std::io::Result<()> {
    take_down(&context.pod_dir(uid).join("volumes"))
}

fn volumes(pod: &Pod) -> &[Volume] {
    pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default()
}

fn source_path(pod_dir: &Path, volume: &Volume) -> Option<PathBuf> {
    if let Some(host_path) = &volume.host_path {
        return Some(PathBuf::from(&host_path.path));
    }
    let kind = if volume.empty_dir.is_some() {
        "empty-dir"
    } else if volume.config_map.is_some() {
        "configmap"
    } else if volume.secret.is_some() {
        "secret"
    } else if volume.projected.is_some() {
        "projected"
    } else if volume.downward_api.is_some() {
        "downward-api"
    } else {
        return None;
    };
    Some(pod_dir.join("volumes").join(kind).join(&volume.name))
}

/// Whether its content comes from objects and is refreshed.
fn is_projected(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some()
}

async fn mount_telling(
    context: &Context,
    pod: &Pod,
    volume: &Volume,
    addresses: &PodAddresses,
) -> Result<(), MountError> {
    let Err(source) = mount(context, pod, volume, addresses).await else { return Ok(()) };
    let error = MountError::Volume { volume: volume.name.clone(), source: Box::new(source) };
    context.events.warning(pod, "", "FailedMount", error.to_string());
    Err(error)
}

async fn mount(
    context: &Context,
    pod: &Pod,
    volume: &Volume,
    addresses: &PodAddresses,
) -> Result<(), MountError> {
    if let Some(host_path) = &volume.host_path {
        return host_path::check(host_path);
    }
    if volume.image.is_some() {
        return Ok(());
    }
    let pod_dir = context.pod_dir(&PodKey::of(pod).uid);
    let Some(path) = source_path(&pod_dir, volume) else {
        return Err(MountError::Source("this kind of volume is not supported by the node".into()));
    };
    let group = fs_group(pod);
    if let Some(source) = &volume.empty_dir {
        let memory = source.medium.as_deref() == Some("Memory");
        let size = source.size_limit.as_ref().and_then(quantity::units);
        let size = size.or_else(|| context.allocatable.get("memory").and_then(quantity::units));
        return empty_dir(&path, memory.then_some(size), group);
    }
    let files = payload::build(context, pod, volume, &path, addresses).await?;
    make_dir(&path)?;
    // R12.20: everything but ConfigMaps stays off the disk.
    let in_memory = volume.config_map.is_none() && context.config.volumes_in_memory;
    if in_memory && !is_mount_point(&path) {
        mount_tmpfs(&path, None)?;
    }
    ownership::prepare_root(&path, 0o777, group)?;
    let stamp = context.clock.now().wall.strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string();
    atomic::write(&path, &files, &stamp, group)
}

/// R12.10, R12.11. `memory` is the size of a volume in memory, itself absent if unlimited. An existing volume is left
/// as it is, because containers have written to it.
fn empty_dir(path: &Path, memory: Option<Option<u64>>, group: Option<u32>) -> Result<(), MountError> {
    let there = if memory.is_some() { is_mount_point(path) } else { path.exists() };
    if there {
        return Ok(());
    }
    make_dir(path)?;
    if let Some(size) = memory {
        mount_tmpfs(path, size)?;
    }
    ownership::prepare_root(path, if memory.is_some() { 0o1777 } else { 0o777 }, group)
}

fn take_down(root: &Path) -> std::io::Result<()> {
    for volume in children(root).iter().flat_map(|kind| children(kind)) {
        while is_mount_point(&volume) {
            rustix::mount::unmount(&volume, rustix::mount::UnmountFlags::DETACH)?;
        }
    }
    match std::fs::remove_dir_all(root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn children(path: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn make_dir(path: &Path) -> Result<(), MountError> {
    std::fs::create_dir_all(path).map_err(MountError::io("make", path))
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

fn mount_tmpfs(path: &Path, size: Option<u64>) -> Result<(), MountError> {
    let options = size.map_or_else(String::new, |bytes| format!("size={bytes}"));
    let options = std::ffi::CString::new(options).unwrap_or_default();
    let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV;
    rustix::mount::mount("tmpfs", path, "tmpfs", flags, options.as_c_str())
        .map_err(|error| MountError::io("mount tmpfs on", path)(error.into()))
}

fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| std::fs::symlink_metadata(path).ok().map(|meta| meta.dev());
    match (device(path), path.parent().and_then(device)) {
        (Some(own), Some(parent)) => own != parent,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R12.2, R12.10: what containers wrote survives another mount, and goes with the Pod.
    #[test]
    fn an_empty_dir_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("volumes");
        let path = root.join("empty-dir/v");
        empty_dir(&path, None, None).unwrap();
        std::fs::write(path.join("kept"), "").unwrap();
        empty_dir(&path, None, None).unwrap();
        assert!(path.join("kept").exists());
        take_down(&root).unwrap();
        assert!(!root.exists());
        take_down(&root).unwrap();
    }
}
