//! The controllers that make Pods, and what they share: one picture of all Pods, one writer of events.

use std::marker::PhantomData;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use outrigger_api::clock::SharedClock;
use outrigger_reconcile::events::{self, Recorder};
use outrigger_reconcile::{self as reconcile, Cache};
use outrigger_workloads::{pods, selector};
use tokio_util::sync::CancellationToken;

use crate::events::Teller;
use crate::pod_control::PodControl;
use crate::replica_set::{Replicas, Replicated};
use crate::{deployment, job, written};

/// What the workload controllers share.
struct Shared {
    client: Client,
    clock: SharedClock,
    pods: Cache<Pod>,
    sets: Cache<ReplicaSet>,
    recorder: Recorder,
}

/// Runs them until `stop`.
pub(crate) async fn run(client: Client, clock: SharedClock, stop: CancellationToken) {
    let (recorder, notices) = Recorder::channel();
    let shared =
        Shared { client: client.clone(), clock, pods: Cache::default(), sets: Cache::default(), recorder };
    let pods = shared.pods.run(Api::all(client.clone()), watcher::Config::default(), stop.clone());
    let sets = shared.sets.run(Api::all(client.clone()), watcher::Config::default(), stop.clone());
    let controllers = async {
        // Half a picture would make them create what exists.
        tokio::select! {
            () = stop.cancelled() => return,
            _ = async { tokio::join!(shared.pods.complete(), shared.sets.complete()) } => {}
        }
        tokio::join!(
            jobs(&shared, &stop),
            lost_pods(&shared, &stop),
            replicas::<ReplicaSet>(&shared, "replicaset-controller", &stop),
            replicas::<ReplicationController>(&shared, "replication-controller", &stop),
            deployments(&shared, &stop),
        );
    };
    tokio::join!(
        pods,
        sets,
        events::write(client, None, shared.clock.clone(), notices, stop.clone()),
        controllers
    );
}

impl Shared {
    fn teller(&self, controller: &'static str) -> Teller {
        Teller::new(self.recorder.clone(), controller)
    }

    fn pod_control(&self, controller: &'static str) -> PodControl {
        PodControl {
            client: self.client.clone(),
            pods: self.pods.clone(),
            teller: self.teller(controller),
            written: written::Written::default(),
        }
    }
}

async fn jobs(shared: &Shared, stop: &CancellationToken) {
    let controller = Controller::new(Api::<Job>::all(shared.client.clone()), watcher::Config::default())
        .reconcile_on(job::touched(&shared.pods));
    let jobs = job::Jobs {
        control: shared.pod_control("job-controller"),
        clock: shared.clock.clone(),
        backoff: std::sync::Mutex::default(),
    };
    reconcile::run(controller, jobs, stop.clone()).await;
}

async fn lost_pods(shared: &Shared, stop: &CancellationToken) {
    let of_jobs = watcher::Config::default().labels(job::OF_JOBS);
    let controller = Controller::new(Api::<Pod>::all(shared.client.clone()), of_jobs);
    reconcile::run(controller, job::LostPods { client: shared.client.clone() }, stop.clone()).await;
}

async fn replicas<K: Replicated>(shared: &Shared, controller_name: &'static str, stop: &CancellationToken) {
    let controller = Controller::new(Api::<K>::all(shared.client.clone()), watcher::Config::default())
        .reconcile_on(owners(shared))
        .reconcile_on(adopters(shared));
    let replicas = Replicas {
        control: shared.pod_control(controller_name),
        clock: shared.clock.clone(),
        sets: shared.sets.clone(),
        kind: PhantomData,
    };
    reconcile::run(controller, replicas, stop.clone()).await;
}

async fn deployments(shared: &Shared, stop: &CancellationToken) {
    let controller =
        Controller::new(Api::<Deployment>::all(shared.client.clone()), watcher::Config::default())
            .reconcile_on(deployment::touched(&shared.sets));
    let deployments = deployment::Deployments {
        client: shared.client.clone(),
        clock: shared.clock.clone(),
        sets: shared.sets.clone(),
        pods: shared.pods.clone(),
        teller: shared.teller("deployment-controller"),
        written: written::Written::default(),
    };
    reconcile::run(controller, deployments, stop.clone()).await;
}

/// The objects of a kind that control a changed Pod.
fn owners<K: Resource<DynamicType = ()>>(
    shared: &Shared,
) -> impl Stream<Item = ObjectRef<K>> + Send + use<K> {
    shared.pods.changes().filter_map(async |pod| {
        let owner = pods::controller_of(&pod.metadata).filter(|owner| owner.kind == K::kind(&()))?;
        Some(ObjectRef::new(&owner.name).within(&pod.namespace()?))
    })
}

/// The ReplicaSets that might adopt a changed Pod nobody controls.
fn adopters<K: Resource<DynamicType = ()>>(
    shared: &Shared,
) -> impl Stream<Item = ObjectRef<K>> + Send + use<K> {
    let sets = shared.sets.clone();
    shared.pods.changes().flat_map(move |pod| {
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
