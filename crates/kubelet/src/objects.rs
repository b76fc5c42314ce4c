//! Objects that Pods name: ConfigMaps and Secrets fetched when needed, Services watched.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use outrigger_reconcile::{Change, changes};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Access to the objects.
#[derive(Clone)]
pub(crate) struct Objects {
    client: kube::Client,
    services: Arc<Mutex<HashMap<String, Service>>>,
    listed: watch::Sender<bool>,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").finish_non_exhaustive()
    }
}

impl Objects {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self { client, services: Arc::default(), listed: watch::Sender::new(false) }
    }

    /// Keeps the picture of Services until `stop`.
    pub(crate) async fn watch_services(self, stop: CancellationToken) {
        let api: Api<Service> = Api::all(self.client.clone());
        let mut stream = Box::pin(changes(api, watcher::Config::default()));
        loop {
            let change = tokio::select! {
                () = stop.cancelled() => return,
                change = stream.next() => change,
            };
            let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
            match change {
                Some(Change::Applied(service)) => {
                    services.insert(service.uid().unwrap_or_default(), service);
                }
                Some(Change::Gone(uid)) => {
                    services.remove(&uid);
                }
                Some(Change::Complete) => {
                    self.listed.send_replace(true);
                }
                None => return,
            }
        }
    }

    /// All Services, once they have been listed (R11.11).
    pub(crate) async fn services(&self) -> Vec<Service> {
        let mut listed = self.listed.subscribe();
        // The sender lives as long as self, so this cannot fail.
        let _ = listed.wait_for(|listed| *listed).await;
        self.services.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A ConfigMap; `None` if there is none.
    pub(crate) async fn config_map(&self, namespace: &str, name: &str) -> kube::Result<Option<ConfigMap>> {
        Api::namespaced(self.client.clone(), namespace).get_opt(name).await
    }

    /// A Secret; `None` if there is none.
    pub(crate) async fn secret(&self, namespace: &str, name: &str) -> kube::Result<Option<Secret>> {
        Api::namespaced(self.client.clone(), namespace).get_opt(name).await
    }

    /// Those of `names` that exist.
    pub(crate) async fn config_maps(
        &self,
        namespace: &str,
        names: &[String],
    ) -> kube::Result<BTreeMap<String, ConfigMap>> {
        let mut found = BTreeMap::new();
        for name in names {
            if let Some(map) = self.config_map(namespace, name).await? {
                found.insert(name.clone(), map);
            }
        }
        Ok(found)
    }

    /// Those of `names` that exist.
    pub(crate) async fn secrets(
        &self,
        namespace: &str,
        names: &[String],
    ) -> kube::Result<BTreeMap<String, Secret>> {
        let mut found = BTreeMap::new();
        for name in names {
            if let Some(secret) = self.secret(namespace, name).await? {
                found.insert(name.clone(), secret);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// R11.11: nobody learns of Services before all of them are known.
    #[tokio::test]
    async fn services_are_waited_for() {
        let silent = tower::service_fn(|_: http::Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, Infallible>>()
        });
        let objects = Objects::new(kube::Client::new(silent, "default"));
        let mut waiting = Box::pin(objects.services());
        assert!(futures::poll!(&mut waiting).is_pending());
        objects.services.lock().unwrap().insert("u".into(), Service::default());
        assert!(futures::poll!(&mut waiting).is_pending());
        objects.listed.send_replace(true);
        assert_eq!(waiting.await.len(), 1);
    }
}
