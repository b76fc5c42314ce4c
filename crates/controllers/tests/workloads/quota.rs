//! Quotas count what is there, and admission charges what comes (N15, I48).

use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota};
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;

fn used(quota: Option<&ResourceQuota>) -> Value {
    let status = quota.and_then(|quota| quota.status.as_ref()?.used.clone());
    serde_json::to_value(status).unwrap()
}

/// I48, N15: a quota learns what is there, is charged, refuses what is too much, and hears of what goes or ends.
#[tokio::test(flavor = "multi_thread")]
async fn quotas_follow_what_is_there() {
    let cluster = Cluster::start().await;
    let pod = |name: &str| {
        let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "500m"}}});
        json!({"metadata": {"name": name}, "spec": {"containers": [container]}})
    };
    cluster.create::<Pod>(pod("a")).await;
    let hard = json!({"pods": "2", "requests.cpu": "1", "count/configmaps": "9"});
    cluster.create::<ResourceQuota>(json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
    // Every namespace has a map of its own.
    let is = |pods: &str, cpu: &str, maps: &str| json!({"pods": pods, "requests.cpu": cpu, "count/configmaps": maps});
    let expected = is("1", "500m", "1");
    cluster.until::<ResourceQuota>("q", |quota| used(quota) == expected).await;
    cluster.create::<Pod>(pod("b")).await;
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "m"}})).await;
    let expected = is("2", "1", "2");
    cluster.until::<ResourceQuota>("q", |quota| used(quota) == expected).await;
    let third: Pod = serde_json::from_value(pod("c")).unwrap();
    let refused = cluster.api::<Pod>().create(&PostParams::default(), &third).await.unwrap_err();
    let kube::Error::Api(refused) = refused else { panic!("{refused}") };
    assert_eq!(
        refused.message,
        "pods \"c\" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=500m, used: pods=2,requests.cpu=1, limited: pods=2,requests.cpu=1"
    );
    // A Pod that has ended uses nothing, and one that is gone neither.
    cluster.says("a", json!({"phase": "Succeeded"})).await;
    let expected = is("1", "500m", "2");
    cluster.until::<ResourceQuota>("q", |quota| used(quota) == expected).await;
    cluster.api::<ConfigMap>().delete("m", &DeleteParams::default()).await.unwrap();
    cluster.api::<Pod>().delete("b", &DeleteParams::default()).await.unwrap();
    let expected = is("0", "0", "1");
    cluster.until::<ResourceQuota>("q", |quota| used(quota) == expected).await;
    cluster.stop().await;
}
