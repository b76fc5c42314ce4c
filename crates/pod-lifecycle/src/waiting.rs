//! Why containers wait: exactly one reason for each that does not run, none for one that does.

use crate::decision::WaitingFor;
use crate::input::InstanceState;
use crate::memory::Worker;
use crate::turn::{Entry, Turn};

impl Turn<'_> {
    /// One reason for every container that does not run, in spec order. What stood in the way of a start was noted on
    /// the way here; what nothing will start any more is named now. A process whose postStart hook has not ended counts
    /// as not running (R7.3).
    pub(crate) fn reasons(&self) -> Vec<(String, WaitingFor)> {
        let reason = |entry: &Entry<'_>| Some((entry.name().to_owned(), self.reason(entry)?));
        self.entries.iter().filter_map(reason).collect()
    }

    fn reason(&self, entry: &Entry<'_>) -> Option<WaitingFor> {
        let syncing = self.memory.worker == Worker::Syncing;
        match entry.newest().map(|instance| &instance.state) {
            Some(InstanceState::Running { .. }) => {
                let hook = syncing && !self.is_stopping(entry) && !self.shows_running(entry);
                return hook.then_some(WaitingFor::PostStart);
            }
            // It may run; it is being stopped to be sure.
            Some(InstanceState::Unknown) => return None,
            Some(InstanceState::Created | InstanceState::Exited(_)) | None => {}
        }
        if syncing && let Some((_, why)) = self.waiting.iter().find(|(name, _)| name == entry.name()) {
            return Some(why.clone());
        }
        let over = syncing || entry.exited().is_some();
        Some(if over { WaitingFor::Done } else { WaitingFor::PodStopping })
    }
}
