//! The last changes that came from etcd, for watchers that are only a little behind.

use std::collections::VecDeque;

use crate::hub::History;
use crate::{Error, Event, Revision};

/// At most so many changes ...
const EVENTS: usize = 8192;
/// ... which hold at most so many bytes. The bounds hold between revisions, each of which is kept or dropped whole.
const BYTES: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Ring {
    events: VecDeque<Event>,
    bytes: usize,
    /// Every change after this revision is here.
    floor: Revision,
    current: Revision,
}

impl Ring {
    pub(super) fn starting_at(revision: Revision) -> Self {
        Self { events: VecDeque::new(), bytes: 0, floor: revision, current: revision }
    }

    /// Takes in changes in order, all of a revision together.
    pub(super) fn push(&mut self, events: &[Event]) {
        for event in events {
            self.bytes += size(event);
            self.current = event.revision;
            self.events.push_back(event.clone());
        }
        while self.events.len() > EVENTS || self.bytes > BYTES {
            let Some(oldest) = self.events.front().map(|event| event.revision) else { break };
            self.drop_up_to(oldest);
        }
    }

    /// Whether every change from `from` on is here, as far as it has come.
    pub(super) fn covers(&self, from: Revision) -> bool {
        from > self.floor
    }

    /// Forgets changes at or before `revision`.
    pub(super) fn drop_up_to(&mut self, revision: Revision) {
        while let Some(event) = self.events.pop_front_if(|event| event.revision <= revision) {
            self.bytes -= size(&event);
        }
        self.floor = self.floor.max(revision);
    }
}

impl History for Ring {
    fn current(&self) -> Revision {
        self.current
    }

    fn events(&self, prefix: &str, from: Revision, budget: usize) -> Result<(Vec<Event>, Revision), Error> {
        if !self.covers(from) {
            return Err(Error::Compacted { requested: from, oldest: self.floor });
        }
        let begin = self.events.partition_point(|event| event.revision < from);
        let end = match self.events.get(begin + budget) {
            Some(cut) => self.events.partition_point(|event| event.revision <= cut.revision),
            None => self.events.len(),
        };
        let events = self.events.range(begin..end).filter(|event| event.key.starts_with(prefix));
        let resume = match self.events.get(end) {
            Some(next) => next.revision,
            None => from.max(self.current + 1),
        };
        Ok((events.cloned().collect(), resume))
    }
}

fn size(event: &Event) -> usize {
    const BOOKKEEPING: usize = 256;
    let value = |kv: &Option<crate::KeyValue>| kv.as_ref().map_or(0, |kv| kv.value.len());
    BOOKKEEPING + event.key.len() + value(&event.current) + value(&event.previous)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deletion(revision: Revision, key: &str) -> Event {
        Event { revision, key: key.into(), current: None, previous: None }
    }

    /// E27: a lease's keys go in one revision, which is read whole whatever the budget.
    #[test]
    fn a_revision_is_never_torn_apart() {
        let mut ring = Ring::starting_at(4);
        ring.push(&[
            deletion(5, "a"),
            deletion(6, "a"),
            deletion(6, "b"),
            deletion(6, "c"),
            deletion(7, "a"),
        ]);
        let (events, resume) = ring.events("", 5, 1).unwrap();
        assert_eq!((events.len(), resume), (4, 7));
        let (events, resume) = ring.events("a", 7, 1).unwrap();
        assert_eq!((events.len(), resume), (1, 8));
        assert!(ring.events("", 4, 1).is_err());
    }

    #[test]
    fn the_oldest_go_first_and_whole() {
        let mut ring = Ring::starting_at(1);
        ring.push(&[deletion(2, "a"), deletion(2, "b")]);
        let more: Vec<Event> = (3..).take(EVENTS - 1).map(|revision| deletion(revision, "c")).collect();
        ring.push(&more);
        assert!(!ring.covers(2) && ring.covers(3));
        assert_eq!(ring.events.len(), EVENTS - 1);
    }
}
