//! The wiring of ResourceQuotas (N15): counts what is there. Admission charges what comes in between (I48).

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, Pod, ReplicationController, ResourceQuota, Secret, Service,
};
use kube::api::{ApiResource, DynamicObject, ListParams, PartialObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use outrigger_admission::quota::Quota;
use outrigger_api::{KindInfo, Object, Registry};
use outrigger_reconcile::{Cache, Error, Next, Reconciler};
use serde::de::DeserializeOwned;

use crate::status;
use crate::written::AGAIN;

/// How often everything is counted again (N15).
const RECOUNT: Duration = Duration::from_secs(300);
/// How often, if something is counted whose coming and going is not watched here.
const UNWATCHED: Duration = Duration::from_secs(10);

/// Keeps what quotas say is used.
pub(crate) struct Quotas {
    pub(crate) client: Client,
    pub(crate) registry: Registry,
}

/// Quotas, and what changes their count.
pub(crate) fn controller(client: &Client, pods: &Cache<Pod>) -> Controller<ResourceQuota> {
    let all = Controller::new(Api::<ResourceQuota>::all(client.clone()), watcher::Config::default());
    let store = all.store();
    let near = move |namespace: Option<String>| -> Vec<ObjectRef<ResourceQuota>> {
        let state = store.state();
        let here = state.iter().filter(|quota| quota.metadata.namespace == namespace);
        here.map(|quota| ObjectRef::from_obj(&**quota)).collect()
    };
    let of_pods = near.clone();
    let all =
        all.reconcile_on(pods.changes().flat_map(move |pod| futures::stream::iter(of_pods(pod.namespace()))));
    let all = watched::<Service>(all, client, near.clone());
    let all = watched::<PersistentVolumeClaim>(all, client, near.clone());
    let all = watched::<ConfigMap>(all, client, near.clone());
    let all = watched::<Secret>(all, client, near.clone());
    watched::<ReplicationController>(all, client, near)
}

fn watched<K>(
    all: Controller<ResourceQuota>,
    client: &Client,
    near: impl Fn(Option<String>) -> Vec<ObjectRef<ResourceQuota>> + Send + Sync + 'static,
) -> Controller<ResourceQuota>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let objects = Api::<PartialObjectMeta<K>>::all(client.clone());
    all.watches(objects, watcher::Config::default(), move |object| near(object.metadata.namespace))
}

#[async_trait]
impl Reconciler for Quotas {
    type Object = ResourceQuota;

    const NAME: &'static str = "resource-quota";

    async fn reconcile(&self, quota: Arc<ResourceQuota>) -> Result<Next, Error> {
        let unreadable = |error: serde_json::Error| Error::Object(format!("a quota cannot be read: {error}"));
        let value = serde_json::to_value(&*quota).map_err(unreadable)?;
        let known = Quota(Object::from_value(value).unwrap_or_default());
        let namespace = quota.namespace().unwrap_or_default();
        let tracked = tracked(&known);
        let mut counted: Vec<(Arc<KindInfo>, Vec<Object>)> = Vec::new();
        for (group, plural) in &tracked {
            // A kind nobody serves has no objects.
            let Some(kind) = self.kind(group, plural) else { continue };
            counted.push((Arc::clone(&kind), self.list(&kind, &namespace).await?));
        }
        let all =
            counted.iter().flat_map(|(kind, objects)| objects.iter().map(move |object| (&**kind, object)));
        let used = known.total(all);
        let changed = known.with_used("spec", &used);
        if changed != known.0 {
            let changed: ResourceQuota = changed.to_typed().map_err(unreadable)?;
            if status::write(&self.client, &changed).await?.is_none() {
                // Somebody was charged meanwhile: count again.
                return Ok(Next::After(AGAIN));
            }
        }
        let is_watched =
            |(group, plural): &(String, String)| group.is_empty() && WATCHED.contains(&plural.as_str());
        Ok(Next::After(if tracked.iter().all(is_watched) { RECOUNT } else { UNWATCHED }))
    }
}

const WATCHED: [&str; 6] =
    ["pods", "services", "persistentvolumeclaims", "configmaps", "secrets", "replicationcontrollers"];

/// The kinds a quota limits something of, as group and plural.
fn tracked(quota: &Quota) -> BTreeSet<(String, String)> {
    let hard = quota.0.at(&["spec", "hard"]).and_then(serde_json::Value::as_object);
    let kind = |name: &String| {
        if let Some(counted) = name.strip_prefix("count/") {
            let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
            return (group.to_owned(), plural.to_owned());
        }
        let plural = match name.as_str() {
            "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas" => name,
            name if name == "services" || name.starts_with("services.") => "services",
            "persistentvolumeclaims" | "requests.storage" => "persistentvolumeclaims",
            name if name.contains(".storageclass.storage.k8s.io/") => "persistentvolumeclaims",
            _ => "pods",
        };
        (String::new(), plural.to_owned())
    };
    hard.into_iter().flatten().map(|(name, _)| kind(name)).collect()
}

impl Quotas {
    fn kind(&self, group: &str, plural: &str) -> Option<Arc<KindInfo>> {
        let table = self.registry.snapshot();
        let is_it = |kind: &&Arc<KindInfo>| kind.group == group && kind.plural == plural && kind.is_stored();
        table.kinds().find(is_it).cloned()
    }

    async fn list(&self, kind: &KindInfo, namespace: &str) -> Result<Vec<Object>, Error> {
        let resource = ApiResource {
            group: kind.group.to_string(),
            version: kind.version.to_string(),
            api_version: kind.api_version(),
            kind: kind.kind.to_string(),
            plural: kind.plural.to_string(),
        };
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource);
        let doing = Error::doing(format!("list of {} in {namespace}", kind.plural));
        // Only these use more than their name.
        if matches!(&*kind.plural, "pods" | "services" | "persistentvolumeclaims") {
            let all = api.list(&ListParams::default()).await.map_err(doing)?;
            return Ok(all.items.iter().filter_map(tree).collect());
        }
        let all = api.list_metadata(&ListParams::default()).await.map_err(doing)?;
        Ok(all.items.iter().filter_map(tree).collect())
    }
}

fn tree(object: &impl serde::Serialize) -> Option<Object> {
    Object::from_value(serde_json::to_value(object).ok()?)
}
