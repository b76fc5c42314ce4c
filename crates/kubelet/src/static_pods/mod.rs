//! Static Pods (N31, R14.5, R14.6): read from files of the node, run without the API, shown there as mirrors.
//!
//! One task reads the folder when it changes, tells the kubelet which Pods came and went, and keeps their mirrors:
//! a mirror that is missing, deleted or of another version is made anew, one whose Pod is gone is deleted.

mod decode;
mod mirror;
mod watch_folder;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use outrigger_reconcile::Change;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::context::Context;
use mirror::Mirrors;
use watch_folder::FolderWatch;

pub(crate) use mirror::is_mirror;

/// Upstream's `fileCheckFrequency`: how often the folder is read although nothing told of a change.
const CHECK: Duration = Duration::from_secs(20);
/// The wait for a Pod that is stopping before its mirror goes.
const SOON: Duration = Duration::from_secs(1);
/// Larger files are no Pods.
const LARGEST: u64 = 10 * 1024 * 1024;

/// What happened to the files.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileChange {
    /// New Pods, and new versions of Pods under a new uid.
    pub(crate) applied: Vec<Pod>,
    /// uids of those that are gone or replaced.
    pub(crate) gone: Vec<String>,
    /// How many of `applied` are another version of one of `gone`.
    pub(crate) replaced: usize,
}

/// The task's state.
pub(crate) struct StaticPods {
    context: Arc<Context>,
    /// By file.
    current: BTreeMap<PathBuf, Pod>,
    mirrors: Mirrors,
    changes: mpsc::Sender<FileChange>,
    seen: mpsc::Receiver<Change<Pod>>,
}

impl StaticPods {
    /// The task, where it wants to be told of mirrors, and where it tells of files. The first thing it tells is what
    /// there is, even if that is nothing.
    pub(crate) fn new(
        context: Arc<Context>,
    ) -> (Self, mpsc::Sender<Change<Pod>>, mpsc::Receiver<FileChange>) {
        let (tell, seen) = mpsc::channel(64);
        let (changes, told) = mpsc::channel(16);
        let mirrors = Mirrors::default();
        (Self { context, current: BTreeMap::new(), mirrors, changes, seen }, tell, told)
    }

    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let folder = self.context.config.static_pod_path.clone();
        let mut watch = folder.as_deref().and_then(FolderWatch::new);
        loop {
            if let Some(path) = &folder {
                self.read(path).await;
            } else if self.changes.send(FileChange::default()).await.is_err() {
                return;
            }
            // Only files begin another round; mirrors are looked at in between.
            loop {
                let wait =
                    if self.mirrors.reconcile(&self.context, &self.current).await { CHECK } else { SOON };
                tokio::select! {
                    () = stop.cancelled() => return,
                    change = self.seen.recv() => match change {
                        Some(change) => self.mirrors.take(change),
                        None => return,
                    },
                    () = changed(&mut watch) => break,
                    () = tokio::time::sleep(wait) => if folder.is_some() { break },
                }
            }
        }
    }

    async fn read(&mut self, path: &Path) {
        let (path, node) = (path.to_owned(), self.context.config.node_name.clone());
        let old = self.current.clone();
        let now = self.context.clock.now().wall;
        let read = tokio::task::spawn_blocking(move || read_all(&path, &node, &old, now)).await;
        let Ok(new) = read else { return };
        let change = difference(&self.current, &new);
        self.current = new;
        // The receiver goes with everything else.
        let _ = self.changes.send(change).await;
    }
}

async fn changed(watch: &mut Option<FolderWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// All Pods below a path, by file. A file that cannot be read or understood keeps the Pod it had: it is probably
/// being written.
fn read_all(
    path: &Path,
    node: &str,
    old: &BTreeMap<PathBuf, Pod>,
    now: outrigger_api::WallTime,
) -> BTreeMap<PathBuf, Pod> {
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !hidden && entry.path().is_file() {
                files.push(entry.path());
            }
        }
    } else if path.is_file() {
        files.push(path.to_owned());
    }
    files.sort();
    let mut all: BTreeMap<PathBuf, Pod> = BTreeMap::new();
    for file in files {
        let known = old.get(&file);
        let read = std::fs::metadata(&file)
            .and_then(|meta| {
                if meta.len() > LARGEST {
                    return Err(std::io::Error::other("larger than 10 MiB"));
                }
                std::fs::read_to_string(&file)
            })
            .map_err(|error| error.to_string())
            .and_then(|text| decode::pod(&text, &file, node, now));
        match (read, known) {
            // The time it was first seen stays.
            (Ok(pod), Some(known)) if known.metadata.uid == pod.metadata.uid => {
                drop(all.insert(file, known.clone()));
            }
            (Ok(pod), _) => {
                let name = |pod: &Pod| (pod.metadata.namespace.clone(), pod.metadata.name.clone());
                if all.values().any(|other| name(other) == name(&pod)) {
                    warn!(file = %file.display(), "another file has a Pod of this name; this one is left out");
                } else {
                    all.insert(file, pod);
                }
            }
            (Err(error), known) => {
                warn!(file = %file.display(), error, "no Pod can be read from this file");
                if let Some(known) = known {
                    all.insert(file, known.clone());
                }
            }
        }
    }
    all
}

fn difference(old: &BTreeMap<PathBuf, Pod>, new: &BTreeMap<PathBuf, Pod>) -> FileChange {
    let has =
        |all: &BTreeMap<PathBuf, Pod>, pod: &Pod| all.values().any(|it| it.metadata.uid == pod.metadata.uid);
    let applied: Vec<Pod> = new.values().filter(|pod| !has(old, pod)).cloned().collect();
    let gone: Vec<&Pod> = old.values().filter(|pod| !has(new, pod)).collect();
    let same =
        |a: &Pod, b: &Pod| a.metadata.name == b.metadata.name && a.metadata.namespace == b.metadata.namespace;
    let replaced = applied.iter().filter(|pod| gone.iter().any(|old| same(old, pod))).count();
    FileChange { applied, gone: gone.iter().filter_map(|pod| pod.metadata.uid.clone()).collect(), replaced }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: a, image: x}]\n";

    fn read(folder: &Path, old: &BTreeMap<PathBuf, Pod>) -> BTreeMap<PathBuf, Pod> {
        read_all(folder, "n1", old, outrigger_api::WallTime::UNIX_EPOCH)
    }

    /// R14.5, R14.6, N31: files come, change, break and go.
    #[test]
    fn a_folder_over_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("web.yaml");
        std::fs::write(&file, POD).unwrap();
        std::fs::write(folder.path().join(".web.yaml.swp"), POD).unwrap();
        let first = read(folder.path(), &BTreeMap::new());
        let change = difference(&BTreeMap::new(), &first);
        assert_eq!((change.applied.len(), change.gone.len(), change.replaced), (1, 0, 0));
        assert_eq!(change.applied[0].metadata.name.as_deref(), Some("web-n1"));
        std::fs::write(&file, POD.replace("image: x", "image: other")).unwrap();
        let second = read(folder.path(), &first);
        let change = difference(&first, &second);
        assert_eq!((change.applied.len(), change.gone.len(), change.replaced), (1, 1, 1));
        std::fs::write(&file, "kind: Po").unwrap();
        let third = read(folder.path(), &second);
        assert_eq!(third, second);
        std::fs::remove_file(&file).unwrap();
        let change = difference(&third, &read(folder.path(), &third));
        assert_eq!((change.applied.len(), change.gone.len()), (0, 1));
    }
}
