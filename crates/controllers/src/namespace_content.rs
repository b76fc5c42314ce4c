//! Every namespace has ConfigMap `kube-root-ca.crt` and ServiceAccount `default`, restored if deleted or altered (L9).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use outrigger_reconcile::{Error, Next, Reconciler};
use serde_json::json;

use crate::Config;

const ROOT_CA: &str = "kube-root-ca.crt";
const ABOUT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Fills namespaces.
pub(crate) struct NamespaceContent {
    pub(crate) client: Client,
    pub(crate) config: Config,
}

#[async_trait]
impl Reconciler for NamespaceContent {
    type Object = Namespace;

    const NAME: &'static str = "namespace-content";

    async fn reconcile(&self, namespace: Arc<Namespace>) -> Result<Next, Error> {
        if namespace.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Change);
        }
        let name = namespace.name_any();
        tokio::try_join!(self.service_account(&name), self.root_ca(&name))?;
        Ok(Next::Change)
    }
}

/// Somebody else was quicker, or the namespace is on its way out: as good as done.
fn settled(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 403 | 404 | 409))
}

impl NamespaceContent {
    async fn service_account(&self, namespace: &str) -> Result<(), Error> {
        let api = Api::<ServiceAccount>::namespaced(self.client.clone(), namespace);
        let doing = || Error::doing(format!("service account {namespace}/default"));
        if api.get_opt("default").await.map_err(doing())?.is_some() {
            return Ok(());
        }
        let account = ServiceAccount {
            metadata: kube::core::ObjectMeta { name: Some("default".to_owned()), ..Default::default() },
            ..ServiceAccount::default()
        };
        match api.create(&PostParams::default(), &account).await {
            Err(error) if !settled(&error) => Err(doing()(error)),
            _ => Ok(()),
        }
    }

    async fn root_ca(&self, namespace: &str) -> Result<(), Error> {
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        let doing = || Error::doing(format!("config map {namespace}/{ROOT_CA}"));
        let data = BTreeMap::from([("ca.crt".to_owned(), self.config.ca_certificate.clone())]);
        let written = match api.get_opt(ROOT_CA).await.map_err(doing())? {
            Some(found) if found.data.as_ref() == Some(&data) => return Ok(()),
            Some(_) => {
                let patch = Patch::Merge(json!({ "data": data }));
                api.patch(ROOT_CA, &PatchParams::default(), &patch).await
            }
            None => {
                let annotations =
                    BTreeMap::from([("kubernetes.io/description".to_owned(), ABOUT.to_owned())]);
                let map = ConfigMap {
                    metadata: kube::core::ObjectMeta {
                        name: Some(ROOT_CA.to_owned()),
                        annotations: Some(annotations),
                        ..Default::default()
                    },
                    data: Some(data),
                    ..ConfigMap::default()
                };
                api.create(&PostParams::default(), &map).await
            }
        };
        match written {
            Err(error) if !settled(&error) => Err(doing()(error)),
            _ => Ok(()),
        }
    }
}
