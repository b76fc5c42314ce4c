//! The Node object and its Lease (N10 to N16): registered once, written when something changed, else every five
//! minutes; the Lease every ten seconds.

mod content;
mod machine;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use outrigger_api::MonoTime;
use outrigger_runtime::Resources;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use content::{has_app_armor, labels};
pub(crate) use machine::Machine;

use crate::context::Context;
use crate::node_state::NodeState;

/// N14.
const RENEW: Duration = Duration::from_secs(10);
const LEASE_SECONDS: i32 = 40;
/// N14: written at least this often.
const REPORT: Duration = Duration::from_secs(300);
/// The wait after a failed registration.
const RETRY: Duration = Duration::from_millis(500);

/// Registers the Node, then keeps its Lease and status until `stop`. `ready` turns true with the first status.
pub(crate) async fn keep(
    context: Arc<Context>,
    machine: Machine,
    ready: watch::Sender<bool>,
    stop: CancellationToken,
) {
    let mut keeper = Keeper { context, machine, node: None, written: None, told: None };
    keeper.start().await;
    let mut changes = keeper.context.node_state.subscribe();
    loop {
        let wait = match keeper.round().await {
            Ok(()) => {
                ready.send_replace(true);
                RENEW
            }
            Err(error) => {
                let gone = matches!(&error, kube::Error::Api(status) if status.is_not_found());
                if gone {
                    keeper.node = None;
                }
                warn!(%error, "the node is not registered or its status not written");
                if keeper.node.is_none() { RETRY } else { RENEW }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            // The sender lives in the context.
            _ = changes.changed() => {}
        }
    }
}

struct Keeper {
    context: Arc<Context>,
    machine: Machine,
    node: Option<Node>,
    /// The last status, and when it was written.
    written: Option<(NodeStatus, MonoTime)>,
    /// The state of which events told.
    told: Option<NodeState>,
}

impl Keeper {
    /// Before anything is registered: the events of a start, and one limit for all Pods together.
    async fn start(&self) {
        let (context, name) = (&self.context, &self.context.config.node_name);
        context.events.node(name, "Starting", "Starting kubelet.");
        let memory = self.machine.allocatable(&context.config).get("memory").and_then(|it| it.0.parse().ok());
        let memory = memory.and_then(|it: outrigger_api::Quantity| u64::try_from(it.value()).ok());
        let limits = Resources { memory_limit: memory.filter(|it| *it > 0), ..Resources::default() };
        match context.runtime.limit_pods(&context.config.cgroup_root, &limits).await {
            Ok(()) => {
                let text = "Updated Node Allocatable limit across pods";
                context.events.node(name, "NodeAllocatableEnforced", text);
            }
            Err(error) => {
                let text = format!("Failed to update Node Allocatable Limits: {error}");
                context.events.node_warning(name, "FailedNodeAllocatableEnforcement", text);
            }
        }
    }

    /// Lease, registration if needed, status if needed.
    async fn round(&mut self) -> kube::Result<()> {
        let down = self.context.runtime.list().await.is_err();
        self.context.node_state.update(|state| state.runtime_down = down);
        if self.node.is_none() {
            self.node = Some(register(&self.context).await?);
            self.written = None;
            info!(node = self.context.config.node_name, "registered");
        }
        let status = self.write_status().await;
        if let Some(node) = &self.node
            && let Err(error) = renew(&self.context, node).await
        {
            warn!(%error, "lease not renewed");
        }
        status
    }

    async fn write_status(&mut self) -> kube::Result<()> {
        let context = &self.context;
        let (now, state) = (context.clock.now(), context.node_state.now());
        let images = context.images.list().await;
        let api: Api<Node> = Api::all(context.client.clone());
        let first = self.written.is_none();
        // What the API server has is asked for once; after that it is what was written last.
        let before = match (&self.written, &self.node) {
            (Some((status, _)), _) => Some(status.clone()),
            (None, Some(node)) => node.status.clone(),
            (None, None) => None,
        };
        let known = before.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        let status = content::status(&context.config, &self.machine, &state, &images, &known, now.wall);
        let due = self.written.as_ref().is_none_or(|(_, at)| now.mono.since(*at) >= REPORT);
        if !due && before.as_ref().is_some_and(|before| same(before, &status)) {
            return Ok(());
        }
        if first {
            self.tell_reboot(before.as_ref());
        }
        let context = &self.context;
        let patch = json!({"status": status});
        let name = &context.config.node_name;
        api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        for reason in content::transitions(self.told.as_ref(), &state) {
            context.events.node(name, reason, format!("Node {name} status is now: {reason}"));
        }
        self.told = Some(state);
        self.written = Some((status, now.mono));
        Ok(())
    }

    /// N16.
    fn tell_reboot(&self, before: Option<&NodeStatus>) {
        let info = before.and_then(|status| status.node_info.as_ref());
        let old = info.map(|info| info.boot_id.as_str()).filter(|id| !id.is_empty());
        if let Some(text) = reboot(old, &self.machine.boot_id, &self.context.config.node_name) {
            self.context.events.node_warning(&self.context.config.node_name, "Rebooted", text);
        }
    }
}

fn reboot(old: Option<&str>, new: &str, node: &str) -> Option<String> {
    (old? != new).then(|| format!("Node {node} has been rebooted, boot id: {new}"))
}

/// Whether nothing but the time of the heartbeat differs.
fn same(a: &NodeStatus, b: &NodeStatus) -> bool {
    let without = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    without(a) == without(b)
}

/// N10.
async fn register(context: &Context) -> kube::Result<Node> {
    let api: Api<Node> = Api::all(context.client.clone());
    let config = &context.config;
    let node = Node {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            labels: Some(content::labels(config)),
            annotations: Some(BTreeMap::from([(
                "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
                "true".to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: Some(config.taints.clone()).filter(|taints| !taints.is_empty()),
            ..NodeSpec::default()
        }),
        status: None,
    };
    match api.create(&PostParams::default(), &node).await {
        Ok(created) => Ok(created),
        Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_conflict() => {
            let patch = json!({"metadata": {"labels": content::labels(config)}});
            api.patch(&config.node_name, &PatchParams::default(), &Patch::Merge(patch)).await
        }
        Err(error) => Err(error),
    }
}

/// N14.
async fn renew(context: &Context, node: &Node) -> kube::Result<()> {
    let api: Api<Lease> = Api::namespaced(context.client.clone(), "kube-node-lease");
    let name = &context.config.node_name;
    let now = MicroTime(context.clock.now().wall);
    let patch = json!({"spec": {
        "holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}});
    match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        other => return other.map(drop),
    }
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some("kube-node-lease".into()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".into(),
                kind: "Node".into(),
                name: name.clone(),
                uid: node.metadata.uid.clone().unwrap_or_default(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.clone()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    api.create(&PostParams::default(), &lease).await.map(drop)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::NodeCondition;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    /// N14: a heartbeat alone is no change.
    #[test]
    fn what_counts_as_a_change() {
        let status = |second, state: &str| NodeStatus {
            conditions: Some(vec![NodeCondition {
                type_: "Ready".into(),
                status: state.into(),
                last_heartbeat_time: Some(Time(outrigger_api::WallTime::from_second(second).unwrap())),
                ..NodeCondition::default()
            }]),
            ..NodeStatus::default()
        };
        assert!(same(&status(1, "True"), &status(2, "True")));
        assert!(!same(&status(1, "True"), &status(1, "False")));
    }

    /// N16
    #[test]
    fn another_boot_id_is_a_reboot() {
        assert_eq!(reboot(None, "a", "n"), None);
        assert_eq!(reboot(Some("a"), "a", "n"), None);
        assert_eq!(reboot(Some("a"), "b", "n").unwrap(), "Node n has been rebooted, boot id: b");
    }
}
