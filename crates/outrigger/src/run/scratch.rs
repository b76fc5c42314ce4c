//! The folder of one run, and what runs that were killed have left in theirs.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::claim::Claim;
use crate::down::clear;
use crate::failure::Failure;

const PREFIX: &str = "outrigger-run-";

/// A folder of this run's own.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    claim: Claim,
}

impl Scratch {
    pub(super) fn make() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir();
        let folder = folder.map_err(Failure::doing("cannot make a folder for this run"))?.keep();
        let claim = Claim::take(&folder)?;
        Ok(Self { folder, claim })
    }

    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    /// Ends what runs in it and takes it away; with `keep`, its files stay.
    pub(super) async fn end(self, keep: bool) -> Result<(), Failure> {
        clear(&self.folder).await?;
        if keep {
            eprintln!("outrigger: kept {}", self.folder.display());
            return self.claim.give_away().map_err(Failure::doing("cannot keep the folder"));
        }
        remove(&self.folder)
    }
}

/// Clears away what runs left that were killed. Failures are told and stop nothing.
pub(super) async fn sweep() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) || !is_own_folder(&path) {
            continue;
        }
        let Some(_claim) = Claim::take_over(&path) else { continue };
        let cleared = clear(&path).await.and_then(|()| remove(&path));
        if let Err(failure) = cleared {
            eprintln!("outrigger: a run that was killed left {}: {failure}", path.display());
        }
    }
}

/// Temporary folders are everybody's: a name alone proves nothing.
fn is_own_folder(path: &Path) -> bool {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return false };
    let others_may_write = metadata.mode() & 0o022 != 0;
    metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw() && !others_may_write
}

fn remove(folder: &Path) -> Result<(), Failure> {
    std::fs::remove_dir_all(folder).map_err(Failure::doing(format!("cannot remove {}", folder.display())))
}
