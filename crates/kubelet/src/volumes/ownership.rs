//! fsGroup and modes (R12.7).

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, lchown};
use std::path::Path;

use super::MountError;

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), MountError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(MountError::io("set mode of", path))
}

/// A volume's own folder: `mode`, and with an fsGroup its group and setgid (R12.10).
pub(super) fn prepare_root(path: &Path, mode: u32, group: Option<u32>) -> Result<(), MountError> {
    if group.is_some() {
        lchown(path, None, group).map_err(MountError::io("change owner of", path))?;
    }
    set_mode(path, if group.is_some() { mode | 0o2000 } else { mode })
}

/// Gives everything from `path` down to `group`, readable: for volumes that containers cannot write.
pub(super) fn give_to_readers(path: &Path, group: Option<u32>) -> Result<(), MountError> {
    let Some(group) = group else { return Ok(()) };
    let meta = fs::symlink_metadata(path).map_err(MountError::io("look at", path))?;
    lchown(path, None, Some(group)).map_err(MountError::io("change owner of", path))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let mut mode = meta.permissions().mode() | 0o440;
    if meta.is_dir() {
        mode |= 0o2110;
        for entry in fs::read_dir(path).map_err(MountError::io("read", path))? {
            let entry = entry.map_err(MountError::io("read", path))?;
            give_to_readers(&entry.path(), Some(group))?;
        }
    }
    set_mode(path, mode & 0o7777)
}
