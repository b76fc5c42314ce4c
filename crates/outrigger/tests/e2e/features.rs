//! What a Pod can ask for, with real containers: one cluster, few Pods, many questions in each.

use std::sync::Arc;

use serde_json::Value;

use crate::suite::{Cluster, Images, Kubectl, kubectls};

mod admission;

/// One cluster for all of it, because starting one costs more than the questions.
#[tokio::test(flavor = "multi_thread")]
async fn pods_get_what_they_ask_for() {
    let images = Arc::new(Images::start().await);
    let cluster = Cluster::up(images, "10.206.0.0/24").await;
    let kubectl = cluster.kubectl(&kubectls()[0]);
    admission::refused_pods(&kubectl).await;
    cluster.down().await;
}

/// A Pod as the API shows it.
async fn get(kubectl: &Kubectl, name: &str) -> Value {
    serde_json::from_str(&kubectl.run(&format!("get pod {name} -o json")).await).unwrap()
}

async fn wait(kubectl: &Kubectl, name: &str, condition: &str) {
    kubectl.run(&format!("wait --for={condition} pod/{name} --timeout=100s")).await;
}

async fn delete(kubectl: &Kubectl, name: &str) {
    kubectl.run(&format!("delete pod {name} --grace-period=1")).await;
}
