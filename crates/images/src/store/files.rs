//! The store's way with files: atomic writes, staging folders, removing trees other people made.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::StoreError;

/// Takes the store's lock for as long as the file is held; never waits.
pub(super) fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(StoreError::io("open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked { root: root.to_path_buf() }),
        Err(errno) => Err(StoreError::io("lock", &path)(errno.into())),
    }
}

/// Replaces `path` by `bytes`, whole or not at all, and on disk when this returns.
pub(super) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let write = || -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(StoreError::io("write", path))
}

/// Everything on the file system of `folder` is on disk when this returns.
pub(super) fn sync_file_system(folder: &Path) -> Result<(), StoreError> {
    let file = File::open(folder).map_err(StoreError::io("open", folder))?;
    rustix::fs::syncfs(&file).map_err(|errno| StoreError::io("sync", folder)(errno.into()))
}

/// A folder for things that are not finished; gone with everything in it when dropped.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
}

impl Staging {
    pub(super) fn new(tmp: &Path) -> Result<Self, StoreError> {
        let folder =
            tempfile::Builder::new().prefix("s-").tempdir_in(tmp).map_err(StoreError::io("stage in", tmp))?;
        Ok(Self { path: folder.keep() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove an unfinished folder");
        }
    }
}

/// Removes `tree` and all in it, following no links.
///
/// Trees come from strangers and may be nested more deeply than there are descriptors or stack. So every folder is
/// first moved up to the top: no path ever gets longer, and one folder is open at a time. Interrupted, it leaves
/// parts of the tree inside `tree`, and may be called again.
pub(super) fn remove_tree(tree: &Path) -> io::Result<()> {
    let meta = match fs::symlink_metadata(tree) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if !meta.is_dir() {
        return fs::remove_file(tree);
    }
    let mut serial = 0_u64;
    let mut pending: Vec<OsString> = Vec::new();
    empty(tree, tree, &mut serial, &mut pending)?;
    while let Some(name) = pending.pop() {
        let folder = tree.join(&name);
        empty(&folder, tree, &mut serial, &mut pending)?;
        fs::remove_dir(&folder)?;
    }
    fs::remove_dir(tree)
}

/// Deletes the files in `folder` and moves its folders to `top` under new names.
fn empty(folder: &Path, top: &Path, serial: &mut u64, pending: &mut Vec<OsString>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
            continue;
        }
        if folder == top {
            pending.push(entry.file_name());
            continue;
        }
        loop {
            *serial += 1;
            let name = OsString::from(format!(".outrigger-gone-{serial}"));
            if !top.join(&name).try_exists()? {
                fs::rename(entry.path(), top.join(&name))?;
                pending.push(name);
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_deeper_than_any_path_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("beside")).unwrap();
        fs::write(tree.join("beside/file"), b"x").unwrap();
        std::os::unix::fs::symlink("/etc", tree.join("beside/link")).unwrap();
        // Nest by moving what is there into a new parent: paths stay short while the tree grows.
        for _ in 0..3000 {
            fs::create_dir(dir.path().join("outer")).unwrap();
            fs::rename(&tree, dir.path().join("outer/d")).unwrap();
            fs::rename(dir.path().join("outer"), &tree).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && Path::new("/etc").exists());
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn a_lock_is_held_once() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(StoreError::Locked { .. })));
        drop(held);
        lock(dir.path()).unwrap();
    }
}
