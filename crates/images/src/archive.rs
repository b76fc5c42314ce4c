//! Importing archives: `docker save` files and OCI layouts in a tar, plain or compressed.
//!
//! Members are copied out one by one under their names as keys, never as paths, so an archive cannot reach anything
//! outside its staging folder. Then the descriptions are read and the layers unpacked like pulled ones.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::layer::{self, Claims};
use crate::manifest::{self, ConfigFile, Descriptor, Document, Index};
use crate::store::{Inner, Record, Staging, blocking, layer_target};
use crate::{Image, ImageStore, LayerError, Reference, StoreError};

/// Why an archive was not imported. Images before the bad one stay imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be opened.
    #[error("cannot read {path}")]
    Open {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not an archive of either kind, or an inconsistent one.
    #[error("not an image archive: {0}")]
    Format(String),
    /// Holds images, but none for this machine.
    #[error("the archive has no image for linux/{wanted}, it has: {offered}")]
    Platform {
        /// `amd64`.
        wanted: String,
        /// Comma separated.
        offered: String,
    },
    /// The archive or a layer in it was refused or is damaged.
    #[error("cannot unpack {what}")]
    Layer {
        /// Which member.
        what: String,
        /// Why.
        source: LayerError,
    },
    /// The store itself failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Members of the archive, copied to numbered files.
struct Members {
    staging: Staging,
    files: HashMap<String, PathBuf>,
    /// Old `docker save` links equal layers to each other.
    links: HashMap<String, String>,
}

/// An image described by an archive, whichever the dialect.
struct Found {
    names: Vec<Reference>,
    config: Vec<u8>,
    layers: Vec<(PathBuf, Claims)>,
}

/// One element of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl ImageStore {
    /// Adds every image of the archive `path` that is for this machine, with the names the archive gives them, and
    /// returns them. Images imported so count as brought in by the administrator (R5.28). If the caller goes away,
    /// the import still finishes.
    pub async fn import(&self, path: &Path) -> Result<Vec<Image>, ImportError> {
        let (inner, path) = (Arc::clone(&self.inner), path.to_path_buf());
        blocking(move || {
            let source = File::open(&path).map_err(|source| ImportError::Open { path, source })?;
            let members = Members::read(&inner, source)?;
            let found = members.images(&inner.options.architecture)?;
            found.into_iter().map(|one| add(&inner, one)).collect()
        })
        .await
    }
}

fn add(inner: &Arc<Inner>, found: Found) -> Result<Image, ImportError> {
    let config = ConfigFile::parse(&found.config).map_err(ImportError::Format)?;
    let architecture = &inner.options.architecture;
    if !config.fits(architecture) {
        return Err(ImportError::Platform {
            wanted: architecture.clone(),
            offered: config.platform().text(),
        });
    }
    let diff_ids = config.rootfs.diff_ids.clone();
    if diff_ids.len() != found.layers.len() {
        let text = format!("{} layers for a config of {}", found.layers.len(), diff_ids.len());
        return Err(ImportError::Format(text));
    }
    let _pin = inner.pin(&diff_ids);
    let mut size = found.config.len() as u64;
    for ((file, mut claims), diff_id) in found.layers.into_iter().zip(&diff_ids) {
        size += file.metadata().map_err(StoreError::io("look at", &file))?.len();
        if inner.has_layer(diff_id) {
            continue;
        }
        claims.diff_id = Some(diff_id.clone());
        let staging = inner.stage()?;
        let target = layer_target(&staging)?;
        let source = File::open(&file).map_err(StoreError::io("open", &file))?;
        layer::unpack_blob(source, &claims, &target, &inner.options.limits)
            .map_err(|source| ImportError::Layer { what: diff_id.clone(), source })?;
        inner.publish_layer(&target, diff_id)?;
    }
    let image = inner.commit(Record {
        id: manifest::digest_of(&found.config),
        repo_tags: found.names.iter().filter_map(Reference::tagged).collect(),
        repo_digests: BTreeSet::new(),
        size,
        pulled: false,
        added_at: inner.now(),
        config: config.defaults(),
        layers: diff_ids,
        grants: BTreeSet::new(),
    })?;
    Ok(image)
}

impl Members {
    fn read(inner: &Inner, source: File) -> Result<Self, ImportError> {
        let unreadable = |source| ImportError::Layer { what: "the archive".to_owned(), source };
        let corrupt = |error| unreadable(LayerError::Corrupt(error));
        let mut members = Self { staging: inner.stage()?, files: HashMap::new(), links: HashMap::new() };
        let plain = layer::decompress(source).map_err(unreadable)?;
        // All layers together may be as large as one; a bound is a bound.
        let mut archive = tar::Archive::new(plain.take(inner.options.limits.unpacked_bytes));
        for (serial, entry) in archive.entries().map_err(corrupt)?.enumerate() {
            if serial == MAX_MEMBERS {
                return Err(ImportError::Format(format!("it has more than {MAX_MEMBERS} members")));
            }
            let mut entry = entry.map_err(corrupt)?;
            let Some(name) = normal(&entry.path_bytes()) else { continue };
            let kind = entry.header().entry_type();
            if kind.is_file() {
                let path = members.staging.path().join(format!("m{serial}"));
                let mut file = File::create_new(&path).map_err(StoreError::io("create", &path))?;
                io::copy(&mut entry, &mut file).map_err(corrupt)?;
                members.files.insert(name, path);
            } else if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name_bytes().map(|t| t.into_owned()).unwrap_or_default();
                let folder =
                    if kind.is_symlink() { name.rsplit_once('/').map_or("", |(f, _)| f) } else { "" };
                if let Some(target) = normal(&[folder.as_bytes(), b"/", &target].concat()) {
                    members.links.insert(name, target);
                }
            }
        }
        Ok(members)
    }

    fn file(&self, name: &str) -> Option<&PathBuf> {
        let name = normal(name.as_bytes())?;
        self.files.get(&name).or_else(|| self.files.get(self.links.get(&name)?))
    }

    fn required(&self, name: &str) -> Result<&PathBuf, ImportError> {
        self.file(name).ok_or_else(|| ImportError::Format(format!("\"{name}\" is missing")))
    }

    /// A description, whole.
    fn text(&self, name: &str) -> Result<Vec<u8>, ImportError> {
        let path = self.required(name)?;
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(StoreError::io("open", path))?;
        file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
        if bytes.len() as u64 > MAX_TEXT_BYTES {
            return Err(ImportError::Format(format!("\"{name}\" is too large")));
        }
        Ok(bytes)
    }

    fn images(&self, architecture: &str) -> Result<Vec<Found>, ImportError> {
        let found = if self.file("manifest.json").is_some() {
            self.saved()?
        } else if self.file("index.json").is_some() {
            self.layout(architecture)?
        } else {
            return Err(ImportError::Format("neither manifest.json nor index.json is in it".to_owned()));
        };
        if found.is_empty() {
            Err(ImportError::Format("it describes no image".to_owned()))
        } else {
            Ok(found)
        }
    }

    fn saved(&self) -> Result<Vec<Found>, ImportError> {
        let list: Vec<Saved> = serde_json::from_slice(&self.text("manifest.json")?)
            .map_err(|error| ImportError::Format(format!("manifest.json: {error}")))?;
        let image = |saved: Saved| {
            let layers = saved.layers.unwrap_or_default();
            let layers = layers.iter().map(|name| Ok((self.required(name)?.clone(), Claims::default())));
            Ok(Found {
                names: saved
                    .repo_tags
                    .unwrap_or_default()
                    .iter()
                    .map(|n| name(n))
                    .collect::<Result<_, _>>()?,
                config: self.text(&saved.config)?,
                layers: layers.collect::<Result<_, ImportError>>()?,
            })
        };
        list.into_iter().map(image).collect()
    }

    fn layout(&self, architecture: &str) -> Result<Vec<Found>, ImportError> {
        let bytes = self.text("index.json")?;
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|error| ImportError::Format(format!("index.json: {error}")))?;
        let mut offered = HashSet::new();
        let mut found = Vec::new();
        for descriptor in &index.manifests {
            match self.described(descriptor, architecture, 0)? {
                Ok(mut image) => {
                    image.names = given_name(descriptor)?.into_iter().collect();
                    found.push(image);
                }
                Err(platform) => {
                    offered.insert(platform);
                }
            }
        }
        if found.is_empty() && !offered.is_empty() {
            let offered: BTreeSet<String> = offered.into_iter().collect();
            let offered = offered.into_iter().collect::<Vec<_>>().join(", ");
            return Err(ImportError::Platform { wanted: architecture.to_owned(), offered });
        }
        Ok(found)
    }

    /// The image behind a descriptor, or the platforms it is for instead.
    fn described(
        &self,
        descriptor: &Descriptor,
        architecture: &str,
        depth: u32,
    ) -> Result<Result<Found, String>, ImportError> {
        if let Some(platform) = &descriptor.platform
            && (platform.os != "linux" || platform.architecture != architecture)
        {
            return Ok(Err(platform.text()));
        }
        let bytes = self.blob(&descriptor.digest)?;
        match manifest::parse(&bytes).map_err(ImportError::Format)? {
            Document::Index(_) if depth == MAX_INDEX_DEPTH => {
                Err(ImportError::Format("indexes are nested too deeply".to_owned()))
            }
            Document::Index(index) => match index.pick(architecture) {
                Some(next) => self.described(next, architecture, depth + 1),
                None => Ok(Err(index.offered())),
            },
            Document::Manifest(manifest) => {
                let config = self.blob(&manifest.config.digest)?;
                let file = ConfigFile::parse(&config).map_err(ImportError::Format)?;
                if !file.fits(architecture) {
                    return Ok(Err(file.platform().text()));
                }
                let mut layers = Vec::new();
                for layer in &manifest.layers {
                    if !manifest::is_layer(&layer.media_type) {
                        let source = LayerError::Unsupported(layer.media_type.clone());
                        return Err(ImportError::Layer { what: layer.digest.clone(), source });
                    }
                    let claims =
                        Claims { digest: Some(layer.digest.clone()), size: Some(layer.size), diff_id: None };
                    layers.push((self.required(&blob_name(&layer.digest))?.clone(), claims));
                }
                Ok(Ok(Found { names: Vec::new(), config, layers }))
            }
        }
    }

    fn blob(&self, digest: &str) -> Result<Vec<u8>, ImportError> {
        let bytes = self.text(&blob_name(digest))?;
        let actual = manifest::digest_of(&bytes);
        if actual == digest {
            return Ok(bytes);
        }
        let source = LayerError::Digest { expected: digest.to_owned(), actual };
        Err(ImportError::Layer { what: digest.to_owned(), source })
    }
}

fn blob_name(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

/// The name tools give an image in `index.json`; a bare tag is no name.
fn given_name(descriptor: &Descriptor) -> Result<Option<Reference>, ImportError> {
    let full = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
    let texts = full.iter().filter_map(|key| descriptor.annotations.get(*key));
    match texts.filter(|text| text.contains(['/', ':'])).map(|text| name(text)).next() {
        Some(parsed) => parsed.map(Some),
        None => Ok(None),
    }
}

fn name(text: &str) -> Result<Reference, ImportError> {
    Reference::parse(text).map_err(|error| ImportError::Format(error.to_string()))
}

/// A member's name as a key: components joined by `/`, with `.` and `..` worked out.
fn normal(name: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(name).ok()?;
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

const MAX_MEMBERS: usize = 10_000;
const MAX_TEXT_BYTES: u64 = 8 << 20;
const MAX_INDEX_DEPTH: u32 = 3;
