//! Writing a status (N1): through `/status`, and only over the version it was decided from.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::api::PostParams;
use kube::{Api, Client, Resource, ResourceExt as _};
use outrigger_reconcile::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::pod_control::{is_conflict, is_gone};

/// Writes an object's status; its new version, or `None` if the object has changed or gone meanwhile.
pub(crate) async fn write<K>(client: &Client, object: &K) -> Result<Option<String>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    match api.replace_status(&object.name_any(), &PostParams::default(), object).await {
        Ok(written) => Ok(Some(written.resource_version().unwrap_or_default())),
        Err(error) if is_gone(&error) || is_conflict(&error) => Ok(None),
        Err(error) => Err(Error::doing(format!("status of {} {}", K::kind(&()), object.name_any()))(error)),
    }
}
