//! Being told that a folder's files changed, by inotify. What changed is found out by reading it.

use std::path::Path;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use inotify::{EventStream, Inotify, WatchMask};
use tracing::warn;

/// Changes that follow each other within this are one: a file is often written in steps.
const SETTLE: Duration = Duration::from_millis(50);

/// A watched folder, or the folder of a watched file.
pub(super) struct FolderWatch(EventStream<[u8; 4096]>);

impl FolderWatch {
    /// `None` if it cannot be watched, for example because it does not exist; it is then read now and then.
    pub(super) fn new(path: &Path) -> Option<Self> {
        let folder = if path.is_file() { path.parent()? } else { path };
        let open = || -> std::io::Result<Self> {
            let inotify = Inotify::init()?;
            let mask = WatchMask::CLOSE_WRITE | WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE;
            inotify.watches().add(folder, mask)?;
            Ok(Self(inotify.into_event_stream([0; 4096])?))
        };
        match open() {
            Ok(watch) => Some(watch),
            Err(error) => {
                warn!(path = %path.display(), %error, "not watched; it is read every 20 s");
                None
            }
        }
    }

    /// Returns once something changed. Dropping it loses nothing.
    pub(super) async fn changed(&mut self) {
        if !matches!(self.0.next().await, Some(Ok(_))) {
            return std::future::pending().await;
        }
        tokio::time::sleep(SETTLE).await;
        while let Some(Some(Ok(_))) = self.0.next().now_or_never() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N31: a new file is noticed at once.
    #[tokio::test]
    async fn a_new_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = FolderWatch::new(folder.path()).unwrap();
        std::fs::write(folder.path().join("new"), "text").unwrap();
        watch.changed().await;
        assert!(FolderWatch::new(&folder.path().join("missing")).is_none());
    }
}
