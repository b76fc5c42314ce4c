//! An API server with its controllers, and Pods that fare as the test says.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Event, Pod, ServiceAccount};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::runtime::{WatchStreamExt as _, wait};
use kube::{Client, Resource, ResourceExt as _};
use outrigger_api::clock::SystemClock;
use outrigger_apiserver::{ApiServer, Config, NoNodes, Running, ServiceRange};
use outrigger_controllers as controllers;
use outrigger_store::{EmbeddedStore, HistoryLimits, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up: far more than it does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Cluster {
    server: Running,
    store: Arc<EmbeddedStore>,
    controllers: Option<(CancellationToken, JoinHandle<()>)>,
    _folder: tempfile::TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock);
        let limits = HistoryLimits::default();
        let store = EmbeddedStore::open(&folder.path().join("store"), limits, clock.clone()).unwrap();
        let store = Arc::new(store);
        let server = ApiServer::start(Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: IpAddr::from(Ipv4Addr::LOCALHOST),
            data_dir: folder.path().to_owned(),
            node_name: "node".to_owned(),
            service_range: ServiceRange::DEFAULT,
            store: Arc::clone(&store) as Arc<dyn Store>,
            clock,
            nodes: Arc::new(NoNodes),
        });
        let server = server.await.unwrap();
        let mut cluster = Self { server, store, controllers: None, _folder: folder };
        cluster.start_controllers();
        cluster.until::<ServiceAccount>("default", |account| account.is_some()).await;
        cluster
    }

    pub(crate) fn start_controllers(&mut self) {
        let config = controllers::Config { ca_certificate: String::new(), clock: Arc::new(SystemClock) };
        let stop = CancellationToken::new();
        let client = self.server.client("system:kube-controller-manager");
        let task = tokio::spawn(controllers::run(client, config, stop.clone()));
        self.controllers = Some((stop, task));
    }

    /// Ends the controllers in the middle of whatever they do.
    pub(crate) async fn kill_controllers(&mut self) {
        let (_, task) = self.controllers.take().unwrap();
        task.abort();
        let _ = task.await;
    }

    pub(crate) async fn stop(mut self) {
        if let Some((stop, task)) = self.controllers.take() {
            stop.cancel();
            task.await.unwrap();
        }
        self.server.stop().await;
        self.store.close().await;
    }

    pub(crate) fn client(&self) -> Client {
        self.server.client("kubernetes-admin")
    }

    /// Objects of one kind in the default namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client(), "default")
    }

    pub(crate) async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let object = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// Waits until an object is as wanted, or there is none.
    pub(crate) async fn until<K>(&self, name: &str, is_so: impl Fn(Option<&K>) -> bool) -> Option<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let waited = wait::await_condition(self.api::<K>(), name, is_so);
        match tokio::time::timeout(PATIENCE, waited).await {
            Ok(found) => found.unwrap(),
            Err(_) => panic!("{name} never was so: {:?}", self.api::<K>().get_opt(name).await),
        }
    }

    /// Waits until all objects with a label are as wanted together, by name.
    pub(crate) async fn all_until<K>(&self, label: &str, is_so: impl Fn(&[K]) -> bool) -> Vec<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let api = self.api::<K>();
        let list = async || {
            let mut items = api.list(&ListParams::default().labels(label)).await.unwrap().items;
            items.sort_by_key(|item| item.name_any());
            items
        };
        let config = watcher::Config::default().labels(label);
        let mut changes = watcher(api.clone(), config).default_backoff().boxed();
        let waited = async {
            loop {
                let items = list().await;
                if is_so(&items) {
                    return items;
                }
                changes.try_next().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, waited).await {
            Ok(items) => items,
            Err(_) => panic!("they never were so: {:#?}", list().await),
        }
    }

    /// What the kubelet would say of a Pod.
    pub(crate) async fn says(&self, pod: &str, status: Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api::<Pod>().patch_status(pod, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) async fn running(&self, pod: &str) {
        let at = "2026-01-01T00:00:00Z";
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": at}]);
        self.says(pod, json!({"phase": "Running", "conditions": ready})).await;
    }

    /// The same for a Pod that may have gone meanwhile.
    pub(crate) async fn try_running(&self, pod: &str) {
        let ready =
            json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let patch = Patch::Merge(json!({"status": {"phase": "Running", "conditions": ready}}));
        match self.api::<Pod>().patch_status(pod, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            outcome => drop(outcome.unwrap()),
        }
    }

    pub(crate) async fn finalizers<K>(&self, name: &str, finalizers: Value)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
        self.api::<K>().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Waits for an event whose message begins so.
    pub(crate) async fn told(&self, reason: &str, message: &str) {
        self.all_until::<Event>("", |events| {
            events.iter().any(|event| {
                event.reason.as_deref() == Some(reason)
                    && event.message.as_ref().is_some_and(|text| text.starts_with(message))
            })
        })
        .await;
    }
}
