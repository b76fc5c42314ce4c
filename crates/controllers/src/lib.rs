//! Controllers: ordinary API clients that keep what is in line with what should be.
//!
//! Each watches, decides about one object and writes through the API, like any program outside. Here so far are those
//! a Pod needs: what every namespace holds, how a namespace ends, what becomes of a silent or troubled node, and of
//! the Pods on it; and those that make Pods (`workloads.rs`), whose decisions are in `outrigger-workloads`.
//!
//! Start at [`run`].

mod caches;
mod claims;
mod cluster_roles;
mod cron_job;
mod daemon_set;
mod deployment;
mod disruption;
mod endpoints;
mod events;
mod garbage;
mod job;
mod namespace;
mod namespace_content;
mod node_lifecycle;
mod node_taints;
mod pod_control;
mod replica_set;
mod resource_quota;
mod revisions;
mod stateful_set;
mod status;
mod taint_eviction;
mod workloads;
mod written;

use kube::runtime::Controller;
use kube::runtime::watcher;
use kube::{Api, Client};
use outrigger_api::clock::SharedClock;
use outrigger_reconcile as reconcile;
use tokio_util::sync::CancellationToken;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRole;

/// What the controllers need to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's authority, PEM: published in every namespace (L9).
    pub ca_certificate: String,
    /// The program's clock; says for how long a node has been silent (N15).
    pub clock: SharedClock,
}

/// Runs every controller until `stop`.
pub async fn run(client: Client, config: Config, stop: CancellationToken) {
    let clock = config.clock.clone();
    let namespaces = Api::<Namespace>::all(client.clone());
    let own = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    let of_namespace = |namespace: Option<String>| {
        namespace.map(|name| kube::runtime::reflector::ObjectRef::<Namespace>::new(&name))
    };
    let content = Controller::new(namespaces.clone(), watcher::Config::default())
        .watches(Api::<ServiceAccount>::all(client.clone()), own("default"), move |object| {
            of_namespace(object.metadata.namespace)
        })
        .watches(Api::<ConfigMap>::all(client.clone()), own("kube-root-ca.crt"), move |object| {
            of_namespace(object.metadata.namespace)
        });
    let roles = Api::<ClusterRole>::all(client.clone());
    let aggregation = Controller::new(roles.clone(), watcher::Config::default());
    let known = aggregation.store();
    let aggregation = aggregation
        .watches(roles, watcher::Config::default(), move |_| cluster_roles::made_of_others(&known));
    let deletion = Controller::new(namespaces, watcher::Config::default());
    let nodes = Controller::new(Api::<Node>::all(client.clone()), watcher::Config::default());
    let tainted = Controller::new(Api::<Node>::all(client.clone()), watcher::Config::default());
    let evictions = taint_eviction::TaintEviction::new(client.clone(), clock.clone());
    let workloads = workloads::run(client.clone(), clock.clone(), stop.clone());
    tokio::join!(
        workloads,
        reconcile::run(tainted, evictions, stop.clone()),
        garbage::run(client.clone(), stop.clone()),
        reconcile::run(aggregation, cluster_roles::Aggregation { client: client.clone() }, stop.clone()),
        reconcile::run(
            content,
            namespace_content::NamespaceContent { client: client.clone(), config },
            stop.clone()
        ),
        reconcile::run(deletion, namespace::NamespaceDeletion { client: client.clone() }, stop.clone()),
        reconcile::run(nodes, node_lifecycle::NodeLifecycle::new(client, clock), stop),
    );
}
