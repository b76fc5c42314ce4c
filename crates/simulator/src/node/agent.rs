//! The agent: one worker per Pod, whose turns are as the kubelet's: facts, decision, memory, status, probes, actions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use outrigger_pod_lifecycle::{Decision, Desired, HookState, Input, PodMemory, ResizeFacts, VolumesState};

use super::{BOOT, Event, LONGEST_SLEEP, Node, PodIndex, SETBACK, Worker};
use crate::chaos::Death;
use crate::timeline::What;

/// The wait after the runtime did not answer.
const RETRY: Duration = Duration::from_secs(1);

impl Node {
    /// A worker for a Pod: what an earlier one left on disk is its beginning.
    pub(super) fn hire(&mut self, pod: PodIndex, version: u64, seen: Arc<Pod>, desired: Desired) {
        let slot = self.slot(pod);
        let stored = slot.disk.as_ref().map(|(_, memory)| PodMemory::clone(memory));
        let resumed = stored.is_some();
        let mut memory = stored.unwrap_or_default();
        memory.resume();
        slot.worker = Some(Worker {
            published: seen.status.clone(),
            seen,
            seen_version: version,
            desired,
            memory: Arc::new(memory),
            publishing: false,
            confirming: false,
            sandbox_operation: None,
            sandbox_failure: None,
            volumes: if resumed { VolumesState::Unknown } else { VolumesState::Unmounted },
            resize: ResizeFacts::default(),
            small: BTreeSet::new(),
            probes: BTreeMap::new(),
            wake: None,
            last: None,
        });
    }

    /// The agent process ends: what only it knew is gone. What it had begun is done or is not, by lot; in a calm
    /// world it is not.
    pub fn kill_agent(&mut self, back_after: Duration) {
        self.note_all("the agent dies");
        let mine = Some(self.epoch);
        let mut begun = Vec::new();
        self.queue.retain(|_, scheduled| {
            let lost = scheduled.epoch == mine;
            if lost {
                begun.push((scheduled.pod, scheduled.event.clone()));
            }
            !lost
        });
        for (pod, event) in begun {
            if event.is_an_effect() && self.chaos.coin() {
                self.apply(pod, event);
            }
        }
        self.epoch += 1;
        self.agent_is_up = false;
        for slot in &mut self.slots {
            slot.worker = None;
            for facts in slot.containers.values_mut() {
                facts.operation = None;
                facts.failure = None;
                facts.post_start = HookState::Idle;
                facts.pre_stop = HookState::Idle;
                facts.probes.startup = None;
                facts.probes.liveness = None;
                facts.probes.readiness = None;
            }
            slot.checker.allow(back_after + SETBACK);
        }
        self.will(PodIndex(0), back_after, Event::AgentStarts);
    }

    /// A new agent process lists the Pods, and finds on disk those that are gone (R8.5).
    pub(super) fn start_agent(&mut self) {
        if self.agent_is_up {
            return;
        }
        self.agent_is_up = true;
        for pod in (0..self.slots.len()).map(PodIndex) {
            let stale = self.chaos.coin();
            let slot = self.slot(pod);
            if slot.forgotten {
                continue;
            }
            match (&slot.object, &slot.before, &slot.disk) {
                (Some(object), before, _) => {
                    let (version, listed) = match before {
                        Some(before) if stale => (slot.version - 1, before.clone()),
                        _ => (slot.version, object.clone()),
                    };
                    let (version_now, object) = (slot.version, object.clone());
                    self.hire(pod, version, listed, Desired::Run);
                    let late = Duration::from_millis(if stale { 700 } else { 0 });
                    self.expect(pod, late, Event::Deliver(version_now, object));
                }
                (None, _, Some((last, _))) => {
                    let (last, version) = (last.clone(), slot.version);
                    self.hire(pod, version, last, Desired::Gone);
                }
                (None, _, None) => continue,
            }
            self.expect(pod, Duration::ZERO, Event::Wake);
        }
    }

    /// One turn of one worker.
    pub(super) fn turn(&mut self, pod: PodIndex) {
        if self.slots[pod.0].worker.is_none() {
            return;
        }
        if self.chaos.deaf() {
            self.slot(pod).checker.allow(RETRY);
            self.wake(pod, RETRY);
            return;
        }
        let decision = self.decide(pod);
        self.decisions += 1;
        let death = self.chaos.death();
        if death == Some(Death::BeforePersisting) {
            self.die();
            return;
        }
        self.persist(pod, &decision.memory);
        self.look_on(pod, &decision);
        if death == Some(Death::BeforeActing) {
            self.die();
            return;
        }
        self.publish(pod, &decision.status);
        for event in &decision.events {
            self.note(pod, || What::Event(event.clone()));
        }
        self.adjust_probes(pod, &decision.probes);
        let half = decision.actions.len() / 2;
        for (index, action) in decision.actions.iter().enumerate() {
            if death == Some(Death::WhileActing) && index >= half {
                break;
            }
            self.begin(pod, action, &decision.status);
        }
        if death.is_some() {
            self.die();
            return;
        }
        let due = decision.wake_at.map(|at| at.since_boot().saturating_sub(BOOT + self.now));
        if let Some(worker) = &mut self.slot(pod).worker {
            worker.last = Some(decision);
        }
        if let Some(due) = due {
            self.wake(pod, due.min(LONGEST_SLEEP));
        }
    }

    fn die(&mut self) {
        let down = if self.chaos.is_calm() { 0 } else { self.chaos.rng.below(4000) };
        self.kill_agent(Duration::from_millis(down));
    }

    fn decide(&self, pod: PodIndex) -> Decision {
        let slot = &self.slots[pod.0];
        let Some(worker) = &slot.worker else { return Decision::default() };
        let resize = ResizeFacts { pending: slot.pending_resize.clone(), ..worker.resize.clone() };
        (self.decide)(&Input {
            pod: &worker.seen,
            desired: &worker.desired,
            node: &self.facts,
            sandboxes: &slot.sandboxes,
            sandbox_operation: worker.sandbox_operation,
            sandbox_failure: worker.sandbox_failure.as_ref(),
            containers: &slot.containers,
            volumes: &worker.volumes,
            resize: &resize,
            memory: &worker.memory,
            gates: &self.gates,
            now: self.clocks(),
        })
    }

    fn persist(&mut self, pod: PodIndex, memory: &PodMemory) {
        let file_memory = self.file_memory;
        let slot = self.slot(pod);
        let Some(worker) = &mut slot.worker else { return };
        if *worker.memory == *memory {
            return;
        }
        let mut kept = memory.clone();
        if file_memory {
            let read = serde_json::to_string(memory).and_then(|text| serde_json::from_str(&text));
            // What is not in the file is forgotten, and would show.
            kept = read.unwrap_or_default();
        }
        let kept = Arc::new(kept);
        slot.disk = Some((worker.seen.clone(), kept.clone()));
        worker.memory = kept;
    }

    /// The invariants one decision can break.
    fn look_on(&mut self, pod: PodIndex, decision: &Decision) {
        let now = self.now;
        let slot = self.slot(pod);
        let Some(worker) = &slot.worker else { return };
        slot.checker.decided(now, &worker.seen, &slot.containers, decision);
    }

    /// At most one wake-up is pending: the newest decision's.
    fn wake(&mut self, pod: PodIndex, after: Duration) {
        let old = self.slot(pod).worker.as_mut().and_then(|worker| worker.wake.take());
        if let Some(old) = old {
            self.queue.remove(&old);
        }
        let key = self.expect(pod, after, Event::Wake);
        if let Some(worker) = &mut self.slot(pod).worker {
            worker.wake = Some(key);
        }
    }

    /// Nothing is left of the Pod on this node.
    pub(super) fn forget(&mut self, pod: PodIndex) {
        let slot = self.slot(pod);
        slot.last_status = slot.disk.take().and_then(|(_, memory)| memory.status.as_deref().cloned());
        // The agent unmounts what it finds before it removes the Pod's folder.
        slot.mounted = false;
        slot.worker = None;
        slot.forgotten = true;
        self.note(pod, || What::Forget);
    }
}
