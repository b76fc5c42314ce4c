//! The controllers that make Pods, and what they share: one picture of all Pods, one writer of events.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client};
use outrigger_api::clock::SharedClock;
use outrigger_reconcile::{self as reconcile, Cache};
use tokio_util::sync::CancellationToken;

use crate::events::{self, Teller};
use crate::pod_control::PodControl;
use crate::{job, written};

/// What the workload controllers share.
struct Shared {
    client: Client,
    clock: SharedClock,
    pods: Cache<Pod>,
    teller: Teller,
}

/// Runs them until `stop`.
pub(crate) async fn run(client: Client, clock: SharedClock, stop: CancellationToken) {
    let (teller, writer) = events::channel();
    let shared = Shared { client: client.clone(), clock, pods: Cache::default(), teller };
    let pods = shared.pods.run(Api::all(client.clone()), watcher::Config::default(), stop.clone());
    let controllers = async {
        // Half a picture would make them create what exists.
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.pods.complete() => {}
        }
        tokio::join!(jobs(&shared, &stop), lost_pods(&shared, &stop));
    };
    tokio::join!(pods, writer.run(client, stop.clone()), controllers);
}

impl Shared {
    fn pod_control(&self, controller: &'static str) -> PodControl {
        PodControl {
            client: self.client.clone(),
            pods: self.pods.clone(),
            teller: self.teller.of(controller),
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
