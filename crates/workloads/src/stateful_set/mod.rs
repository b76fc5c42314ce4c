//! The StatefulSet controller (N4): Pods with names, numbers and volumes of their own, one after the other.
//!
//! ```text
//!   lower ordinals ready? ──► the next one is made      surplus, highest first ──► removed
//!   all there and ready?  ──► the highest one of an old revision is removed, to come back new
//! ```
//!
//! A Pod is never replaced while its old self exists: the name is taken until the node has let go of it.
//! Start at [`decide`].

mod identity;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use outrigger_api::WallTime;

pub use identity::{claim_owners, claims, ordinal};

use crate::note::Note;
use crate::pods;
use crate::revisions::POD_HASH;
use crate::share::{self, Round};

/// All that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The set as stored.
    pub set: &'a StatefulSet,
    /// Its Pods, whatever state they are in.
    pub pods: &'a [Arc<Pod>],
    /// The revision Pods had before, and its template.
    pub current: (&'a str, &'a PodTemplateSpec),
    /// The revision of the present template.
    pub update: (&'a str, &'a PodTemplateSpec),
    /// The time.
    pub now: WallTime,
}

/// What to do, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Pods to create, each after its claims.
    pub create: Vec<(Vec<PersistentVolumeClaim>, Pod)>,
    /// Pods to delete.
    pub delete: Vec<Arc<Pod>>,
    /// Ordinals that are no longer wanted: their claims may go with their Pods.
    pub condemned: Vec<Arc<Pod>>,
    /// The status; `None` if it is as it should be.
    pub status: Option<StatefulSetStatus>,
    /// What to tell.
    pub notes: Vec<Note>,
    /// When to decide again even if nothing happens.
    pub again: Option<Duration>,
}

/// The Pods by their place.
struct Places<'a> {
    input: &'a Input<'a>,
    spec: &'a StatefulSetSpec,
    /// From the first ordinal up.
    wanted: Vec<(i32, Option<Arc<Pod>>)>,
    /// Highest ordinal first.
    surplus: Vec<Arc<Pod>>,
}

/// Decides one turn of one StatefulSet.
pub fn decide(input: &Input<'_>) -> Decision {
    let Some(spec) = &input.set.spec else { return Decision::default() };
    let places = Places::new(input, spec);
    let mut decision = Decision { condemned: places.surplus.clone(), ..Decision::default() };
    if input.set.metadata.deletion_timestamp.is_none()
        && places.fill(&mut decision)
        && places.shrink(&mut decision)
    {
        places.renew(&mut decision);
    }
    let status = places.status(&decision);
    decision.status = (input.set.status.as_ref() != Some(&status)).then_some(status);
    let wait = spec.min_ready_seconds.unwrap_or(0);
    decision.again = input.pods.iter().filter_map(|pod| pods::available_in(pod, wait, input.now)).min();
    decision
}

fn replicas(spec: &StatefulSetSpec) -> i32 {
    spec.replicas.unwrap_or(1)
}

fn start(spec: &StatefulSetSpec) -> i32 {
    spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0)
}

/// The first ordinal that is updated.
fn partition(spec: &StatefulSetSpec) -> i32 {
    let rolling = spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    start(spec) + rolling.and_then(|rolling| rolling.partition).unwrap_or(0)
}

fn revision(pod: &Pod) -> &str {
    pods::label(&pod.metadata, POD_HASH).unwrap_or_default()
}

impl<'a> Places<'a> {
    fn new(input: &'a Input<'a>, spec: &'a StatefulSetSpec) -> Self {
        let mut by_ordinal: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
        for pod in input.pods {
            if let Some(ordinal) = ordinal(input.set, pod) {
                by_ordinal.insert(ordinal, Arc::clone(pod));
            }
        }
        let range = start(spec)..start(spec).saturating_add(replicas(spec));
        let wanted = range.clone().map(|ordinal| (ordinal, by_ordinal.remove(&ordinal))).collect();
        Self { input, spec, wanted, surplus: by_ordinal.into_values().rev().collect() }
    }

    fn is_ordered(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    fn is_available(&self, pod: &Pod) -> bool {
        let wait = self.spec.min_ready_seconds.unwrap_or(0);
        pods::phase(pod) == "Running"
            && !pods::is_deleting(pod)
            && pods::is_available(pod, wait, self.input.now)
    }

    /// Makes what is missing. Whether the next step may follow.
    fn fill(&self, decision: &mut Decision) -> bool {
        let mut settled = true;
        for (ordinal, pod) in &self.wanted {
            let Some(pod) = pod else {
                decision.create.push(self.make(*ordinal));
                settled = false;
                if self.is_ordered() { return false } else { continue }
            };
            if pods::is_finished(pod) {
                if !pods::is_deleting(pod) {
                    decision.notes.push(recreating(self.input.set, pod));
                    decision.delete.push(Arc::clone(pod));
                }
                // Its successor comes when it is gone.
                settled = false;
                if self.is_ordered() { return false } else { continue }
            }
            if self.is_ordered() && !self.is_available(pod) {
                return false;
            }
        }
        settled || !self.is_ordered()
    }

    /// A Pod and its claims; below the partition of the revision that was.
    fn make(&self, ordinal: i32) -> (Vec<PersistentVolumeClaim>, Pod) {
        let rolling = self.strategy() == "RollingUpdate";
        let (revision, template) =
            if rolling && ordinal < partition(self.spec) { self.input.current } else { self.input.update };
        let pod = identity::pod(self.input.set, self.spec, ordinal, revision, template);
        (identity::claims(self.input.set, self.spec, ordinal), pod)
    }

    fn strategy(&self) -> &str {
        self.spec
            .update_strategy
            .as_ref()
            .and_then(|strategy| strategy.type_.as_deref())
            .unwrap_or("RollingUpdate")
    }

    /// Removes what is too much, one by one. Whether the next step may follow.
    fn shrink(&self, decision: &mut Decision) -> bool {
        // An unhealthy one is the only one that may go while it is unhealthy: the lowest of all.
        let everyone =
            self.wanted.iter().filter_map(|(_, pod)| pod.as_ref()).chain(self.surplus.iter().rev());
        let first_unhealthy =
            everyone.into_iter().find(|pod| !self.is_available(pod)).map(|pod| pods::uid(pod));
        for pod in &self.surplus {
            if pods::is_deleting(pod) {
                if self.is_ordered() { return false } else { continue }
            }
            if self.is_ordered() && !self.is_available(pod) && first_unhealthy != Some(pods::uid(pod)) {
                return false;
            }
            decision.delete.push(Arc::clone(pod));
            if self.is_ordered() {
                return false;
            }
        }
        true
    }

    /// Removes what is of an old revision, highest ordinal first, as many at a time as may be missing.
    fn renew(&self, decision: &mut Decision) {
        if self.strategy() != "RollingUpdate" {
            return;
        }
        let rolling =
            self.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let most = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let most = most.map_or(1, |most| share::of(Some(most), replicas(self.spec), Round::Up).max(1));
        let mut missing = 0;
        for (ordinal, pod) in self.wanted.iter().rev() {
            if *ordinal < partition(self.spec) || missing >= most {
                return;
            }
            let Some(pod) = pod else {
                missing += 1;
                continue;
            };
            if revision(pod) != self.input.update.0 && !pods::is_deleting(pod) {
                if !decision.delete.iter().any(|gone| pods::uid(gone) == pods::uid(pod)) {
                    decision.delete.push(Arc::clone(pod));
                }
                missing += 1;
            } else if !self.is_available(pod) {
                missing += 1;
            }
        }
    }

    fn status(&self, decision: &Decision) -> StatefulSetStatus {
        let all = || self.wanted.iter().filter_map(|(_, pod)| pod.as_ref()).chain(&self.surplus);
        let count = |wanted: &dyn Fn(&Pod) -> bool| {
            i32::try_from(all().filter(|pod| wanted(pod)).count()).unwrap_or(i32::MAX)
        };
        let (current, update) = (self.input.current.0, self.input.update.0);
        let ready = |pod: &Pod| pods::phase(pod) == "Running" && pods::is_ready(pod);
        let wait = self.spec.min_ready_seconds.unwrap_or(0);
        let available = |pod: &Pod| ready(pod) && pods::is_available(pod, wait, self.input.now);
        let of = |wanted: &str, pod: &Pod| !pods::is_deleting(pod) && revision(pod) == wanted;
        let mut status = StatefulSetStatus {
            available_replicas: Some(count(&available)),
            collision_count: self
                .input
                .set
                .status
                .as_ref()
                .and_then(|status| status.collision_count)
                .or(Some(0)),
            conditions: self.input.set.status.as_ref().and_then(|status| status.conditions.clone()),
            current_replicas: some(count(&|pod| of(current, pod))),
            current_revision: Some(current.to_owned()),
            observed_generation: self.input.set.metadata.generation,
            ready_replicas: some(count(&ready)),
            replicas: count(&|_| true),
            update_revision: Some(update.to_owned()),
            updated_replicas: some(count(&|pod| of(update, pod))),
        };
        let wanted = some(replicas(self.spec));
        let quiet = decision.create.is_empty() && decision.delete.is_empty();
        if quiet
            && status.updated_replicas == wanted
            && status.ready_replicas == wanted
            && some(status.replicas) == wanted
        {
            status.current_revision.clone_from(&status.update_revision);
            status.current_replicas = status.updated_replicas;
        }
        status
    }
}

fn recreating(set: &StatefulSet, pod: &Pod) -> Note {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let (reason, how, warning) = if pods::phase(pod) == "Failed" {
        ("RecreatingFailedPod", "failed", true)
    } else {
        ("RecreatingTerminatedPod", "terminated", false)
    };
    let message = format!("StatefulSet {namespace}/{name} is recreating {how} Pod {}", pods::name(pod));
    Note { warning, reason: reason.to_owned(), message }
}

fn some(number: i32) -> Option<i32> {
    (number != 0).then_some(number)
}
