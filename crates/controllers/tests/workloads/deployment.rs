//! Deployments and the sets and Pods under them.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{LimitRange, Pod, ReplicationController};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use outrigger_workloads::pods;
use serde_json::{Value, json};

use crate::cluster::Cluster;

pub(crate) fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn deployment(replicas: i32) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}}, "template": template("v1")}})
}

fn active(pods: &[Pod]) -> Vec<&Pod> {
    pods.iter().filter(|pod| pods::is_active(pod)).collect()
}

fn runs(pod: &Pod, image: &str) -> bool {
    pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image)
}

/// Makes Pods ready as they come, until all active ones run this image.
async fn roll_out(cluster: &Cluster, image: &str, replicas: usize) {
    loop {
        let pods = cluster.all_until::<Pod>("app=web", |pods| {
            let active = active(pods);
            active.iter().any(|pod| !pods::is_ready(pod))
                || (active.len() == replicas && active.iter().all(|pod| runs(pod, image)))
        });
        let pods = pods.await;
        let waiting: Vec<_> = active(&pods).into_iter().filter(|pod| !pods::is_ready(pod)).collect();
        if waiting.is_empty() {
            return;
        }
        for pod in waiting {
            cluster.try_running(&pod.name_any()).await;
        }
    }
}

fn complete(deployment: Option<&Deployment>, replicas: i32) -> bool {
    let Some(deployment) = deployment else { return false };
    let status = deployment.status.clone().unwrap_or_default();
    let all = [status.replicas, status.updated_replicas, status.available_replicas];
    status.observed_generation == deployment.metadata.generation
        && all == [Some(replicas); 3]
        && status.unavailable_replicas.is_none()
}

/// N1-N3: rolled out, updated, with the controllers killed in the middle, never short of Pods; a Pod too many is
/// adopted and removed.
#[tokio::test(flavor = "multi_thread")]
async fn rolls_out_through_a_crash() {
    let mut cluster = Cluster::start().await;
    cluster.create::<Deployment>(deployment(3)).await;
    roll_out(&cluster, "v1", 3).await;
    cluster.until::<Deployment>("web", |deployment| complete(deployment, 3)).await;
    let first = cluster.all_until::<ReplicaSet>("app=web", |sets| sets.len() == 1).await[0].name_any();
    cluster.told("ScalingReplicaSet", &format!("Scaled up replica set {first} from 0 to 3")).await;
    let patch = json!({"spec": {"template": template("v2")}});
    let api = cluster.api::<Deployment>();
    api.patch("web", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    cluster.all_until::<ReplicaSet>("app=web", |sets| sets.len() == 2).await;
    cluster.kill_controllers().await;
    cluster.start_controllers();
    roll_out(&cluster, "v2", 3).await;
    let done = cluster.until::<Deployment>("web", |deployment| complete(deployment, 3)).await.unwrap();
    assert_eq!(pods::annotation(&done.metadata, "deployment.kubernetes.io/revision"), Some("2"));
    let sets = cluster.all_until::<ReplicaSet>("app=web", |sets| {
        sets.iter().any(|set| set.status.as_ref().is_some_and(|status| status.replicas == 0))
    });
    assert_eq!(sets.await.len(), 2);
    let set = pods::controller_of(&active(&cluster.all_until::<Pod>("app=web", |_| true).await)[0].metadata)
        .unwrap()
        .clone();
    let hash = set.name.strip_prefix("web-").unwrap();
    let mut extra =
        json!({"metadata": {"name": "extra", "labels": {"app": "web", "pod-template-hash": hash}}});
    extra["spec"] = template("v2")["spec"].clone();
    cluster.create::<Pod>(extra).await;
    cluster.until::<Pod>("extra", |pod| pod.is_none()).await;
    cluster.told("SuccessfulDelete", "Deleted pod: extra").await;
    cluster.stop().await;
}

/// N1: what cannot be created is an event and a condition, all the way up.
#[tokio::test(flavor = "multi_thread")]
async fn refused_pods_are_told_of() {
    let cluster = Cluster::start().await;
    let limits = json!([{"type": "Container", "max": {"cpu": "1m"}}]);
    let range = json!({"metadata": {"name": "small"}, "spec": {"limits": limits}});
    cluster.create::<LimitRange>(range).await;
    let mut large = deployment(1);
    let resources = json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}});
    large["spec"]["template"]["spec"]["containers"][0]["resources"] = resources;
    cluster.create::<Deployment>(large).await;
    let refused = cluster.until::<Deployment>("web", |deployment| {
        let conditions = deployment.and_then(|deployment| deployment.status.as_ref()?.conditions.as_ref());
        conditions.into_iter().flatten().any(|one| one.type_ == "ReplicaFailure" && one.status == "True")
    });
    let status = refused.await.unwrap().status.unwrap();
    let failure = status.conditions.unwrap().into_iter().find(|one| one.type_ == "ReplicaFailure").unwrap();
    assert_eq!(failure.reason.as_deref(), Some("FailedCreate"));
    let message = failure.message.unwrap();
    assert!(message.starts_with("pods \"web-") && message.contains("is forbidden"), "{message}");
    cluster.told("FailedCreate", "Error creating: pods \"web-").await;
    cluster.api::<LimitRange>().delete("small", &DeleteParams::default()).await.unwrap();
    roll_out(&cluster, "v1", 1).await;
    cluster.until::<Deployment>("web", |deployment| complete(deployment, 1)).await;
    cluster.stop().await;
}

/// N3: ReplicationControllers do as ReplicaSets do.
#[tokio::test(flavor = "multi_thread")]
async fn replication_controllers() {
    let cluster = Cluster::start().await;
    let controller =
        json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "template": template("v1")}});
    cluster.create::<ReplicationController>(controller).await;
    roll_out(&cluster, "v1", 2).await;
    cluster
        .until::<ReplicationController>("web", |controller| {
            controller
                .and_then(|one| one.status.as_ref())
                .is_some_and(|status| status.available_replicas == Some(2))
        })
        .await;
    cluster.stop().await;
}
