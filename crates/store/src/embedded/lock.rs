//! Keeps two processes from opening the same data directory.
//!
//! The lock is the kernel's (`flock`), so it goes when its holder dies, however it dies. The file's text is only
//! there to name the holder; nothing trusts it. The file stays behind on purpose: removing it would let a third
//! process lock a new file while a second still waits on the old one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::OpenError;
use crate::Error;

const LOCK: &str = "lock";

/// A folder that belongs to this process for as long as the value lives.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes a folder, which is made if it is not there, at once.
    ///
    /// # Errors
    /// If another process has it, or the disk refuses.
    pub fn take_folder(folder: &Path) -> Result<Self, OpenError> {
        let unavailable = |source: std::io::Error| OpenError::Store(Error::Unavailable(Box::new(source)));
        std::fs::create_dir_all(folder).map_err(unavailable)?;
        Self::take(&folder.join(LOCK))
    }

    fn take(path: &Path) -> Result<Self, OpenError> {
        let unavailable = |source: std::io::Error| OpenError::Store(Error::Unavailable(Box::new(source)));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(unavailable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse { pid: read_pid(&mut file), path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(unavailable(source)),
        }
        write_pid(&mut file).map_err(unavailable)?;
        Ok(Self { _file: file })
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

/// `None` in the instant between the holder's locking and its writing.
fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
