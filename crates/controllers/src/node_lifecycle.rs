//! What becomes of nodes (N15, N16): one whose Lease is not renewed is marked unknown, taints follow conditions, and a
//! new node is told of. For how long a node has been silent is measured with this program's own clock, from the moment
//! a renewal was seen, so that clocks that differ make no node silent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, EventSource, Node, NodeCondition, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use outrigger_api::clock::{Now, SharedClock};
use outrigger_api::{MonoTime, WallTime};
use outrigger_reconcile::{Error, Next, Reconciler};
use serde_json::json;

use crate::node_taints;

/// N15: `--node-monitor-grace-period`.
const GRACE: Duration = Duration::from_secs(50);
/// `--node-monitor-period`.
const PERIOD: Duration = Duration::from_secs(5);
/// After a lost race.
const AGAIN: Duration = Duration::from_millis(20);

/// Keeps nodes' conditions and taints.
pub(crate) struct NodeLifecycle {
    client: Client,
    clock: SharedClock,
    heard: Heard,
}

/// Since when nodes are silent, by name.
#[derive(Default)]
struct Heard(Mutex<HashMap<String, Seen>>);

/// What was last heard of a node.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    uid: String,
    renewed: Option<WallTime>,
    at: MonoTime,
}

impl NodeLifecycle {
    pub(crate) fn new(client: Client, clock: SharedClock) -> Self {
        Self { client, clock, heard: Heard::default() }
    }
}

impl Heard {
    /// Takes a look at a node's Lease; whether the node is new here, and since when it is silent.
    fn hear(&self, node: &Node, renewed: Option<WallTime>, now: Now) -> (bool, MonoTime) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = node.uid().unwrap_or_default();
        let old = seen.get(&node.name_any()).filter(|old| old.uid == uid);
        let (new, at) = match old {
            Some(old) if old.renewed == renewed => (false, old.at),
            old => (old.is_none(), now.mono),
        };
        seen.insert(node.name_any(), Seen { uid, renewed, at });
        (new, at)
    }
}

#[async_trait]
impl Reconciler for NodeLifecycle {
    type Object = Node;

    const NAME: &'static str = "node-lifecycle";

    async fn reconcile(&self, node: Arc<Node>) -> Result<Next, Error> {
        let name = node.name_any();
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        let lease = leases.get_opt(&name).await.map_err(Error::doing(format!("lease of node {name}")))?;
        let renewed = lease.and_then(|lease| lease.spec?.renew_time).map(|time| time.0);
        let now = self.clock.now();
        let (new, heard) = self.heard.hear(&node, renewed, now);
        if new {
            let event = registered(&node, now.wall);
            let events: Api<Event> = Api::namespaced(self.client.clone(), "default");
            if let Err(error) = events.create(&PostParams::default(), &event).await {
                tracing::debug!(%error, node = name, "an event was not written");
            }
        }
        let nodes = Api::<Node>::all(self.client.clone());
        let version = node.resource_version();
        if let Some(conditions) = silenced(&node, now.mono.since(heard), now.wall) {
            let patch =
                json!({ "metadata": { "resourceVersion": version }, "status": { "conditions": conditions } });
            let outcome = nodes.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await;
            return after(outcome, format!("conditions of node {name}"));
        }
        if ready_status(&node) == Some("Unknown") {
            self.pods_not_ready(&name, now.wall).await?;
        }
        if let Some(taints) = node_taints::wanted(&node, now.wall) {
            let patch = json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": taints } });
            let outcome = nodes.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
            return after(outcome, format!("taints of node {name}"));
        }
        Ok(Next::After(PERIOD))
    }
}

impl NodeLifecycle {
    /// N15: nobody can say that the Pods of a silent node serve; Services must not lead to them.
    async fn pods_not_ready(&self, node: &str, now: WallTime) -> Result<(), Error> {
        let pods = Api::<Pod>::all(self.client.clone());
        let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let found = pods.list(&here).await.map_err(Error::doing(format!("the list of pods on {node}")))?;
        for pod in found.items.iter().filter(|pod| is_ready(pod)) {
            let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
            let pods = Api::<Pod>::namespaced(self.client.clone(), &namespace);
            let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": Time(now)});
            let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
            match pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await {
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
                outcome => drop(outcome.map_err(Error::doing(format!("readiness of pod {name}")))?),
            }
        }
        Ok(())
    }
}

fn ready_status(node: &Node) -> Option<&str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|it| it.type_ == "Ready").map(|it| it.status.as_str())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
}

fn after(outcome: kube::Result<Node>, doing: String) -> Result<Next, Error> {
    match outcome {
        // Something else was written meanwhile; decide again on that.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Next::After(AGAIN)),
        outcome => outcome.map(|_| Next::After(PERIOD)).map_err(Error::doing(doing)),
    }
}

/// The conditions of a node that has been silent for too long; `None` if it has not, or is marked already. Pure.
fn silenced(node: &Node, silent: Duration, now: WallTime) -> Option<Vec<NodeCondition>> {
    let conditions = node.status.as_ref()?.conditions.clone()?;
    if silent < GRACE || conditions.iter().all(|condition| condition.status == "Unknown") {
        return None;
    }
    let mark = |mut condition: NodeCondition| {
        if condition.status != "Unknown" {
            condition.status = "Unknown".to_owned();
            condition.reason = Some("NodeStatusUnknown".to_owned());
            condition.message = Some("Kubelet stopped posting node status.".to_owned());
            condition.last_transition_time = Some(Time(now));
        }
        condition
    };
    Some(conditions.into_iter().map(mark).collect())
}

/// N16.
fn registered(node: &Node, now: WallTime) -> Event {
    let name = node.name_any();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some("default".to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(name.clone()),
            uid: node.uid(),
            ..ObjectReference::default()
        },
        reason: Some("RegisteredNode".to_owned()),
        message: Some(format!("Node {name} event: Registered Node {name} in Controller")),
        type_: Some("Normal".to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource { component: Some("node-controller".to_owned()), host: None }),
        reporting_component: Some("node-controller".to_owned()),
        reporting_instance: Some(String::new()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(status: &str) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n", "uid": "u"}, "status": {"conditions": [
            {"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": status}]}}))
        .unwrap()
    }

    /// N15: after 50 s without a renewal everything the node said of itself is unknown.
    #[test]
    fn a_silent_node_is_unknown() {
        let now = WallTime::UNIX_EPOCH;
        assert_eq!(silenced(&node("True"), Duration::from_secs(49), now), None);
        let marked = silenced(&node("True"), GRACE, now).unwrap();
        for condition in &marked {
            assert_eq!(condition.status, "Unknown");
            assert_eq!(condition.reason.as_deref(), Some("NodeStatusUnknown"));
            assert_eq!(condition.message.as_deref(), Some("Kubelet stopped posting node status."));
        }
        let mut after = node("True");
        after.status.as_mut().unwrap().conditions = Some(marked);
        assert_eq!(silenced(&after, Duration::from_secs(500), now), None);
    }

    /// N15: renewals count when they are seen, whatever time they carry; N16: a node is new once.
    #[test]
    fn silence_is_measured_here() {
        let heard = Heard::default();
        let at = |seconds| Now {
            wall: WallTime::UNIX_EPOCH,
            mono: MonoTime::from_boot(Duration::from_secs(seconds)),
        };
        let (early, late) = (WallTime::from_second(1).ok(), WallTime::from_second(2).ok());
        let hear = |renewed, seconds| {
            let (new, since) = heard.hear(&node("True"), renewed, at(seconds));
            (new, since.since_boot().as_secs())
        };
        assert_eq!(hear(late, 10), (true, 10));
        assert_eq!(hear(late, 20), (false, 10));
        assert_eq!(hear(early, 30), (false, 30));
    }
}
