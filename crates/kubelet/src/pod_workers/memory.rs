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

/// Written in turn, so that a process that dies while writing one leaves the other.
const FILES: [&str; 2] = ["memory.0.json", "memory.1.json"];

/// A file's content.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredPod {
    /// How often it was written before; the higher one is the newer one.
    turn: u64,
    pub(crate) pod: Pod,
    pub(crate) memory: PodMemory,
}

/// The memory of an earlier process, or the default, and the turn of the next writing.
pub(super) fn load(context: &Context, uid: &str) -> (PodMemory, u64) {
    let stored = read(&context.pod_dir(uid));
    let (mut memory, turn) = stored.map(|stored| (stored.memory, stored.turn + 1)).unwrap_or_default();
    memory.resume();
    (memory, turn)
}

/// The Pod with the resources an earlier process had granted it.
pub(crate) fn stored_pod(context: &Context, uid: &str) -> Option<Pod> {
    read(&context.pod_dir(uid)).map(|stored| stored.pod)
}

/// All Pods an earlier process worked on.
pub(crate) fn stored_pods(context: &Context) -> Vec<StoredPod> {
    let folders = fs::read_dir(context.config.data_dir.join("pods")).into_iter().flatten().flatten();
    folders.filter_map(|folder| read(&folder.path())).collect()
}

/// The newer of the two that can be read.
fn read(folder: &Path) -> Option<StoredPod> {
    let found = FILES.iter().filter_map(|file| {
        let text = fs::read(folder.join(file)).ok()?;
        Some(serde_json::from_slice::<StoredPod>(&text))
    });
    let (whole, torn): (Vec<_>, Vec<_>) = found.partition(Result::is_ok);
    let newest = whole.into_iter().flatten().max_by_key(|stored| stored.turn);
    if let (None, Some(Err(error))) = (&newest, torn.into_iter().next()) {
        warn!(path = %folder.display(), %error, "a Pod's memory cannot be read; it begins anew");
    }
    newest
}

/// Written over the older of the two files: making a new one and renaming it costs the file system several times as
/// much, and this is done at every turn. It is not synced: a power failure takes every sandbox along, and then the Pod
/// begins anew whatever was remembered of it (R2.8, R2.10).
pub(super) fn save(context: &Context, pod: &Pod, memory: &PodMemory, turn: u64) -> io::Result<()> {
    #[derive(Serialize)]
    struct Stored<'a> {
        turn: u64,
        pod: &'a Pod,
        memory: &'a PodMemory,
    }
    let folder = context.pod_dir(pod.metadata.uid.as_deref().unwrap_or_default());
    write(&folder, turn, &serde_json::to_vec(&Stored { turn, pod, memory })?)
}

fn write(folder: &Path, turn: u64, text: &[u8]) -> io::Result<()> {
    let path = folder.join(FILES[usize::from(turn % 2 == 1)]);
    match fs::write(&path, text) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder)?;
            fs::write(&path, text)
        }
        done => done,
    }
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
    let strays = folders.filter(|folder| FILES.iter().all(|file| !folder.path().join(file).exists()));
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

    /// A file that was being written when the process died does not hide the one before.
    #[test]
    fn a_torn_memory_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("pod");
        let text = |turn: u64| {
            let stored = StoredPod { turn, pod: Pod::default(), memory: PodMemory::default() };
            serde_json::to_vec(&stored).unwrap()
        };
        assert!(read(&folder).is_none());
        for turn in 0..3 {
            write(&folder, turn, &text(turn)).unwrap();
            assert_eq!(read(&folder).unwrap().turn, turn);
        }
        let torn = text(3);
        write(&folder, 3, &torn[..torn.len() / 2]).unwrap();
        assert_eq!(read(&folder).unwrap().turn, 2);
    }

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
        for (uid, file) in [("whole", FILES[1]), ("half", "volumes")] {
            fs::create_dir(pods.path().join(uid)).unwrap();
            fs::write(pods.path().join(uid).join(file), "").unwrap();
        }
        assert_eq!(strays_in(pods.path()), ["half"]);
        assert!(strays_in(&pods.path().join("none")).is_empty());
    }
}
