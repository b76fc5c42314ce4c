//! The taints of a node follow its Ready condition (N15): `not-ready` while it is False or unknown to have been True.
//! Nodes that stop reporting are not noticed yet.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use outrigger_reconcile::{Error, Next, Reconciler};
use serde_json::json;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// After a lost race.
const AGAIN: Duration = Duration::from_millis(20);

/// Keeps node taints.
pub(crate) struct NodeTaints {
    pub(crate) client: Client,
}

#[async_trait]
impl Reconciler for NodeTaints {
    type Object = Node;

    const NAME: &'static str = "node-taints";

    async fn reconcile(&self, node: Arc<Node>) -> Result<Next, Error> {
        let Some(taints) = wanted(&node) else { return Ok(Next::Change) };
        let name = node.name_any();
        let version = node.resource_version();
        let patch = Patch::Merge(json!({
            "metadata": { "resourceVersion": version },
            "spec": { "taints": taints },
        }));
        let nodes = Api::<Node>::all(self.client.clone());
        match nodes.patch(&name, &PatchParams::default(), &patch).await {
            // Something else was written meanwhile; decide again on that.
            Err(kube::Error::Api(status)) if status.code == 409 => return Ok(Next::After(AGAIN)),
            outcome => drop(outcome.map_err(Error::doing(format!("taints of node {name}")))?),
        }
        Ok(Next::Change)
    }
}

/// The taints the node should have; `None` if it has them.
fn wanted(node: &Node) -> Option<Vec<Taint>> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True");
    let present = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let mut taints: Vec<Taint> = present.iter().filter(|taint| taint.key != NOT_READY).cloned().collect();
    if !ready {
        let effects = ["NoSchedule", "NoExecute"];
        let kept =
            |effect: &str| present.iter().find(|taint| taint.key == NOT_READY && taint.effect == effect);
        taints.extend(effects.into_iter().map(|effect| {
            let fresh = Taint { key: NOT_READY.to_owned(), effect: effect.to_owned(), ..Taint::default() };
            kept(effect).cloned().unwrap_or(fresh)
        }));
    }
    (taints.len() != present.len()).then_some(taints)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{NodeCondition, NodeSpec, NodeStatus};

    use super::*;

    fn node(ready: &str, taints: &[(&str, &str)]) -> Node {
        let taints = taints.iter().map(|(key, effect)| Taint {
            key: (*key).to_owned(),
            effect: (*effect).to_owned(),
            ..Taint::default()
        });
        let condition =
            NodeCondition { type_: "Ready".to_owned(), status: ready.to_owned(), ..NodeCondition::default() };
        Node {
            spec: Some(NodeSpec { taints: Some(taints.collect()), ..NodeSpec::default() }),
            status: Some(NodeStatus { conditions: Some(vec![condition]), ..NodeStatus::default() }),
            ..Node::default()
        }
    }

    // N15
    #[test]
    fn the_taint_comes_and_goes_with_readiness_and_leaves_others_alone() {
        let fresh = node("True", &[(NOT_READY, "NoSchedule"), ("own", "NoSchedule")]);
        let kept: Vec<String> = wanted(&fresh).into_iter().flatten().map(|taint| taint.key).collect();
        assert_eq!(kept, ["own"]);
        assert_eq!(wanted(&node("False", &[])).map(|taints| taints.len()), Some(2));
        assert_eq!(wanted(&node("True", &[])), None);
    }
}
