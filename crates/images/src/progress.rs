//! What a pull tells while it runs. Events are for showing, never for deciding: they may be dropped.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

/// One piece of news about one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullEvent {
    /// The layer's compressed digest; the normalised reference for [`Phase::Resolving`] and [`Phase::Done`].
    pub layer: String,
    /// Compressed bytes received so far.
    pub bytes: u64,
    /// Compressed bytes expected; 0 while unknown.
    pub total: u64,
    /// What is happening to it.
    pub phase: Phase,
}

/// Where a layer, or the whole pull, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Asking registries for the manifest.
    Resolving,
    /// Waiting for one of the download slots.
    Waiting,
    /// Bytes are coming in and are unpacked as they come.
    Downloading,
    /// All bytes are here; the rest of the unpacking.
    Extracting,
    /// The layer was in the store already.
    Exists,
    /// Verified and in the store.
    Complete,
    /// The image is usable.
    Done,
}

/// Where events go: a bounded channel of the caller's. When it is full, events are dropped.
pub type Progress = mpsc::Sender<PullEvent>;

/// The listeners of one pull; callers who join a running pull are added to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listeners(Arc<Mutex<Vec<Progress>>>);

impl Listeners {
    pub(crate) fn add(&self, progress: Option<Progress>) {
        if let Some(progress) = progress {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(progress);
        }
    }

    pub(crate) fn tell(&self, layer: &str, phase: Phase, bytes: u64, total: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| {
            let event = PullEvent { layer: layer.to_owned(), bytes, total, phase };
            !matches!(one.try_send(event), Err(mpsc::error::TrySendError::Closed(_)))
        });
    }
}
