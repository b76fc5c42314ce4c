//! A record as tracks of bars and marks: one for the Pod, one for each container.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger_api::WallTime;
use outrigger_pod_lifecycle::{ProbeKind, StopSignal, WaitingFor};
use serde::Serialize;

use crate::record::{Entry, HookKind, HookStep, Kind, Report, StartStep, What};
use crate::steps::{self, Step};
use crate::words::span;

/// What happens to a Pod between two moments, ready to be drawn.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// `pod/web`, or whose Pod it is: `deployment/web`.
    pub title: String,
    /// The Pod's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// How it ends, or stands at the end of the chart, in a few words.
    pub outcome: String,
    /// The moment of its left edge.
    pub from: WallTime,
    /// The time between its edges.
    #[serde(serialize_with = "seconds")]
    pub length: Duration,
    /// The Pod goes on behind the right edge.
    pub open: bool,
    /// The Pod, init entries, app containers, ephemeral ones.
    pub tracks: Vec<Track>,
    /// What happens, in order, with the rule behind each step.
    pub steps: Vec<Step>,
    /// What it rests on, for whoever reads it: `assumed: ...`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// So many entries of the record are missing, all before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
}

/// A gap in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// How many entries.
    pub entries: u64,
    /// From when.
    #[serde(serialize_with = "seconds")]
    pub from: Duration,
    /// Until when.
    #[serde(serialize_with = "seconds")]
    pub to: Duration,
}

/// One line of the chart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Track {
    /// The container's name, or `pod`.
    pub name: String,
    /// `None` for the Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// In order, without overlap.
    pub bars: Vec<Bar>,
    /// In order.
    pub marks: Vec<Mark>,
}

/// A stretch of time in one state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    /// From the chart's left edge.
    #[serde(serialize_with = "seconds")]
    pub from: Duration,
    /// From the chart's left edge.
    #[serde(serialize_with = "seconds")]
    pub to: Duration,
    /// What it shows.
    pub state: Shade,
    /// More about it, for whoever points at it.
    pub label: String,
}

/// A moment worth a sign.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mark {
    /// From the chart's left edge.
    #[serde(serialize_with = "seconds")]
    pub at: Duration,
    /// What kind of sign.
    pub kind: MarkKind,
    /// What it says.
    pub label: String,
}

/// The states a bar can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Shade {
    /// For something else.
    Waiting,
    /// For the next try.
    BackOff,
    /// Image, creation, postStart.
    Starting,
    /// Runs and is not ready, or need not be.
    Running,
    /// Runs and is ready.
    Ready,
    /// Is being stopped.
    Stopping,
}

/// The signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum MarkKind {
    ProbePasses,
    PostStart,
    PreStop,
    Term,
    ProbeFails,
    HookFails,
    StartFails,
    ExitsWell,
    ExitsStopped,
    ExitsBadly,
    Kill,
}

impl Shade {
    /// For legends.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::BackOff => "back-off",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Stopping => "terminating",
        }
    }
}

impl MarkKind {
    /// For legends.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ProbePasses => "probe passes",
            Self::ProbeFails => "probe fails",
            Self::PostStart => "postStart",
            Self::PreStop => "preStop",
            Self::HookFails => "hook fails",
            Self::StartFails => "start fails",
            Self::Term => "TERM",
            Self::Kill => "KILL",
            Self::ExitsWell => "exit 0",
            Self::ExitsStopped => "stopped",
            Self::ExitsBadly => "other exit",
        }
    }
}

/// Numbers of seconds, as JSON has them.
fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl Chart {
    /// Draws a report. The chart ends with the last thing that happened, and a little later if the Pod goes on.
    pub fn of(report: &Report) -> Self {
        let mut entries: Vec<&Entry> = report.entries.iter().collect();
        entries.sort_by_key(|entry| entry.at);
        let from = entries.first().map_or(report.now, |entry| entry.at);
        let since = |at: WallTime| Duration::try_from(at.duration_since(from)).unwrap_or_default();
        let last = entries.last().map_or(Duration::ZERO, |entry| since(entry.at));
        let open = report.gone.is_none() && !is_over(&entries);
        let tail = if open { (last / 10).max(Duration::from_millis(500)) } else { Duration::ZERO };
        let length = (last + tail).max(Duration::from_millis(1));
        let mut drawing = Drawing::of(report);
        for entry in &entries {
            drawing.take(since(entry.at), &entry.what);
        }
        let (outcome, tracks) = drawing.finish(length, open);
        let missing = (report.dropped > 0).then(|| Missing {
            entries: report.dropped,
            from: report.entries[..report.dropped_after.min(report.entries.len())]
                .last()
                .map_or(Duration::ZERO, |entry| since(entry.at)),
            to: report.entries.get(report.dropped_after).map_or(last, |entry| since(entry.at)),
        });
        Self {
            title: format!("pod/{}", report.pod.name),
            name: report.pod.name.clone(),
            namespace: report.pod.namespace.clone(),
            outcome,
            from,
            length,
            open,
            tracks,
            steps: steps::tell(&report.containers, entries.iter().map(|it| (since(it.at), &it.what))),
            note: None,
            missing,
        }
    }

    /// The states its bars show, in the order of their names' meaning.
    pub fn shades(&self) -> Vec<Shade> {
        let mut all: Vec<Shade> = self.tracks.iter().flat_map(|it| &it.bars).map(|bar| bar.state).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The signs it has.
    pub fn mark_kinds(&self) -> Vec<MarkKind> {
        let mut all: Vec<MarkKind> =
            self.tracks.iter().flat_map(|it| &it.marks).map(|mark| mark.kind).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// A Pod that has ended does not go on, although its object may still be there.
fn is_over(entries: &[&Entry]) -> bool {
    let mut phases = entries.iter().rev().filter_map(|entry| match &entry.what {
        What::Phase { phase } => Some(phase.as_str()),
        _ => None,
    });
    matches!(phases.next(), Some("Succeeded" | "Failed"))
}

/// A track being drawn: the bar that is open.
#[derive(Debug)]
struct Open {
    track: Track,
    bar: Option<(Duration, Shade, String)>,
    started: bool,
    ready: bool,
    runs: bool,
}

struct Drawing {
    pod: Open,
    containers: BTreeMap<String, Open>,
    order: Vec<String>,
    phase: String,
    ready: bool,
    became_ready: Option<Duration>,
    ended_at: Duration,
}

impl Open {
    fn new(name: &str, kind: Option<Kind>) -> Self {
        let track = Track { name: name.to_owned(), kind, bars: Vec::new(), marks: Vec::new() };
        Self { track, bar: None, started: false, ready: false, runs: false }
    }

    /// Ends the open bar and begins another, or none.
    fn shade(&mut self, at: Duration, next: Option<(Shade, String)>) {
        if let (Some((_, state, label)), Some(next)) = (&self.bar, &next)
            && (*state, label) == (next.0, &next.1)
        {
            return;
        }
        if let Some((from, state, label)) = self.bar.take() {
            self.track.bars.push(Bar { from, to: at.max(from), state, label });
        }
        self.bar = next.map(|(state, label)| (at, state, label));
    }

    fn mark(&mut self, at: Duration, kind: MarkKind, label: impl Into<String>) {
        self.track.marks.push(Mark { at, kind, label: label.into() });
    }

    fn finish(mut self, end: Duration) -> Track {
        self.shade(end, None);
        // Of no length are only bars something else replaced at the same moment.
        self.track.bars.retain(|bar| bar.to > bar.from);
        self.track
    }
}

impl Drawing {
    fn of(report: &Report) -> Self {
        let open = |row: &crate::record::Row| (row.name.clone(), Open::new(&row.name, Some(row.kind)));
        Self {
            pod: Open::new("pod", None),
            containers: report.containers.iter().map(open).collect(),
            order: report.containers.iter().map(|row| row.name.clone()).collect(),
            phase: String::new(),
            ready: false,
            became_ready: None,
            ended_at: Duration::ZERO,
        }
    }

    fn take(&mut self, at: Duration, what: &What) {
        self.ended_at = at;
        match what {
            What::Watched { .. } => {
                self.pod.shade(at, Some((Shade::Waiting, "Pending".into())));
                for open in self.containers.values_mut().filter(|it| it.track.kind != Some(Kind::Ephemeral)) {
                    open.shade(at, Some((Shade::Waiting, "waiting".into())));
                }
            }
            What::Phase { phase } => {
                self.phase.clone_from(phase);
                let next = match phase.as_str() {
                    "Pending" => Some(Shade::Waiting),
                    "Running" => Some(if self.ready { Shade::Ready } else { Shade::Running }),
                    _ => None,
                };
                self.pod.shade(at, next.map(|shade| (shade, phase.clone())));
                match phase.as_str() {
                    "Succeeded" => self.pod.mark(at, MarkKind::ExitsWell, "Succeeded"),
                    "Failed" => self.pod.mark(at, MarkKind::ExitsBadly, "Failed"),
                    _ => {}
                }
            }
            What::Condition { name, status } if name == "Ready" => {
                self.ready = *status;
                if *status {
                    self.became_ready.get_or_insert(at);
                }
                let stopping = matches!(self.pod.bar, Some((_, Shade::Stopping, _)));
                if self.phase == "Running" && !stopping {
                    let shade = if *status { Shade::Ready } else { Shade::Running };
                    self.pod.shade(at, Some((shade, self.phase.clone())));
                }
            }
            What::Ending { grace_seconds, .. } => {
                self.pod.shade(at, Some((Shade::Stopping, format!("terminating, grace {grace_seconds}s"))));
            }
            What::Forgotten => self.pod.shade(at, None),
            What::Condition { .. }
            | What::Volumes { .. }
            | What::Sandbox { .. }
            | What::RestartAll { .. }
            | What::KillFailed { .. }
            | What::Shortened { .. }
            | What::Resize
            | What::Confirmed => {}
            What::Start { container, .. }
            | What::Running { container, .. }
            | What::Started { container }
            | What::Ready { container, .. }
            | What::Hook { container, .. }
            | What::Probe { container, .. }
            | What::Stop { container, .. }
            | What::Signal { container, .. }
            | What::Exited { container, .. } => {
                if let Some(open) = self.containers.get_mut(container) {
                    open.take(at, what);
                }
            }
            What::Waits(wait) => {
                if let Some(open) = self.containers.get_mut(&wait.container) {
                    open.wait(at, &wait.why);
                }
            }
        }
    }

    fn finish(mut self, end: Duration, open: bool) -> (String, Vec<Track>) {
        let took = span(self.ended_at);
        let outcome = match (self.phase.as_str(), self.became_ready) {
            (phase @ ("Succeeded" | "Failed"), _) => format!("{phase} after {took}"),
            _ if !open => format!("gone after {took}"),
            ("Running", Some(since)) if self.ready => format!("Running, Ready after {}", span(since)),
            ("Running", _) => "Running, not Ready".to_owned(),
            ("", _) => "Pending".to_owned(),
            (phase, _) => phase.to_owned(),
        };
        let mut tracks = vec![self.pod.finish(end)];
        let containers = &mut self.containers;
        tracks.extend(
            self.order.iter().filter_map(|name| containers.remove(name)).map(|open| open.finish(end)),
        );
        (outcome, tracks)
    }
}

impl Open {
    fn running(&mut self, at: Duration) {
        let shade = if self.ready { Shade::Ready } else { Shade::Running };
        let stops = matches!(self.bar, Some((_, Shade::Stopping, _)));
        if self.runs && !stops {
            self.shade(at, Some((shade, shade.word().into())));
        }
    }

    fn take(&mut self, at: Duration, what: &What) {
        match what {
            What::Start { step, .. } => match step {
                StartStep::Begun | StartStep::Creating => {
                    self.shade(at, Some((Shade::Starting, "starting".into())));
                }
                StartStep::Failed { reason, message } => {
                    self.mark(at, MarkKind::StartFails, format!("{reason}: {message}"));
                }
                StartStep::Cancelled => self.shade(at, None),
            },
            What::Running { attempt, .. } => {
                (self.runs, self.started, self.ready) = (true, false, false);
                self.shade(at, Some((Shade::Running, format!("running, attempt {}", attempt + 1))));
            }
            What::Started { .. } => self.started = true,
            What::Ready { ready, .. } => {
                self.ready = *ready;
                self.running(at);
            }
            What::Hook { hook, step, .. } => self.hook(at, *hook, step),
            What::Probe { kind, success, .. } => {
                let word = kind.as_str().to_lowercase();
                if *success && *kind != ProbeKind::Liveness {
                    self.mark(at, MarkKind::ProbePasses, format!("{word} probe passes"));
                } else if !*success {
                    self.mark(at, MarkKind::ProbeFails, format!("{word} probe fails"));
                }
            }
            What::Stop { grace_seconds, .. } => {
                self.shade(at, Some((Shade::Stopping, format!("terminating, grace {grace_seconds}s"))));
            }
            What::Signal { signal: StopSignal::Term, .. } => self.mark(at, MarkKind::Term, "TERM"),
            What::Signal { signal: StopSignal::Kill, .. } => self.mark(at, MarkKind::Kill, "KILL"),
            What::Exited { code, oom_killed, error, .. } => {
                self.runs = false;
                let stops = matches!(self.bar, Some((_, Shade::Stopping, _)));
                let kind = match (*code, stops) {
                    (0, _) if !oom_killed => MarkKind::ExitsWell,
                    (137 | 143, true) if !oom_killed => MarkKind::ExitsStopped,
                    _ => MarkKind::ExitsBadly,
                };
                let more = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
                let more = if *oom_killed { ", OOMKilled".to_owned() } else { more };
                self.mark(at, kind, format!("exit {code}{more}"));
                self.shade(at, None);
            }
            _ => {}
        }
    }

    fn hook(&mut self, at: Duration, hook: HookKind, step: &HookStep) {
        match (hook, step) {
            (HookKind::PostStart, HookStep::Begun) => self.mark(at, MarkKind::PostStart, "postStart begins"),
            (HookKind::PreStop, HookStep::Begun) => self.mark(at, MarkKind::PreStop, "preStop begins"),
            (_, HookStep::Failed { message }) => {
                self.mark(at, MarkKind::HookFails, format!("hook fails: {message}"));
            }
            (_, HookStep::Succeeded) => {}
        }
    }

    fn wait(&mut self, at: Duration, why: &WaitingFor) {
        let (shade, label) = match why {
            WaitingFor::Done | WaitingFor::PodStopping => return self.shade(at, None),
            WaitingFor::Starting | WaitingFor::Image | WaitingFor::PostStart => return,
            WaitingFor::CrashBackOff { delay_seconds, .. } => {
                (Shade::BackOff, format!("back-off {delay_seconds}s"))
            }
            WaitingFor::Retry { reason, .. } => (Shade::BackOff, format!("next try after {reason}")),
            WaitingFor::InitContainer { container } => (Shade::Waiting, format!("waits for {container}")),
            WaitingFor::SidecarStarted { container, .. } => {
                (Shade::Waiting, format!("waits for {container} to start"))
            }
            WaitingFor::Turn { container } => (Shade::Waiting, format!("waits for the start of {container}")),
            WaitingFor::Volumes { .. } => (Shade::Waiting, "waits for volumes".into()),
            WaitingFor::Network => (Shade::Waiting, "waits for the network".into()),
            WaitingFor::Sandbox { .. } => (Shade::Waiting, "waits for the sandbox".into()),
            WaitingFor::RestartAllContainers => (Shade::Waiting, "all containers restart".into()),
        };
        self.shade(at, Some((shade, label)));
    }
}
