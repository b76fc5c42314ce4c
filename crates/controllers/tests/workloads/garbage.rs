//! Deletion that follows owners.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::json;

use crate::cluster::Cluster;
use crate::deployment::template;

async fn with_deployment() -> Cluster {
    let cluster = Cluster::start().await;
    let spec =
        json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("v1")});
    cluster.create::<Deployment>(json!({"metadata": {"name": "web"}, "spec": spec})).await;
    cluster.all_until::<Pod>("app=web", |pods| pods.len() == 2).await;
    cluster
}

/// D28, D29: the owner goes at once, its dependents after it.
#[tokio::test(flavor = "multi_thread")]
async fn background() {
    let cluster = with_deployment().await;
    cluster.api::<Deployment>().delete("web", &DeleteParams::background()).await.unwrap();
    cluster.all_until::<Pod>("app=web", |pods| pods.is_empty()).await;
    cluster.all_until::<ReplicaSet>("app=web", |sets| sets.is_empty()).await;
    cluster.stop().await;
}

/// D28, D21: dependents go first, and the owner stays until then.
#[tokio::test(flavor = "multi_thread")]
async fn foreground() {
    let cluster = with_deployment().await;
    let pods = cluster.all_until::<Pod>("app=web", |pods| pods.len() == 2).await;
    let held = pods[0].name_any();
    cluster.finalizers::<Pod>(&held, json!(["example.com/held"])).await;
    cluster.api::<Deployment>().delete("web", &DeleteParams::foreground()).await.unwrap();
    cluster
        .all_until::<Pod>("app=web", |pods| pods.len() == 1 && pods[0].metadata.deletion_timestamp.is_some())
        .await;
    let waiting = cluster.until::<Deployment>("web", |deployment| deployment.is_some()).await.unwrap();
    assert_eq!(waiting.finalizers(), ["foregroundDeletion"]);
    cluster.finalizers::<Pod>(&held, json!([])).await;
    cluster.until::<Deployment>("web", |deployment| deployment.is_none()).await;
    cluster.all_until::<ReplicaSet>("app=web", |sets| sets.is_empty()).await;
    cluster.stop().await;
}

/// D28, D21: dependents stay without an owner, and are adopted by the next one.
#[tokio::test(flavor = "multi_thread")]
async fn orphan() {
    let cluster = with_deployment().await;
    cluster.api::<Deployment>().delete("web", &DeleteParams::orphan()).await.unwrap();
    cluster.until::<Deployment>("web", |deployment| deployment.is_none()).await;
    let sets = cluster.all_until::<ReplicaSet>("app=web", |sets| sets.len() == 1).await;
    assert!(sets[0].owner_references().is_empty());
    assert_eq!(cluster.all_until::<Pod>("app=web", |pods| pods.len() == 2).await.len(), 2);
    let spec =
        json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("v1")});
    cluster.create::<Deployment>(json!({"metadata": {"name": "web"}, "spec": spec})).await;
    cluster
        .all_until::<ReplicaSet>("app=web", |sets| sets.len() == 1 && sets[0].owner_references().len() == 1)
        .await;
    cluster.stop().await;
}

/// D28, N9: an owner that never was is no owner; one of several that is dead is only forgotten. Also when the
/// controllers were not there to see it go.
#[tokio::test(flavor = "multi_thread")]
async fn absent_owners() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.create::<ConfigMap>(json!({"metadata": {"name": "owner"}})).await;
    let dead = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "dead", "uid": "dead"});
    let live = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid()});
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "lost", "ownerReferences": [dead]}})).await;
    cluster.until::<ConfigMap>("lost", |map| map.is_none()).await;
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "half", "ownerReferences": [dead, live]}})).await;
    cluster.until::<ConfigMap>("half", |map| map.is_some_and(|map| map.owner_references().len() == 1)).await;
    cluster.kill_controllers().await;
    cluster.api::<ConfigMap>().delete("owner", &DeleteParams::default()).await.unwrap();
    cluster.start_controllers();
    cluster.until::<ConfigMap>("half", |map| map.is_none()).await;
    cluster.stop().await;
}
