//! Events about Pods and the Node (section 10): counted, limited, and written by one task behind a bounded queue.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use outrigger_api::MonoTime;
use outrigger_api::clock::SharedClock;
use outrigger_pod_lifecycle::PodEvent;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Events waiting to be written; more are dropped.
const QUEUE: usize = 1000;
/// Keys remembered for counting; the memory is cleared when it is full.
const REMEMBERED: usize = 4096;
/// R10.4.
const SIMILAR_LIMIT: usize = 10;
const SIMILAR_WINDOW: Duration = Duration::from_secs(600);
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

/// What to tell.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) about: ObjectReference,
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// The sending side; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(mpsc::Sender<Notice>);

impl Recorder {
    /// A recorder and what it feeds.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Notice>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
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
        if self.0.try_send(Notice { about, kind, reason, message }).is_err() {
            debug!("too many events; one is dropped");
        }
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

/// Writes events until `stop`.
pub(crate) async fn write(
    client: kube::Client,
    node: String,
    clock: SharedClock,
    mut queue: mpsc::Receiver<Notice>,
    stop: CancellationToken,
) {
    let mut correlator = Correlator::default();
    loop {
        let notice = tokio::select! {
            () = stop.cancelled() => return,
            notice = queue.recv() => match notice { Some(notice) => notice, None => return },
        };
        let now = clock.now();
        let Some(plan) = correlator.plan(notice, now.mono) else { continue };
        let namespace = plan.notice.about.namespace.clone().unwrap_or_else(|| "default".into());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        if let Some((name, count)) = &plan.known {
            let patch =
                json!({"count": count, "lastTimestamp": Time(now.wall), "message": plan.notice.message});
            match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => continue,
                Err(error) if is_not_found(&error) => {}
                Err(error) => {
                    debug!(%error, "an event was not counted");
                    continue;
                }
            }
        }
        let name =
            format!("{}.{:x}", plan.notice.about.name.clone().unwrap_or_default(), now.wall.as_nanosecond());
        let event = build(&node, &name, &namespace, &plan.notice, now.wall);
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => correlator.written(plan.key, name),
            Err(error) => warn!(%error, reason = plan.notice.reason, "an event was not written"),
        }
    }
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

fn build(node: &str, name: &str, namespace: &str, notice: &Notice, at: outrigger_api::WallTime) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: notice.about.clone(),
        reason: Some(notice.reason.clone()),
        message: Some(notice.message.clone()),
        type_: Some(notice.kind.to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(at)),
        last_timestamp: Some(Time(at)),
        source: Some(EventSource { component: Some("kubelet".into()), host: Some(node.to_owned()) }),
        reporting_component: Some("kubelet".into()),
        reporting_instance: Some(node.to_owned()),
        ..Event::default()
    }
}

/// Counting and limits (R10.4). Pure but for what it remembers.
#[derive(Debug, Default)]
struct Correlator {
    written: HashMap<String, (String, i32)>,
    similar: HashMap<String, (MonoTime, HashSet<String>)>,
    buckets: HashMap<String, (f64, MonoTime)>,
}

#[derive(Debug)]
struct Plan {
    notice: Notice,
    key: String,
    known: Option<(String, i32)>,
}

impl Correlator {
    /// What to write; `None` if the object's bucket is empty.
    fn plan(&mut self, mut notice: Notice, now: MonoTime) -> Option<Plan> {
        if self.written.len() + self.similar.len() + self.buckets.len() > REMEMBERED {
            *self = Self::default();
        }
        let about = &notice.about;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let object = format!("{}/{}", text(&about.uid), notice.kind);
        let group = format!("{object}/{}/{}", text(&about.field_path), notice.reason);
        let (since, messages) = self.similar.entry(group.clone()).or_insert_with(|| (now, HashSet::new()));
        if now.since(*since) > SIMILAR_WINDOW {
            (*since, *messages) = (now, HashSet::new());
        }
        let combined = messages.len() >= SIMILAR_LIMIT && !messages.contains(&notice.message);
        let key = if combined { format!("{group}/*") } else { format!("{group}/{}", notice.message) };
        if combined {
            notice.message = format!("(combined from similar events): {}", notice.message);
        } else {
            messages.insert(notice.message.clone());
        }
        let (tokens, filled) = self.buckets.entry(object).or_insert((BURST, now));
        *tokens = (*tokens + now.since(*filled).as_secs_f64() / REFILL_SECONDS).min(BURST);
        *filled = now;
        if *tokens < 1.0 {
            return None;
        }
        *tokens -= 1.0;
        let known = self.written.get_mut(&key).map(|(name, count)| {
            *count = count.saturating_add(1);
            (name.clone(), *count)
        });
        Some(Plan { notice, key, known })
    }

    fn written(&mut self, key: String, name: String) {
        self.written.insert(key, (name, 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(message: &str) -> Notice {
        let about = ObjectReference { uid: Some("u".into()), ..ObjectReference::default() };
        Notice { about, kind: "Warning", reason: "Unhealthy".into(), message: message.into() }
    }

    /// R10.1, R10.2: the whole object, as clients read it.
    #[test]
    fn what_an_event_is_made_of() {
        let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7"}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let at: outrigger_api::WallTime = "2026-01-02T03:04:05Z".parse().unwrap();
        let about = |path: &str| Notice { about: pod_reference(&pod, path), ..notice("m") };
        let event = build("node", "p.18a", "ns", &about("spec.initContainers{i}"), at);
        let time = "2026-01-02T03:04:05Z";
        let expected = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": "p.18a", "namespace": "ns"},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": "ns", "name": "p", "uid": "u", "resourceVersion": "7",
                "fieldPath": "spec.initContainers{i}"},
            "type": "Warning", "reason": "Unhealthy", "message": "m", "count": 1,
            "firstTimestamp": time, "lastTimestamp": time,
            "source": {"component": "kubelet", "host": "node"},
            "reportingComponent": "kubelet", "reportingInstance": "node",
        });
        assert_eq!(serde_json::to_value(event).unwrap(), expected);
        assert_eq!(build("node", "p.18a", "ns", &about(""), at).involved_object.field_path, None);
    }

    /// R10.4: equal events are counted, many similar ones are combined, a flood is cut.
    #[test]
    fn repeated_similar_and_too_many() {
        let now = MonoTime::from_boot(Duration::from_secs(1));
        let mut correlator = Correlator::default();
        let first = correlator.plan(notice("m"), now).unwrap();
        assert!(first.known.is_none());
        correlator.written(first.key, "p.1".into());
        assert_eq!(correlator.plan(notice("m"), now).unwrap().known, Some(("p.1".into(), 2)));
        for n in 0..9 {
            correlator.plan(notice(&n.to_string()), now).unwrap();
        }
        let message = correlator.plan(notice("eleventh"), now).unwrap().notice.message;
        assert_eq!(message, "(combined from similar events): eleventh");
        assert_eq!((0..30).filter_map(|_| correlator.plan(notice("m"), now)).count(), 13);
        let later = now + Duration::from_secs(300);
        assert!(correlator.plan(notice("m"), later).is_some());
        assert!(correlator.plan(notice("m"), later).is_none());
    }
}
