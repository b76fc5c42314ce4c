//! DaemonSets.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::cluster::Cluster;

async fn node(cluster: &Cluster, name: &str, kind: &str) {
    let nodes: Api<Node> = Api::all(cluster.client());
    let node = serde_json::from_value(json!({"metadata": {"name": name, "labels": {"kind": kind}}})).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let ready = Patch::Merge(json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}));
    nodes.patch_status(name, &PatchParams::default(), &ready).await.unwrap();
}

/// N5: one Pod on each node that is selected, also on those that come later.
#[tokio::test(flavor = "multi_thread")]
async fn follows_nodes() {
    let cluster = Cluster::start().await;
    node(&cluster, "a", "big").await;
    node(&cluster, "b", "small").await;
    let pod = json!({"nodeSelector": {"kind": "big"}, "containers": [{"name": "c", "image": "i"}]});
    let template = json!({"metadata": {"labels": {"app": "d"}}, "spec": pod});
    let spec = json!({"selector": {"matchLabels": {"app": "d"}}, "template": template});
    cluster.create::<DaemonSet>(json!({"metadata": {"name": "d"}, "spec": spec})).await;
    let pods = cluster.all_until::<Pod>("app=d", |pods| pods.len() == 1).await;
    node(&cluster, "c", "big").await;
    let both = cluster.all_until::<Pod>("app=d", |pods| pods.len() == 2).await;
    for pod in &both {
        cluster.running(&pod.name_any()).await;
    }
    let done = |set: Option<&DaemonSet>| {
        set.and_then(|set| set.status.as_ref()).is_some_and(|status| {
            status.desired_number_scheduled == 2
                && status.number_ready == 2
                && status.updated_number_scheduled == Some(2)
                && status.number_misscheduled == 0
        })
    };
    cluster.until::<DaemonSet>("d", done).await;
    // R16.9
    cluster.says(&pods[0].name_any(), json!({"phase": "Failed"})).await;
    cluster.until::<Pod>(&pods[0].name_any(), |pod| pod.is_none()).await;
    cluster.all_until::<Pod>("app=d", |pods| pods.len() == 2).await;
    cluster.told("FailedDaemonPod", "Found failed daemon pod default/d-").await;
    cluster.stop().await;
}
