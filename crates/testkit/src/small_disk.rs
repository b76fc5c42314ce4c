//! A disk that fills up.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use crate::TestkitError;

/// A file system in memory with a size of its own. Needs root. Taken down when dropped, with everything in it.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `bytes` on a folder that exists.
    pub fn mount(at: &Path, bytes: u64) -> Result<Self, TestkitError> {
        mount("outrigger-test", at, "tmpfs", MountFlags::empty(), size(bytes).as_c_str())
            .map_err(|error| TestkitError::io("mount a file system on", at)(error.into()))?;
        Ok(Self { at: at.to_owned() })
    }

    /// Makes it larger.
    pub fn grow(&self, bytes: u64) -> Result<(), TestkitError> {
        mount_remount(&self.at, MountFlags::empty(), size(bytes).as_c_str())
            .map_err(|error| TestkitError::io("make more room on", &self.at)(error.into()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Files may still be open; it goes with the last of them.
        let _ = unmount(&self.at, UnmountFlags::DETACH);
    }
}

fn size(bytes: u64) -> CString {
    CString::new(format!("size={bytes}")).expect("a number holds no NUL")
}
