//! Mirrors: what the API shows of static Pods (R14.5, R14.6).

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use outrigger_reconcile::Change;
use tracing::warn;

use super::decode::HASH;
use crate::context::Context;

const MIRROR: &str = "kubernetes.io/config.mirror";

/// Whether a Pod of the API only shows a static one.
pub(crate) fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR))
}

/// The mirrors there are, by uid.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    known: HashMap<String, Pod>,
    complete: bool,
}

/// What to do about the mirrors.
#[derive(Debug, Default)]
struct Plan<'a> {
    create: Vec<&'a Pod>,
    delete: Vec<&'a Pod>,
    /// Mirrors of Pods that are still stopping.
    waiting: bool,
}

impl Mirrors {
    pub(super) fn take(&mut self, change: Change<Pod>) {
        match change {
            Change::Applied(pod) => {
                drop(self.known.insert(pod.metadata.uid.clone().unwrap_or_default(), pod));
            }
            Change::Gone(uid) => drop(self.known.remove(&uid)),
            Change::Complete => self.complete = true,
        }
    }

    /// Makes and deletes what is needed. `false`: look again soon.
    pub(super) async fn reconcile(&mut self, context: &Context, current: &BTreeMap<PathBuf, Pod>) -> bool {
        if !self.complete {
            return true;
        }
        let plan = plan(&self.known, current, &|uid| context.pods.contains(uid));
        let mut settled = !plan.waiting;
        for mirror in plan.delete {
            settled &= delete(context, mirror).await;
        }
        let mut made = Vec::new();
        for pod in plan.create {
            match create(context, pod).await {
                // The watch tells the same a little later; until then it must not be made again.
                Some(mirror) => {
                    context.pods.mirrored(pod.metadata.uid.as_deref().unwrap_or_default());
                    made.push(mirror);
                }
                None => settled = false,
            }
        }
        for pod in made {
            self.take(Change::Applied(pod));
        }
        settled
    }
}

/// Pure.
fn plan<'a>(
    known: &'a HashMap<String, Pod>,
    current: &'a BTreeMap<PathBuf, Pod>,
    works: &dyn Fn(&str) -> bool,
) -> Plan<'a> {
    let mut plan = Plan::default();
    let name = |pod: &Pod| (pod.metadata.namespace.clone(), pod.metadata.name.clone());
    let hash = |pod: &Pod| pod.metadata.annotations.as_ref().and_then(|all| all.get(HASH)).cloned();
    for pod in current.values() {
        match known.values().find(|mirror| name(mirror) == name(pod)) {
            None => plan.create.push(pod),
            Some(mirror) => {
                let same = hash(mirror) == pod.metadata.uid && mirror.metadata.deletion_timestamp.is_none();
                if !same {
                    plan.delete.push(mirror);
                }
            }
        }
    }
    for mirror in known.values().filter(|mirror| !current.values().any(|pod| name(pod) == name(mirror))) {
        // Its status is of interest until the Pod has stopped.
        if hash(mirror).is_some_and(|uid| works(&uid)) {
            plan.waiting = true;
        } else {
            plan.delete.push(mirror);
        }
    }
    plan
}

async fn create(context: &Context, pod: &Pod) -> Option<Pod> {
    let mut mirror = pod.clone();
    mirror.status = None;
    let meta = &mut mirror.metadata;
    let hash = meta.uid.take().unwrap_or_default();
    meta.creation_timestamp = None;
    meta.annotations.get_or_insert_default().insert(MIRROR.to_owned(), hash);
    let nodes: Api<Node> = Api::all(context.client.clone());
    let name = &context.config.node_name;
    let node = nodes.get_opt(name).await.ok().flatten();
    meta.owner_references = node.and_then(|node| node.metadata.uid).map(|uid| {
        let api_version = "v1".to_owned();
        let kind = "Node".to_owned();
        let controller = Some(true);
        vec![OwnerReference {
            api_version,
            kind,
            name: name.clone(),
            uid,
            controller,
            ..OwnerReference::default()
        }]
    });
    let api: Api<Pod> =
        Api::namespaced(context.client.clone(), mirror.metadata.namespace.as_deref().unwrap_or("default"));
    match api.create(&PostParams::default(), &mirror).await {
        Ok(created) => Some(created),
        Err(error) => {
            warn!(pod = mirror.metadata.name, %error, "a static Pod cannot be shown in the API");
            None
        }
    }
}

async fn delete(context: &Context, mirror: &Pod) -> bool {
    let meta = &mirror.metadata;
    let api: Api<Pod> =
        Api::namespaced(context.client.clone(), meta.namespace.as_deref().unwrap_or("default"));
    let preconditions = Preconditions { uid: meta.uid.clone(), resource_version: None };
    let parameters = DeleteParams::default().grace_period(0).preconditions(preconditions);
    match api.delete(meta.name.as_deref().unwrap_or_default(), &parameters).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => true,
        Err(error) => {
            warn!(pod = meta.name, %error, "the mirror of a static Pod was not deleted");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, uid: &str, hash: &str, deleting: bool) -> Pod {
        let mut value = json!({"metadata": {"name": name, "namespace": "default", "uid": uid,
            "annotations": {"kubernetes.io/config.hash": hash}}});
        if deleting {
            value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        serde_json::from_value(value).unwrap()
    }

    /// R14.6: deleting a mirror only makes it anew; a new version gets a new mirror; one whose Pod is gone goes once
    /// the Pod has stopped.
    #[test]
    fn what_is_done_about_mirrors() {
        let current = BTreeMap::from([
            (PathBuf::from("a"), pod("a", "1", "1", false)),
            (PathBuf::from("b"), pod("b", "2", "2", false)),
            (PathBuf::from("c"), pod("c", "3", "3", false)),
            (PathBuf::from("d"), pod("d", "4", "4", false)),
        ]);
        let known: HashMap<String, Pod> = [
            pod("a", "m1", "1", false),
            pod("b", "m2", "old", false),
            pod("c", "m3", "3", true),
            pod("gone", "m5", "5", false),
            pod("stopping", "m6", "6", false),
        ]
        .into_iter()
        .map(|pod| (pod.metadata.uid.clone().unwrap(), pod))
        .collect();
        let plan = plan(&known, &current, &|uid| uid == "6");
        let names = |pods: &[&Pod]| {
            let mut names: Vec<_> = pods.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&plan.create), ["d"]);
        assert_eq!(names(&plan.delete), ["b", "c", "gone"]);
        assert!(plan.waiting);
    }
}
