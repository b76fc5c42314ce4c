//! The store on disk: folders of unpacked layers and the index that gives them names.
//!
//! ```text
//! lock                 held by the one process that uses the store
//! index.json           what images there are; replaced whole
//! layers/<64 hex>/     an unpacked layer, named by the digest of its archive; complete or not there
//! tmp/                 everything unfinished; emptied when the store is opened
//! ```
//!
//! A layer is made in `tmp/` and renamed when every digest has been checked; the index is written after the layers
//! it names have reached the disk. So a kill at any point leaves the last index and whole layers. Layers no image
//! names are removed at the next opening.

mod files;
mod index;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use outrigger_api::clock::SharedClock;
use tokio::sync::Semaphore;

pub(crate) use files::Staging;
use index::Index;
pub(crate) use index::{Grant, Record};

use crate::pull::Flights;
use crate::reference::as_image_id;
use crate::registry::client::Client;
use crate::{Image, Keyring, Limits, Reference, RegistryConfig, manifest};

/// How a store behaves.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Mirrors and certificate authorities.
    pub registries: RegistryConfig,
    /// What one layer may cost.
    pub limits: Limits,
    /// Layers downloaded and unpacked at once, over all pulls. Default 4; at least 1.
    pub parallel_layers: usize,
    /// The pause before a request that failed for the moment is sent again; doubled each time. Default 250 ms.
    pub retry_pause: Duration,
    /// Go's name of the processor images must be for. Default this machine's.
    pub architecture: String,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            registries: RegistryConfig::default(),
            limits: Limits::default(),
            parallel_layers: 4,
            retry_pause: Duration::from_millis(250),
            architecture: manifest::host_architecture().to_owned(),
        }
    }
}

/// Why the store cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process uses it.
    #[error("the image store {root} is in use by another process")]
    Locked {
        /// The store's folder.
        root: PathBuf,
    },
    /// The disk refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The index is not one.
    #[error("the image index {path} cannot be used: {detail}")]
    Index {
        /// The file.
        path: PathBuf,
        /// Where and what.
        detail: String,
    },
    /// The store has no such image.
    #[error("image \"{0}\" not found")]
    Unknown(String),
    /// Work handed to another thread did not come back, or was called off because its sibling failed.
    #[error("image work was cut short")]
    Interrupted,
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

/// What a removal did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that are gone, tags and digests; ids of images that had none.
    pub untagged: Vec<String>,
    /// Ids of images that are gone.
    pub deleted: Vec<String>,
    /// Sum of those images' [`Image::size`]; shared layers stay on disk as long as another image has them.
    pub bytes: u64,
}

/// The images of one node. Cheap to clone; all clones are the same store.
#[derive(Clone, Debug)]
pub struct ImageStore {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    root: PathBuf,
    pub(crate) options: StoreOptions,
    clock: SharedClock,
    index: RwLock<Arc<Index>>,
    /// Held while the index is replaced.
    writer: Mutex<()>,
    /// Layers that are being made or named, with the number of those who do. Held while layers are removed.
    pins: Mutex<HashMap<String, usize>>,
    pub(crate) client: Arc<Client>,
    pub(crate) slots: Semaphore,
    pub(crate) flights: Flights,
    layer_locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    _lock: File,
}

impl ImageStore {
    /// Opens or makes the store in `root`, taking its lock and clearing away what an earlier process left. Blocks.
    pub fn open(root: &Path, options: StoreOptions, clock: SharedClock) -> Result<Self, StoreError> {
        for folder in [root.to_path_buf(), root.join(LAYERS), root.join(TMP)] {
            // Layers hold set-uid programs: nobody but the owner may walk into them.
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(StoreError::io("make folder", &folder))?;
        }
        let lock = files::lock(root)?;
        let mut index = Index::load(root)?;
        clear(root, &mut index)?;
        let inner = Inner {
            root: root.to_path_buf(),
            clock,
            index: RwLock::new(Arc::new(index)),
            writer: Mutex::default(),
            pins: Mutex::default(),
            client: Arc::new(Client::new(options.registries.clone(), options.retry_pause)),
            slots: Semaphore::new(options.parallel_layers.max(1)),
            flights: Flights::default(),
            layer_locks: Mutex::default(),
            options,
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The image `reference` stands for: a name with tag or digest, or an image id. Asks no registry.
    pub fn resolve(&self, reference: &str) -> Option<Image> {
        self.inner.index().find(reference).map(|record| record.image(&self.inner.layers_dir()))
    }

    /// All images, by id.
    pub fn list(&self) -> Vec<Image> {
        self.inner.index().iter().map(|record| record.image(&self.inner.layers_dir())).collect()
    }

    /// Whether a Pod with `keyring` may use the local image `reference` without a pull (R5.28). `false` if there is
    /// no such image.
    pub fn may_use(&self, reference: &str, keyring: &Keyring) -> bool {
        let index = self.inner.index();
        let Some(record) = index.find(reference) else { return false };
        match Reference::parse(reference) {
            Ok(parsed) if as_image_id(reference).is_none() => record.may_be_used(&parsed, keyring),
            // An image id tells nothing of a registry.
            _ => record.is_free(),
        }
    }

    /// Gives a local image one more tag.
    pub async fn tag(&self, reference: &str, tag: &Reference) -> Result<Image, StoreError> {
        let (inner, reference, tag) = (Arc::clone(&self.inner), reference.to_owned(), tag.clone());
        blocking(move || {
            let pinned = inner.index().find(&reference).cloned();
            let mut record = pinned.ok_or(StoreError::Unknown(reference))?;
            record.repo_tags = tag.tagged().into_iter().collect();
            record.repo_digests.clear();
            inner.commit(record)
        })
        .await
    }

    /// Removes what `reference` names: that tag or digest only while the image has other tags, else the image. An
    /// image id removes the image with all names. Whether a container uses it is the caller's to know.
    pub async fn remove(&self, reference: &str) -> Result<Removed, StoreError> {
        let (inner, reference) = (Arc::clone(&self.inner), reference.to_owned());
        blocking(move || inner.remove(&reference)).await
    }

    /// Removes every image whose id is not in `used`, and all layers no image needs.
    pub async fn prune(&self, used: &HashSet<String>) -> Result<Removed, StoreError> {
        let (inner, used) = (Arc::clone(&self.inner), used.clone());
        blocking(move || inner.prune(&used)).await
    }

    /// Where the store is; for measuring the file system's fill level.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }
}

impl Inner {
    fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn find(&self, reference: &str) -> Option<Record> {
        self.index().find(reference).cloned()
    }

    pub(crate) fn now(&self) -> outrigger_api::clock::WallTime {
        self.clock.now().wall
    }

    pub(crate) fn layers_dir(&self) -> PathBuf {
        self.root.join(LAYERS)
    }

    fn layer_dir(&self, diff_id: &str) -> PathBuf {
        self.layers_dir().join(diff_id.trim_start_matches("sha256:"))
    }

    pub(crate) fn has_layer(&self, diff_id: &str) -> bool {
        self.layer_dir(diff_id).is_dir()
    }

    pub(crate) fn stage(&self) -> Result<Staging, StoreError> {
        Staging::new(&self.root.join(TMP))
    }

    /// Makes a finished layer visible. If it is there already, the new copy goes with its staging folder.
    pub(crate) fn publish_layer(&self, unpacked: &Path, diff_id: &str) -> Result<(), StoreError> {
        let target = self.layer_dir(diff_id);
        match fs::rename(unpacked, &target) {
            Ok(()) => Ok(()),
            Err(_) if target.is_dir() => Ok(()),
            Err(error) => Err(StoreError::io("rename to", &target)(error)),
        }
    }

    /// Keeps layers from being removed until the pin is dropped, whether they exist yet or not.
    pub(crate) fn pin(self: &Arc<Self>, diff_ids: &[String]) -> Pin {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        for diff_id in diff_ids {
            *pins.entry(diff_id.clone()).or_default() += 1;
        }
        Pin { inner: Arc::clone(self), diff_ids: diff_ids.to_vec() }
    }

    /// The lock that keeps one layer from being fetched twice at once.
    pub(crate) fn layer_lock(&self, diff_id: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.layer_locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(diff_id).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(diff_id.to_owned(), Arc::downgrade(&lock));
        lock
    }

    /// Adds the image to the index once its layers are safely on disk. Its layers must be pinned. Blocks.
    pub(crate) fn commit(&self, record: Record) -> Result<Image, StoreError> {
        let known = self.index();
        let known = known.layers();
        if record.layers.iter().any(|layer| !known.contains(layer.as_str())) {
            files::sync_file_system(&self.root)?;
        }
        let id = record.id.clone();
        self.change(|index| index.add(record))?;
        let index = self.index();
        index.find(&id).map(|record| record.image(&self.layers_dir())).ok_or(StoreError::Unknown(id))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Index) -> T) -> Result<T, StoreError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = (*self.index()).clone();
        let result = change(&mut next);
        next.save(&self.root)?;
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(result)
    }

    fn remove(&self, reference: &str) -> Result<Removed, StoreError> {
        let removed = self.change(|index| remove_from(index, reference))?;
        let removed = removed.ok_or_else(|| StoreError::Unknown(reference.to_owned()))?;
        self.sweep()?;
        Ok(removed)
    }

    fn prune(&self, used: &HashSet<String>) -> Result<Removed, StoreError> {
        let removed = self.change(|index| {
            let ids: Vec<String> =
                index.iter().map(|r| r.id.clone()).filter(|id| !used.contains(id)).collect();
            let mut removed = Removed::default();
            for record in ids.iter().filter_map(|id| index.remove(id)) {
                removed.count(record);
            }
            removed
        })?;
        self.sweep()?;
        Ok(removed)
    }

    /// Removes the layers that no image has and nobody is making.
    fn sweep(&self) -> Result<(), StoreError> {
        let trash = self.stage()?;
        {
            let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
            let index = self.index();
            let needed = index.layers();
            for name in names_in(&self.layers_dir())? {
                let diff_id = format!("sha256:{name}");
                if !needed.contains(diff_id.as_str()) && !pins.contains_key(&diff_id) {
                    let folder = self.layers_dir().join(&name);
                    fs::rename(&folder, trash.path().join(&name))
                        .map_err(StoreError::io("remove", &folder))?;
                }
            }
        }
        files::remove_tree(trash.path()).map_err(StoreError::io("empty", trash.path()))
    }
}

impl Removed {
    fn count(&mut self, record: Record) {
        let names: Vec<String> = record.repo_tags.into_iter().chain(record.repo_digests).collect();
        self.untagged.extend(names);
        self.deleted.push(record.id);
        self.bytes += record.size;
    }
}

fn remove_from(index: &mut Index, reference: &str) -> Option<Removed> {
    let id = index.find(reference)?.id.clone();
    let mut removed = Removed::default();
    let record = index.get_mut(&id)?;
    // An id can also be read as a name with a tag.
    if as_image_id(reference).is_none()
        && let Ok(parsed) = Reference::parse(reference)
    {
        let name = parsed.digest().map(|d| parsed.with_digest(d)).or_else(|| parsed.tagged())?;
        let others = record.repo_tags.iter().any(|tag| *tag != name);
        if others {
            record.repo_tags.remove(&name);
            record.repo_digests.remove(&name);
            removed.untagged.push(name);
            return Some(removed);
        }
    }
    removed.count(index.remove(&id)?);
    Some(removed)
}

/// Layers that must not be removed now.
#[derive(Debug)]
pub(crate) struct Pin {
    inner: Arc<Inner>,
    diff_ids: Vec<String>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.inner.pins.lock().unwrap_or_else(PoisonError::into_inner);
        for diff_id in &self.diff_ids {
            if let Some(count) = pins.get_mut(diff_id) {
                *count -= 1;
                if *count == 0 {
                    pins.remove(diff_id);
                }
            }
        }
    }
}

/// Runs disk work on a thread of its own. If the caller goes away, the work still finishes.
pub(crate) async fn blocking<T: Send + 'static, E: From<StoreError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::Interrupted.into()),
    }
}

/// Removes what is unfinished, layers nobody names, and images whose layers somebody took away.
fn clear(root: &Path, index: &mut Index) -> Result<(), StoreError> {
    let tmp = root.join(TMP);
    let layers = root.join(LAYERS);
    let there: BTreeSet<String> = names_in(&layers)?.into_iter().collect();
    let broken: Vec<String> = index
        .iter()
        .filter(|record| {
            record.layers.iter().any(|layer| !there.contains(layer.trim_start_matches("sha256:")))
        })
        .map(|record| record.id.clone())
        .collect();
    for id in &broken {
        tracing::warn!(image = id, "an image lost layers and is forgotten");
        index.remove(id);
    }
    if !broken.is_empty() {
        index.save(root)?;
    }
    let needed = index.layers();
    for name in there.iter().filter(|name| !needed.contains(format!("sha256:{name}").as_str())) {
        let folder = layers.join(name);
        fs::rename(&folder, tmp.join(name)).map_err(StoreError::io("remove", &folder))?;
    }
    for name in names_in(&tmp)? {
        let path = tmp.join(name);
        files::remove_tree(&path).map_err(StoreError::io("remove", &path))?;
    }
    Ok(())
}

fn names_in(folder: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(StoreError::io("list", folder))? {
        let entry = entry.map_err(StoreError::io("list", folder))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// The folder a layer is unpacked into, inside its staging folder.
pub(crate) fn layer_target(staging: &Staging) -> Result<PathBuf, StoreError> {
    let target = staging.path().join("layer");
    fs::create_dir(&target).map_err(StoreError::io("make folder", &target))?;
    // The root of a container's file system, unless the archive says otherwise.
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755))
        .map_err(StoreError::io("set mode of", &target))?;
    Ok(target)
}

const LAYERS: &str = "layers";
const TMP: &str = "tmp";
