//! What controllers tell users (N1). Counting and writing is `outrigger_reconcile`'s.

use k8s_openapi::api::core::v1::ObjectReference;
use outrigger_reconcile::events::{Notice, Recorder};
use outrigger_workloads::Note;

/// Tells on behalf of one controller; cheap to clone.
#[derive(Clone)]
pub(crate) struct Teller {
    controller: &'static str,
    recorder: Recorder,
}

impl Teller {
    pub(crate) fn new(recorder: Recorder, controller: &'static str) -> Self {
        Self { controller, recorder }
    }

    /// Tells of an object. Never waits.
    pub(crate) fn tell(&self, about: &ObjectReference, note: Note) {
        self.recorder.send(Notice {
            component: self.controller,
            about: about.clone(),
            kind: if note.warning { "Warning" } else { "Normal" },
            reason: note.reason,
            message: note.message,
        });
    }
}
