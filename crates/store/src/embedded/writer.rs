//! The one writer: takes requests in the order they come, decides each against what came before it, makes all that
//! are waiting durable in one transaction, and only then shows and answers them.
//!
//! ```text
//!   requests ─► decide against memory + this batch ─► disk (one sync) ─► index ─► watchers ─► answers
//! ```

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use outrigger_api::clock::{MonoTime, SharedClock};
use tokio::sync::{mpsc, oneshot};

use super::disk::{Disk, Record};
use super::index::{Change, HistoryLimits, Index};
use super::leases::Leases;
use crate::hub::Hub;
use crate::{Error, Expect, KeyValue, Outcome, Revision};

/// Requests made durable together at most: the sweet spot measured is 16 to 128.
const BATCH: usize = 128;
/// Keys that expire in one batch at most.
const EXPIRIES: usize = 256;
/// How often idle watchers hear how far the store is (M7).
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// How long expiries wait after a failed commit.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What is asked of the writer.
#[derive(Debug)]
pub(super) enum Request {
    Write {
        key: Arc<str>,
        value: Option<Bytes>,
        expect: Expect,
        ttl: Option<Duration>,
        answer: Answer,
    },
    Compact {
        revision: Revision,
        answer: oneshot::Sender<Result<(), Error>>,
    },
    /// Finish what was asked before, then end.
    Close,
}

pub(super) type Answer = oneshot::Sender<Result<Outcome, Error>>;

/// Everything the writer owns or shares.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) disk: Disk,
    pub(super) index: Arc<RwLock<Index>>,
    pub(super) hub: Arc<Hub>,
    pub(super) leases: Leases,
    pub(super) limits: HistoryLimits,
    pub(super) clock: SharedClock,
    /// The last commit failed: what is due by itself waits [`AFTER_FAILURE`] instead of trying without a pause.
    pub(super) stalled: bool,
}

/// A batch in the making.
#[derive(Debug, Default)]
struct Batch {
    records: Vec<Record>,
    deadlines: Vec<(Arc<str>, Option<MonoTime>)>,
    /// Keys as they will be, where they differ from the index.
    staged: HashMap<Arc<str>, Option<KeyValue>>,
    answers: Vec<(Answer, Outcome)>,
    compactions: Vec<(Revision, oneshot::Sender<Result<(), Error>>)>,
    closing: bool,
}

impl Writer {
    /// Serves until told to close or until nobody can ask any more.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut waiting = Vec::with_capacity(BATCH);
        let mut progress = tokio::time::interval(PROGRESS_EVERY);
        loop {
            let pause = self.until_next_deadline();
            tokio::select! {
                biased;
                received = requests.recv_many(&mut waiting, BATCH) => if received == 0 { break },
                () = tokio::time::sleep(pause) => {}
                _ = progress.tick() => self.hub.announce_progress(),
            }
            if self.turn(&mut waiting) {
                break;
            }
        }
        self.hub.close();
    }

    /// How long nothing is due by itself.
    fn until_next_deadline(&self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(60);
        let trim = self.write_index().next_trim(&self.limits);
        let due = [self.leases.next(), trim].into_iter().flatten().min();
        let soonest = if self.stalled { AFTER_FAILURE } else { Duration::ZERO };
        due.map_or(LONGEST, |due| due.since(self.clock.now().mono).clamp(soonest, LONGEST))
    }

    /// One batch. Answers whether the writer shall end.
    fn turn(&mut self, waiting: &mut Vec<Request>) -> bool {
        let mut batch = Batch::default();
        for request in waiting.drain(..) {
            self.decide(request, &mut batch);
        }
        self.expire(&mut batch);
        let Batch { records, deadlines, answers, compactions, closing, .. } = batch;
        let before = self.write_index().current();
        let committed = self.disk.commit(&records, before);
        self.stalled = committed.is_err();
        match committed {
            Ok(()) => {
                self.show(records, deadlines);
                for (answer, outcome) in answers {
                    let _ = answer.send(Ok(outcome));
                }
            }
            Err(error) => refuse(answers, &error),
        }
        for (revision, answer) in compactions {
            let _ = answer.send(self.compact(revision));
        }
        closing
    }

    fn decide(&self, request: Request, batch: &mut Batch) {
        let (key, value, expect, ttl, answer) = match request {
            Request::Write { key, value, expect, ttl, answer } => (key, value, expect, ttl, answer),
            Request::Compact { revision, answer } => return batch.compactions.push((revision, answer)),
            Request::Close => return batch.closing = true,
        };
        let present = match batch.staged.get(&key) {
            Some(staged) => staged.clone(),
            None => self.write_index().get(&key),
        };
        let holds = match expect {
            Expect::Absent => present.is_none(),
            Expect::Revision(revision) => present.as_ref().is_some_and(|kv| kv.mod_revision == revision),
        };
        if !holds {
            return batch.answers.push((answer, Outcome::Mismatch(present)));
        }
        let create = present.map(|kv| kv.create_revision);
        let revision = self.stage(batch, key, value, create, ttl);
        batch.answers.push((answer, Outcome::Applied(revision)));
    }

    /// Puts a change into the batch and says its revision.
    fn stage(
        &self,
        batch: &mut Batch,
        key: Arc<str>,
        value: Option<Bytes>,
        create: Option<Revision>,
        ttl: Option<Duration>,
    ) -> Revision {
        let newest = batch.records.last().map(|record| record.change.revision);
        let revision = newest.unwrap_or_else(|| self.write_index().current()) + 1;
        let current = value.map(|value| KeyValue {
            key: Arc::clone(&key),
            value,
            create_revision: create.unwrap_or(revision),
            mod_revision: revision,
        });
        let now = self.clock.now();
        let expires_at = ttl.map(|ttl| {
            let ttl = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
            now.wall.as_millisecond().saturating_add(ttl)
        });
        batch.staged.insert(Arc::clone(&key), current.clone());
        batch.deadlines.push((Arc::clone(&key), ttl.map(|ttl| now.mono + ttl)));
        batch.records.push(Record { change: Change { revision, key, current }, expires_at });
        revision
    }

    /// M8: what has expired is deleted with the next batch.
    fn expire(&self, batch: &mut Batch) {
        for key in self.leases.due(self.clock.now().mono, EXPIRIES) {
            // A write in this batch has given the key another deadline already.
            if !batch.staged.contains_key(&key) {
                self.stage(batch, key, None, None, None);
            }
        }
    }

    fn show(&mut self, records: Vec<Record>, deadlines: Vec<(Arc<str>, Option<MonoTime>)>) {
        for (key, deadline) in deadlines {
            self.leases.set(&key, deadline);
        }
        let now = self.clock.now().mono;
        let changes = records.into_iter().map(|record| record.change).collect();
        let events = {
            let mut index = self.write_index();
            let events = index.apply(changes, now);
            index.trim(&self.limits, now);
            events
        };
        self.hub.dispatch(&events);
    }

    fn compact(&self, revision: Revision) -> Result<(), Error> {
        let mut index = self.write_index();
        let current = index.current();
        if revision > current {
            return Err(Error::Future { requested: revision, current });
        }
        index.compact(revision.saturating_sub(1));
        Ok(())
    }

    fn write_index(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// None of the batch was applied; a demand that did not hold would not have been applied anyway.
fn refuse(answers: Vec<(Answer, Outcome)>, error: &Error) {
    tracing::error!(%error, "a write to the store failed");
    for (answer, outcome) in answers {
        let _ = answer.send(match outcome {
            Outcome::Applied(_) => Err(Error::Unavailable(error.to_string().into())),
            Outcome::Mismatch(present) => Ok(Outcome::Mismatch(present)),
        });
    }
}
