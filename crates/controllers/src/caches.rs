//! The pictures that controllers share: each kind is watched and kept once.

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::{ControllerRevision, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use outrigger_reconcile::Cache;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

/// One picture per kind.
#[derive(Default)]
pub(crate) struct Caches {
    pub(crate) pods: Cache<Pod>,
    pub(crate) nodes: Cache<Node>,
    pub(crate) jobs: Cache<Job>,
    pub(crate) sets: Cache<ReplicaSet>,
    pub(crate) revisions: Cache<ControllerRevision>,
    pub(crate) services: Cache<Service>,
    pub(crate) slices: Cache<EndpointSlice>,
    pub(crate) endpoints: Cache<Endpoints>,
    pub(crate) budgets: Cache<PodDisruptionBudget>,
}

impl Caches {
    /// Keeps all of them up to date until `stop`.
    pub(crate) async fn run(&self, client: &Client, stop: &CancellationToken) {
        tokio::join!(
            keep(&self.pods, client, stop),
            keep(&self.nodes, client, stop),
            keep(&self.jobs, client, stop),
            keep(&self.sets, client, stop),
            keep(&self.revisions, client, stop),
            keep(&self.services, client, stop),
            keep(&self.slices, client, stop),
            keep(&self.endpoints, client, stop),
            keep(&self.budgets, client, stop),
        );
    }

    /// Waits until each shows what exists: half a picture would make controllers create what is there.
    pub(crate) async fn complete(&self) {
        tokio::join!(
            self.pods.complete(),
            self.nodes.complete(),
            self.jobs.complete(),
            self.sets.complete(),
            self.revisions.complete(),
            self.services.complete(),
            self.slices.complete(),
            self.endpoints.complete(),
            self.budgets.complete(),
        );
    }
}

async fn keep<K>(cache: &Cache<K>, client: &Client, stop: &CancellationToken)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    cache.run(Api::all(client.clone()), watcher::Config::default(), stop.clone()).await;
}
