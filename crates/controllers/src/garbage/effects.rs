//! What the collector does to objects. Everything is asked of the server first.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::{Api, Client};
use outrigger_reconcile::Error;
use outrigger_workloads::garbage::{Dependents, FOREGROUND, Identity, ORPHAN, Owner, Task, Verdict, verdict};
use serde_json::{Value, json};

use super::watches::Kinds;
use crate::pod_control::is_gone;

pub(super) struct Effects {
    pub(super) client: Client,
    pub(super) kinds: Arc<Kinds>,
}

impl Effects {
    /// Does it. An object that is gone, or is another one, needs nothing.
    pub(super) async fn carry_out(&self, identity: &Identity, task: Task) -> Result<(), Error> {
        let api = self.api(identity)?;
        match task {
            Task::Prompt(_) => Ok(()),
            Task::Finish => self.drop_finalizer(&api, identity, FOREGROUND).await,
            Task::Orphan(dependents) => {
                for dependent in dependents {
                    self.disown(&dependent, &identity.uid).await?;
                }
                self.drop_finalizer(&api, identity, ORPHAN).await
            }
            Task::Check { owners, dependents } => self.check(&api, identity, &owners, dependents).await,
        }
    }

    async fn check(
        &self,
        api: &Api<DynamicObject>,
        identity: &Identity,
        known: &HashMap<String, Owner>,
        dependents: Dependents,
    ) -> Result<(), Error> {
        let Some(live) = self.live(api, identity).await? else { return Ok(()) };
        let mut owners = known.clone();
        for owner in live.owner_references.iter().flatten() {
            if !owners.contains_key(&owner.uid) {
                owners.insert(owner.uid.clone(), self.owner(identity, owner).await?);
            }
        }
        let state = |owner: &OwnerReference| owners.get(&owner.uid).copied().unwrap_or(Owner::Solid);
        match verdict(&live, state, dependents) {
            Verdict::Keep => Ok(()),
            Verdict::Disown(dead) => self.without_owners(api, identity, &live, &dead).await,
            Verdict::Delete { propagation, unblock } => {
                if unblock {
                    let mut references = live.owner_references.clone().unwrap_or_default();
                    references.iter_mut().for_each(|owner| owner.block_owner_deletion = Some(false));
                    self.patch(api, identity, &live, json!({ "ownerReferences": references })).await?;
                    return self.delete(api, identity, None, propagation).await;
                }
                self.delete(api, identity, live.resource_version.clone(), propagation).await
            }
        }
    }

    async fn delete(
        &self,
        api: &Api<DynamicObject>,
        identity: &Identity,
        version: Option<String>,
        propagation: &str,
    ) -> Result<(), Error> {
        let policy = match propagation {
            "Foreground" => PropagationPolicy::Foreground,
            "Orphan" => PropagationPolicy::Orphan,
            _ => PropagationPolicy::Background,
        };
        let parameters = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() }
            .preconditions(Preconditions { uid: Some(identity.uid.clone()), resource_version: version });
        settled(api.delete(&identity.name, &parameters).await.map(drop), "deletion", identity)
    }

    /// An owner as the server knows it.
    async fn owner(&self, dependent: &Identity, owner: &OwnerReference) -> Result<Owner, Error> {
        let Some((resource, namespaced)) = self.kinds.find(&owner.api_version, &owner.kind) else {
            let text = format!("owner {} of {} is of an unknown kind", owner.kind, dependent.name);
            return Err(Error::Object(text));
        };
        // Such an owner cannot be looked up; nothing is deleted on a guess.
        if *namespaced && dependent.namespace.is_empty() {
            return Ok(Owner::Solid);
        }
        let api = if *namespaced {
            Api::<DynamicObject>::namespaced_with(self.client.clone(), &dependent.namespace, resource)
        } else {
            Api::<DynamicObject>::all_with(self.client.clone(), resource)
        };
        let found = api.get_metadata_opt(&owner.name).await;
        let found = found.map_err(Error::doing(format!("owner {} {}", owner.kind, owner.name)))?;
        Ok(match found {
            Some(found) if found.metadata.uid.as_ref() == Some(&owner.uid) => {
                let foreground = found.metadata.finalizers.iter().flatten().any(|one| one == FOREGROUND);
                let waiting = found.metadata.deletion_timestamp.is_some() && foreground;
                if waiting { Owner::Waiting } else { Owner::Solid }
            }
            _ => Owner::Absent,
        })
    }

    async fn disown(&self, dependent: &Identity, owner: &str) -> Result<(), Error> {
        let api = self.api(dependent)?;
        let Some(live) = self.live(&api, dependent).await? else { return Ok(()) };
        self.without_owners(&api, dependent, &live, &[owner.to_owned()]).await
    }

    async fn without_owners(
        &self,
        api: &Api<DynamicObject>,
        identity: &Identity,
        live: &ObjectMeta,
        dead: &[String],
    ) -> Result<(), Error> {
        let mut references = live.owner_references.clone().unwrap_or_default();
        let before = references.len();
        references.retain(|owner| !dead.contains(&owner.uid));
        if references.len() == before {
            return Ok(());
        }
        self.patch(api, identity, live, json!({ "ownerReferences": references })).await
    }

    async fn drop_finalizer(
        &self,
        api: &Api<DynamicObject>,
        identity: &Identity,
        finalizer: &str,
    ) -> Result<(), Error> {
        let Some(live) = self.live(api, identity).await? else { return Ok(()) };
        let mut finalizers = live.finalizers.clone().unwrap_or_default();
        finalizers.retain(|one| one != finalizer);
        self.patch(api, identity, &live, json!({ "finalizers": finalizers })).await
    }

    async fn patch(
        &self,
        api: &Api<DynamicObject>,
        identity: &Identity,
        live: &ObjectMeta,
        mut metadata: Value,
    ) -> Result<(), Error> {
        // The last one to go takes the list with it.
        for list in metadata.as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
            if list.as_array().is_some_and(Vec::is_empty) {
                *list = Value::Null;
            }
        }
        metadata["uid"] = json!(identity.uid);
        metadata["resourceVersion"] = json!(live.resource_version);
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let outcome = api.patch_metadata(&identity.name, &PatchParams::default(), &patch).await;
        settled(outcome.map(drop), "patch", identity)
    }

    /// The metadata of this very object, if it still exists.
    async fn live(&self, api: &Api<DynamicObject>, identity: &Identity) -> Result<Option<ObjectMeta>, Error> {
        let found = api.get_metadata_opt(&identity.name).await;
        let found = found.map_err(Error::doing(format!("{} {}", identity.kind, identity.name)))?;
        Ok(found.map(|found| found.metadata).filter(|found| found.uid.as_ref() == Some(&identity.uid)))
    }

    fn api(&self, identity: &Identity) -> Result<Api<DynamicObject>, Error> {
        let Some((resource, _)) = self.kinds.find(&identity.api_version, &identity.kind) else {
            return Err(Error::Object(format!("{} is not served any more", identity.kind)));
        };
        Ok(if identity.namespace.is_empty() {
            Api::all_with(self.client.clone(), resource)
        } else {
            Api::namespaced_with(self.client.clone(), &identity.namespace, resource)
        })
    }
}

fn settled(outcome: kube::Result<()>, doing: &str, identity: &Identity) -> Result<(), Error> {
    match outcome {
        Err(error) if !is_gone(&error) => {
            Err(Error::doing(format!("{doing} of {} {}", identity.kind, identity.name))(error))
        }
        _ => Ok(()),
    }
}
