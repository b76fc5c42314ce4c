//! The wiring of DaemonSets (N5).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use outrigger_api::WallTime;
use outrigger_api::clock::SharedClock;
use outrigger_reconcile::{Cache, Error, Next, Reconciler};
use outrigger_scheduling::{PodInfo, Snapshot, matches_node_selection, tolerated};
use outrigger_workloads::daemon_set::{self, Failures, Fit};
use outrigger_workloads::{pods, revisions, selector};

use crate::claims::Owner;
use crate::pod_control::PodControl;
use crate::revisions::{Present, Revisions};
use crate::status;
use crate::written::AGAIN;

/// Sets whose failures are remembered; the memory is cleared when it is full.
const REMEMBERED: usize = 1024;

/// Runs DaemonSets.
pub(crate) struct DaemonSets {
    pub(crate) control: PodControl,
    pub(crate) clock: SharedClock,
    pub(crate) nodes: Cache<Node>,
    pub(crate) revisions: Revisions,
    /// By uid of the set and name of the node.
    pub(crate) failures: Mutex<HashMap<String, HashMap<String, Failures>>>,
}

#[async_trait]
impl Reconciler for DaemonSets {
    type Object = DaemonSet;

    const NAME: &'static str = "daemonset";

    async fn reconcile(&self, set: Arc<DaemonSet>) -> Result<Next, Error> {
        let Some(spec) = &set.spec else { return Ok(Next::Change) };
        let owner = Owner::of(&*set);
        let selected = selector::of(Some(&spec.selector));
        if !self.is_current(&owner) {
            return Ok(Next::After(AGAIN));
        }
        let own = self.control.claim(&owner, selected.as_ref(), None).await?;
        let wrote = |metadata: &kube::core::ObjectMeta| {
            let mark = self.revisions.cache.mark(metadata.resource_version.as_deref());
            self.control.written.dependent(owner.uid(), mark);
        };
        let all = self.revisions.all(&owner, selected.as_ref(), wrote).await?;
        let collisions = set.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        let found = self.revisions.present(&owner, &spec.template, &all, collisions, wrote).await?;
        let Present::Known(update) = found else { return self.collided(&set).await };
        if !self.is_current(&owner) {
            return Ok(Next::After(AGAIN));
        }
        let hash = pods::label(&update.metadata, revisions::HASH).unwrap_or_default();
        let (now, failures) = (self.clock.now().wall, self.failures_of(owner.uid()));
        let nodes = self.fits(&set, spec, hash);
        let input =
            daemon_set::Input { set: &set, pods: &own, nodes: &nodes, hash, failures: &failures, now };
        let decision = daemon_set::decide(&input);
        decision.notes.into_iter().for_each(|note| self.control.teller.tell(&owner.about, note));
        self.control.delete(&owner, &decision.delete).await?;
        self.remember(owner.uid(), &decision.failed_on, now);
        let (_, not_created) = self.control.create(&owner, decision.create).await;
        if let Some(status) = decision.status
            && !self.write_status(&set, status).await?
        {
            return Ok(Next::After(AGAIN));
        }
        let hashes: HashSet<&str> = own
            .iter()
            .filter_map(|pod| pods::label(&pod.metadata, revisions::POD_HASH))
            .chain([hash])
            .collect();
        let in_use = all.iter().filter(|one| {
            pods::label(&one.metadata, revisions::HASH).is_some_and(|hash| hashes.contains(hash))
        });
        let used = in_use.map(|one| revisions::name(one).to_owned()).collect();
        self.revisions.clean_up(&owner, &all, &used, spec.revision_history_limit.unwrap_or(10)).await?;
        not_created.map_or(Ok(decision.again.map_or(Next::Change, Next::After)), Err)
    }
}

impl DaemonSets {
    fn is_current(&self, owner: &Owner<'_>) -> bool {
        let version = owner.metadata.resource_version.as_deref();
        let shows = |mark| self.control.pods.shows(mark) && self.revisions.cache.shows(mark);
        self.control.written.shown(owner.uid(), version, shows)
    }

    /// What every node says to a Pod of the set.
    fn fits(&self, set: &DaemonSet, spec: &DaemonSetSpec, hash: &str) -> BTreeMap<String, Fit> {
        let mut pod: Pod = daemon_set::pod(set, spec, "", hash);
        if let (Some(inner), Some(template)) = (&mut pod.spec, &spec.template.spec) {
            // Where it may go is for the template to say; that it is meant for one node comes on top.
            inner.affinity.clone_from(&template.affinity);
        }
        let pod = PodInfo::new(&pod);
        let nodes = self.nodes.all();
        nodes.iter().map(|node| (node.name_any(), fit(&pod, node))).collect()
    }

    fn failures_of(&self, uid: &str) -> HashMap<String, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned().unwrap_or_default()
    }

    fn remember(&self, uid: &str, nodes: &[String], now: WallTime) {
        if nodes.is_empty() {
            return;
        }
        let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.clear();
        }
        let of_set = all.entry(uid.to_owned()).or_default();
        for node in nodes {
            let count = of_set.get(node).map_or(0, |known| known.count).saturating_add(1);
            of_set.insert(node.clone(), Failures { count, last: now });
        }
    }

    /// Another revision has the name: the next hash is tried.
    async fn collided(&self, set: &DaemonSet) -> Result<Next, Error> {
        let mut status = set.status.clone().unwrap_or_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        self.write_status(set, status).await?;
        Ok(Next::After(AGAIN))
    }

    async fn write_status(&self, set: &DaemonSet, status: DaemonSetStatus) -> Result<bool, Error> {
        let changed = DaemonSet { status: Some(status), ..set.clone() };
        let version = status::write(&self.control.client, &changed).await?;
        if let Some(version) = &version {
            self.control.written.own(&set.uid().unwrap_or_default(), Some(version));
        }
        Ok(version.is_some())
    }
}

/// N5: the node's name, labels and taints.
fn fit(pod: &PodInfo, node: &Node) -> Fit {
    let mut snapshot = Snapshot::default();
    snapshot.set_node(node);
    let name = node.name_any();
    let Some(info) = snapshot.node(&name) else { return Fit::No };
    if (!pod.node_name.is_empty() && pod.node_name != name) || !matches_node_selection(pod, info) {
        return Fit::No;
    }
    let refused = |effects: &[&str]| {
        info.taints
            .iter()
            .any(|taint| effects.contains(&taint.effect.as_str()) && !tolerated(taint, &pod.tolerations))
    };
    if !refused(&["NoSchedule", "NoExecute"]) {
        Fit::Runs
    } else if refused(&["NoExecute"]) {
        Fit::No
    } else {
        Fit::Stays
    }
}
