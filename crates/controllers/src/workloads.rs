//! The controllers of workloads and what stands before them, and what they share: pictures, one writer of events.

use std::collections::HashMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Mutex;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Pod, ReplicationController, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use outrigger_api::Registry;
use outrigger_api::clock::SharedClock;
use outrigger_reconcile::events::{self, Recorder};
use outrigger_reconcile::{self as reconcile, Cache};
use outrigger_workloads::{pods, selector};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::caches::Caches;
use crate::events::Teller;
use crate::pod_control::PodControl;
use crate::replica_set::{Replicas, Replicated};
use crate::revisions::Revisions;
use crate::written::Written;
use crate::{cron_job, daemon_set, deployment, disruption, endpoints, job, resource_quota, stateful_set};

/// What the controllers share.
struct Shared {
    client: Client,
    clock: SharedClock,
    caches: Caches,
    recorder: Recorder,
    stop: CancellationToken,
}

/// Runs them until `stop`.
pub(crate) async fn run(client: Client, clock: SharedClock, stop: CancellationToken) {
    let (recorder, notices) = Recorder::channel();
    let shared = Shared { client, clock, caches: Caches::default(), recorder, stop };
    let (client, stop) = (&shared.client, &shared.stop);
    let writer = events::write(client.clone(), None, shared.clock.clone(), notices, stop.clone());
    let controllers = async {
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.caches.complete() => {}
        }
        tokio::join!(
            shared.jobs(),
            shared.lost_pods(),
            shared.cron_jobs(),
            shared.replicas::<ReplicaSet>("replicaset-controller"),
            shared.replicas::<ReplicationController>("replication-controller"),
            shared.deployments(),
            shared.stateful_sets(),
            shared.daemon_sets(),
            shared.slices(),
            shared.budgets(),
            shared.quotas(),
        );
    };
    tokio::join!(shared.caches.run(client, stop), writer, controllers);
}

impl Shared {
    fn all<K>(&self) -> Controller<K>
    where
        K: Resource<DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        Controller::new(Api::<K>::all(self.client.clone()), watcher::Config::default())
    }

    fn teller(&self, controller: &'static str) -> Teller {
        Teller::new(self.recorder.clone(), controller)
    }

    fn pod_control(&self, controller: &'static str) -> PodControl {
        PodControl {
            client: self.client.clone(),
            pods: self.caches.pods.clone(),
            teller: self.teller(controller),
            written: Written::default(),
        }
    }

    fn revisions(&self) -> Revisions {
        Revisions { client: self.client.clone(), cache: self.caches.revisions.clone() }
    }

    async fn jobs(&self) {
        let controller = self.all::<Job>().reconcile_on(job::touched(&self.caches.pods));
        let jobs = job::Jobs {
            control: self.pod_control("job-controller"),
            clock: self.clock.clone(),
            backoff: Mutex::default(),
        };
        reconcile::run(controller, jobs, self.stop.clone()).await;
    }

    async fn lost_pods(&self) {
        let of_jobs = watcher::Config::default().labels(job::OF_JOBS);
        let controller = Controller::new(Api::<Pod>::all(self.client.clone()), of_jobs);
        reconcile::run(controller, job::LostPods { client: self.client.clone() }, self.stop.clone()).await;
    }

    async fn cron_jobs(&self) {
        let controller = self.all::<CronJob>().reconcile_on(cron_job::touched(&self.caches.jobs));
        let cron_jobs = cron_job::CronJobs {
            client: self.client.clone(),
            clock: self.clock.clone(),
            jobs: self.caches.jobs.clone(),
            teller: self.teller("cronjob-controller"),
            written: Written::default(),
        };
        reconcile::run(controller, cron_jobs, self.stop.clone()).await;
    }

    async fn replicas<K: Replicated>(&self, controller_name: &'static str) {
        let controller = self.all::<K>().reconcile_on(self.owners()).reconcile_on(self.adopters());
        let replicas = Replicas {
            control: self.pod_control(controller_name),
            clock: self.clock.clone(),
            sets: self.caches.sets.clone(),
            kind: PhantomData,
        };
        reconcile::run(controller, replicas, self.stop.clone()).await;
    }

    async fn deployments(&self) {
        let controller = self.all::<Deployment>().reconcile_on(deployment::touched(&self.caches.sets));
        let deployments = deployment::Deployments {
            client: self.client.clone(),
            clock: self.clock.clone(),
            sets: self.caches.sets.clone(),
            pods: self.caches.pods.clone(),
            teller: self.teller("deployment-controller"),
            written: Written::default(),
        };
        reconcile::run(controller, deployments, self.stop.clone()).await;
    }

    async fn stateful_sets(&self) {
        let controller = self
            .all::<StatefulSet>()
            .reconcile_on(self.owners())
            .reconcile_on(owners_in(&self.caches.revisions));
        let sets = stateful_set::StatefulSets {
            control: self.pod_control("statefulset-controller"),
            clock: self.clock.clone(),
            revisions: self.revisions(),
        };
        reconcile::run(controller, sets, self.stop.clone()).await;
    }

    async fn daemon_sets(&self) {
        let controller = self
            .all::<DaemonSet>()
            .reconcile_on(self.owners())
            .reconcile_on(owners_in(&self.caches.revisions))
            .reconcile_all_on(self.nodes_that_matter());
        let sets = daemon_set::DaemonSets {
            control: self.pod_control("daemonset-controller"),
            clock: self.clock.clone(),
            nodes: self.caches.nodes.clone(),
            revisions: self.revisions(),
            failures: Mutex::default(),
        };
        reconcile::run(controller, sets, self.stop.clone()).await;
    }

    async fn slices(&self) {
        let caches = &self.caches;
        let controller = self
            .all::<Service>()
            .reconcile_on(endpoints::selecting(&caches.pods, caches.services.clone()))
            .reconcile_on(endpoints::of_slices(&caches.slices))
            .reconcile_on(endpoints::of_endpoints(&caches.endpoints));
        let slices = endpoints::Slices {
            client: self.client.clone(),
            clock: self.clock.clone(),
            pods: caches.pods.clone(),
            slices: caches.slices.clone(),
            endpoints: caches.endpoints.clone(),
            nodes: caches.nodes.clone(),
            written: Written::default(),
        };
        reconcile::run(controller, slices, self.stop.clone()).await;
    }

    async fn budgets(&self) {
        let caches = &self.caches;
        let controller = self
            .all::<PodDisruptionBudget>()
            .reconcile_on(disruption::touched(&caches.pods, caches.budgets.clone()));
        let budgets = disruption::Budgets {
            client: self.client.clone(),
            clock: self.clock.clone(),
            pods: caches.pods.clone(),
            teller: self.teller("controllermanager"),
            written: Written::default(),
        };
        reconcile::run(controller, budgets, self.stop.clone()).await;
    }

    async fn quotas(&self) {
        let controller = resource_quota::controller(&self.client, &self.caches.pods);
        let quotas = resource_quota::Quotas { client: self.client.clone(), registry: Registry::builtin() };
        reconcile::run(controller, quotas, self.stop.clone()).await;
    }

    /// Nodes that came, went, or may take other Pods than before. Heartbeats change nothing of that.
    fn nodes_that_matter(&self) -> impl Stream<Item = ()> + Send + use<> {
        let nodes = self.caches.nodes.clone();
        let mut known = HashMap::new();
        self.caches.nodes.changes().filter_map(move |node| {
            let name = node.name_any();
            let there = nodes.in_namespace("").iter().any(|one| one.metadata.uid == node.metadata.uid);
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone());
            let now = there.then(|| (node.metadata.labels.clone(), taints));
            let same = known.get(&name) == now.as_ref();
            match now {
                Some(now) => known.insert(name, now),
                None => known.remove(&name),
            };
            futures::future::ready((!same || !there).then_some(()))
        })
    }

    /// The objects of a kind that control a changed Pod.
    fn owners<K: Resource<DynamicType = ()>>(&self) -> impl Stream<Item = ObjectRef<K>> + Send + use<K> {
        owners_in(&self.caches.pods)
    }

    /// The ReplicaSets that might adopt a changed Pod nobody controls.
    fn adopters<K: Resource<DynamicType = ()>>(&self) -> impl Stream<Item = ObjectRef<K>> + Send + use<K> {
        let sets = self.caches.sets.clone();
        self.caches.pods.changes().flat_map(move |pod| {
            let namespace = pod.namespace().unwrap_or_default();
            let orphan = K::kind(&()) == "ReplicaSet" && pods::controller_of(&pod.metadata).is_none();
            let all = if orphan { sets.in_namespace(&namespace) } else { Vec::new() };
            let selects = |set: &ReplicaSet| {
                let selector = selector::of(set.spec.as_ref().map(|spec| &spec.selector));
                selector.is_some_and(|selector| selector::selects(&selector, &pod.metadata))
            };
            let found = all.iter().filter(|set| selects(set));
            let found: Vec<_> = found.map(|set| ObjectRef::new(&set.name_any()).within(&namespace)).collect();
            futures::stream::iter(found)
        })
    }
}

/// The objects of a kind that control a changed object.
fn owners_in<D, K>(dependents: &Cache<D>) -> impl Stream<Item = ObjectRef<K>> + Send + use<D, K>
where
    D: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K: Resource<DynamicType = ()>,
{
    dependents.changes().filter_map(async |object| {
        let owner = pods::controller_of(object.meta()).filter(|owner| owner.kind == K::kind(&()))?;
        Some(ObjectRef::new(&owner.name).within(&object.namespace()?))
    })
}
