//! What a worker keeps on disk: the decision's memory and the last Pod object, so that a Pod that vanished while the
//! agent was down is still stopped as its spec says (R8.5).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use outrigger_pod_lifecycle::PodMemory;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::context::{Context, PodKey};

const FILE: &str = "memory.json";

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredPod {
    pub(crate) pod: Pod,
    pub(crate) memory: PodMemory,
}

/// The memory of an earlier process, or the default.
pub(super) fn load(context: &Context, uid: &str) -> PodMemory {
    let stored = read(&context.pod_dir(uid).join(FILE));
    let mut memory = stored.map(|stored| stored.memory).unwrap_or_default();
    memory.resume();
    memory
}

/// The Pod with the resources an earlier process had granted it.
pub(crate) fn stored_pod(context: &Context, uid: &str) -> Option<Pod> {
    read(&context.pod_dir(uid).join(FILE)).map(|stored| stored.pod)
}

/// All Pods an earlier process worked on.
pub(crate) fn stored_pods(context: &Context) -> Vec<StoredPod> {
    let folders = fs::read_dir(context.config.data_dir.join("pods")).into_iter().flatten().flatten();
    folders.filter_map(|folder| read(&folder.path().join(FILE))).collect()
}

fn read(path: &Path) -> Option<StoredPod> {
    let text = fs::read(path).ok()?;
    match serde_json::from_slice(&text) {
        Ok(stored) => Some(stored),
        Err(error) => {
            warn!(path = %path.display(), %error, "a Pod's memory cannot be read; it begins anew");
            None
        }
    }
}

/// Written beside and renamed, so that a process that dies leaves the old or the new one. It is not synced: a power failure
/// takes every sandbox along, and then the Pod begins anew whatever was remembered of it (R2.8, R2.10).
pub(super) fn save(context: &Context, pod: &Pod, memory: &PodMemory) -> io::Result<()> {
    #[derive(Serialize)]
    struct Stored<'a> {
        pod: &'a Pod,
        memory: &'a PodMemory,
    }
    let folder = context.pod_dir(pod.metadata.uid.as_deref().unwrap_or_default());
    fs::create_dir_all(&folder)?;
    let temporary = folder.join("memory.json.new");
    fs::write(&temporary, serde_json::to_vec(&Stored { pod, memory })?)?;
    fs::rename(&temporary, folder.join(FILE))
}

/// N30: links to logs that are about to go.
fn remove_log_links(context: &Context, key: &PodKey) {
    let Some(folder) = &context.config.log_links else { return };
    let logs = context.log_dir(key);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(&logs)) {
            // Not there is as good.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Uids of Pods that an earlier process was just forgetting when it ended: their folder is there, their memory is not.
pub(crate) fn strays(context: &Context) -> Vec<String> {
    strays_in(&context.config.data_dir.join("pods"))
}

fn strays_in(pods: &Path) -> Vec<String> {
    let folders = fs::read_dir(pods).into_iter().flatten().flatten();
    let strays = folders.filter(|folder| !folder.path().join(FILE).exists());
    strays.filter_map(|folder| folder.file_name().into_string().ok()).collect()
}

/// Removes everything of the Pod, its logs too. The memory goes after the logs, so that a process that ends in between
/// leaves word of what is still to be removed.
pub(crate) fn forget(context: &Context, key: &PodKey) {
    if key.uid.is_empty() {
        return;
    }
    if let Err(error) = crate::volumes::unmount_all(context, &key.uid) {
        warn!(pod = key.name, %error, "volumes are left behind");
        return;
    }
    remove_log_links(context, key);
    if let Err((folder, error)) = remove(&[context.log_dir(key), context.pod_dir(&key.uid)]) {
        warn!(folder = %folder.display(), %error, "not removed");
    }
}

/// Removes folders one after the other. The memory, by which a Pod is found again after a crash, is in the last one:
/// nothing that is left before it is left for good.
fn remove(folders: &[PathBuf]) -> Result<(), (&PathBuf, io::Error)> {
    for folder in folders {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err((folder, error)),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cannot be removed yet keeps the memory that leads to it.
    #[test]
    fn the_memory_goes_last() {
        let root = tempfile::tempdir().unwrap();
        let (logs, pod) = (root.path().join("logs"), root.path().join("pod"));
        fs::create_dir(&pod).unwrap();
        fs::write(&logs, "no folder").unwrap();
        let folders = [logs.clone(), pod.clone()];
        assert_eq!(remove(&folders).unwrap_err().0, &logs);
        assert!(pod.exists());
        fs::remove_file(&logs).unwrap();
        remove(&folders).unwrap();
        assert!(!pod.exists());
    }

    /// N30: what an ended process left half removed is found by its missing memory.
    #[test]
    fn strays_have_no_memory() {
        let pods = tempfile::tempdir().unwrap();
        for (uid, file) in [("whole", FILE), ("half", "volumes")] {
            fs::create_dir(pods.path().join(uid)).unwrap();
            fs::write(pods.path().join(uid).join(file), "").unwrap();
        }
        assert_eq!(strays_in(pods.path()), ["half"]);
        assert!(strays_in(&pods.path().join("none")).is_empty());
    }
}
