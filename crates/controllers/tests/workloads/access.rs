//! What namespaces hold and what roles are made of, kept by controllers.

use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait;
use serde_json::{Value, json};

use crate::cluster::{Cluster, PATIENCE};

/// L9, K22: the account and the authority's certificate come back, whatever is done to them; no Secret is made.
#[tokio::test]
async fn what_a_namespace_holds_comes_back() {
    let cluster = Cluster::start().await;
    let accounts = cluster.api::<ServiceAccount>();
    let old = accounts.get("default").await.unwrap().metadata.uid;
    accounts.delete("default", &DeleteParams::default()).await.unwrap();
    let new = |account: Option<&ServiceAccount>| account.is_some_and(|account| account.metadata.uid != old);
    cluster.until::<ServiceAccount>("default", new).await;
    let name = "kube-root-ca.crt";
    let whole = |map: Option<&ConfigMap>| {
        map.and_then(|map| map.data.as_ref())
            .is_some_and(|data| data.get("ca.crt").is_some_and(String::is_empty))
    };
    cluster.until::<ConfigMap>(name, whole).await;
    let other = Patch::Merge(json!({"data": {"ca.crt": "other"}}));
    cluster.api::<ConfigMap>().patch(name, &PatchParams::default(), &other).await.unwrap();
    cluster.until::<ConfigMap>(name, whole).await;
    assert!(cluster.api::<Secret>().list(&ListParams::default()).await.unwrap().items.is_empty());
    cluster.stop().await;
}

/// I24: a role made of others follows them, and what somebody writes into it goes again.
#[tokio::test]
async fn a_role_made_of_others_follows_them() {
    let cluster = Cluster::start().await;
    let roles = Api::<ClusterRole>::all(cluster.client());
    let create = async |role: Value| {
        let role = serde_json::from_value(role).unwrap();
        roles.create(&PostParams::default(), &role).await.unwrap();
    };
    let until = async |verbs: &[&str]| {
        let wanted: Vec<String> = verbs.iter().map(|verb| (*verb).to_owned()).collect();
        let is_so = |role: Option<&ClusterRole>| {
            let rules = role.and_then(|role| role.rules.clone()).unwrap_or_default();
            rules.into_iter().flat_map(|rule| rule.verbs).collect::<Vec<_>>() == wanted
        };
        let waited = wait::await_condition(roles.clone(), "whole", is_so);
        tokio::time::timeout(PATIENCE, waited).await.expect("the rules in time").unwrap();
    };
    create(json!({
        "metadata": {"name": "whole"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"part": "yes"}}]},
    }))
    .await;
    let part = |name: &str, verb: &str| {
        json!({
            "metadata": {"name": name, "labels": {"part": "yes"}},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}],
        })
    };
    create(part("b", "list")).await;
    until(&["list"]).await;
    create(part("a", "get")).await;
    until(&["get", "list"]).await;
    let own = Patch::Merge(json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}));
    roles.patch("whole", &PatchParams::default(), &own).await.unwrap();
    until(&["get", "list"]).await;
    roles.delete("b", &DeleteParams::default()).await.unwrap();
    until(&["get"]).await;
    cluster.stop().await;
}
