//! What stands before Pods: slices of their addresses, and budgets for their disruption.

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, EvictParams};
use outrigger_workloads::endpoints;
use serde_json::{Value, json};

use crate::cluster::Cluster;

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}})
}

async fn runs(cluster: &Cluster, name: &str, ip: &str) {
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    let status = json!({"phase": "Running", "conditions": ready, "podIP": ip, "podIPs": [{"ip": ip}]});
    cluster.says(name, status).await;
}

fn addresses(slices: &[EndpointSlice]) -> Vec<&str> {
    let mut all: Vec<&str> =
        slices.iter().flat_map(endpoints::of).flat_map(|one| &one.addresses).map(String::as_str).collect();
    all.sort_unstable();
    all
}

/// N8, R16.10: slices and the older object follow Pods; they go with their Service; hand-kept ones are mirrored.
#[tokio::test(flavor = "multi_thread")]
async fn slices_follow_pods() {
    let cluster = Cluster::start().await;
    let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]});
    cluster.create::<Service>(json!({"metadata": {"name": "svc"}, "spec": spec})).await;
    let of = "kubernetes.io/service-name=svc";
    cluster.all_until::<EndpointSlice>(of, |slices| slices.len() == 1).await;
    for (name, ip) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        cluster.create::<Pod>(pod(name)).await;
        runs(&cluster, name, ip).await;
    }
    let slices =
        cluster.all_until::<EndpointSlice>(of, |slices| addresses(slices) == ["10.0.0.1", "10.0.0.2"]).await;
    assert!(slices[0].name_any().starts_with("svc-"));
    assert_eq!(slices[0].ports.as_ref().unwrap()[0].port, Some(8080));
    cluster
        .until::<Endpoints>("svc", |endpoints| {
            let subsets = endpoints.and_then(|endpoints| endpoints.subsets.as_ref());
            subsets.is_some_and(|all| all[0].addresses.as_ref().is_some_and(|all| all.len() == 2))
        })
        .await;
    cluster.api::<Pod>().delete("a", &DeleteParams::default()).await.unwrap();
    let leaving = |slices: &[EndpointSlice]| {
        slices.iter().flat_map(endpoints::of).any(|one| {
            let conditions = one.conditions.clone().unwrap_or_default();
            conditions.terminating == Some(true)
                && conditions.ready == Some(false)
                && conditions.serving == Some(true)
        })
    };
    cluster.all_until::<EndpointSlice>(of, leaving).await;
    cluster.api::<Service>().delete("svc", &DeleteParams::default()).await.unwrap();
    cluster.all_until::<EndpointSlice>(of, |slices| slices.is_empty()).await;
    let by_hand = json!({"metadata": {"name": "hand"}, "subsets": [{"addresses": [{"ip": "10.9.9.9"}], "ports": [{"port": 80}]}]});
    cluster.create::<Endpoints>(by_hand).await;
    cluster.create::<Service>(json!({"metadata": {"name": "hand"}, "spec": {"ports": [{"port": 80}]}})).await;
    let mirror = "kubernetes.io/service-name=hand,endpointslice.kubernetes.io/managed-by=endpointslicemirroring-controller.k8s.io";
    cluster.all_until::<EndpointSlice>(mirror, |slices| addresses(slices) == ["10.9.9.9"]).await;
    cluster.stop().await;
}

/// N14, H11, H12: evictions as far as the budget goes.
#[tokio::test(flavor = "multi_thread")]
async fn budgets_limit_evictions() {
    let cluster = Cluster::start().await;
    for (name, ip) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        cluster.create::<Pod>(pod(name)).await;
        runs(&cluster, name, ip).await;
    }
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    cluster.create::<PodDisruptionBudget>(json!({"metadata": {"name": "b"}, "spec": spec})).await;
    let allows = |wanted: i32| {
        move |budget: Option<&PodDisruptionBudget>| {
            let status = budget.and_then(|budget| budget.status.as_ref());
            status.is_some_and(|status| {
                status.disruptions_allowed == Some(wanted) && status.observed_generation == Some(1)
            })
        }
    };
    let budget = cluster.until("b", allows(1)).await.unwrap();
    let status = budget.status.unwrap();
    assert_eq!(
        (status.current_healthy, status.desired_healthy, status.expected_pods),
        (Some(2), Some(1), Some(2))
    );
    cluster.api::<Pod>().evict("a", &EvictParams::default()).await.unwrap();
    cluster.until("b", allows(0)).await;
    let refused = cluster.api::<Pod>().evict("b", &EvictParams::default()).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 429));
    let gone = cluster
        .until::<Pod>("a", |pod| pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()))
        .await;
    if let Some(gone) = gone {
        let target = outrigger_workloads::pods::condition(&gone, "DisruptionTarget").unwrap();
        assert_eq!(target.reason.as_deref(), Some("EvictionByEvictionAPI"));
    }
    cluster.stop().await;
}
