//! The wiring of PodDisruptionBudgets (N14).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt as _};
use outrigger_api::clock::SharedClock;
use outrigger_reconcile::{Cache, Error, Next, Reconciler};
use outrigger_workloads::{Note, disruption, pods, selector};

use crate::claims::Owner;
use crate::events::Teller;
use crate::status;
use crate::written::{AGAIN, Written};

/// Keeps the status of budgets.
pub(crate) struct Budgets {
    pub(crate) client: Client,
    pub(crate) clock: SharedClock,
    pub(crate) pods: Cache<Pod>,
    pub(crate) teller: Teller,
    pub(crate) written: Written,
}

/// Which budgets a changed Pod concerns.
pub(crate) fn touched(
    pods: &Cache<Pod>,
    budgets: Cache<PodDisruptionBudget>,
) -> impl Stream<Item = ObjectRef<PodDisruptionBudget>> + Send + use<> {
    pods.changes().flat_map(move |pod| {
        let namespace = pod.namespace().unwrap_or_default();
        let selects = |budget: &PodDisruptionBudget| {
            let selector = selector::of(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()));
            selector.is_some_and(|selector| selector::selects(&selector, &pod.metadata))
        };
        let all = budgets.in_namespace(&namespace);
        let found = all.iter().filter(|budget| selects(budget));
        let found: Vec<_> =
            found.map(|budget| ObjectRef::new(&budget.name_any()).within(&namespace)).collect();
        futures::stream::iter(found)
    })
}

#[async_trait]
impl Reconciler for Budgets {
    type Object = PodDisruptionBudget;

    const NAME: &'static str = "disruption";

    async fn reconcile(&self, budget: Arc<PodDisruptionBudget>) -> Result<Next, Error> {
        let owner = Owner::of(&*budget);
        if !self
            .written
            .shown(owner.uid(), budget.metadata.resource_version.as_deref(), |mark| self.pods.shows(mark))
        {
            return Ok(Next::After(AGAIN));
        }
        let chosen = selector::of(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()));
        let mut matching = self.pods.in_namespace(owner.namespace());
        matching.retain(|pod| {
            chosen.as_ref().is_some_and(|selector| selector::selects(selector, &pod.metadata))
                && !pods::is_finished(pod)
        });
        if matching.is_empty() {
            self.teller.tell(&owner.about, Note::normal("NoPods", "No matching pods found"));
        }
        let expected = if disruption::asks_for_owners(&budget) {
            self.expected(owner.namespace(), &matching).await?
        } else {
            Ok(0)
        };
        let (status, again) = disruption::status(&budget, &matching, expected, self.clock.now().wall);
        if budget.status.as_ref() != Some(&status) {
            let changed = PodDisruptionBudget { status: Some(status), ..(*budget).clone() };
            match status::write(&self.client, &changed).await? {
                Some(version) => self.written.own(owner.uid(), Some(&version)),
                None => return Ok(Next::After(AGAIN)),
            }
        }
        Ok(again.map_or(Next::Change, Next::After))
    }
}

impl Budgets {
    /// How many Pods their owners ask for together.
    async fn expected(&self, namespace: &str, matching: &[Arc<Pod>]) -> Result<Result<i32, String>, Error> {
        let mut owners: BTreeMap<String, i32> = BTreeMap::new();
        for pod in matching {
            // A Pod on its own is counted by nobody.
            let Some(owner) = pods::controller_of(&pod.metadata) else { continue };
            if owners.contains_key(&owner.uid) {
                continue;
            }
            match self.scale(namespace, owner).await? {
                Some((uid, replicas)) => {
                    owners.insert(owner.uid.clone(), 0);
                    owners.insert(uid, replicas);
                }
                None => {
                    let text =
                        format!("{} {} does not implement the scale subresource", owner.kind, owner.name);
                    return Ok(Err(text));
                }
            }
        }
        Ok(Ok(owners.values().sum()))
    }

    /// Who decides about the number, and what it is; `None` for kinds without one.
    async fn scale(&self, namespace: &str, owner: &OwnerReference) -> Result<Option<(String, i32)>, Error> {
        let doing = || Error::doing(format!("{} {}", owner.kind, owner.name));
        let client = self.client.clone();
        let uid = owner.uid.clone();
        Ok(match owner.kind.as_str() {
            "ReplicaSet" => {
                let set = Api::<ReplicaSet>::namespaced(client.clone(), namespace).get_opt(&owner.name).await;
                let Some(set) = set.map_err(doing())? else { return Ok(Some((uid, 0))) };
                let above = pods::controller_of(&set.metadata).filter(|above| above.kind == "Deployment");
                let Some(above) = above else {
                    return Ok(Some((uid, set.spec.and_then(|spec| spec.replicas).unwrap_or(1))));
                };
                let found = Api::<Deployment>::namespaced(client, namespace).get_opt(&above.name).await;
                let replicas = found.map_err(doing())?.and_then(|found| found.spec?.replicas);
                Some((above.uid.clone(), replicas.unwrap_or(0)))
            }
            "StatefulSet" => {
                let found = Api::<StatefulSet>::namespaced(client, namespace).get_opt(&owner.name).await;
                Some((uid, found.map_err(doing())?.and_then(|found| found.spec?.replicas).unwrap_or(0)))
            }
            "ReplicationController" => {
                let found =
                    Api::<ReplicationController>::namespaced(client, namespace).get_opt(&owner.name).await;
                Some((uid, found.map_err(doing())?.and_then(|found| found.spec?.replicas).unwrap_or(0)))
            }
            _ => None,
        })
    }
}
