//! The Deployment controller (N2): moves replicas from old ReplicaSets to the one of the current template.
//!
//! ```text
//!   template changed ──► new ReplicaSet ──► it grows, old ones shrink ──► complete ──► old ones beyond the limit go
//!   scaled or paused ──► all keep their share
//! ```
//!
//! A decision works on copies of the sets and says afterwards what is different. Start at [`decide`].

mod progress;
mod revision;
mod rolling;
mod scaling;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use outrigger_api::WallTime;

pub use revision::is_ours;

use crate::note::Note;
use crate::pods;
use crate::share::{self, Round};

/// The label that tells a Deployment's ReplicaSets apart.
pub const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// All that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The Deployment as stored.
    pub deployment: &'a Deployment,
    /// Its ReplicaSets.
    pub sets: &'a [Arc<ReplicaSet>],
    /// Pods of those sets.
    pub pods: &'a [Arc<Pod>],
    /// The time.
    pub now: WallTime,
}

/// What to do, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// The set of a new template.
    pub create: Option<Box<ReplicaSet>>,
    /// Sets as they should be instead.
    pub update: Vec<ReplicaSet>,
    /// Old sets that are not kept.
    pub delete: Vec<Arc<ReplicaSet>>,
    /// The status; `None` if it is as it should be.
    pub status: Option<DeploymentStatus>,
    /// The revision to note on the Deployment; `None` if it is there.
    pub revision: Option<String>,
    /// What to tell.
    pub notes: Vec<Note>,
    /// When to decide again even if nothing happens.
    pub again: Option<Duration>,
}

/// The sets in the making.
struct Work<'a> {
    input: &'a Input<'a>,
    spec: &'a DeploymentSpec,
    /// The set of the current template.
    new: Option<ReplicaSet>,
    /// The others, oldest first.
    old: Vec<ReplicaSet>,
    status: DeploymentStatus,
    decision: Decision,
}

/// Decides one turn of one Deployment.
pub fn decide(input: &Input<'_>) -> Decision {
    let Some(spec) = &input.deployment.spec else { return Decision::default() };
    let (new, old) = revision::divide(input.deployment, input.sets);
    let mut work = Work {
        input,
        spec,
        new: new.map(|set| (*set).clone()),
        old: old.into_iter().map(|set| (*set).clone()).collect(),
        status: input.deployment.status.clone().unwrap_or_default(),
        decision: Decision::default(),
    };
    if input.deployment.metadata.deletion_timestamp.is_some() {
        work.observe();
        return work.finish();
    }
    progress::paused_or_resumed(&mut work);
    if spec.paused == Some(true) || work.is_scaling() {
        revision::refresh(&mut work);
        scaling::scale(&mut work);
        if spec.paused == Some(true) {
            work.clean_up();
        }
        work.observe();
        return work.finish();
    }
    if is_recreate(spec) {
        work.recreate();
    } else {
        revision::ensure(&mut work);
        rolling::roll(&mut work);
    }
    work.observe();
    progress::judge(&mut work);
    if progress::is_complete(&work) {
        work.clean_up();
    }
    work.finish()
}

impl Work<'_> {
    /// Old Pods are fully gone before new ones come.
    fn recreate(&mut self) {
        revision::refresh(self);
        let mut shrunk = false;
        for at in 0..self.old.len() {
            shrunk |= self.resize_old(at, 0);
        }
        let old: Vec<&str> = self.old.iter().filter_map(|set| set.metadata.uid.as_deref()).collect();
        let of_old = |pod: &&Arc<Pod>| {
            pods::controller_of(&pod.metadata).is_some_and(|owner| old.contains(&owner.uid.as_str()))
        };
        if shrunk || self.input.pods.iter().filter(of_old).any(|pod| !pods::is_finished(pod)) {
            return;
        }
        revision::ensure(self);
        self.resize_new(replicas_of(self.spec));
    }

    /// A set that was given another number of replicas than are wanted now.
    fn is_scaling(&self) -> bool {
        let wanted = replicas_of(self.spec);
        let active = self.old.iter().chain(&self.new).filter(|set| size(set) > 0);
        active.filter_map(|set| number(set, DESIRED)).any(|desired| desired != wanted)
    }

    fn resize_new(&mut self, to: i32) -> bool {
        let Some(mut set) = self.new.take() else { return false };
        let changed = self.resize(&mut set, to);
        self.new = Some(set);
        changed
    }

    fn resize_old(&mut self, at: usize, to: i32) -> bool {
        let mut set = std::mem::take(&mut self.old[at]);
        let changed = self.resize(&mut set, to);
        self.old[at] = set;
        changed
    }

    /// Gives a set its size, and notes on it what the Deployment's is.
    fn resize(&mut self, set: &mut ReplicaSet, to: i32) -> bool {
        let from = size(set);
        if from == to {
            return false;
        }
        revision::note_size(set, self.spec);
        set.spec.get_or_insert_default().replicas = Some(to);
        let way = if to > from { "up" } else { "down" };
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let text = format!("Scaled {way} replica set {name} from {from} to {to}");
        self.decision.notes.push(Note::normal("ScalingReplicaSet", text));
        true
    }

    /// Old sets without Pods beyond `revisionHistoryLimit` go, oldest revision first.
    fn clean_up(&mut self) {
        let limit = usize::try_from(self.spec.revision_history_limit.unwrap_or(10)).unwrap_or(usize::MAX);
        let mut old: Vec<&Arc<ReplicaSet>> = self.input.sets.iter().collect();
        old.retain(|set| {
            set.metadata.deletion_timestamp.is_none()
                && self.old.iter().any(|old| old.metadata.uid == set.metadata.uid)
        });
        old.sort_by_key(|set| revision::of(set));
        let surplus = old.len().saturating_sub(limit);
        let idle = |set: &&&Arc<ReplicaSet>| {
            let status = set.status.as_ref();
            let seen = status.and_then(|status| status.observed_generation) >= set.metadata.generation;
            size(set) == 0 && status.is_none_or(|status| status.replicas == 0) && seen
        };
        self.decision.delete = old.iter().take(surplus).filter(idle).map(|set| Arc::clone(set)).collect();
    }

    /// The numbers of the status, from the sets' statuses.
    fn observe(&mut self) {
        let stored = self.input.sets;
        let sum = |of: fn(&ReplicaSet) -> i32| stored.iter().map(|set| of(set)).sum::<i32>();
        let available = sum(available);
        let wanted: i32 = self.new.iter().chain(&self.old).map(size).sum();
        let uid = self.new.as_ref().and_then(|set| set.metadata.uid.clone());
        let updated = stored.iter().find(|set| uid.is_some() && set.metadata.uid == uid);
        let status = &mut self.status;
        status.observed_generation = self.input.deployment.metadata.generation;
        status.replicas = some(sum(actual));
        status.updated_replicas = some(updated.map_or(0, |set| actual(set)));
        status.ready_replicas = some(sum(ready));
        status.available_replicas = some(available);
        status.unavailable_replicas = some((wanted - available).max(0));
        status.terminating_replicas = Some(sum(terminating));
        progress::availability(self.spec, status, available, self.input.now);
    }

    fn finish(mut self) -> Decision {
        let changed = |set: &&ReplicaSet| {
            self.input.sets.iter().any(|stored| stored.metadata.uid == set.metadata.uid && **stored != **set)
        };
        self.decision.update = self.new.iter().chain(&self.old).filter(changed).cloned().collect();
        let before = self.input.deployment.status.clone().unwrap_or_default();
        if self.status != before || self.decision.revision.is_some() {
            self.decision.status = Some(self.status);
        }
        self.decision
    }
}

fn is_recreate(spec: &DeploymentSpec) -> bool {
    spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

fn replicas_of(spec: &DeploymentSpec) -> i32 {
    spec.replicas.unwrap_or(1)
}

/// How many Pods may exist beyond `replicas`, and how many of those may be missing.
fn bounds(spec: &DeploymentSpec) -> (i32, i32) {
    let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let Some(rolling) = rolling.filter(|_| !is_recreate(spec) && replicas_of(spec) > 0) else {
        return (0, 0);
    };
    let surge = share::of(rolling.max_surge.as_ref(), replicas_of(spec), Round::Up);
    let unavailable = share::of(rolling.max_unavailable.as_ref(), replicas_of(spec), Round::Down);
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    (surge, unavailable.min(replicas_of(spec)))
}

/// How many Pods a set is asked for.
fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

fn ready(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
}

fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

fn terminating(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or(0)
}

fn number(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    pods::annotation(&set.metadata, annotation)?.parse().ok()
}

fn some(number: i32) -> Option<i32> {
    (number != 0).then_some(number)
}
