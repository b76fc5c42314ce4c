//! The wiring of ReplicaSets and ReplicationControllers (N3).

use std::collections::HashMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    Pod, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{Resource, ResourceExt as _};
use outrigger_api::clock::SharedClock;
use outrigger_reconcile::{Cache, Error, Next, Reconciler};
use outrigger_workloads::{pods, replica_set, selector};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::claims::Owner;
use crate::pod_control::PodControl;
use crate::status;
use crate::written::AGAIN;

/// A kind that keeps a number of Pods: the older one does it like the newer one.
pub(crate) trait Replicated:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    const NAME: &'static str;

    /// The same as a ReplicaSet.
    fn as_set(&self) -> ReplicaSet;

    /// The object with this status; `None` if it has it.
    fn with_status(&self, status: ReplicaSetStatus) -> Option<Self>;
}

impl Replicated for ReplicaSet {
    const NAME: &'static str = "replicaset";

    fn as_set(&self) -> ReplicaSet {
        self.clone()
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Option<Self> {
        let status = Some(status);
        (self.status != status).then(|| Self { status, ..self.clone() })
    }
}

impl Replicated for ReplicationController {
    const NAME: &'static str = "replication-controller";

    fn as_set(&self) -> ReplicaSet {
        let spec = self.spec.clone().unwrap_or_default();
        let before = self.status.clone().unwrap_or_default();
        let condition =
            |one: ReplicationControllerCondition| k8s_openapi::api::apps::v1::ReplicaSetCondition {
                last_transition_time: one.last_transition_time,
                message: one.message,
                reason: one.reason,
                status: one.status,
                type_: one.type_,
            };
        ReplicaSet {
            metadata: self.metadata.clone(),
            spec: Some(ReplicaSetSpec {
                min_ready_seconds: spec.min_ready_seconds,
                replicas: spec.replicas,
                selector: LabelSelector { match_labels: spec.selector, ..LabelSelector::default() },
                template: spec.template,
            }),
            status: Some(ReplicaSetStatus {
                conditions: before.conditions.map(|all| all.into_iter().map(condition).collect()),
                ..ReplicaSetStatus::default()
            }),
        }
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Option<Self> {
        let condition =
            |one: k8s_openapi::api::apps::v1::ReplicaSetCondition| ReplicationControllerCondition {
                last_transition_time: one.last_transition_time,
                message: one.message,
                reason: one.reason,
                status: one.status,
                type_: one.type_,
            };
        let status = Some(ReplicationControllerStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
        });
        (self.status != status).then(|| Self { status, ..self.clone() })
    }
}

/// Keeps the number of Pods of each object of a kind.
pub(crate) struct Replicas<K> {
    pub(crate) control: PodControl,
    pub(crate) clock: SharedClock,
    /// To know which nodes are crowded.
    pub(crate) sets: Cache<ReplicaSet>,
    pub(crate) kind: PhantomData<fn() -> K>,
}

#[async_trait]
impl<K: Replicated> Reconciler for Replicas<K> {
    type Object = K;

    const NAME: &'static str = K::NAME;

    async fn reconcile(&self, object: Arc<K>) -> Result<Next, Error> {
        if !self.control.is_current(object.meta()) {
            return Ok(Next::After(AGAIN));
        }
        let set = object.as_set();
        let owner = Owner::of(&*object);
        let selected = selector::of(set.spec.as_ref().map(|spec| &spec.selector));
        let own = self.control.claim(&owner, selected.as_ref(), None).await?;
        if !self.control.is_current(object.meta()) {
            return Ok(Next::After(AGAIN));
        }
        let now = self.clock.now().wall;
        let scale = replica_set::scale(&set, &owner.reference, &own, &self.neighbours(&set, &own), now);
        let deleted = self.control.delete(&owner, &scale.delete).await;
        let (_, not_created) = self.control.create(&owner, scale.create).await;
        let failure = match (&deleted, &not_created) {
            (Err(error), _) => Some(("FailedDelete", words(error))),
            (Ok(()), Some(error)) => Some(("FailedCreate", words(error))),
            (Ok(()), None) => None,
        };
        let (status, again) = replica_set::status(&set, &own, failure, now);
        if let Some(object) = object.with_status(status) {
            match status::write(&self.control.client, &object).await? {
                Some(version) => self.control.written.own(owner.uid(), Some(&version)),
                None => return Ok(Next::After(AGAIN)),
            }
        }
        deleted?;
        not_created.map_or(Ok(again.map_or(Next::Change, Next::After)), Err)
    }
}

impl<K> Replicas<K> {
    /// Only asked for when Pods have to go.
    fn neighbours(&self, set: &ReplicaSet, own: &[Arc<Pod>]) -> HashMap<String, usize> {
        let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let active = own.iter().filter(|pod| pods::is_active(pod)).count();
        if active <= usize::try_from(wanted).unwrap_or(0) {
            return HashMap::new();
        }
        let namespace = set.namespace().unwrap_or_default();
        let Some(owner) = pods::controller_of(&set.metadata) else { return pods::per_node(own) };
        let siblings = self.sets.owned(&namespace, &owner.uid);
        let related: Vec<Arc<Pod>> = siblings
            .iter()
            .flat_map(|set| {
                self.control.pods.owned(&namespace, set.metadata.uid.as_deref().unwrap_or_default())
            })
            .collect();
        pods::per_node(&related)
    }
}

/// What the server said.
fn words(error: &Error) -> String {
    match error {
        Error::Api { source, .. } => crate::pod_control::text(source),
        Error::Object(text) => text.clone(),
    }
}
