//! The Pods that wait for a node: due ones by priority then age, failed ones behind a back-off, hopeless ones until
//! something changes (N17). Bounded by the number of unassigned Pods in the API.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use outrigger_api::MonoTime;
use outrigger_scheduling::PodInfo;

/// The wait after the first failed attempt; doubles up to [`LONGEST_BACK_OFF`].
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
/// The longest wait between attempts.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);
/// A Pod nobody would have is tried again after this, whatever happened.
const UNSCHEDULABLE_FLUSH: Duration = Duration::from_secs(300);

/// A Pod that waits.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) pod: Pod,
    pub(crate) info: PodInfo,
    attempts: u32,
    since: MonoTime,
    /// How many changes of the cluster the attempt under way knew of.
    changes: u64,
}

impl Waiting {
    pub(crate) fn new(pod: Pod, info: PodInfo) -> Self {
        Self { pod, info, attempts: 0, since: MonoTime::default(), changes: 0 }
    }

    fn priority(&self) -> i32 {
        self.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default()
    }

    fn back_off(&self) -> Duration {
        FIRST_BACK_OFF.saturating_mul(1 << self.attempts.saturating_sub(1).min(8)).min(LONGEST_BACK_OFF)
    }
}

#[derive(Debug)]
enum Place {
    /// May be tried at this moment.
    Due(MonoTime),
    /// Nothing fits; tried again on a change of the cluster, not before `earliest`, and at `flush` in any case.
    Unschedulable { earliest: MonoTime, flush: MonoTime },
}

/// All waiting Pods by uid. A Pod whose calls are under way is not in here but in `under_way`.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: HashMap<String, (Waiting, Place)>,
    /// Taken out and not yet settled: its newest form, should the Pod have changed meanwhile; `None` if removed.
    under_way: HashMap<String, Option<Waiting>>,
    /// Counts changes that may make room.
    changes: u64,
}

impl Queue {
    /// A Pod appeared or changed: it is due now, unless it failed before and nothing it asks for changed.
    pub(crate) fn add(&mut self, mut pod: Waiting, now: MonoTime) {
        let uid = pod.info.uid.clone();
        if let Some(newest) = self.under_way.get_mut(&uid) {
            *newest = Some(pod);
            return;
        }
        pod.since = now;
        match self.waiting.get_mut(&uid) {
            Some((known, place)) => {
                let same = known.pod.spec == pod.pod.spec;
                known.pod = pod.pod;
                known.info = pod.info;
                if !same {
                    *place = Place::Due(now);
                }
            }
            None => {
                self.waiting.insert(uid, (pod, Place::Due(now)));
            }
        }
    }

    /// A Pod is no longer to be scheduled.
    pub(crate) fn remove(&mut self, uid: &str) {
        self.waiting.remove(uid);
        if let Some(newest) = self.under_way.get_mut(uid) {
            *newest = None;
        }
    }

    /// Something changed that may make room.
    pub(crate) fn retry_unschedulable(&mut self) {
        self.changes += 1;
        for (_, place) in self.waiting.values_mut() {
            if let Place::Unschedulable { earliest, .. } = place {
                *place = Place::Due(*earliest);
            }
        }
    }

    /// Takes the most urgent Pod that is due.
    pub(crate) fn take_due(&mut self, now: MonoTime) -> Option<Waiting> {
        let due = self.waiting.iter().filter(|(_, (_, place))| place.due() <= now);
        let first = due.min_by_key(|(_, (pod, _))| (std::cmp::Reverse(pod.priority()), pod.since))?;
        let uid = first.0.clone();
        let (mut pod, _) = self.waiting.remove(&uid)?;
        pod.attempts += 1;
        pod.changes = self.changes;
        self.under_way.insert(uid, Some(pod.clone()));
        Some(pod)
    }

    /// When the next Pod is due.
    pub(crate) fn next_due(&self) -> Option<MonoTime> {
        self.waiting.values().map(|(_, place)| place.due()).min()
    }

    /// The attempt could not be carried out; try again soon.
    pub(crate) fn back_off(&mut self, pod: Waiting, now: MonoTime) {
        let due = now + pod.back_off();
        self.put_back(pod, Place::Due(due), now);
    }

    /// No node would have it. A change that came while that was being told counts.
    pub(crate) fn park(&mut self, pod: Waiting, now: MonoTime) {
        if pod.changes != self.changes {
            return self.back_off(pod, now);
        }
        let place = Place::Unschedulable { earliest: now + pod.back_off(), flush: now + UNSCHEDULABLE_FLUSH };
        self.put_back(pod, place, now);
    }

    /// The Pod is bound.
    pub(crate) fn done(&mut self, uid: &str) {
        self.under_way.remove(uid);
    }

    fn put_back(&mut self, tried: Waiting, place: Place, now: MonoTime) {
        // Removed meanwhile: nothing to put back. Changed in what it asks for: due at once.
        let Some(Some(newest)) = self.under_way.remove(&tried.info.uid) else { return };
        let place = if newest.pod.spec == tried.pod.spec { place } else { Place::Due(now) };
        let pod = Waiting { attempts: tried.attempts, since: tried.since, ..newest };
        self.waiting.insert(pod.info.uid.clone(), (pod, place));
    }
}

impl Place {
    fn due(&self) -> MonoTime {
        match self {
            Self::Due(at) => *at,
            Self::Unschedulable { flush, .. } => *flush,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, priority: i32) -> Waiting {
        let mut pod = Pod::default();
        pod.metadata.uid = Some(uid.to_owned());
        pod.spec.get_or_insert_default().priority = Some(priority);
        let info = PodInfo::new(&pod);
        Waiting::new(pod, info)
    }

    fn at(seconds: u64) -> MonoTime {
        MonoTime::from_boot(Duration::from_secs(seconds))
    }

    fn take(queue: &mut Queue, seconds: u64) -> Option<Waiting> {
        queue.take_due(at(seconds))
    }

    /// N17: order by priority, then by time in the queue.
    #[test]
    fn the_most_important_then_the_oldest_goes_first() {
        let mut queue = Queue::default();
        queue.add(pod("late", 0), at(2));
        queue.add(pod("early", 0), at(1));
        queue.add(pod("urgent", 10), at(3));
        let order: Vec<String> = std::iter::from_fn(|| take(&mut queue, 5)).map(|pod| pod.info.uid).collect();
        assert_eq!(order, ["urgent", "early", "late"]);
    }

    /// N17: back-off from 1 s to 10 s.
    #[test]
    fn failures_back_off() {
        let mut queue = Queue::default();
        queue.add(pod("p", 0), at(0));
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..6 {
            let taken = take(&mut queue, now).expect("due");
            queue.back_off(taken, at(now));
            let due = queue.next_due().expect("waits").since(at(now)).as_secs();
            waits.push(due);
            now += due;
        }
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    }

    /// N17: an unschedulable Pod waits for a change, or five minutes.
    #[test]
    fn a_parked_pod_waits_for_a_change() {
        let mut queue = Queue::default();
        queue.add(pod("p", 0), at(0));
        let taken = take(&mut queue, 0).expect("due");
        queue.park(taken, at(0));
        assert!(take(&mut queue, 299).is_none());
        queue.retry_unschedulable();
        let taken = take(&mut queue, 299).expect("a change makes it due");
        queue.park(taken, at(299));
        assert!(take(&mut queue, 599).is_some());
    }

    #[test]
    fn a_change_during_an_attempt_is_not_missed() {
        let mut queue = Queue::default();
        queue.add(pod("p", 0), at(0));
        let taken = take(&mut queue, 0).expect("due");
        queue.retry_unschedulable();
        queue.park(taken, at(0));
        assert!(take(&mut queue, 1).is_some());
    }

    #[test]
    fn a_pod_removed_while_being_bound_does_not_come_back() {
        let mut queue = Queue::default();
        queue.add(pod("p", 0), at(0));
        let taken = take(&mut queue, 0).expect("due");
        queue.remove("p");
        queue.back_off(taken, at(0));
        assert!(queue.next_due().is_none());
    }
}
