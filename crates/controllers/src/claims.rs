//! Adopting and releasing what a controller selects (N1).

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use outrigger_api::selector::LabelSelector;
use outrigger_reconcile::Error;
use outrigger_workloads::claim::{Claim, claim};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::pod_control::is_gone;

/// Whom dependents belong to.
pub(crate) struct Owner<'a> {
    pub(crate) metadata: &'a ObjectMeta,
    /// What adopted objects are given.
    pub(crate) reference: OwnerReference,
    /// What events are about.
    pub(crate) about: ObjectReference,
}

impl<'a> Owner<'a> {
    /// An object as an owner.
    pub(crate) fn of<K: Resource<DynamicType = ()>>(object: &'a K) -> Self {
        Self {
            metadata: object.meta(),
            reference: outrigger_workloads::claim::reference(
                &K::api_version(&()),
                &K::kind(&()),
                object.meta(),
            ),
            about: object.object_ref(&()),
        }
    }

    pub(crate) fn uid(&self) -> &str {
        &self.reference.uid
    }

    pub(crate) fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }
}

/// The owner's objects among `candidates`, by name. Orphans it selects are adopted, with `finalizer`; those it no
/// longer selects are let go. `wrote` hears of every object that was changed.
pub(crate) async fn claim_all<K>(
    client: &Client,
    owner: &Owner<'_>,
    selector: Option<&LabelSelector>,
    candidates: Vec<Arc<K>>,
    finalizer: Option<&str>,
    wrote: impl Fn(&ObjectMeta),
) -> Result<Vec<Arc<K>>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), owner.namespace());
    let mut own = Vec::new();
    for object in candidates {
        let mut metadata = match claim(owner.metadata, selector, object.meta()) {
            Claim::Own => {
                own.push(object);
                continue;
            }
            Claim::Foreign => continue,
            Claim::Adopt => {
                own.push(Arc::clone(&object));
                let mut metadata = json!({ "ownerReferences": [owner.reference] });
                if let Some(finalizer) = finalizer {
                    metadata["finalizers"] = json!([finalizer]);
                }
                metadata
            }
            Claim::Release => {
                let mut metadata = json!({ "ownerReferences": [{ "$patch": "delete", "uid": owner.uid() }] });
                if let Some(finalizer) = finalizer {
                    metadata["$deleteFromPrimitiveList/finalizers"] = json!([finalizer]);
                }
                metadata
            }
        };
        metadata["uid"] = json!(object.uid());
        let patch = Patch::Strategic(json!({ "metadata": metadata }));
        match api.patch(&object.name_any(), &PatchParams::default(), &patch).await {
            Ok(written) => wrote(written.meta()),
            Err(error) if is_gone(&error) => own.retain(|one| one.uid() != object.uid()),
            Err(error) => return Err(Error::doing(format!("claim of {}", object.name_any()))(error)),
        }
    }
    own.sort_by_cached_key(|object| object.name_any());
    Ok(own)
}
