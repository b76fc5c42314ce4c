//! The stored objects admission looks at, fetched before it runs: admission itself never waits.

use outrigger_admission::{Endpoint, Lookup};
use outrigger_api::{KindInfo, Object, StatusError};
use serde_json::Value;

use crate::server::Api;
use crate::storage::{ListRequest, Stored};

/// Everything the plug-ins may ask about one write.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    namespace: Option<Object>,
    service_account: Option<Object>,
    priority_classes: Vec<Object>,
    storage_classes: Vec<Object>,
    storage_class: Option<Object>,
    ingress_classes: Vec<Object>,
    runtime_class: Option<Object>,
    limit_ranges: Vec<Object>,
    node: Option<Object>,
}

impl Fetched {
    /// Fetches what the creation of `object` can be asked about.
    pub(super) async fn for_create(
        api: &Api,
        kind: &KindInfo,
        namespace: &str,
        object: &Object,
    ) -> Result<Self, StatusError> {
        let mut fetched = Self::default();
        if kind.namespaced && !namespace.is_empty() {
            fetched.namespace = one(api, "", "namespaces", "", namespace).await?;
        }
        if matches!((&*kind.group, &*kind.kind), ("", "Pod" | "PersistentVolumeClaim")) {
            fetched.limit_ranges = all_in(api, "", "limitranges", namespace).await?;
        }
        match (&*kind.group, &*kind.kind) {
            ("", "Pod") => {
                let account = match object.str_at(&["spec", "serviceAccountName"]) {
                    "" => object.str_at(&["spec", "serviceAccount"]),
                    name => name,
                };
                let account = if account.is_empty() { "default" } else { account };
                fetched.service_account = one(api, "", "serviceaccounts", namespace, account).await?;
                fetched.priority_classes = all(api, "scheduling.k8s.io", "priorityclasses").await?;
                let runtime = object.str_at(&["spec", "runtimeClassName"]);
                if !runtime.is_empty() {
                    fetched.runtime_class = one(api, "node.k8s.io", "runtimeclasses", "", runtime).await?;
                }
            }
            ("scheduling.k8s.io", "PriorityClass") => {
                fetched.priority_classes = all(api, "scheduling.k8s.io", "priorityclasses").await?;
            }
            ("", "PersistentVolumeClaim") => {
                fetched.storage_classes = all(api, "storage.k8s.io", "storageclasses").await?;
            }
            ("networking.k8s.io", "Ingress") => {
                fetched.ingress_classes = all(api, "networking.k8s.io", "ingressclasses").await?;
            }
            _ => {}
        }
        Ok(fetched)
    }

    /// Fetches what a change of `old` can be asked about. Status is written most often, and asks nothing.
    pub(super) async fn for_update(
        api: &Api,
        kind: &KindInfo,
        endpoint: Endpoint,
        old: &Object,
    ) -> Result<Self, StatusError> {
        let mut fetched = Self::default();
        if endpoint == Endpoint::Status {
            return Ok(fetched);
        }
        let namespace = old.namespace();
        if kind.namespaced && !namespace.is_empty() {
            fetched.namespace = one(api, "", "namespaces", "", namespace).await?;
        }
        match (&*kind.group, &*kind.kind, endpoint) {
            ("", "Pod", Endpoint::Resize) => {
                fetched.limit_ranges = all_in(api, "", "limitranges", namespace).await?;
                fetched.node = one(api, "", "nodes", "", old.str_at(&["spec", "nodeName"])).await?;
            }
            ("", "PersistentVolumeClaim", _) => {
                fetched.limit_ranges = all_in(api, "", "limitranges", namespace).await?;
                let class = old.str_at(&["spec", "storageClassName"]);
                if !class.is_empty() {
                    fetched.storage_class = one(api, "storage.k8s.io", "storageclasses", "", class).await?;
                }
            }
            ("scheduling.k8s.io", "PriorityClass", _) => {
                fetched.priority_classes = all(api, "scheduling.k8s.io", "priorityclasses").await?;
            }
            _ => {}
        }
        Ok(fetched)
    }
}

pub(crate) async fn one(
    api: &Api,
    group: &str,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Object>, StatusError> {
    let Some(kind) = api.registry.find(group, "v1", plural) else { return Ok(None) };
    let found = api.storage.find(&kind, namespace, name).await?;
    found.as_ref().map(Stored::object).transpose()
}

pub(crate) async fn all(api: &Api, group: &str, plural: &str) -> Result<Vec<Object>, StatusError> {
    all_in(api, group, plural, "").await
}

pub(crate) async fn all_in(
    api: &Api,
    group: &str,
    plural: &str,
    namespace: &str,
) -> Result<Vec<Object>, StatusError> {
    let Some(kind) = api.registry.find(group, "v1", plural) else { return Ok(Vec::new()) };
    let request = ListRequest { namespace: namespace.to_owned(), ..ListRequest::default() };
    let page = api.storage.list(&kind, &request).await?;
    page.items.iter().map(Stored::object).collect()
}

impl Lookup for Fetched {
    fn namespace(&self, name: &str) -> Option<Object> {
        self.namespace.clone().filter(|found| found.name() == name)
    }

    fn service_account(&self, namespace: &str, name: &str) -> Option<Object> {
        self.service_account.clone().filter(|found| found.namespace() == namespace && found.name() == name)
    }

    fn priority_class(&self, name: &str) -> Option<Object> {
        self.priority_classes.iter().find(|class| class.name() == name).cloned()
    }

    fn default_priority_class(&self) -> Option<Object> {
        let is_default =
            |class: &&Object| class.at(&["globalDefault"]).and_then(Value::as_bool) == Some(true);
        self.priority_classes.iter().find(is_default).cloned()
    }

    fn default_storage_class(&self) -> Option<Object> {
        const MARK: &str = "storageclass.kubernetes.io/is-default-class";
        // The newest of several wins, then the first by name (I44).
        let marked = self
            .storage_classes
            .iter()
            .filter(|class| class.str_at(&["metadata", "annotations", MARK]) == "true");
        let newest = |class: &&Object| {
            let made = class.str_at(&["metadata", "creationTimestamp"]).to_owned();
            (made, std::cmp::Reverse(class.name().to_owned()))
        };
        marked.max_by_key(newest).cloned()
    }

    fn storage_class(&self, name: &str) -> Option<Object> {
        self.storage_class.clone().filter(|found| found.name() == name)
    }

    fn ingress_classes(&self) -> Vec<Object> {
        self.ingress_classes.clone()
    }

    fn limit_ranges(&self, _namespace: &str) -> Vec<Object> {
        self.limit_ranges.clone()
    }

    fn node(&self, name: &str) -> Option<Object> {
        self.node.clone().filter(|found| found.name() == name)
    }

    fn runtime_class(&self, name: &str) -> Option<Object> {
        self.runtime_class.clone().filter(|found| found.name() == name)
    }
}
