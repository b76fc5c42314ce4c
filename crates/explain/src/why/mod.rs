//! What keeps a Pod from running, as a chain from the symptom to the cause, and what would help.
//!
//! | the Pod | file |
//! |---|---|
//! | has no node | `unscheduled` |
//! | is on a node: containers that wait, and for what | `containers`, `roots` |
//! | is being deleted | `ending` |
//! | has ended | `ended` |
//!
//! The node's own record says best why a container waits. Without it (another agent, no right to ask it) the same is
//! inferred from the Pod's status and its events (`infer`).

mod containers;
mod ended;
mod ending;
mod infer;
mod probes;
mod references;
mod roots;
pub mod text;
mod unscheduled;

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Node, Pod};
use outrigger_api::WallTime;
use serde::Serialize;

use crate::record::{Report, Row, rows};
use crate::words::span;
pub use references::{Reference, references};

/// Everything known of a Pod at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The object.
    pub pod: &'a Pod,
    /// Events about it, in any order.
    pub events: &'a [Event],
    /// What its node recorded, if it could be asked.
    pub report: Option<&'a Report>,
    /// Its node, if it has one and it could be read.
    pub node: Option<&'a Node>,
    /// What it refers to and is not there: `configmap/settings`.
    pub absent: &'a [String],
    /// The moment.
    pub now: WallTime,
}

/// How a Pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// Nothing blocks it.
    Fine,
    /// Something does.
    Blocked,
    /// It is being deleted.
    Ending,
    /// It has ended, for good.
    Ended,
}

/// The answer to "why does this Pod not run?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The Pod's namespace.
    pub namespace: String,
    /// The Pod's name.
    pub pod: String,
    /// How it stands.
    pub standing: Standing,
    /// The same in a sentence about the Pod: `is Running and Ready, for 3m`.
    pub summary: String,
    /// Each a reason of its own.
    pub causes: Vec<Cause>,
}

/// One chain of reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// From what is seen to what is behind it.
    pub chain: Vec<String>,
    /// What would unblock it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Cause {
    pub(crate) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { chain: vec![what.into()], help: Some(help.into()) }
    }
}

/// Says what blocks a Pod.
pub fn explain(situation: &Situation<'_>) -> Answer {
    let view = View::of(situation);
    let (standing, summary, causes) = if let Some(answer) = ended::answer(&view) {
        answer
    } else if let Some(answer) = ending::answer(&view) {
        answer
    } else if let Some(answer) = unscheduled::answer(&view) {
        answer
    } else {
        containers::answer(&view)
    };
    let meta = &situation.pod.metadata;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Answer { namespace: text(&meta.namespace), pod: text(&meta.name), standing, summary, causes }
}

type Told = (Standing, String, Vec<Cause>);

/// A situation with what is looked up again and again.
struct View<'a> {
    pod: &'a Pod,
    events: Vec<&'a Event>,
    report: Option<&'a Report>,
    node: Option<&'a Node>,
    absent: &'a [String],
    now: WallTime,
    rows: Vec<Row>,
}

impl<'a> View<'a> {
    fn of(situation: &Situation<'a>) -> Self {
        let uid = situation.pod.metadata.uid.as_deref().unwrap_or_default();
        // An earlier Pod of the same name is another Pod.
        let own = |report: &&Report| report.pod.uid == uid;
        let about = |event: &&Event| event.involved_object.uid.as_deref().is_none_or(|of| of == uid);
        let mut events: Vec<&Event> = situation.events.iter().filter(about).collect();
        events.sort_by_key(|event| seen_at(event));
        Self {
            pod: situation.pod,
            events,
            report: situation.report.filter(own),
            node: situation.node,
            absent: situation.absent,
            now: situation.now,
            rows: rows(situation.pod),
        }
    }

    fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn phase(&self) -> &str {
        let status = self.pod.status.as_ref();
        status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
    }

    fn status_of(&self, container: &str) -> Option<&'a ContainerStatus> {
        let status = self.pod.status.as_ref()?;
        let init = status.init_container_statuses.iter().flatten();
        let mut all = init.chain(status.container_statuses.iter().flatten());
        all.find(|status| status.name == container)
    }

    /// The status and message of a condition of the Pod.
    fn condition(&self, name: &str) -> Option<(&'a str, &'a str)> {
        let conditions = self.pod.status.as_ref()?.conditions.as_ref()?;
        let found = conditions.iter().find(|condition| condition.type_ == name)?;
        Some((&found.status, found.message.as_deref().unwrap_or_default()))
    }

    /// The newest event with one of these reasons; with a container, about it.
    fn event(&self, reasons: &[&str], container: Option<&str>) -> Option<&'a Event> {
        let about = |event: &&&Event| {
            let path = event.involved_object.field_path.as_deref().unwrap_or_default();
            container.is_none_or(|name| path.ends_with(&format!("{{{name}}}")))
        };
        let is_one = |event: &&&Event| reasons.contains(&event.reason.as_deref().unwrap_or_default());
        self.events.iter().rev().filter(about).find(is_one).copied()
    }

    /// `3m`, since a moment.
    fn since(&self, at: WallTime) -> String {
        let passed = std::time::Duration::try_from(self.now.duration_since(at)).unwrap_or_default();
        span(std::time::Duration::from_secs(passed.as_secs()))
    }

    /// `in 8s`, or `now`.
    fn until(&self, at: WallTime) -> String {
        let left = std::time::Duration::try_from(at.duration_since(self.now)).unwrap_or_default();
        let seconds = left.as_secs() + u64::from(left.subsec_millis() > 0);
        if seconds == 0 {
            "now".to_owned()
        } else {
            format!("in {}", span(std::time::Duration::from_secs(seconds)))
        }
    }

    /// A command of kubectl about this Pod.
    fn kubectl(&self, what: &str) -> String {
        let namespace = match self.namespace() {
            "" | "default" => String::new(),
            other => format!(" -n {other}"),
        };
        format!("`kubectl {what}{namespace}`")
    }

    /// How to see what a container printed, in its present or its last run.
    fn logs(&self, container: &str, previous: bool) -> String {
        let container = if self.rows.len() > 1 { format!(" -c {container}") } else { String::new() };
        let previous = if previous { " --previous" } else { "" };
        self.kubectl(&format!("logs {}{container}{previous}", self.name()))
    }
}

/// When an event was seen last.
fn seen_at(event: &Event) -> Option<WallTime> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|at| at.0);
    let last = event.last_timestamp.as_ref().map(|at| at.0);
    let once = event.event_time.as_ref().map(|at| at.0);
    series.or(last).or(once)
}
