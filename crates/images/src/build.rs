//! Building an image from a folder: the folder becomes one layer, on top of a local image's or alone.
//!
//! Nothing is run and nothing fetched. Files belong to root in the image, as with COPY; the same folder gives the
//! same image wherever it is built, because entries are sorted and only modes, names, times and contents count.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::layer::{self, Claims};
use crate::store::{Inner, Record, blocking, layer_target};
use crate::{Image, ImageConfig, ImageStore, InvalidImageName, LayerError, Reference, StoreError, manifest};

/// What to build.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// The folder that becomes the (top) layer.
    pub directory: PathBuf,
    /// The new image's name; must not be by digest.
    pub name: String,
    /// A local image to build on. Default none: the folder is the whole file system.
    pub base: Option<String>,
    /// Replaces the base's ENTRYPOINT, and with it the base's CMD.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the base's CMD.
    pub cmd: Option<Vec<String>>,
    /// Added to the base's variables; equal names are replaced.
    pub env: Vec<(String, String)>,
    /// Replaces the base's working folder.
    pub working_dir: Option<String>,
    /// Replaces the base's user.
    pub user: Option<String>,
    /// Replaces the base's stop signal.
    pub stop_signal: Option<String>,
    /// Added to the base's ports, `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Added to the base's labels.
    pub labels: Vec<(String, String)>,
}

/// Why an image was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The new name is none.
    #[error(transparent)]
    Name(#[from] InvalidImageName),
    /// The new name has a digest.
    #[error("\"{0}\" names an image by its digest, which only exists once the image is built")]
    Digest(String),
    /// The base is not in the store.
    #[error("base image \"{0}\" not found; pull or import it first")]
    Base(String),
    /// The folder or something in it cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something that cannot be in an image.
    #[error("{path} is a socket or device, which an image cannot hold")]
    Special {
        /// Which file.
        path: PathBuf,
    },
    /// The layer breaks the store's limits.
    #[error("the folder cannot become a layer")]
    Layer(#[source] LayerError),
    /// The store itself failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImageStore {
    /// Builds an image and gives it its name, taking the name from whoever had it. If the caller goes away, the
    /// build still finishes.
    pub async fn build(&self, options: BuildOptions) -> Result<Image, BuildError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || build(&inner, &options)).await
    }
}

fn build(inner: &Arc<Inner>, options: &BuildOptions) -> Result<Image, BuildError> {
    let name = Reference::parse(&options.name)?;
    let tag = name.tagged().ok_or_else(|| BuildError::Digest(options.name.clone()))?;
    let base = match &options.base {
        Some(base) => Some(inner.find(base).ok_or_else(|| BuildError::Base(base.clone()))?),
        None => None,
    };
    let (mut layers, base_size) = base.as_ref().map_or((Vec::new(), 0), |b| (b.layers.clone(), b.size));
    let _base_pin = inner.pin(&layers);
    let staging = inner.stage()?;
    let target = layer_target(&staging)?;
    let unpacked = pack_and_unpack(inner, &options.directory, &target)?;
    let _pin = inner.pin(std::slice::from_ref(&unpacked.diff_id));
    inner.publish_layer(&target, &unpacked.diff_id)?;
    layers.push(unpacked.diff_id.clone());
    let config = configure(base.map(|b| b.config).unwrap_or_default(), options);
    let file = manifest::write_config(&inner.options.architecture, &config, &layers);
    Ok(inner.commit(Record {
        id: manifest::digest_of(&file),
        repo_tags: [tag].into(),
        repo_digests: BTreeSet::new(),
        size: base_size + unpacked.bytes,
        pulled: false,
        added_at: inner.now(),
        config,
        layers,
        grants: BTreeSet::new(),
    })?)
}

/// One thread reads the folder into a pipe, this one unpacks what comes out: the same path every layer takes.
fn pack_and_unpack(
    inner: &Inner,
    folder: &Path,
    target: &Path,
) -> Result<crate::unpack::Unpacked, BuildError> {
    let pipe_failed = |error| BuildError::Store(StoreError::io("make a pipe for", folder)(error));
    let (reader, writer) = io::pipe().map_err(pipe_failed)?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || pack(folder, BufWriter::new(writer)));
        let unpacked = layer::unpack_blob(reader, &Claims::default(), target, &inner.options.limits);
        let packed = packing.join().unwrap_or(Err(BuildError::Store(StoreError::Interrupted)));
        match (unpacked, packed) {
            // A broken pipe on the packing side is the other side's failure.
            (Err(error), Ok(()) | Err(BuildError::Read { .. }))
                if !matches!(error, LayerError::Corrupt(_)) =>
            {
                Err(BuildError::Layer(error))
            }
            (_, Err(error)) => Err(error),
            (Err(error), Ok(())) => Err(BuildError::Layer(error)),
            (Ok(unpacked), Ok(())) => Ok(unpacked),
        }
    })
}

fn pack(folder: &Path, out: impl io::Write) -> Result<(), BuildError> {
    let mut tar = tar::Builder::new(out);
    tar.follow_symlinks(false);
    pack_folder(&mut tar, folder, Path::new(""))?;
    let failed = |source| BuildError::Read { path: folder.to_path_buf(), source };
    let mut out = tar.into_inner().map_err(failed)?;
    out.flush().map_err(failed)
}

fn pack_folder(
    tar: &mut tar::Builder<impl io::Write>,
    folder: &Path,
    inside: &Path,
) -> Result<(), BuildError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| BuildError::Read { path, source }
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        entries.push(entry.map_err(failed(folder))?.file_name());
    }
    entries.sort();
    for name in entries {
        let (path, inside) = (folder.join(&name), inside.join(&name));
        let meta = fs::symlink_metadata(&path).map_err(failed(&path))?;
        let kind = meta.file_type();
        if kind.is_dir() {
            let mut header = header(&meta, tar::EntryType::Directory, 0);
            tar.append_data(&mut header, &inside, io::empty()).map_err(failed(&path))?;
            pack_folder(tar, &path, &inside)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(failed(&path))?;
            let mut header = header(&meta, tar::EntryType::Symlink, 0);
            tar.append_link(&mut header, &inside, &target).map_err(failed(&path))?;
        } else if kind.is_file() {
            let file = File::open(&path).map_err(failed(&path))?;
            let mut header = header(&meta, tar::EntryType::Regular, meta.len());
            // Exactly as many bytes as announced, even if somebody writes to the file meanwhile.
            let content = io::Read::chain(io::Read::take(file, meta.len()), io::repeat(0));
            tar.append_data(&mut header, &inside, io::Read::take(content, meta.len()))
                .map_err(failed(&path))?;
        } else if kind.is_fifo() {
            let mut header = header(&meta, tar::EntryType::Fifo, 0);
            tar.append_data(&mut header, &inside, io::empty()).map_err(failed(&path))?;
        } else {
            return Err(BuildError::Special { path });
        }
    }
    Ok(())
}

fn header(meta: &Metadata, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(meta.mode() & 0o7777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
    header
}

fn configure(mut config: ImageConfig, options: &BuildOptions) -> ImageConfig {
    if let Some(entrypoint) = &options.entrypoint {
        config.entrypoint.clone_from(entrypoint);
        config.cmd.clear();
    }
    if let Some(cmd) = &options.cmd {
        config.cmd.clone_from(cmd);
    }
    for (name, value) in &options.env {
        config.env.retain(|(old, _)| old != name);
        config.env.push((name.clone(), value.clone()));
    }
    if options.base.is_none() && !config.env.iter().any(|(name, _)| name == "PATH") {
        config.env.insert(0, ("PATH".to_owned(), DEFAULT_PATH.to_owned()));
    }
    if let Some(folder) = &options.working_dir {
        config.working_dir.clone_from(folder);
    }
    if let Some(user) = &options.user {
        config.user.clone_from(user);
    }
    config.stop_signal = options.stop_signal.clone().or(config.stop_signal);
    for port in &options.exposed_ports {
        if !config.exposed_ports.contains(port) {
            config.exposed_ports.push(port.clone());
        }
    }
    config.exposed_ports.sort();
    config.labels.extend(options.labels.iter().cloned());
    config
}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
