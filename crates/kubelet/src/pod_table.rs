//! Every Pod this node works on, and the way to tell its worker something. One table for all: the watch fills it, the
//! server lists it, eviction and shutdown speak to the workers through it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use outrigger_pod_lifecycle::Desired;
use tokio::sync::{Notify, watch};

use crate::allocation::same_resources;
use crate::pod_workers::Assignment;

/// One Pod's worker, seen from outside.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    /// The newest object as the API has it.
    pub(crate) asked: Arc<Pod>,
    pub(crate) assignment: watch::Sender<Assignment>,
    pub(crate) changed: Arc<Notify>,
    /// Told when its mirror was made anew: what was published is gone with the old one.
    pub(crate) mirrored: Arc<Notify>,
    /// Where it is to be seen that its containers have all stopped for good.
    pub(crate) stopped: watch::Receiver<bool>,
}

impl Handle {
    /// Whether it asks for other resources than it has, or did a moment ago.
    fn is_asking(&self) -> bool {
        let assignment = self.assignment.borrow();
        let differs = !same_resources(&self.asked, &assignment.pod);
        (differs || assignment.pending.is_some()) && !is_finished(&self.asked)
    }
}

/// The Pods, by uid. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodTable(Arc<Mutex<HashMap<String, Handle>>>);

impl PodTable {
    fn handles(&self) -> MutexGuard<'_, HashMap<String, Handle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, uid: String, handle: Handle) {
        self.handles().insert(uid, handle);
    }

    pub(crate) fn remove(&self, uid: &str) {
        self.handles().remove(uid);
    }

    pub(crate) fn contains(&self, uid: &str) -> bool {
        self.handles().contains_key(uid)
    }

    /// Takes in the newest object of a Pod; `None` if there is no such Pod yet.
    pub(crate) fn ask(&self, uid: &str, asked: &Arc<Pod>) -> Option<Handle> {
        let mut handles = self.handles();
        let handle = handles.get_mut(uid)?;
        handle.asked = Arc::clone(asked);
        Some(handle.clone())
    }

    pub(crate) fn get(&self, uid: &str) -> Option<Handle> {
        self.handles().get(uid).cloned()
    }

    /// All of them, in the order of namespace and name.
    pub(crate) fn all(&self) -> Vec<Handle> {
        in_order(self.handles().values().cloned().collect())
    }

    /// Those that ask for resources they were not granted yet, in the same order.
    pub(crate) fn asking(&self) -> Vec<Handle> {
        in_order(self.handles().values().filter(|handle| handle.is_asking()).cloned().collect())
    }

    /// All Pods, in the order of namespace and name.
    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        self.all().iter().map(|handle| handle.assignment.borrow().pod.clone()).collect()
    }

    /// Those that were taken in and have not ended: their resources are in use.
    pub(crate) fn active(&self) -> Vec<Arc<Pod>> {
        let taken = |desired: &Desired| !matches!(desired, Desired::Reject { .. });
        self.filtered(|assignment| taken(&assignment.desired) && !is_finished(&assignment.pod))
    }

    /// Those that are to run.
    pub(crate) fn to_run(&self) -> Vec<Arc<Pod>> {
        self.filtered(|assignment| assignment.desired == Desired::Run && !is_finished(&assignment.pod))
    }

    fn filtered(&self, test: impl Fn(&Assignment) -> bool) -> Vec<Arc<Pod>> {
        let all = self.all();
        let chosen = all.iter().filter_map(|handle| {
            let assignment = handle.assignment.borrow();
            test(&assignment).then(|| assignment.pod.clone())
        });
        chosen.collect()
    }

    /// Has the worker look again.
    pub(crate) fn look(&self, uid: &str) {
        if let Some(handle) = self.handles().get(uid) {
            handle.changed.notify_one();
        }
    }

    /// A static Pod's mirror was made: its status is to be published there.
    pub(crate) fn mirrored(&self, uid: &str) {
        if let Some(handle) = self.handles().get(uid) {
            handle.mirrored.notify_one();
        }
    }

    /// Has all workers look again.
    pub(crate) fn look_all(&self) {
        self.handles().values().for_each(|handle| handle.changed.notify_one());
    }

    /// Tells a Pod's worker what is wanted of it; only a Pod that is to run can be told otherwise, and `Gone` always.
    pub(crate) fn want(&self, uid: &str, desired: Desired) -> bool {
        let handles = self.handles();
        let Some(handle) = handles.get(uid) else { return false };
        handle.assignment.send_if_modified(|assignment| {
            let may = assignment.desired == Desired::Run || desired == Desired::Gone;
            if may {
                assignment.desired = desired;
            }
            may
        })
    }
}

/// By namespace and name.
fn in_order(mut handles: Vec<Handle>) -> Vec<Handle> {
    handles.sort_by_cached_key(|handle| {
        let pod = handle.assignment.borrow();
        (pod.pod.metadata.namespace.clone(), pod.pod.metadata.name.clone())
    });
    handles
}

/// Whether its phase is final.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// R8.27: static Pods and those of the highest priorities are never evicted and stop last.
pub(crate) fn is_critical(pod: &Pod) -> bool {
    const CRITICAL: i32 = 2_000_000_000;
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
    is_static(pod) || priority >= CRITICAL
}

/// Whether it comes from a file of the node and not from the API (R14.5).
pub(crate) fn is_static(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(SOURCE)).is_some_and(|source| source != "api")
}

/// R14.5.
pub(crate) const SOURCE: &str = "kubernetes.io/config.source";
