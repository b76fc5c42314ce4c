//! One archive entry: what it claims, whether to believe it, and what to make of it.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use tar::EntryType;

use super::rooted::{Meta, Root};
use super::{LayerError, Limits, Refusal};

/// Folders in folders. Far more than anybody nests, far less than there are descriptors to walk them with.
const MAX_DEPTH: usize = 512;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Bookkeeping of a long-gone union file system; meaningless here.
const AUFS: &[u8] = b".wh..wh.";

/// Makes what `entry` stands for below `root`, or says why not.
pub(super) fn unpack_entry<R: Read>(
    root: &mut Root,
    entry: &mut tar::Entry<'_, R>,
    limits: &Limits,
) -> Result<(), LayerError> {
    let written = entry.path_bytes().into_owned();
    let refuse = |why| LayerError::Hostile { path: String::from_utf8_lossy(&written).into_owned(), why };
    let path = checked_path(&written, limits).map_err(&refuse)?;
    let kind = entry.header().entry_type();
    if matches!(kind, EntryType::XGlobalHeader) {
        return Ok(());
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return if kind.is_dir() {
            root.set_root_meta(&meta(entry, &refuse)?)
        } else {
            Err(refuse(Refusal::BadName))
        };
    };
    if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
        return whiteout(root, parent, name, hidden, &refuse);
    }
    let meta = meta(entry, &refuse)?;
    match kind {
        EntryType::Directory => root.make_dir(&path, &meta),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            root.make_file(&path, &meta, entry.size(), entry)
        }
        EntryType::Symlink => {
            let target =
                link_name(entry).filter(|t| !t.is_empty()).ok_or_else(|| refuse(Refusal::BadName))?;
            root.make_symlink(&path, &meta, OsStr::from_bytes(&target))
        }
        EntryType::Link => {
            let target = link_name(entry).ok_or_else(|| refuse(Refusal::BadName))?;
            let target = checked_path(&target, limits).map_err(&refuse)?;
            root.make_link(&path, &target)
        }
        EntryType::Fifo => root.make_fifo(&path, &meta),
        // Containers get a /dev of their own, so a node there is never seen; anywhere else it is a way in.
        EntryType::Block | EntryType::Char if path.starts_with("dev") => Ok(()),
        EntryType::Block | EntryType::Char => Err(refuse(Refusal::Device)),
        _ => Ok(()),
    }
}

/// A relative path of plain components; empty for the layer's root.
fn checked_path(written: &[u8], limits: &Limits) -> Result<PathBuf, Refusal> {
    if written.is_empty() || written.contains(&0) {
        return Err(Refusal::BadName);
    }
    if written.len() > limits.path_bytes {
        return Err(Refusal::NameTooLong);
    }
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(written)).components() {
        match component {
            Component::Normal(name) if name.len() > 255 => return Err(Refusal::NameTooLong),
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err(Refusal::ParentDir),
            Component::RootDir | Component::Prefix(_) => return Err(Refusal::Absolute),
        }
    }
    if path.components().count() > MAX_DEPTH {
        return Err(Refusal::NameTooLong);
    }
    Ok(path)
}

fn whiteout(
    root: &mut Root,
    parent: &Path,
    name: &OsStr,
    hidden: &[u8],
    refuse: &impl Fn(Refusal) -> LayerError,
) -> Result<(), LayerError> {
    match name.as_bytes() {
        OPAQUE => root.make_opaque(parent),
        aufs if aufs.starts_with(AUFS) => Ok(()),
        _ if matches!(hidden, b"" | b"." | b"..") => Err(refuse(Refusal::BadName)),
        _ => root.make_whiteout(&parent.join(OsString::from_vec(hidden.to_vec()))),
    }
}

fn link_name<R: Read>(entry: &tar::Entry<'_, R>) -> Option<Vec<u8>> {
    entry.link_name_bytes().map(std::borrow::Cow::into_owned).filter(|name| !name.contains(&0))
}

fn meta<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    refuse: &impl Fn(Refusal) -> LayerError,
) -> Result<Meta, LayerError> {
    let header = entry.header();
    let number = |value: std::io::Result<u64>| {
        value.and_then(|v| u32::try_from(v).map_err(std::io::Error::other)).map_err(LayerError::Corrupt)
    };
    let mut meta = Meta {
        mode: header.mode().map_err(LayerError::Corrupt)? & 0o7777,
        uid: number(header.uid())?,
        gid: number(header.gid())?,
        mtime: i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0),
        mtime_nanos: 0,
        xattrs: Vec::new(),
    };
    let Some(extensions) = entry.pax_extensions().map_err(LayerError::Corrupt)? else { return Ok(meta) };
    for extension in extensions {
        let extension = extension.map_err(LayerError::Corrupt)?;
        let key = extension.key_bytes();
        if key == b"mtime" {
            (meta.mtime, meta.mtime_nanos) = pax_time(extension.value_bytes()).unwrap_or((meta.mtime, 0));
        } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            match xattr_policy(name) {
                XattrPolicy::Keep => meta.xattrs.push((name.to_vec(), extension.value_bytes().to_vec())),
                XattrPolicy::Drop => {}
                XattrPolicy::Refuse => {
                    return Err(refuse(Refusal::Xattr(String::from_utf8_lossy(name).into_owned())));
                }
            }
        }
    }
    Ok(meta)
}

enum XattrPolicy {
    Keep,
    Drop,
    Refuse,
}

/// File capabilities and users' own attributes belong to the image. Labels of security modules belong to the node
/// that made the layer and mean nothing here. overlayfs' own would redirect look-ups to other layers.
fn xattr_policy(name: &[u8]) -> XattrPolicy {
    if name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.") {
        XattrPolicy::Refuse
    } else if name == b"security.capability" || name.starts_with(b"user.") {
        XattrPolicy::Keep
    } else {
        XattrPolicy::Drop
    }
}

/// `seconds[.fraction]`; before 1970 counts as 1970, as in the classic header.
fn pax_time(value: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(value).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let seconds: i64 = seconds.parse().ok()?;
    let nanos: i64 = format!("{fraction:0<9.9}").parse().ok()?;
    Some(if seconds < 0 { (0, 0) } else { (seconds, nanos) })
}
