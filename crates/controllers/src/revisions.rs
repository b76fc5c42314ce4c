//! Keeping ControllerRevisions for the kinds that have them (N4, N5).

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use outrigger_api::selector::LabelSelector;
use outrigger_reconcile::{Cache, Error};
use outrigger_workloads::revisions::{self, Step};
use serde_json::json;

use crate::claims::{Owner, claim_all};
use crate::pod_control::{is_conflict, is_gone};

/// The revisions of all owners.
pub(crate) struct Revisions {
    pub(crate) client: Client,
    pub(crate) cache: Cache<ControllerRevision>,
}

/// What came of looking for the present revision.
pub(crate) enum Present {
    /// It is there.
    Known(Box<ControllerRevision>),
    /// Its name is taken by another one: the owner must count a collision.
    Collision,
}

impl Revisions {
    /// The owner's revisions, as far as the picture shows them.
    pub(crate) async fn all(
        &self,
        owner: &Owner<'_>,
        selector: Option<&LabelSelector>,
        wrote: impl Fn(&ObjectMeta),
    ) -> Result<Vec<Arc<ControllerRevision>>, Error> {
        let candidates = self.cache.owned_or_orphaned(owner.namespace(), owner.uid());
        claim_all(&self.client, owner, selector, candidates, None, wrote).await
    }

    /// Finds or makes the revision of the present template.
    pub(crate) async fn present(
        &self,
        owner: &Owner<'_>,
        template: &PodTemplateSpec,
        existing: &[Arc<ControllerRevision>],
        collisions: i32,
        wrote: impl Fn(&ObjectMeta),
    ) -> Result<Present, Error> {
        let update = revisions::update(owner.metadata, &owner.reference, template, existing, collisions);
        let wanted = update.revision;
        let name = wanted.name_any();
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), owner.namespace());
        let doing = || Error::doing(format!("controller revision {name}"));
        match update.step {
            Step::None => Ok(Present::Known(Box::new(wanted))),
            Step::Renumber => {
                let patch =
                    Patch::Merge(json!({"metadata": {"uid": wanted.uid()}, "revision": wanted.revision}));
                let written = api.patch(&name, &PatchParams::default(), &patch).await.map_err(doing())?;
                wrote(&written.metadata);
                Ok(Present::Known(Box::new(written)))
            }
            Step::Create => match api.create(&PostParams::default(), &wanted).await {
                Ok(written) => {
                    wrote(&written.metadata);
                    Ok(Present::Known(Box::new(written)))
                }
                Err(error) if is_conflict(&error) => {
                    let found = api.get(&name).await.map_err(doing())?;
                    wrote(&found.metadata);
                    let same = revisions::is_same(&wanted, &found);
                    Ok(if same { Present::Known(Box::new(found)) } else { Present::Collision })
                }
                Err(error) => Err(doing()(error)),
            },
        }
    }

    /// Deletes what nobody uses beyond the limit.
    pub(crate) async fn clean_up(
        &self,
        owner: &Owner<'_>,
        existing: &[Arc<ControllerRevision>],
        used: &HashSet<String>,
        limit: i32,
    ) -> Result<(), Error> {
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), owner.namespace());
        for old in revisions::surplus(existing, used, limit) {
            let only = Preconditions { uid: old.uid(), resource_version: None };
            let parameters = DeleteParams::background().preconditions(only);
            match api.delete(&old.name_any(), &parameters).await {
                Err(error) if !is_gone(&error) => {
                    return Err(Error::doing(format!("deletion of revision {}", old.name_any()))(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
