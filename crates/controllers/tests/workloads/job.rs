//! Jobs.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::cluster::Cluster;

fn job(name: &str, more: Value) -> Value {
    let mut spec = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

fn conditions(job: Option<&Job>) -> Vec<String> {
    let all = job.and_then(|job| job.status.as_ref()?.conditions.as_ref());
    all.into_iter().flatten().map(|one| format!("{}={}", one.type_, one.status)).collect()
}

fn ended(job: Option<&Job>) -> bool {
    conditions(job).iter().any(|one| one == "Complete=True" || one == "Failed=True")
}

/// N6, N1: Pods are made, counted and let go; users are told; controllers that die in between change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn runs_to_completion_through_a_crash() {
    let mut cluster = Cluster::start().await;
    cluster.create::<Job>(job("j", json!({"completions": 3, "parallelism": 2}))).await;
    let first = cluster.all_until::<Pod>("job-name=j", |pods| pods.len() == 2).await;
    cluster.kill_controllers().await;
    cluster.says(&first[0].name_any(), json!({"phase": "Succeeded"})).await;
    cluster.running(&first[1].name_any()).await;
    cluster.start_controllers();
    cluster
        .until::<Job>("j", |job| {
            let status = job.and_then(|job| job.status.as_ref());
            status.is_some_and(|status| {
                status.succeeded == Some(1) && status.active == Some(2) && status.ready == Some(1)
            })
        })
        .await;
    let all = cluster.all_until::<Pod>("job-name=j", |pods| pods.len() == 3).await;
    for pod in all.iter().filter(|pod| pod.name_any() != first[0].name_any()) {
        cluster.says(&pod.name_any(), json!({"phase": "Succeeded"})).await;
    }
    let job = cluster.until::<Job>("j", ended).await;
    assert_eq!(conditions(job.as_ref()), ["SuccessCriteriaMet=True", "Complete=True"]);
    let status = serde_json::to_value(job.unwrap().status).unwrap();
    assert_eq!(
        (&status["succeeded"], &status["ready"], &status["terminating"]),
        (&json!(3), &json!(0), &json!(0))
    );
    assert_eq!(status["uncountedTerminatedPods"], json!({}));
    let free = |pods: &[Pod]| pods.len() == 3 && pods.iter().all(|pod| pod.finalizers().is_empty());
    cluster.all_until::<Pod>("job-name=j", free).await;
    cluster.told("Completed", "Job completed").await;
    let third =
        all.iter().map(|pod| pod.name_any()).find(|name| first.iter().all(|pod| pod.name_any() != *name));
    cluster.told("SuccessfulCreate", &format!("Created pod: {}", third.unwrap())).await;
    cluster.stop().await;
}

/// N6, R16.6: a deleted Pod is a failure; the Job that has none left has failed. N15: then it goes by itself.
#[tokio::test(flavor = "multi_thread")]
async fn fails_when_its_pod_is_deleted() {
    let cluster = Cluster::start().await;
    let spec = json!({"completions": 1, "backoffLimit": 0, "ttlSecondsAfterFinished": 1000});
    cluster.create::<Job>(job("j", spec)).await;
    let pods = cluster.all_until::<Pod>("job-name=j", |pods| pods.len() == 1).await;
    cluster.api::<Pod>().delete(&pods[0].name_any(), &DeleteParams::default()).await.unwrap();
    let job = cluster.until::<Job>("j", ended).await;
    assert_eq!(conditions(job.as_ref()), ["FailureTarget=True", "Failed=True"]);
    assert_eq!(job.unwrap().status.unwrap().failed, Some(1));
    cluster.all_until::<Pod>("job-name=j", |pods| pods.is_empty()).await;
    cluster.stop().await;
}

/// D28: Pods go with their Job, and are held back by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_job_that_is_gone_are_free() {
    let cluster = Cluster::start().await;
    cluster.create::<Job>(job("j", json!({}))).await;
    let pods = cluster.all_until::<Pod>("job-name=j", |pods| pods.len() == 1).await;
    cluster.api::<Job>().delete("j", &DeleteParams::background()).await.unwrap();
    let pod = pods[0].name_any();
    cluster.until::<Pod>(&pod, |pod| pod.is_none()).await;
    cluster.stop().await;
}
