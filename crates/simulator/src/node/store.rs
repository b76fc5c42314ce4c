//! The API server's part: objects, status writes, deletion, and the watch that tells the agent.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_api::{KindInfo, Registry};
use outrigger_pod_lifecycle::Desired;

use super::{Event, Node, PodIndex, Slot};
use crate::invariants::Checker;
use crate::script::Script;
use crate::timeline::What;

/// The wait of the agent after the API server did not accept something.
const RETRY: Duration = Duration::from_secs(1);
static POD: LazyLock<Option<Arc<KindInfo>>> = LazyLock::new(|| Registry::builtin().by_kind("", "v1", "Pod"));

impl Node {
    /// Binds a Pod to the node. `pod` must be complete as the API server would store it.
    pub fn create(&mut self, pod: Pod, scripts: BTreeMap<String, Script>) -> PodIndex {
        let index = PodIndex(self.slots.len());
        let pod = Arc::new(pod);
        self.slots.push(Slot {
            object: Some(pod.clone()),
            worker: None,
            disk: None,
            sandboxes: Vec::new(),
            containers: BTreeMap::new(),
            mounted: false,
            scripts,
            sandbox_failures: 0,
            stop_failures: 0,
            resize_failure: None,
            pending_resize: None,
            mount_problem: None,
            timeline: Vec::new(),
            checker: Checker::default(),
            forgotten: false,
            version: 1,
            before: None,
            last_status: None,
            admission: Desired::Run,
        });
        self.tell(index);
        index
    }

    /// `DELETE pods/NAME`, with a grace in seconds or the Pod's own (R8.1 to R8.3).
    pub fn delete(&mut self, pod: PodIndex, grace: Option<u64>) {
        let now = self.clocks().wall;
        let Some(object) = &self.slot(pod).object else { return };
        let own = object.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let own = u64::try_from(own.unwrap_or(30)).unwrap_or(1);
        let phase = object.status.as_ref().and_then(|status| status.phase.as_deref());
        let over = matches!(phase, Some("Succeeded" | "Failed"));
        let wanted = if over { 0 } else { grace.unwrap_or(own) };
        self.note(pod, || What::Asked(format!("delete, grace {wanted} s")));
        if wanted == 0 {
            self.remove(pod, false);
            return;
        }
        // R8.2
        let due = now.saturating_add(Duration::from_secs(wanted)).unwrap_or(now);
        self.change(pod, |object| {
            let metadata = &mut object.metadata;
            let wanted = wanted.cast_signed();
            match metadata.deletion_grace_period_seconds {
                Some(current) if current <= wanted => {}
                Some(_) => {
                    metadata.deletion_timestamp = Some(Time(due));
                    metadata.deletion_grace_period_seconds = Some(wanted);
                }
                None => {
                    metadata.generation = metadata.generation.map(|generation| generation + 1);
                    metadata.deletion_timestamp = Some(Time(due));
                    metadata.deletion_grace_period_seconds = Some(wanted);
                }
            }
        });
    }

    /// Changes the stored object as a client would; the agent hears of it through its watch.
    pub fn change(&mut self, pod: PodIndex, change: impl FnOnce(&mut Pod)) {
        let slot = &mut self.slots[pod.0];
        let Some(object) = &mut slot.object else { return };
        slot.before = Some(object.clone());
        slot.version += 1;
        change(Arc::make_mut(object));
        self.tell(pod);
    }

    /// Whoever held the object with a finalizer lets it go (R8.20 step 6).
    pub fn release(&mut self, pod: PodIndex) {
        self.change(pod, |object| object.metadata.finalizers = None);
        let object = self.object(pod);
        if object.is_some_and(|it| it.metadata.deletion_grace_period_seconds == Some(0)) {
            self.remove(pod, false);
        }
    }

    /// What is asked of the Pod besides its object: eviction, shutdown, refusal. Forgotten with the agent process.
    pub fn desire(&mut self, pod: PodIndex, desired: Desired) {
        self.note(pod, || What::Asked(words(&desired)));
        let slot = self.slot(pod);
        match &mut slot.worker {
            Some(worker) => {
                worker.desired = desired;
                self.expect(pod, Duration::ZERO, Event::Wake);
            }
            None => slot.admission = desired,
        }
    }

    /// The object leaves the store, unless a finalizer holds it (R8.2).
    fn remove(&mut self, pod: PodIndex, confirmed: bool) {
        let now = self.now;
        let clock = self.clocks().wall;
        let slot = self.slot(pod);
        let Some(object) = &mut slot.object else { return };
        if object.metadata.finalizers.as_ref().is_some_and(|held| !held.is_empty()) {
            let metadata = &mut Arc::make_mut(object).metadata;
            metadata.deletion_timestamp.get_or_insert(Time(clock));
            metadata.deletion_grace_period_seconds = Some(0);
            self.tell(pod);
            return;
        }
        if confirmed {
            slot.checker.removed(now, slot.mounted, &slot.containers);
        }
        slot.object = None;
        self.note(pod, || What::ObjectGone);
        self.tell(pod);
    }

    /// The watch.
    fn tell(&mut self, pod: PodIndex) {
        let (first, again) = self.chaos.deliveries();
        for after in [Some(first), again].into_iter().flatten() {
            let version = self.slots[pod.0].version;
            let event = match &self.slots[pod.0].object {
                Some(object) => Event::Deliver(version, object.clone()),
                None => Event::DeliverGone,
            };
            self.expect(pod, after, event);
        }
    }

    /// An event of the watch reaches the agent. A later one may have overtaken it; then it says nothing.
    pub(super) fn deliver(&mut self, pod: PodIndex, version: u64, object: Arc<Pod>) -> bool {
        let agent_is_up = self.agent_is_up;
        let slot = self.slot(pod);
        if !agent_is_up || slot.forgotten {
            return false;
        }
        match &mut slot.worker {
            Some(worker) if worker.seen_version > version => return false,
            Some(worker) => {
                worker.seen = object;
                worker.seen_version = version;
            }
            None => {
                let admission = std::mem::take(&mut slot.admission);
                self.hire(pod, version, object, admission);
            }
        }
        true
    }

    pub(super) fn deliver_gone(&mut self, pod: PodIndex) -> bool {
        let Some(worker) = &mut self.slot(pod).worker else { return false };
        worker.desired = Desired::Gone;
        true
    }

    /// One patch in flight; the newest status wins.
    pub(super) fn publish(&mut self, pod: PodIndex, status: &PodStatus) {
        let Some(worker) = &self.slots[pod.0].worker else { return };
        let known = worker.published.as_ref() == Some(status);
        if known || worker.publishing || worker.desired == Desired::Gone {
            return;
        }
        let refused = self.chaos.conflicts();
        let wait = self.latency(pod);
        // A refused write may have been carried out all the same: the answer was lost.
        if !refused || self.chaos.coin() {
            self.store_status(pod, status);
        }
        let wait = if refused { wait + RETRY } else { wait };
        let event = Event::Published { status: Box::new(status.clone()), accepted: !refused };
        if let Some(worker) = &mut self.slot(pod).worker {
            worker.publishing = !wait.is_zero();
            if wait.is_zero() {
                worker.published = Some(status.clone());
            }
        }
        if !wait.is_zero() {
            self.expect(pod, wait, event);
        }
    }

    fn store_status(&mut self, pod: PodIndex, status: &PodStatus) {
        let now = self.now;
        let slot = &mut self.slots[pod.0];
        let Some(object) = &mut slot.object else {
            self.expect(pod, Duration::ZERO, Event::DeliverGone);
            return;
        };
        if object.status.as_ref() == Some(status) {
            return;
        }
        // What the Pod was is still needed by whoever holds it, so only what stays is copied.
        let (metadata, spec) = (object.metadata.clone(), object.spec.clone());
        let next = Arc::new(Pod { metadata, spec, status: Some(status.clone()) });
        slot.checker.published(now, &slot.containers, object, status);
        let before = std::mem::replace(object, next);
        slot.before = Some(before.clone());
        slot.version += 1;
        if self.record {
            self.note_status(pod, &before.status.clone().unwrap_or_default(), status);
        }
        self.tell(pod);
    }

    /// What a client sees change.
    fn note_status(&mut self, pod: PodIndex, old: &PodStatus, new: &PodStatus) {
        if old.phase != new.phase
            && let Some(phase) = new.phase.clone()
        {
            self.note(pod, || What::Phase(phase));
        }
        for condition in new.conditions.iter().flatten() {
            let mut before = old.conditions.iter().flatten();
            let same = |it: &&_| is_same(it, condition);
            if !before.any(|it| same(&it)) {
                self.note(pod, || What::Condition {
                    ty: condition.type_.clone(),
                    status: condition.status.clone(),
                    reason: condition.reason.clone(),
                });
            }
        }
        for (status, was) in super::ask::statuses(new).map(|it| (it, super::ask::status_of(old, &it.name))) {
            let text = super::ask::state_text(status);
            if was.is_none_or(|was| super::ask::state_text(was) != text || was.ready != status.ready) {
                self.note(pod, || What::State { container: status.name.clone(), text, ready: status.ready });
            }
        }
        self.note_row(pod);
    }

    fn note_row(&mut self, pod: PodIndex) {
        let Some(row) = self.row(pod) else { return };
        let last = self.slots[pod.0].timeline.iter().rev().find(|it| matches!(it.what, What::Row { .. }));
        if last.is_none_or(|last| last.what != row) {
            self.note(pod, || row);
        }
    }

    /// What `kubectl get pod` shows now.
    pub fn row(&self, pod: PodIndex) -> Option<What> {
        let object = self.slots[pod.0].object.as_ref()?;
        let kind = POD.as_ref()?;
        let value = serde_json::to_value(&**object).ok()?;
        let cells = outrigger_api::printers::cells(kind, &value, self.clocks().wall);
        let cell = |at: usize| cells.get(at).and_then(|cell| cell.as_str()).unwrap_or_default();
        let restarts = cell(3).split(' ').next().unwrap_or_default();
        Some(What::Row { ready: cell(1).into(), status: cell(2).into(), restarts: restarts.into() })
    }

    pub(super) fn published(&mut self, pod: PodIndex, status: PodStatus, accepted: bool) -> bool {
        let Some(worker) = &mut self.slot(pod).worker else { return false };
        worker.publishing = false;
        if accepted {
            worker.published = Some(status);
        }
        true
    }

    /// R8.20 step 5: only once the API server has the final status.
    pub(super) fn confirm_deletion(&mut self, pod: PodIndex, status: &PodStatus) {
        let Some(worker) = &mut self.slot(pod).worker else { return };
        if worker.confirming || worker.published.as_ref() != Some(status) {
            return;
        }
        worker.confirming = true;
        self.note(pod, || What::ConfirmDeletion);
        let refused = self.chaos.conflicts();
        let wait = self.latency(pod);
        if !refused || self.chaos.coin() {
            self.remove(pod, true);
        }
        let wait = if refused { wait + RETRY } else { wait };
        self.expect(pod, wait, Event::Confirmed);
    }
}

fn is_same(
    a: &k8s_openapi::api::core::v1::PodCondition,
    b: &k8s_openapi::api::core::v1::PodCondition,
) -> bool {
    a.type_ == b.type_ && a.status == b.status && a.reason == b.reason
}

fn words(desired: &Desired) -> String {
    match desired {
        Desired::Run => "run".into(),
        Desired::Gone => "gone from the API".into(),
        Desired::Evict { message, .. } => format!("evict: {message}"),
        Desired::Shutdown { grace_seconds } => format!("node shutdown, {grace_seconds} s"),
        Desired::Preempt { message } => format!("preempt: {message}"),
        Desired::Reject { reason, .. } => format!("reject: {reason}"),
    }
}
