//! Events (N1, R10.4): counted, limited, and written by one task behind a bounded queue, so that no turn waits for it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use outrigger_api::MonoTime;
use outrigger_api::clock::SharedClock;
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
pub struct Notice {
    /// Who tells: the name users see as the source.
    pub component: &'static str,
    /// Of what.
    pub about: ObjectReference,
    /// `Normal` or `Warning`.
    pub kind: &'static str,
    /// `CamelCase`.
    pub reason: String,
    /// The sentence.
    pub message: String,
}

/// The sending side; cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder(mpsc::Sender<Notice>);

impl Recorder {
    /// A recorder and what it feeds.
    pub fn channel() -> (Self, mpsc::Receiver<Notice>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Hands a notice over. Never waits.
    pub fn send(&self, notice: Notice) {
        if self.0.try_send(notice).is_err() {
            debug!("too many events; one is dropped");
        }
    }
}

/// Writes events until `stop`.
/// `host` is the node they come from, if they come from one.
pub async fn write(
    client: kube::Client,
    host: Option<String>,
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
        let event = build(host.as_deref(), &name, &namespace, &plan.notice, now.wall);
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => correlator.written(plan.key, name),
            Err(error) => warn!(%error, reason = plan.notice.reason, "an event was not written"),
        }
    }
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

fn build(
    host: Option<&str>,
    name: &str,
    namespace: &str,
    notice: &Notice,
    at: outrigger_api::WallTime,
) -> Event {
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
        source: Some(EventSource { component: Some(notice.component.into()), host: host.map(str::to_owned) }),
        reporting_component: Some(notice.component.into()),
        reporting_instance: Some(host.unwrap_or_default().to_owned()),
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
        Notice {
            component: "kubelet",
            about,
            kind: "Warning",
            reason: "Unhealthy".into(),
            message: message.into(),
        }
    }

    /// R10.1, R10.2: the whole object, as clients read it.
    #[test]
    fn what_an_event_is_made_of() {
        let about = json!({"apiVersion": "v1", "kind": "Pod", "namespace": "ns", "name": "p", "uid": "u",
            "resourceVersion": "7", "fieldPath": "spec.initContainers{i}"});
        let at: outrigger_api::WallTime = "2026-01-02T03:04:05Z".parse().unwrap();
        let mut told = notice("m");
        told.about = serde_json::from_value(about.clone()).unwrap();
        let time = "2026-01-02T03:04:05Z";
        let expected = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": "p.18a", "namespace": "ns"},
            "involvedObject": about,
            "type": "Warning", "reason": "Unhealthy", "message": "m", "count": 1,
            "firstTimestamp": time, "lastTimestamp": time,
            "source": {"component": "kubelet", "host": "node"},
            "reportingComponent": "kubelet", "reportingInstance": "node",
        });
        assert_eq!(serde_json::to_value(build(Some("node"), "p.18a", "ns", &told, at)).unwrap(), expected);
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
