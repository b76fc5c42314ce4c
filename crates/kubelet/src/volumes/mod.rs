//! Volumes of one Pod (section 12): made before its containers, kept while the Pod lives, refreshed while it runs.
//! Image volumes are the runtime's and have nothing here. Claims are not supported: such a volume reports that it cannot
//! be mounted. Start reading at [`mount_all`].

mod atomic;
mod host_path;
mod ownership;
mod payload;
mod sub_path;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tokio::sync::Notify;

pub(crate) use sub_path::{resolve_beneath, sub_path};

use crate::container::pod_resources;
use crate::context::{Context, PodKey};
use crate::env::PodAddresses;
use crate::quantity;

/// R12.1: waits between attempts at one volume.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(122);
/// R12.1: how long one attempt at all volumes of a Pod may take before that is told.
const LONGEST_WAIT: Duration = Duration::from_secs(123);

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
    let missing: Mutex<BTreeSet<&str>> = Mutex::new(volumes(pod).iter().map(|it| it.name.as_str()).collect());
    let each = volumes(pod).iter().map(|volume| {
        let missing = &missing;
        async move {
            let mut wait = FIRST_RETRY;
            while let Err(error) = mount_telling(context, pod, volume, addresses).await {
                *problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                changed.notify_one();
                tokio::time::sleep(wait).await;
                wait = wait.saturating_mul(2).min(LONGEST_RETRY);
            }
            missing.lock().unwrap_or_else(PoisonError::into_inner).remove(volume.name.as_str());
        }
    });
    let all = futures::future::join_all(each);
    let complain = async {
        loop {
            tokio::time::sleep(LONGEST_WAIT).await;
            let text = still_missing(&missing.lock().unwrap_or_else(PoisonError::into_inner));
            context.events.warning(pod, "", "FailedMount", text);
        }
    };
    tokio::select! {
        _ = all => {}
        () = complain => {}
    }
    *problem.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// R10.17: what an attempt that took too long says.
fn still_missing(missing: &BTreeSet<&str>) -> String {
    let names: Vec<&str> = missing.iter().copied().collect();
    format!(
        "Unable to attach or mount volumes: unmounted volumes=[{}], unattached volumes=[], failed to process \
         volumes=[]: context deadline exceeded",
        names.join(" ")
    )
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

/// R12.20: everything made from objects but ConfigMaps stays off the disk.
fn lies_in_memory(volume: &Volume) -> bool {
    volume.config_map.is_none() && is_projected(volume)
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
        let medium = medium_of(pod, source, context.allocatable.get("memory").and_then(quantity::units))?;
        return empty_dir(&path, medium, group);
    }
    let files = payload::build(context, pod, volume, &path, addresses).await?;
    make_dir(&path)?;
    if lies_in_memory(volume) && context.config.volumes_in_memory && !is_mount_point(&path) {
        mount_tmpfs(&path, None)?;
    }
    ownership::prepare_root(&path, 0o777, group)?;
    let stamp = context.clock.now().wall.strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string();
    atomic::write(&path, &files, &stamp, group)
}

/// What an emptyDir is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    /// The node's disk.
    Disk,
    /// Memory, so many bytes at most.
    Memory(Option<u64>),
    /// Huge pages of so many bytes each.
    HugePages(u64),
}

/// R12.11, R12.12.
fn medium_of(
    pod: &Pod,
    source: &EmptyDirVolumeSource,
    node_memory: Option<u64>,
) -> Result<Medium, MountError> {
    let medium = source.medium.as_deref().unwrap_or_default();
    if medium == "Memory" {
        let own = source.size_limit.as_ref().and_then(quantity::units).filter(|bytes| *bytes > 0);
        let of_pod = pod_resources(pod).memory_limit;
        return Ok(Medium::Memory([own, of_pod, node_memory].into_iter().flatten().min()));
    }
    if !medium.starts_with("HugePages") {
        return Ok(Medium::Disk);
    }
    let sizes: BTreeSet<String> = match medium.strip_prefix("HugePages-") {
        Some(size) => BTreeSet::from([size.to_owned()]),
        None => {
            let spec = pod.spec.iter();
            let containers =
                spec.flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
            let names = containers.filter_map(|container| container.resources.as_ref()?.requests.as_ref());
            names
                .flat_map(|list| list.keys())
                .filter_map(|name| name.strip_prefix("hugepages-"))
                .map(str::to_owned)
                .collect()
        }
    };
    let mut bytes = sizes.iter().filter_map(|size| quantity::units(&Quantity(size.clone())));
    match (bytes.next(), bytes.next()) {
        (Some(bytes), None) => Ok(Medium::HugePages(bytes)),
        _ => Err(MountError::Source(
            "medium \"HugePages\" can only be used if a single page size is requested".into(),
        )),
    }
}

/// R12.10. An existing volume is left as it is, because containers have written to it.
fn empty_dir(path: &Path, medium: Medium, group: Option<u32>) -> Result<(), MountError> {
    let there = if medium == Medium::Disk { path.exists() } else { is_mount_point(path) };
    if there {
        return Ok(());
    }
    make_dir(path)?;
    match medium {
        Medium::Disk => {}
        Medium::Memory(size) => mount_tmpfs(path, size)?,
        Medium::HugePages(bytes) => mount_memory("hugetlbfs", path, &format!("pagesize={bytes}"))?,
    }
    ownership::prepare_root(path, if medium == Medium::Disk { 0o777 } else { 0o1777 }, group)
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
    mount_memory("tmpfs", path, &options)
}

fn mount_memory(kind: &str, path: &Path, options: &str) -> Result<(), MountError> {
    let options = std::ffi::CString::new(options).unwrap_or_default();
    let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV;
    rustix::mount::mount(kind, path, kind, flags, options.as_c_str())
        .map_err(|error| MountError::io(&format!("mount {kind} on"), path)(error.into()))
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
        empty_dir(&path, Medium::Disk, None).unwrap();
        std::fs::write(path.join("kept"), "").unwrap();
        empty_dir(&path, Medium::Disk, None).unwrap();
        assert!(path.join("kept").exists());
        take_down(&root).unwrap();
        assert!(!root.exists());
        take_down(&root).unwrap();
    }

    /// R12.11, R12.12: memory is bounded by whatever is least; huge pages have one size.
    #[test]
    fn what_an_empty_dir_is_made_of() {
        let medium = |limit: &str, requests: &[&str], medium: &str, size: Option<&str>| {
            let requests: std::collections::BTreeMap<_, _> =
                requests.iter().map(|name| (name, "2Mi")).collect();
            let pod = serde_json::json!({"status": {"qosClass": "Burstable"}, "spec": {"containers": [{"name": "c", "resources":
                {"limits": if limit.is_empty() { serde_json::json!({}) } else { serde_json::json!({"memory": limit}) },
                 "requests": requests}}]}});
            let source = EmptyDirVolumeSource {
                medium: Some(medium.to_owned()),
                size_limit: size.map(|size| Quantity(size.to_owned())),
            };
            medium_of(&serde_json::from_value(pod).unwrap(), &source, Some(1 << 30))
                .map_err(|error| error.to_string())
        };
        assert_eq!(medium("", &[], "", Some("1Mi")), Ok(Medium::Disk));
        assert_eq!(medium("", &[], "Memory", None), Ok(Medium::Memory(Some(1 << 30))));
        assert_eq!(medium("", &[], "Memory", Some("4Mi")), Ok(Medium::Memory(Some(4 << 20))));
        assert_eq!(medium("2Mi", &[], "Memory", Some("4Mi")), Ok(Medium::Memory(Some(2 << 20))));
        assert_eq!(medium("2Mi", &[], "Memory", Some("0")), Ok(Medium::Memory(Some(2 << 20))));
        assert_eq!(medium("", &[], "HugePages-1Gi", None), Ok(Medium::HugePages(1 << 30)));
        assert_eq!(medium("", &["hugepages-2Mi"], "HugePages", None), Ok(Medium::HugePages(2 << 20)));
        assert!(medium("", &["hugepages-2Mi", "hugepages-1Gi"], "HugePages", None).is_err());
    }

    /// R10.17, R12.1: the texts of volumes that do not come.
    #[test]
    fn what_is_said_of_missing_volumes() {
        let text = "Unable to attach or mount volumes: unmounted volumes=[a b], unattached volumes=[], failed to process \
                    volumes=[]: context deadline exceeded";
        assert_eq!(still_missing(&BTreeSet::from(["b", "a"])), text);
        let source = Box::new(MountError::Source("secret \"s\" not found".into()));
        let one = MountError::Volume { volume: "v".into(), source };
        assert_eq!(one.to_string(), "MountVolume.SetUp failed for volume \"v\" : secret \"s\" not found");
    }

    /// R12.20: ConfigMaps lie on the disk, everything else made from objects in memory.
    #[test]
    fn secrets_stay_off_the_disk() {
        let kinds = serde_json::json!([
            {"name": "m", "configMap": {"name": "x"}}, {"name": "s", "secret": {"secretName": "x"}},
            {"name": "d", "downwardAPI": {}}, {"name": "p", "projected": {}}]);
        let kinds: Vec<Volume> = serde_json::from_value(kinds).unwrap();
        assert_eq!(kinds.iter().map(lies_in_memory).collect::<Vec<_>>(), [false, true, true, true]);
    }
}
