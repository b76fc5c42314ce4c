//! Paths inside volumes that containers may have filled with links (R12.29). The kernel resolves them and refuses
//! to leave the volume.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

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

/// The path `sub` below `root`, made as a directory if it is missing, free of links.
pub(crate) fn sub_path(root: &Path, sub: &str) -> Result<PathBuf, SubPathProblem> {
    match resolve_beneath(root, Path::new(sub)) {
        Ok(path) => return Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => return Err(SubPathProblem::Prepare),
    }
    let mode = fs::metadata(root).map_err(|_| SubPathProblem::Create)?.permissions().mode() & 0o7777;
    let mut done = PathBuf::from(".");
    for part in Path::new(sub).components() {
        let parent = resolve_beneath(root, &done).map_err(|_| SubPathProblem::Create)?;
        done.push(part);
        if resolve_beneath(root, &done).is_ok() {
            continue;
        }
        let path = parent.join(part);
        fs::create_dir(&path).map_err(|_| SubPathProblem::Create)?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(|_| SubPathProblem::Create)?;
    }
    resolve_beneath(root, Path::new(sub)).map_err(|_| SubPathProblem::Prepare)
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
        assert_eq!(sub_path(&root, "a/b").unwrap(), root.canonicalize().unwrap().join("a/b"));
        assert_eq!(sub_path(&root, "out"), Err(SubPathProblem::Prepare));
        assert_eq!(sub_path(&root, "out/passwd"), Err(SubPathProblem::Prepare));
    }
}
