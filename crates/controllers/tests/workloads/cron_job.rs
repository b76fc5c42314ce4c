//! CronJobs.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use outrigger_workloads::pods;
use serde_json::json;

use crate::cluster::Cluster;

/// N7, D28: a Job at its time; it goes with its CronJob.
#[tokio::test(flavor = "multi_thread")]
async fn starts_jobs() {
    let cluster = Cluster::start().await;
    let pod = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let job = json!({"metadata": {"labels": {"of": "c"}}, "spec": {"template": pod}});
    let spec = json!({"schedule": "@every 1s", "concurrencyPolicy": "Forbid", "jobTemplate": job});
    cluster.create::<CronJob>(json!({"metadata": {"name": "c"}, "spec": spec})).await;
    let jobs = cluster.all_until::<Job>("of=c", |jobs| !jobs.is_empty()).await;
    assert_eq!(pods::controller_of(&jobs[0].metadata).unwrap().kind, "CronJob");
    let cron = cluster.until::<CronJob>("c", |cron| {
        let status = cron.and_then(|cron| cron.status.as_ref());
        status.is_some_and(|status| status.active.as_ref().is_some_and(|active| active.len() == 1))
    });
    let status = cron.await.unwrap().status.unwrap();
    assert_eq!(status.active.unwrap()[0].name, Some(jobs[0].name_any()));
    assert!(status.last_schedule_time.is_some());
    cluster.told("SuccessfulCreate", &format!("Created job {}", jobs[0].name_any())).await;
    let crons: Api<CronJob> = cluster.api();
    crons.delete("c", &DeleteParams::background()).await.unwrap();
    cluster.all_until::<Job>("of=c", |jobs| jobs.is_empty()).await;
    cluster.stop().await;
}
