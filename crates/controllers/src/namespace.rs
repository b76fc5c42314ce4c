//! How a namespace ends: its Pods first, then everything else, then its finalizer (L10-L13).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, DynamicObject, ListParams};
use kube::core::discovery::verbs;
use kube::discovery::{Discovery, Scope};
use kube::{Api, Client, ResourceExt as _};
use outrigger_reconcile::{Error, Next, Reconciler};

/// How often a namespace whose content does not go is looked at again.
const AGAIN: Duration = Duration::from_millis(500);

/// Empties namespaces that are being deleted.
pub(crate) struct NamespaceDeletion {
    pub(crate) client: Client,
}

#[async_trait]
impl Reconciler for NamespaceDeletion {
    type Object = Namespace;

    const NAME: &'static str = "namespace-deletion";

    async fn reconcile(&self, namespace: Arc<Namespace>) -> Result<Next, Error> {
        let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
        let ours = finalizers.is_some_and(|list| list.iter().any(|one| one == "kubernetes"));
        if namespace.metadata.deletion_timestamp.is_none() || !ours {
            return Ok(Next::Change);
        }
        let name = namespace.name_any();
        if self.pods_remain(&name).await? || self.content_remains(&name).await? {
            return Ok(Next::After(AGAIN));
        }
        self.finalize(&namespace).await?;
        Ok(Next::Change)
    }
}

impl NamespaceDeletion {
    /// L11: while a Pod remains nothing else is deleted.
    async fn pods_remain(&self, namespace: &str) -> Result<bool, Error> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let list = pods.list(&ListParams::default()).await;
        let list = list.map_err(Error::doing(format!("the list of pods in {namespace}")))?;
        for pod in list.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            let deleted = pods.delete(&pod.name_any(), &DeleteParams::default()).await;
            ignore_missing(deleted).map_err(Error::doing(format!("deletion of pod {}", pod.name_any())))?;
        }
        Ok(!list.items.is_empty())
    }

    /// Deletes every other kind; says whether something is still there.
    async fn content_remains(&self, namespace: &str) -> Result<bool, Error> {
        let discovery = Discovery::new(self.client.clone()).run_aggregated().await;
        let discovery = discovery.map_err(Error::doing("discovery"))?;
        let mut remains = false;
        for (resource, capabilities) in
            discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources)
        {
            let deletable = capabilities.supports_operation(verbs::DELETE)
                && capabilities.supports_operation(verbs::LIST);
            if capabilities.scope != Scope::Namespaced || !deletable {
                continue;
            }
            let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource);
            let doing = || Error::doing(format!("deletion of {} in {namespace}", resource.plural));
            let found = api.list_metadata(&ListParams::default()).await.map_err(doing())?;
            for object in &found.items {
                remains = true;
                if object.metadata.deletion_timestamp.is_none() {
                    let deleted = api.delete(&object.name_any(), &DeleteParams::background()).await;
                    ignore_missing(deleted).map_err(doing())?;
                }
            }
        }
        Ok(remains)
    }

    /// L13.
    async fn finalize(&self, namespace: &Namespace) -> Result<(), Error> {
        let mut namespace = namespace.clone();
        let name = namespace.name_any();
        if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            finalizers.retain(|one| one != "kubernetes");
        }
        let body = serde_json::to_vec(&namespace)
            .map_err(|error| Error::Object(format!("namespace {name} cannot be encoded: {error}")))?;
        let request = http_request(&name, body)?;
        let done = self.client.request::<serde_json::Value>(request).await.map(drop);
        match done {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            outcome => outcome.map_err(Error::doing(format!("finalization of namespace {name}"))),
        }
    }
}

fn http_request(name: &str, body: Vec<u8>) -> Result<http::Request<Vec<u8>>, Error> {
    http::Request::put(format!("/api/v1/namespaces/{name}/finalize"))
        .header("content-type", "application/json")
        .body(body)
        .map_err(|error| Error::Object(format!("namespace {name} has no usable name: {error}")))
}

fn ignore_missing<T>(outcome: kube::Result<T>) -> kube::Result<()> {
    match outcome {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        outcome => outcome.map(drop),
    }
}
