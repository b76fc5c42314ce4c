//! One process per data folder.
//!
//! The claim is a lock of the kernel's on a file that names the holder; it goes when the holder dies, however it dies.
//! The file stays behind on purpose: removing it would let a third process lock a new file while a second waits on the
//! old one. An empty file is nobody's: its maker has not locked it yet, or has given the folder away for good.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The file that names the process of a data folder.
const FILE: &str = "outrigger.pid";

/// A data folder of this process's own, as long as the value lives.
#[derive(Debug)]
pub(crate) struct Claim {
    file: File,
}

/// Why a folder cannot be claimed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    /// Somebody has it.
    #[error("{} is in use by {}", folder.display(), holder(*pid))]
    Held { folder: PathBuf, pid: Option<u32> },
    /// The system refuses.
    #[error("cannot use {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Claim {
    /// Claims a folder, which is made if it is not there. Never waits.
    pub(crate) fn take(folder: &Path) -> Result<Self, ClaimError> {
        let path = folder.join(FILE);
        let refused = |source: std::io::Error| ClaimError::File { path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(refused)?;
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(refused)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ClaimError::Held { folder: folder.to_owned(), pid: read(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(refused(source)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(refused)?;
        writeln!(file, "{}", std::process::id()).map_err(refused)?;
        Ok(Self { file })
    }

    /// Claims what a process that died has left; nothing if somebody lives in it, or nobody ever did.
    pub(crate) fn take_over(folder: &Path) -> Option<Self> {
        let mut file = File::options().read(true).write(true).open(folder.join(FILE)).ok()?;
        read(&mut file)?;
        file.try_lock().ok()?;
        // It may have been taken away between the two steps.
        folder.join(FILE).exists().then_some(Self { file })
    }

    /// Gives the folder away: nobody will take it over.
    pub(crate) fn give_away(self) -> std::io::Result<()> {
        self.file.set_len(0)
    }
}

fn read(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), process)
}

/// A process as people find it: its number and its command line.
pub(crate) fn process(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
    let words: Vec<_> = words.into_iter().take(SHOWN_WORDS).map(String::from_utf8_lossy).collect();
    if words.is_empty() { format!("process {pid}") } else { format!("process {pid} ({})", words.join(" ")) }
}

/// As much of a command line as a message has room for.
const SHOWN_WORDS: usize = 6;

impl From<ClaimError> for Failure {
    fn from(error: ClaimError) -> Self {
        let advice = match &error {
            ClaimError::Held { folder, .. } => {
                format!(
                    "; stop it with `outrigger down --data-dir {}`, or give another --data-dir",
                    folder.display()
                )
            }
            ClaimError::File { .. } => String::new(),
        };
        Self::other(format!("{}{advice}", crate::failure::chain(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_holder_and_says_who() {
        let folder = tempfile::tempdir().unwrap();
        let held = Claim::take(folder.path()).unwrap();
        let error = Claim::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {} (", std::process::id())), "{error}");
        assert!(Claim::take_over(folder.path()).is_none(), "its holder lives");
        drop(held);
        let taken = Claim::take_over(folder.path()).unwrap();
        taken.give_away().unwrap();
        assert!(Claim::take_over(folder.path()).is_none(), "it was given away");
        drop(Claim::take(folder.path()).unwrap());
    }
}
