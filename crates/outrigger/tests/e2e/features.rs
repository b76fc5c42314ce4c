//! What a Pod can ask for, with real containers: one cluster, few Pods, many questions in each.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::suite::{Cluster, Images, Kubectl, PATIENCE, kubectls};

mod admission;
mod names;
mod namespaces;
mod nodes;
mod resources;
mod security;
mod told;
mod volumes;

/// One cluster for all of it, because starting one costs more than the questions.
#[tokio::test(flavor = "multi_thread")]
async fn pods_get_what_they_ask_for() {
    let images = Arc::new(Images::start().await);
    let cluster = Cluster::up(images, "10.206.0.0/24").await;
    let kubectl = cluster.kubectl(&kubectls()[0]);
    admission::refused_pods(&kubectl).await;
    volumes::everything_is_mounted(&kubectl).await;
    namespaces::shared_processes_and_names(&kubectl).await;
    names::names_of_pods_and_services(&kubectl).await;
    namespaces::own_users_and_a_debugger(&kubectl).await;
    namespaces::all_containers_again(&kubectl).await;
    told::events_logs_and_descriptions(&kubectl).await;
    resources::resized_in_place(&kubectl).await;
    resources::pod_level_and_out_of_memory(&kubectl).await;
    resources::init_containers_resized_in_place(&kubectl).await;
    cluster.down().await;
}

/// Another cluster, so that both halves fit into a test's time.
#[tokio::test(flavor = "multi_thread")]
async fn pods_stay_where_they_are() {
    let images = Arc::new(Images::start().await);
    let cluster = Cluster::up(images, "10.225.0.0/24").await;
    let kubectl = cluster.kubectl(&kubectls()[0]);
    nodes::a_node_falls_silent(&kubectl).await;
    security::namespaces_of_the_host(&kubectl).await;
    security::masked_and_bare_proc(&kubectl).await;
    security::read_only_all_the_way_down(&kubectl).await;
    security::hostile_volumes_are_not_left(&kubectl).await;
    volumes::groups_of_files(&kubectl).await;
    nodes::tainted_pods_leave(&kubectl).await;
    nodes::the_silent_node_is_given_up(&kubectl).await;
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

/// Asks again until it is so; for what no event tells.
pub(crate) async fn eventually(is_so: impl AsyncFn() -> bool) {
    let asked = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while !is_so().await {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("it never was so");
}

/// A container in which commands are run.
#[derive(Clone, Copy)]
struct Shell<'a> {
    kubectl: &'a Kubectl,
    pod: &'a str,
    container: &'a str,
}

impl Shell<'_> {
    /// What a script prints; it must end well.
    async fn run(self, script: &str) -> String {
        let line = format!("exec -i {} -c {} -- sh -s", self.pod, self.container);
        self.kubectl.run_with(&line, script).await
    }

    /// The first of these files that is there, on v1 and v2.
    async fn number(self, v1: &str, v2: &str) -> u64 {
        let text = self.run(&format!("cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}")).await;
        text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{text}"))
    }

    async fn cpu_quota(self) -> u64 {
        self.number("cpu/cpu.cfs_quota_us", "cpu.max").await
    }

    async fn memory_limit(self) -> u64 {
        self.number("memory/memory.limit_in_bytes", "memory.max").await
    }
}
