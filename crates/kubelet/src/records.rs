//! What was decided about each Pod, kept for whoever asks (`/timeline/<namespace>/<pod>`).
//!
//! In memory only: an agent that starts anew begins new records, with what the runtime still knows of each container.
//! One record is bounded by [`outrigger_explain::HEAD`] and [`outrigger_explain::TAIL`]. Of Pods that are gone the
//! newest [`MOST_GONE`] are kept, each for [`GONE`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::SignedDuration;
use outrigger_api::WallTime;
use outrigger_explain::{ProbeProgress, Recorder, Report};
use outrigger_pod_lifecycle::{Decision, Input, ProbeKind};

/// How long a record is kept after nothing of its Pod is left.
const GONE: SignedDuration = SignedDuration::from_mins(10);
/// How many such records are kept.
const MOST_GONE: usize = 64;

/// How probes stand, by container and kind.
pub(crate) type Progress = Arc<Mutex<BTreeMap<(String, ProbeKind), ProbeProgress>>>;

/// The record of one Pod, shared by its worker and the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodRecord {
    recorder: Arc<Mutex<Recorder>>,
    pub(crate) probes: Progress,
}

impl PodRecord {
    /// Notes one turn.
    pub(crate) fn note(&self, input: &Input<'_>, decision: &Decision) {
        self.recorder().note(input, decision);
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, now: WallTime) -> Report {
        let probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        self.recorder().report(now, probes.values().cloned().collect())
    }
}

/// All records of a node, by uid. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records(Arc<Mutex<HashMap<String, PodRecord>>>);

impl Records {
    fn all(&self) -> MutexGuard<'_, HashMap<String, PodRecord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record of a Pod, begun if there is none.
    pub(crate) fn open(&self, uid: &str) -> PodRecord {
        self.all().entry(uid.to_owned()).or_default().clone()
    }

    /// What is told of the newest Pod of this name; with a uid, of that Pod.
    pub(crate) fn find(&self, namespace: &str, name: &str, uid: &str, now: WallTime) -> Option<Report> {
        self.prune(now);
        let all: Vec<PodRecord> = self.all().values().cloned().collect();
        let wanted = |record: &&PodRecord| {
            let recorder = record.recorder();
            let pod = recorder.pod();
            pod.namespace == namespace && pod.name == name && (uid.is_empty() || pod.uid == uid)
        };
        let reports = all.iter().filter(wanted).map(|record| record.report(now));
        // One that is not gone is newer than all that are.
        reports
            .max_by_key(|report| (report.gone.is_none(), report.gone, report.entries.last().map(|it| it.at)))
    }

    /// Drops what is too old, or too much.
    pub(crate) fn prune(&self, now: WallTime) {
        let mut all = self.all();
        let mut gone: Vec<(WallTime, String)> =
            all.iter().filter_map(|(uid, record)| Some((record.recorder().gone()?, uid.clone()))).collect();
        gone.sort();
        let surplus = gone.len().saturating_sub(MOST_GONE);
        for (index, (at, uid)) in gone.into_iter().enumerate() {
            if index < surplus || now.duration_since(at) > GONE {
                all.remove(&uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::api::core::v1::Pod;
    use outrigger_api::{MonoTime, Now};
    use outrigger_pod_lifecycle::{Desired, Gates, NodeFacts, PodMemory, ResizeFacts, VolumesState, decide};

    use super::*;

    /// A Pod its node hears of at `seconds`; one that is gone from the API leaves nothing behind at once.
    fn note(records: &Records, name: &str, uid: &str, seconds: i64, desired: &Desired) {
        let pod = serde_json::json!({"metadata": {"namespace": "ns", "name": name, "uid": uid}, "spec": {"containers": []}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let mono = MonoTime::from_boot(Duration::from_secs(seconds.unsigned_abs()));
        let input = Input {
            pod: &pod,
            desired,
            node: &NodeFacts::default(),
            sandboxes: &[],
            sandbox_operation: None,
            sandbox_failure: None,
            containers: &BTreeMap::new(),
            volumes: &VolumesState::Unmounted,
            resize: &ResizeFacts::default(),
            memory: &PodMemory::default(),
            gates: &Gates::default(),
            now: Now { wall: at(seconds), mono },
        };
        records.open(uid).note(&input, &decide(&input));
    }

    fn at(seconds: i64) -> WallTime {
        WallTime::from_second(seconds).unwrap()
    }

    #[test]
    fn records_of_pods_that_are_gone_are_few_and_do_not_last() {
        let records = Records::default();
        note(&records, "stays", "u", 0, &Desired::Run);
        for second in 0..100 {
            note(&records, "p", &second.to_string(), second, &Desired::Gone);
        }
        assert_eq!(records.find("ns", "p", "", at(100)).unwrap().pod.uid, "99", "the newest of the name");
        assert_eq!(records.all().len(), MOST_GONE + 1);
        assert!(
            records.find("ns", "p", "36", at(100)).is_some()
                && records.find("ns", "p", "35", at(100)).is_none()
        );
        assert!(records.find("other", "p", "", at(100)).is_none());
        let later = 100 + GONE.as_secs();
        assert!(records.find("ns", "p", "", at(later)).is_none());
        assert!(records.find("ns", "stays", "u", at(later)).is_some());
    }

    #[test]
    fn a_pod_that_lives_is_newer_than_one_that_is_gone() {
        let records = Records::default();
        note(&records, "p", "new", 10, &Desired::Run);
        note(&records, "p", "old", 20, &Desired::Gone);
        assert_eq!(records.find("ns", "p", "", at(30)).unwrap().pod.uid, "new");
    }
}
