//! What the store remembers: one record for each image, in one file that is replaced as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use outrigger_api::clock::WallTime;
use serde::{Deserialize, Serialize};

use super::{StoreError, files};
use crate::reference::as_image_id;
use crate::{Image, ImageConfig, Keyring, Reference};

/// All images by id.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Index {
    version: u32,
    images: BTreeMap<String, Record>,
}

/// One image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) repo_tags: BTreeSet<String>,
    #[serde(default)]
    pub(crate) repo_digests: BTreeSet<String>,
    pub(crate) size: u64,
    pub(crate) pulled: bool,
    pub(crate) added_at: WallTime,
    pub(crate) config: ImageConfig,
    /// Digests of the uncompressed layers, lowest first.
    pub(crate) layers: Vec<String>,
    #[serde(default)]
    pub(crate) grants: BTreeSet<Grant>,
}

/// Who has shown that he may pull the image (R5.28).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) repository: String,
    /// A credential's fingerprint; `None`: everybody may.
    pub(crate) credential: Option<String>,
}

impl Index {
    pub(super) fn load(root: &Path) -> Result<Self, StoreError> {
        let path = root.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { version: VERSION, images: BTreeMap::new() });
            }
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let index: Self = serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::Index { path: path.clone(), detail: error.to_string() })?;
        if index.version != VERSION {
            let detail = format!("it has version {}, this program reads version {VERSION}", index.version);
            return Err(StoreError::Index { path, detail });
        }
        Ok(index)
    }

    pub(super) fn save(&self, root: &Path) -> Result<(), StoreError> {
        let path = root.join(FILE);
        let bytes = serde_json::to_vec(self)
            .map_err(|error| StoreError::Index { path: path.clone(), detail: error.to_string() })?;
        files::write_atomic(&path, &bytes)
    }

    /// By id, by `name@digest`, or by tag.
    pub(super) fn find(&self, text: &str) -> Option<&Record> {
        if let Some(hex) = as_image_id(text) {
            return self.images.get(&format!("sha256:{hex}"));
        }
        let reference = Reference::parse(text).ok()?;
        if let Some(digest) = reference.digest() {
            let name = reference.with_digest(digest);
            return self.images.values().find(|record| record.repo_digests.contains(&name));
        }
        let tagged = reference.tagged()?;
        self.images.values().find(|record| record.repo_tags.contains(&tagged))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.images.values()
    }

    /// Adds a record or joins it with the one of the same id; its tags leave whoever had them.
    pub(super) fn add(&mut self, new: Record) {
        for record in self.images.values_mut().filter(|record| record.id != new.id) {
            record.repo_tags.retain(|tag| !new.repo_tags.contains(tag));
            record.repo_digests.retain(|digest| !new.repo_digests.contains(digest));
        }
        match self.images.get_mut(&new.id) {
            Some(old) => {
                old.repo_tags.extend(new.repo_tags);
                old.repo_digests.extend(new.repo_digests);
                old.grants.extend(new.grants);
                while old.grants.len() > MAX_GRANTS {
                    old.grants.pop_last();
                }
                // Once brought in by the administrator, always usable (R5.28).
                old.pulled &= new.pulled;
            }
            None => {
                self.images.insert(new.id.clone(), new);
            }
        }
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Record> {
        self.images.remove(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Record> {
        self.images.get_mut(id)
    }

    /// Every layer some image needs.
    pub(super) fn layers(&self) -> BTreeSet<&str> {
        self.images.values().flat_map(|record| record.layers.iter().map(String::as_str)).collect()
    }
}

impl Record {
    pub(super) fn image(&self, layers_dir: &Path) -> Image {
        let folder = |diff_id: &String| layers_dir.join(diff_id.trim_start_matches("sha256:"));
        Image {
            id: self.id.clone(),
            repo_tags: self.repo_tags.iter().cloned().collect(),
            repo_digests: self.repo_digests.iter().cloned().collect(),
            size: self.size,
            pulled: self.pulled,
            added_at: self.added_at,
            config: self.config.clone(),
            layers: self.layers.iter().rev().map(folder).collect(),
        }
    }

    /// R5.28: brought in by the administrator, or given to somebody without credentials.
    pub(super) fn is_free(&self) -> bool {
        !self.pulled || self.grants.iter().any(|grant| grant.credential.is_none())
    }

    /// R5.28: free for all, brought in by the administrator, or pulled before with one of these credentials.
    pub(super) fn may_be_used(&self, reference: &Reference, keyring: &Keyring) -> bool {
        let held = keyring.fingerprint(reference.registry(), reference.repository());
        let name = reference.name();
        !self.pulled
            || self.grants.iter().filter(|grant| grant.repository == name).any(|grant| {
                match &grant.credential {
                    None => true,
                    Some(credential) => held.contains(credential),
                }
            })
    }
}

const FILE: &str = "index.json";
const VERSION: u32 = 1;
const MAX_GRANTS: usize = 256;
