//! Paths inside volumes that containers may have filled with links (R12.29). The kernel resolves them and refuses
//! to leave the volume.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::env::ConfigError;

/// Which step failed; nothing of the node is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubPathProblem {
    /// It leads out of the volume, or cannot be looked at.
    Prepare,
    /// It is missing and cannot be made.
    Create,
}

impl SubPathProblem {
    pub(crate) fn into_config_error(self, volume: &str, container: &str) -> ConfigError {
        let (volume, container) = (volume.to_owned(), container.to_owned());
        match self {
            Self::Prepare => ConfigError::SubPath { volume, container },
            Self::Create => ConfigError::SubPathCreate { volume, container },
        }
    }
}

/// Sees to it that the path `sub` below `root` exists, making it as a directory if it is missing. What it is then is
/// for the mount to find out, which looks again (R12.29): containers may move links meanwhile.
pub(crate) fn sub_path(root: &Path, sub: &str) -> Result<(), SubPathProblem> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let top = rustix::fs::open(root, flags, Mode::empty()).map_err(|_| SubPathProblem::Prepare)?;
    match beneath(&top, Path::new(sub), OFlags::PATH) {
        Ok(found) => return refuse_device(&found),
        Err(Errno::NOENT) => {}
        // Behind a link that leaves the volume nothing is made; a target that is missing there is told apart.
        Err(_) if is_missing(&root.join(sub)) => return Err(SubPathProblem::Create),
        Err(_) => return Err(SubPathProblem::Prepare),
    }
    let mode = rustix::fs::fstat(&top).map_err(|_| SubPathProblem::Create)?.st_mode & 0o7777;
    let mut done = PathBuf::from(".");
    for part in Path::new(sub).components() {
        let parent = beneath(&top, &done, OFlags::PATH | OFlags::DIRECTORY);
        let parent = parent.map_err(|_| SubPathProblem::Create)?;
        done.push(part);
        if beneath(&top, &done, OFlags::PATH).is_err() {
            make_dir(&parent, part.as_os_str(), Mode::from_raw_mode(mode))
                .map_err(|_| SubPathProblem::Create)?;
        }
    }
    let made = beneath(&top, Path::new(sub), OFlags::PATH).map_err(|_| SubPathProblem::Prepare)?;
    refuse_device(&made)
}

fn is_missing(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// A device in a volume would be the node's device.
fn refuse_device(file: &OwnedFd) -> Result<(), SubPathProblem> {
    let stat = rustix::fs::fstat(file).map_err(|_| SubPathProblem::Prepare)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice | FileType::CharacterDevice => Err(SubPathProblem::Prepare),
        _ => Ok(()),
    }
}

fn make_dir(parent: &OwnedFd, name: &OsStr, mode: Mode) -> Result<(), Errno> {
    match rustix::fs::mkdirat(parent, name, mode) {
        // Somebody else was quicker.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    rustix::fs::fchmod(&made, mode)
}

fn beneath(top: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(top, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Where `path` leads without leaving `root`.
///
/// # Errors
/// If it does not exist or a link on the way leaves `root`.
pub(crate) fn resolve_beneath(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve)?;
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R12.29
    #[test]
    fn links_do_not_lead_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("volume");
        fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("out")).unwrap();
        assert_eq!(sub_path(&root, "a/b"), Ok(()));
        assert!(root.join("a/b").is_dir());
        std::os::unix::fs::symlink("a", root.join("in")).unwrap();
        assert_eq!(sub_path(&root, "in/b"), Ok(()));
        assert_eq!(sub_path(&root, "out"), Err(SubPathProblem::Prepare));
        assert_eq!(sub_path(&root, "out/passwd"), Err(SubPathProblem::Prepare));
        assert_eq!(sub_path(&root, "out/none"), Err(SubPathProblem::Create));
    }
}
