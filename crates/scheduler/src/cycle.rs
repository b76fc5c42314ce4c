//! What follows a decision: the binding, or the refusal's condition and event.

use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use outrigger_api::WallTime;
use serde_json::json;
use tracing::warn;

use crate::queue::Waiting;

/// Carries out decisions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Binder {
    client: Client,
    recorder: Recorder,
}

/// What became of one.
pub(crate) enum Outcome {
    /// The Pod is on its node.
    Bound(String),
    /// The Pod no longer exists, or somebody else bound it.
    Vanished(String),
    /// The API server did not take the binding.
    NotBound(Box<Waiting>),
    /// No node would have the Pod, and it was told so.
    Refused(Box<Waiting>),
}

impl Binder {
    pub(crate) fn new(client: Client, name: &str, host: &str) -> Self {
        let reporter = Reporter { controller: name.to_owned(), instance: Some(format!("{name}-{host}")) };
        Self { recorder: Recorder::new(client.clone(), reporter), client }
    }

    /// H4. The event follows the binding, so that it never speaks of one that failed.
    pub(crate) async fn bind(self, waiting: Waiting, node: String) -> Outcome {
        let (pod, uid) = (&waiting.pod, waiting.info.uid.clone());
        let mut binding = Binding::default();
        binding.metadata.name = pod.metadata.name.clone();
        binding.metadata.namespace = pod.metadata.namespace.clone();
        binding.metadata.uid = pod.metadata.uid.clone();
        binding.target = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.clone()),
            ..ObjectReference::default()
        };
        let bound: Result<serde_json::Value, kube::Error> = self
            .pods(pod)
            .create_subresource("binding", &pod.name_any(), &PostParams::default(), &binding)
            .await;
        match bound {
            Ok(_) => {
                let text = format!("Successfully assigned {}/{} to {node}", namespace(pod), pod.name_any());
                self.publish(pod, EventType::Normal, "Scheduled", "Binding", text).await;
                Outcome::Bound(uid)
            }
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {
                Outcome::Vanished(uid)
            }
            Err(error) => {
                warn!(pod = pod.name_any(), error = &error as &dyn std::error::Error, "binding failed");
                Outcome::NotBound(Box::new(waiting))
            }
        }
    }

    /// N24, N25.
    pub(crate) async fn refuse(self, waiting: Waiting, why: String, now: WallTime) -> Outcome {
        let pod = &waiting.pod;
        if !already_says(pod, &why) {
            let condition = json!({
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why,
                "lastProbeTime": null, "lastTransitionTime": seconds(now),
                "observedGeneration": pod.metadata.generation,
            });
            let patch = json!({
                "metadata": {"uid": pod.metadata.uid},
                "status": {"conditions": [condition]},
            });
            let patched = self
                .pods(pod)
                .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch))
                .await;
            if let Err(error) = patched {
                warn!(
                    pod = pod.name_any(),
                    error = &error as &dyn std::error::Error,
                    "cannot write PodScheduled"
                );
            }
        }
        self.publish(pod, EventType::Warning, "FailedScheduling", "Scheduling", why).await;
        Outcome::Refused(Box::new(waiting))
    }

    async fn publish(&self, pod: &Pod, type_: EventType, reason: &str, action: &str, note: String) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &pod.object_ref(&())).await {
            warn!(pod = pod.name_any(), error = &error as &dyn std::error::Error, "event not recorded");
        }
    }

    fn pods(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &namespace(pod))
    }
}

fn namespace(pod: &Pod) -> String {
    pod.namespace().unwrap_or_else(|| "default".to_owned())
}

fn seconds(at: WallTime) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Writing the same condition again would only move its time.
fn already_says(pod: &Pod, why: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.message.as_deref() == Some(why)
    })
}
