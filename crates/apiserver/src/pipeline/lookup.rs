//! The stored objects admission looks at, fetched before it runs: admission itself never waits.

use outrigger_admission::Lookup;
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
    runtime_class: Option<Object>,
    limit_ranges: Vec<Object>,
    node: Option<Object>,
}

impl Fetched {
    /// Fetches what a write of `object` can be asked about.
    pub(super) async fn of(
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
            _ => {}
        }
        Ok(fetched)
    }
}

impl Fetched {
    /// The node of a Pod whose resources change (R13.27).
    pub(super) async fn with_node(mut self, api: &Api, pod: &Object) -> Result<Self, StatusError> {
        self.node = one(api, "", "nodes", "", pod.str_at(&["spec", "nodeName"])).await?;
        Ok(self)
    }
}

async fn one(
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

async fn all(api: &Api, group: &str, plural: &str) -> Result<Vec<Object>, StatusError> {
    all_in(api, group, plural, "").await
}

async fn all_in(api: &Api, group: &str, plural: &str, namespace: &str) -> Result<Vec<Object>, StatusError> {
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
        // The newest of several wins (I44).
        let marked = self
            .storage_classes
            .iter()
            .filter(|class| class.str_at(&["metadata", "annotations", MARK]) == "true");
        marked.max_by_key(|class| class.str_at(&["metadata", "creationTimestamp"]).to_owned()).cloned()
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
