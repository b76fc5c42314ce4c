//! Unpacking a layer somebody else wrote.
//!
//! The archive is an adversary: it may name paths outside its root, lay symlinks and write through them, claim sizes
//! that fill the disk, or carry device nodes. Every path is resolved by the kernel inside the layer's own folder
//! (`openat2` with RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS, Linux 5.6), every final name is made with
//! O_EXCL and never followed, and [`Limits`] bound what an archive may cost. Each layer gets a folder of its
//! own, so a symlink from an earlier layer is never in the way of a later one.
//!
//! Whiteouts become what overlayfs expects: a 0/0 character device per deleted name, `trusted.overlay.opaque` on a
//! directory whose lower contents are hidden (`user.overlay.opaque` where the former is not permitted).
//!
//! Start at [`unpack`]. `meter` counts and hashes the stream, `rooted` makes files.

mod entry;
mod meter;
mod rooted;

use std::io::{self, Read};
use std::path::Path;

pub(crate) use meter::Compressed;
use meter::Meter;
pub(crate) use rooted::OPAQUE_XATTRS;
use rooted::Root;

use crate::FailureKind;

/// What one layer may cost. At a limit the layer is refused as hostile and everything it made is removed.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Uncompressed bytes of the archive, and bytes of all its files. Default 32 GiB.
    pub unpacked_bytes: u64,
    /// Entries in the archive. Default 2 million.
    pub entries: u64,
    /// Uncompressed over compressed bytes, looked at once 256 MiB came out. Default 400; gzip cannot exceed 1032.
    pub ratio: u64,
    /// Bytes in a path. Default 4095, Linux' own.
    pub path_bytes: usize,
    /// Bytes of headers before one entry (long names, extended attributes). Default 1 MiB.
    pub header_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unpacked_bytes: 32 << 30,
            entries: 2_000_000,
            ratio: 400,
            path_bytes: 4095,
            header_bytes: 1 << 20,
        }
    }
}

/// Why a layer was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The archive attacks the node, or cannot be told from one that does.
    #[error("layer refused: \"{path}\" {why}")]
    Hostile {
        /// The entry's name as written, lossily decoded.
        path: String,
        /// What is wrong with it.
        why: Refusal,
    },
    /// The archive costs more than [`Limits`] allow.
    #[error("layer refused: {0}")]
    TooBig(Excess),
    /// Not an archive, or damaged on the way.
    #[error("layer cannot be read")]
    Corrupt(#[source] io::Error),
    /// It is not what its digest says.
    #[error("layer digest mismatch: expected {expected}, got {actual}")]
    Digest {
        /// The manifest's or config's claim.
        expected: String,
        /// What the bytes hash to.
        actual: String,
    },
    /// A compression or layer format this program does not read.
    #[error("layer media type {0} is not supported")]
    Unsupported(String),
    /// The node could not write it (disk full, no privilege for whiteouts).
    #[error("cannot {action} \"{path}\"")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// On what, relative to the layer.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl LayerError {
    /// What kind of failure this is.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Hostile { .. } | Self::TooBig(_) => FailureKind::Hostile,
            Self::Corrupt(_) | Self::Digest { .. } | Self::Unsupported(_) => FailureKind::Corrupt,
            Self::Disk { .. } => FailureKind::Disk,
        }
    }
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Starts with `/`.
    #[error("is an absolute path")]
    Absolute,
    /// Has a `..` component.
    #[error("climbs out of the layer with \"..\"")]
    ParentDir,
    /// A component over 255 bytes, a path over the limit, or more than 512 folders deep.
    #[error("has a name that is too long")]
    NameTooLong,
    /// Empty, or holds a NUL byte.
    #[error("is not a usable name")]
    BadName,
    /// A parent is a symlink to somewhere the layer does not have.
    #[error("would be written through a symlink that leaves the layer")]
    ThroughSymlink,
    /// A parent is a file.
    #[error("lies below something that is not a directory")]
    NotADirectory,
    /// A block or character device outside `dev/`.
    #[error("is a device node")]
    Device,
    /// A hard link to a name this layer does not have.
    #[error("is a hard link to \"{0}\", which this layer does not contain")]
    LinkTarget(String),
    /// An extended attribute that steers overlayfs.
    #[error("sets the extended attribute \"{0}\", which is reserved to the node")]
    Xattr(String),
}

/// Which limit was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// [`Limits::unpacked_bytes`].
    #[error("it unpacks to more than {0} bytes")]
    Bytes(u64),
    /// [`Limits::entries`].
    #[error("it has more than {0} entries")]
    Entries(u64),
    /// [`Limits::ratio`].
    #[error("it is compressed more than {0} to 1, which only an archive bomb is")]
    Ratio(u64),
    /// [`Limits::header_bytes`].
    #[error("an entry's header is larger than {0} bytes")]
    Header(u64),
}

/// A layer on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// The digest of the uncompressed archive.
    pub(crate) diff_id: String,
    /// Bytes of the uncompressed archive.
    pub(crate) bytes: u64,
}

/// Unpacks the uncompressed tar stream `tar` into the existing, empty folder `target`.
///
/// `compressed` counts what was read from the network or disk, for the ratio. Blocks; on an error `target` holds
/// a part of the layer and is the caller's to remove.
pub(crate) fn unpack(
    tar: impl Read,
    compressed: Compressed,
    target: &Path,
    limits: &Limits,
) -> Result<Unpacked, LayerError> {
    let (meter, gauge) = Meter::new(tar, compressed, limits);
    let mut archive = tar::Archive::new(meter);
    let walked = unpack_entries(&mut archive, &gauge, target, limits);
    let drained = walked.and_then(|()| {
        gauge.unlimited();
        // The digest covers the padding after the last entry too.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(LayerError::Corrupt)
    });
    match (gauge.excess(), drained) {
        (Some(excess), _) => Err(LayerError::TooBig(excess)),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => Ok(Unpacked { diff_id: gauge.diff_id(), bytes: gauge.bytes() }),
    }
}

fn unpack_entries<R: Read>(
    archive: &mut tar::Archive<R>,
    gauge: &meter::Gauge,
    target: &Path,
    limits: &Limits,
) -> Result<(), LayerError> {
    let mut root = Root::open(target)?;
    let mut count = 0_u64;
    let mut written = 0_u64;
    let mut entries = archive.entries().map_err(LayerError::Corrupt)?;
    loop {
        gauge.limit_header();
        let Some(next) = entries.next() else { break };
        gauge.unlimited();
        let mut entry = next.map_err(LayerError::Corrupt)?;
        count += 1;
        if count > limits.entries {
            return Err(LayerError::TooBig(Excess::Entries(limits.entries)));
        }
        // A sparse file claims its size without sending it.
        written = written.saturating_add(entry.size());
        if written > limits.unpacked_bytes {
            return Err(LayerError::TooBig(Excess::Bytes(limits.unpacked_bytes)));
        }
        entry::unpack_entry(&mut root, &mut entry, limits)?;
        io::copy(&mut entry, &mut io::sink()).map_err(LayerError::Corrupt)?;
    }
    root.finish()
}

#[cfg(test)]
mod tests;
