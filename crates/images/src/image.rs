//! What the store knows of an image, in the caller's terms.

use std::collections::BTreeMap;
use std::path::PathBuf;

use outrigger_api::clock::WallTime;
use serde::{Deserialize, Serialize};

use crate::Reference;

/// An image whose layers are all unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The config's digest: `sha256:…`.
    pub id: String,
    /// `docker.io/library/busybox:latest`, sorted.
    pub repo_tags: Vec<String>,
    /// `docker.io/library/busybox@sha256:…` (of the manifest or index the registry named), sorted; empty for
    /// images that were imported or built here.
    pub repo_digests: Vec<String>,
    /// Bytes: compressed layers plus config as a registry would count them; for images never pulled, unpacked bytes.
    pub size: u64,
    /// True if this store got the image from a registry; false if it was imported or built, which exempts it from
    /// the credential check of R5.28.
    pub pulled: bool,
    /// When this store first had it.
    pub added_at: WallTime,
    /// Defaults for containers.
    pub config: ImageConfig,
    /// Folders for overlayfs `lowerdir`, topmost first. Never write to them.
    pub layers: Vec<PathBuf>,
}

impl Image {
    /// `status…imageID` (R9.24): the repository digest matching `reference` if there is one, else any repository
    /// digest, else the bare id.
    pub fn image_id(&self, reference: &str) -> &str {
        let wanted = Reference::parse(reference).map(|r| format!("{}@", r.name())).ok();
        let matching = wanted.and_then(|name| self.repo_digests.iter().find(|d| d.starts_with(&name)));
        matching.or(self.repo_digests.first()).unwrap_or(&self.id)
    }

    /// `status…image` (R9.24): the normal form of `reference` if this image carries it, else its first tag, else
    /// its first repository digest, else its id.
    pub fn image_name(&self, reference: &str) -> &str {
        let wanted = Reference::parse(reference).map(|r| r.to_string()).ok();
        let names = || self.repo_tags.iter().chain(&self.repo_digests);
        let matching = wanted.and_then(|name| names().find(|n| **n == name));
        matching.or(names().next()).unwrap_or(&self.id)
    }
}

/// The parts of an image's config that containers take defaults from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `KEY=value` in order.
    pub env: Vec<(String, String)>,
    /// ENTRYPOINT; what a container's `command` replaces.
    pub entrypoint: Vec<String>,
    /// CMD; what a container's `args` replaces.
    pub cmd: Vec<String>,
    /// Empty means `/`.
    pub working_dir: String,
    /// `user[:group]`, names or numbers; empty means root. See [`crate::ImageStore::lookup_user`].
    pub user: String,
    /// STOPSIGNAL as written, `SIGQUIT` or `3`.
    pub stop_signal: Option<String>,
    /// `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Paths the image declares as volumes.
    pub volumes: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}
