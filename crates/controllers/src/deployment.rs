//! The wiring of Deployments (N2).

use std::sync::Arc;

use async_trait::async_trait;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt as _};
use outrigger_api::clock::SharedClock;
use outrigger_reconcile::{Cache, Error, Next, Reconciler};
use outrigger_workloads::{Note, deployment, pods, selector};

use crate::claims::{Owner, claim_all};
use crate::events::Teller;
use crate::pod_control::{is_conflict, is_gone, is_namespace_ending, text};
use crate::status;
use crate::written::{AGAIN, Written};

/// Rolls out.
pub(crate) struct Deployments {
    pub(crate) client: Client,
    pub(crate) clock: SharedClock,
    pub(crate) sets: Cache<ReplicaSet>,
    pub(crate) pods: Cache<k8s_openapi::api::core::v1::Pod>,
    pub(crate) teller: Teller,
    pub(crate) written: Written,
}

/// Which Deployments a changed set concerns.
pub(crate) fn touched(sets: &Cache<ReplicaSet>) -> impl Stream<Item = ObjectRef<Deployment>> + Send + use<> {
    sets.changes().filter_map(async |set| {
        let owner = pods::controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment")?;
        Some(ObjectRef::new(&owner.name).within(&set.namespace()?))
    })
}

#[async_trait]
impl Reconciler for Deployments {
    type Object = Deployment;

    const NAME: &'static str = "deployment";

    async fn reconcile(&self, deployment: Arc<Deployment>) -> Result<Next, Error> {
        if !self.is_current(&deployment) {
            return Ok(Next::After(AGAIN));
        }
        let owner = Owner::of(&*deployment);
        let selected = selector::of(deployment.spec.as_ref().map(|spec| &spec.selector));
        let candidates = self.sets.owned_or_orphaned(owner.namespace(), owner.uid());
        let wrote = |metadata: &kube::core::ObjectMeta| self.wrote(owner.uid(), metadata);
        let sets = claim_all(&self.client, &owner, selected.as_ref(), candidates, None, wrote).await?;
        if !self.is_current(&deployment) {
            return Ok(Next::After(AGAIN));
        }
        let pods: Vec<_> = sets
            .iter()
            .flat_map(|set| {
                self.pods.owned(owner.namespace(), set.metadata.uid.as_deref().unwrap_or_default())
            })
            .collect();
        let now = self.clock.now().wall;
        let input = deployment::Input { deployment: &deployment, sets: &sets, pods: &pods, now };
        let decision = deployment::decide(&input);
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), owner.namespace());
        if let Some(set) = &decision.create
            && !self.create(&api, &deployment, &owner, set).await?
        {
            return Ok(Next::After(AGAIN));
        }
        for set in &decision.update {
            match api.replace(&set.name_any(), &PostParams::default(), set).await {
                Ok(written) => self.wrote(owner.uid(), &written.metadata),
                Err(error) if is_conflict(&error) || is_gone(&error) => return Ok(Next::After(AGAIN)),
                Err(error) => return Err(Error::doing(format!("replica set {}", set.name_any()))(error)),
            }
        }
        for set in &decision.delete {
            self.delete(&api, set).await?;
        }
        decision.notes.into_iter().for_each(|note| self.teller.tell(&owner.about, note));
        if let Some(status) = decision.status
            && !self.write_status(&deployment, status, decision.revision).await?
        {
            return Ok(Next::After(AGAIN));
        }
        Ok(decision.again.map_or(Next::Change, Next::After))
    }
}

impl Deployments {
    fn is_current(&self, deployment: &Deployment) -> bool {
        let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
        let version = deployment.metadata.resource_version.as_deref();
        self.written.shown(uid, version, |mark| self.sets.shows(mark))
    }

    fn wrote(&self, uid: &str, set: &kube::core::ObjectMeta) {
        self.written.dependent(uid, self.sets.mark(set.resource_version.as_deref()));
    }

    /// Whether the set is there now and is ours. If its name is taken by another one, the next name is tried.
    async fn create(
        &self,
        api: &Api<ReplicaSet>,
        deployment: &Deployment,
        owner: &Owner<'_>,
        set: &ReplicaSet,
    ) -> Result<bool, Error> {
        let name = set.name_any();
        let doing = || Error::doing(format!("replica set {name}"));
        match api.create(&PostParams::default(), set).await {
            Ok(written) => {
                self.wrote(owner.uid(), &written.metadata);
                Ok(true)
            }
            Err(error) if is_conflict(&error) => {
                let found = api.get_opt(&name).await.map_err(doing())?;
                match found {
                    Some(found) if deployment::is_ours(deployment, &found) => {
                        self.wrote(owner.uid(), &found.metadata);
                    }
                    Some(_) => {
                        let mut status = deployment.status.clone().unwrap_or_default();
                        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
                        self.write_status(deployment, status, None).await?;
                    }
                    None => {}
                }
                Ok(false)
            }
            Err(error) => {
                if !is_namespace_ending(&error) {
                    let text = format!("Failed to create new replica set \"{name}\": {}", text(&error));
                    self.teller.tell(&owner.about, Note::warning("ReplicaSetCreateError", text));
                }
                Err(doing()(error))
            }
        }
    }

    async fn delete(&self, api: &Api<ReplicaSet>, set: &ReplicaSet) -> Result<(), Error> {
        let only = Preconditions { uid: set.uid(), resource_version: set.resource_version() };
        let parameters = DeleteParams::background().preconditions(only);
        match api.delete(&set.name_any(), &parameters).await {
            Err(error) if !is_gone(&error) && !is_conflict(&error) => {
                Err(Error::doing(format!("deletion of replica set {}", set.name_any()))(error))
            }
            _ => Ok(()),
        }
    }

    async fn write_status(
        &self,
        deployment: &Deployment,
        status: DeploymentStatus,
        revision: Option<String>,
    ) -> Result<bool, Error> {
        let mut changed = deployment.clone();
        changed.status = Some(status);
        if let Some(revision) = revision {
            let annotations = changed.metadata.annotations.get_or_insert_default();
            annotations.insert("deployment.kubernetes.io/revision".to_owned(), revision);
        }
        let version = status::write(&self.client, &changed).await?;
        if let Some(version) = &version {
            self.written.own(&deployment.uid().unwrap_or_default(), Some(version));
        }
        Ok(version.is_some())
    }
}
