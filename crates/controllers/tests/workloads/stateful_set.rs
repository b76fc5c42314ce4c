//! StatefulSets.

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use outrigger_workloads::pods;
use serde_json::json;

use crate::cluster::Cluster;

fn ready(set: Option<&StatefulSet>, replicas: i32) -> bool {
    set.and_then(|set| set.status.as_ref()).is_some_and(|status| {
        status.ready_replicas == Some(replicas)
            && status.updated_replicas == Some(replicas)
            && status.current_revision == status.update_revision
    })
}

/// Waits for a Pod of this name, in this image, and lets it run.
async fn run(cluster: &Cluster, name: &str, image: &str) {
    let is_new = |pod: Option<&Pod>| {
        pod.is_some_and(|pod| {
            pods::is_active(pod) && pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image)
        })
    };
    cluster.until::<Pod>(name, is_new).await;
    cluster.running(name).await;
}

/// N4: in order, with claims; updated from the top; through a crash.
#[tokio::test(flavor = "multi_thread")]
async fn ordered_through_a_crash() {
    let mut cluster = Cluster::start().await;
    let template = |image: &str| json!({"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": image}]}});
    let claims = json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}}]);
    let spec = json!({"replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
        "template": template("v1"), "volumeClaimTemplates": claims});
    cluster.create::<StatefulSet>(json!({"metadata": {"name": "db"}, "spec": spec})).await;
    cluster.until::<Pod>("db-0", |pod| pod.is_some()).await;
    cluster.kill_controllers().await;
    assert!(cluster.api::<Pod>().get_opt("db-1").await.unwrap().is_none(), "not before db-0 is ready");
    cluster.start_controllers();
    run(&cluster, "db-0", "v1").await;
    run(&cluster, "db-1", "v1").await;
    cluster.until::<StatefulSet>("db", |set| ready(set, 2)).await;
    cluster.all_until::<PersistentVolumeClaim>("app=db", |claims| claims.len() == 2).await;
    let patch = Patch::Merge(json!({"spec": {"template": template("v2")}}));
    cluster.api::<StatefulSet>().patch("db", &PatchParams::default(), &patch).await.unwrap();
    run(&cluster, "db-1", "v2").await;
    run(&cluster, "db-0", "v2").await;
    cluster.until::<StatefulSet>("db", |set| ready(set, 2)).await;
    let revisions = cluster.all_until::<ControllerRevision>("app=db", |all| all.len() == 2).await;
    let mut numbers: Vec<i64> = revisions.iter().map(|one| one.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
    let newest = revisions.iter().max_by_key(|one| one.revision).unwrap().name_any();
    let pod = cluster.until::<Pod>("db-0", |pod| pod.is_some()).await.unwrap();
    assert_eq!(pods::label(&pod.metadata, "controller-revision-hash"), Some(newest.as_str()));
    cluster.told("SuccessfulDelete", "delete Pod db-1 in StatefulSet db successful").await;
    cluster.stop().await;
}
