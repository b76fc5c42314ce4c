//! Pods leave nodes whose `NoExecute` taints they do not tolerate, or no longer do (N15, R8.30).
//!
//! A node is only looked after while it has such a taint. Time counts from when the taint was first seen here, or from
//! when the Pod came to the node if that was later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Event, EventSource, Node, ObjectReference, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use outrigger_api::WallTime;
use outrigger_api::clock::SharedClock;
use outrigger_reconcile::{Error, Next, Reconciler};
use serde_json::json;

/// How often a tainted node is looked at for Pods that came since.
const PERIOD: Duration = Duration::from_secs(1);

/// Deletes Pods from tainted nodes.
pub(crate) struct TaintEviction {
    client: Client,
    clock: SharedClock,
    /// Since when nodes have a `NoExecute` taint, by uid.
    tainted: Mutex<HashMap<String, WallTime>>,
}

impl TaintEviction {
    pub(crate) fn new(client: Client, clock: SharedClock) -> Self {
        Self { client, clock, tainted: Mutex::default() }
    }

    /// Since when the node is tainted, which begins now if it was not; forgets it if it no longer is.
    fn since(&self, node: &Node, is_tainted: bool, now: WallTime) -> WallTime {
        let uid = node.uid().unwrap_or_default();
        let mut tainted = self.tainted.lock().unwrap_or_else(PoisonError::into_inner);
        if is_tainted {
            *tainted.entry(uid).or_insert(now)
        } else {
            tainted.remove(&uid);
            now
        }
    }

    /// R8.30: says why, then deletes with the Pod's own grace.
    async fn evict(&self, pod: &Pod, now: WallTime) -> Result<(), Error> {
        let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
        let pods = Api::<Pod>::namespaced(self.client.clone(), &namespace);
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": Time(now),
        });
        let patch = json!({ "metadata": { "uid": pod.uid() }, "status": { "conditions": [condition] } });
        let told = pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        settle(told, &name)?;
        let events = Api::<Event>::namespaced(self.client.clone(), &namespace);
        if let Err(error) = events.create(&PostParams::default(), &marked(pod, now)).await {
            tracing::debug!(%error, pod = name, "an event was not written");
        }
        let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
        let deleted = pods.delete(&name, &DeleteParams::default().preconditions(preconditions)).await;
        settle(deleted, &name)
    }
}

/// A Pod that is gone, or another one by now, needs no eviction.
fn settle<T>(outcome: kube::Result<T>, pod: &str) -> Result<(), Error> {
    match outcome {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        outcome => outcome.map(drop).map_err(Error::doing(format!("eviction of pod {pod}"))),
    }
}

#[async_trait]
impl Reconciler for TaintEviction {
    type Object = Node;

    const NAME: &'static str = "taint-eviction";

    async fn reconcile(&self, node: Arc<Node>) -> Result<Next, Error> {
        let now = self.clock.now().wall;
        let taints = no_execute(&node);
        let since = self.since(&node, !taints.is_empty(), now);
        if taints.is_empty() {
            return Ok(Next::Change);
        }
        let all = Api::<Pod>::all(self.client.clone());
        let here = ListParams::default().fields(&format!("spec.nodeName={}", node.name_any()));
        let pods = all.list(&here).await.map_err(Error::doing("the list of a node's pods"))?;
        let mut wait = PERIOD;
        for pod in pods.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            match verdict(pod, &taints, since, now) {
                Verdict::Stay => {}
                Verdict::Leave => self.evict(pod, now).await?,
                Verdict::LeaveIn(left) => wait = wait.min(left),
            }
        }
        Ok(Next::After(wait))
    }
}

fn no_execute(node: &Node) -> Vec<Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    taints.into_iter().filter(|taint| taint.effect == "NoExecute").collect()
}

/// What becomes of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Stay,
    Leave,
    LeaveIn(Duration),
}

/// The shortest `tolerationSeconds` of the tolerations that are needed counts; one without tolerates for ever. Pure.
fn verdict(pod: &Pod, taints: &[Taint], tainted_since: WallTime, now: WallTime) -> Verdict {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let mut shortest: Option<i64> = None;
    for taint in taints {
        let fitting = tolerations
            .iter()
            .filter(|one| outrigger_scheduling::tolerated(taint, std::slice::from_ref(one)));
        let mut tolerated = false;
        for toleration in fitting {
            tolerated = true;
            let seconds = toleration.toleration_seconds.map(|seconds| seconds.max(0));
            shortest = shortest.into_iter().chain(seconds).min();
        }
        if !tolerated {
            return Verdict::Leave;
        }
    }
    let Some(seconds) = shortest else { return Verdict::Stay };
    let due = tainted_since.max(arrival(pod)).as_second().saturating_add(seconds);
    match u64::try_from(due.saturating_sub(now.as_second())) {
        Ok(left @ 1..) => Verdict::LeaveIn(Duration::from_secs(left)),
        _ => Verdict::Leave,
    }
}

/// When the Pod was bound, as far as it says; one bound by its author, when it was made.
fn arrival(pod: &Pod) -> WallTime {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let bound = conditions.iter().find(|it| it.type_ == "PodScheduled" && it.status == "True");
    let bound = bound.and_then(|condition| condition.last_transition_time.as_ref());
    let made = pod.metadata.creation_timestamp.as_ref();
    bound.or(made).map_or(WallTime::UNIX_EPOCH, |time| time.0)
}

fn marked(pod: &Pod, now: WallTime) -> Event {
    let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            kind: Some("Pod".to_owned()),
            api_version: Some("v1".to_owned()),
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            uid: pod.uid(),
            ..ObjectReference::default()
        },
        reason: Some("TaintManagerEviction".to_owned()),
        message: Some(format!("Marking for deletion Pod {namespace}/{name}")),
        type_: Some("Normal".to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource { component: Some("taint-eviction-controller".to_owned()), host: None }),
        reporting_component: Some("taint-eviction-controller".to_owned()),
        reporting_instance: Some(String::new()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn at(second: i64) -> WallTime {
        WallTime::from_second(second).unwrap()
    }

    fn taint(key: &str) -> Taint {
        Taint { key: key.into(), effect: "NoExecute".into(), ..Taint::default() }
    }

    fn pod(tolerations: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "creationTimestamp": at(100).to_string()},
            "spec": {"containers": [], "tolerations": tolerations}}))
        .unwrap()
    }

    fn tolerating(key: &str, seconds: Option<i64>) -> Value {
        json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds})
    }

    /// N15, R8.30: who tolerates nothing leaves at once, who tolerates for ever stays.
    #[test]
    fn who_leaves() {
        let taints = [taint("a"), taint("b")];
        let of = |tolerations| verdict(&pod(tolerations), &taints, at(100), at(130));
        assert_eq!(of(json!([])), Verdict::Leave);
        assert_eq!(of(json!([tolerating("a", None)])), Verdict::Leave);
        assert_eq!(of(json!([tolerating("a", None), tolerating("b", None)])), Verdict::Stay);
        assert_eq!(of(json!([{"operator": "Exists"}])), Verdict::Stay);
        let both = json!([tolerating("a", Some(300)), tolerating("b", Some(60))]);
        assert_eq!(of(both), Verdict::LeaveIn(Duration::from_secs(30)));
        assert_eq!(of(json!([tolerating("a", Some(-5)), tolerating("b", None)])), Verdict::Leave);
        // Tolerations that are not needed do not count.
        assert_eq!(of(json!([{"operator": "Exists"}, tolerating("c", Some(0))])), Verdict::Stay);
    }

    /// N15: time counts from the taint or from the Pod's arrival, whichever was later.
    #[test]
    fn since_when() {
        let (taints, minute) = ([taint("a")], json!([tolerating("a", Some(60))]));
        let of = |tainted, now| verdict(&pod(minute.clone()), &taints, at(tainted), at(now));
        assert_eq!(of(50, 130), Verdict::LeaveIn(Duration::from_secs(30)));
        assert_eq!(of(120, 130), Verdict::LeaveIn(Duration::from_secs(50)));
        assert_eq!(of(120, 180), Verdict::Leave);
        let mut late = pod(minute.clone());
        late.status = serde_json::from_value(json!({"conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(200).to_string()}]}))
        .unwrap();
        assert_eq!(verdict(&late, &taints, at(50), at(230)), Verdict::LeaveIn(Duration::from_secs(30)));
    }

    /// N15: other effects drive nobody away.
    #[test]
    fn only_no_execute() {
        let node: Node = serde_json::from_value(json!({"spec": {"taints": [
            {"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "NoExecute"}]}}))
        .unwrap();
        assert_eq!(no_execute(&node).iter().map(|taint| &*taint.key).collect::<Vec<_>>(), ["b"]);
    }
}
