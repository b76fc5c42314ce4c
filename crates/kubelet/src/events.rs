//! Events about Pods and the Node (section 10): what they are about. Counting and writing is `outrigger_reconcile`'s.

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use outrigger_pod_lifecycle::PodEvent;
use outrigger_reconcile::events::{self, Notice};
use tokio::sync::mpsc;

/// The sending side; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(events::Recorder);

impl Recorder {
    /// A recorder and what it feeds.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Notice>) {
        let (recorder, notices) = events::Recorder::channel();
        (Self(recorder), notices)
    }

    /// An event that the decision asked for.
    pub(crate) fn pod_event(&self, pod: &Pod, event: &PodEvent) {
        let reason = event.reason_word().to_owned();
        self.send(pod_reference(pod, &event.field_path), event.kind.as_str(), reason, event.message.clone());
    }

    /// A `Normal` event.
    pub(crate) fn normal(&self, pod: &Pod, field_path: &str, reason: &str, message: impl Into<String>) {
        self.send(pod_reference(pod, field_path), "Normal", reason.to_owned(), message.into());
    }

    /// A `Warning` event.
    pub(crate) fn warning(&self, pod: &Pod, field_path: &str, reason: &str, message: impl Into<String>) {
        self.send(pod_reference(pod, field_path), "Warning", reason.to_owned(), message.into());
    }

    /// A `Normal` event about the Node (N16).
    pub(crate) fn node(&self, name: &str, reason: &str, message: impl Into<String>) {
        self.send(node_reference(name), "Normal", reason.to_owned(), message.into());
    }

    /// A `Warning` event about the Node.
    pub(crate) fn node_warning(&self, name: &str, reason: &str, message: impl Into<String>) {
        self.send(node_reference(name), "Warning", reason.to_owned(), message.into());
    }

    fn send(&self, about: ObjectReference, kind: &'static str, reason: String, message: String) {
        self.0.send(Notice { component: "kubelet", about, kind, reason, message });
    }
}

/// By name alone, also as uid: the kubelet tells of itself before it knows its object.
fn node_reference(name: &str) -> ObjectReference {
    ObjectReference {
        kind: Some("Node".into()),
        uid: Some(name.to_owned()),
        name: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

fn pod_reference(pod: &Pod, field_path: &str) -> ObjectReference {
    let meta = &pod.metadata;
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: (!field_path.is_empty()).then(|| field_path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// R10.1, R10.2: what an event about a Pod names.
    #[test]
    fn a_pod_is_named_with_its_version_and_field() {
        let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7"}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let expected = json!({"apiVersion": "v1", "kind": "Pod", "namespace": "ns", "name": "p", "uid": "u",
            "resourceVersion": "7", "fieldPath": "spec.initContainers{i}"});
        let about = pod_reference(&pod, "spec.initContainers{i}");
        assert_eq!(serde_json::to_value(about).unwrap(), expected);
        assert_eq!(pod_reference(&pod, "").field_path, None);
    }
}
