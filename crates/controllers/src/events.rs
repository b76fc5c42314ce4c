//! What controllers tell users, written by one task behind a bounded queue, so that no turn waits for it.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use outrigger_workloads::Note;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Events waiting to be written; more are dropped.
const QUEUE: usize = 1024;

struct Told {
    controller: &'static str,
    about: ObjectReference,
    note: Note,
}

/// The sending side; cheap to clone.
#[derive(Clone)]
pub(crate) struct Teller {
    controller: &'static str,
    queue: mpsc::Sender<Told>,
}

/// The writing side.
pub(crate) struct Writer(mpsc::Receiver<Told>);

/// Both sides.
pub(crate) fn channel() -> (Teller, Writer) {
    let (queue, told) = mpsc::channel(QUEUE);
    (Teller { controller: "controller-manager", queue }, Writer(told))
}

impl Teller {
    /// The same queue for another controller; its name is what users see as the source.
    pub(crate) fn of(&self, controller: &'static str) -> Self {
        Self { controller, queue: self.queue.clone() }
    }

    /// Tells of an object. Never waits.
    pub(crate) fn tell(&self, about: &ObjectReference, note: Note) {
        let told = Told { controller: self.controller, about: about.clone(), note };
        if self.queue.try_send(told).is_err() {
            debug!("too many events; one is dropped");
        }
    }
}

impl Writer {
    /// Writes until `stop`. Equal events are counted (N1).
    pub(crate) async fn run(mut self, client: Client, stop: CancellationToken) {
        let mut recorders: HashMap<&'static str, Recorder> = HashMap::new();
        loop {
            let told = tokio::select! {
                () = stop.cancelled() => return,
                told = self.0.recv() => match told { Some(told) => told, None => return },
            };
            let recorder = recorders.entry(told.controller).or_insert_with(|| {
                let reporter = Reporter { controller: told.controller.to_owned(), instance: None };
                Recorder::new(client.clone(), reporter)
            });
            let event = Event {
                type_: if told.note.warning { EventType::Warning } else { EventType::Normal },
                action: told.note.reason.clone(),
                reason: told.note.reason,
                note: Some(told.note.message),
                secondary: None,
            };
            if let Err(error) = recorder.publish(&event, &told.about).await {
                debug!(%error, reason = event.reason, "an event was not written");
            }
        }
    }
}
