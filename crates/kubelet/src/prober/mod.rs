//! Probe workers (section 6): one task per probe of a running instance, each with its thresholds. They report
//! verdicts; what follows from them is decided elsewhere.

mod grpc;
mod probe;
mod worker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use outrigger_explain::ProbeProgress;
use outrigger_pod_lifecycle::{ProbeKind, ProbeTarget, ProbeVerdicts, Verdict, field_path};
use outrigger_runtime::{IoOptions, RuntimeError};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::probe::{Outcome, probe};
use self::worker::{Begin, Rhythm, Standing, Work};
use crate::container::{Entry, find};
use crate::context::Context;
use crate::metrics::Probed;
use crate::records::Progress;
use crate::runtime_words::exec_failed;

/// Bytes of a command's output that are kept.
const MOST_OUTPUT: usize = 10 * 1024;
/// Letters of it that `outrigger why` can show.
const SHOWN_OUTPUT: usize = 400;

type Verdicts = Arc<Mutex<BTreeMap<(String, ProbeKind), (String, Verdict)>>>;

/// The probe workers of one Pod. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Prober {
    context: Arc<Context>,
    workers: BTreeMap<(String, ProbeKind), Worker>,
    verdicts: Verdicts,
    progress: Progress,
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct Worker {
    instance: String,
    trigger: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prober {
    /// `changed` is notified with every new verdict; `progress` is kept as it is after every try.
    pub(crate) fn new(context: Arc<Context>, changed: Arc<Notify>, progress: Progress) -> Self {
        Self { context, workers: BTreeMap::new(), verdicts: Verdicts::default(), progress, changed }
    }

    /// Starts what is missing, ends what is no longer wanted, triggers what shall run at once.
    pub(crate) fn adjust(&mut self, pod: &Arc<Pod>, pod_ip: &str, targets: &[ProbeTarget]) {
        self.workers.retain(|(container, kind), worker| {
            targets
                .iter()
                .any(|t| t.container == *container && t.kind == *kind && t.instance == worker.instance)
        });
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.retain(|key, _| self.workers.contains_key(key));
        drop(progress);
        for target in targets {
            let key = (target.container.clone(), target.kind);
            if let Some(worker) = self.workers.get(&key) {
                if target.at_once {
                    worker.trigger.notify_one();
                }
                continue;
            }
            let Some(entry) = find(pod, &target.container) else { continue };
            let Some(probe) = probe_of(&entry.container, target.kind) else { continue };
            let trigger = Arc::new(Notify::new());
            let run = Run {
                context: self.context.clone(),
                pod: pod.clone(),
                pod_ip: pod_ip.to_owned(),
                entry: entry.into_owned(),
                probe,
                target: target.clone(),
                trigger: trigger.clone(),
                verdicts: self.verdicts.clone(),
                progress: self.progress.clone(),
                changed: self.changed.clone(),
            };
            let worker = Worker { instance: target.instance.clone(), trigger, task: tokio::spawn(run.run()) };
            self.workers.insert(key, worker);
        }
    }

    /// What is known of one container's instance.
    pub(crate) fn verdicts(&self, container: &str, instance: &str) -> ProbeVerdicts {
        let verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |kind| {
            let (about, verdict) = verdicts.get(&(container.to_owned(), kind))?;
            (about == instance).then_some(*verdict)
        };
        ProbeVerdicts {
            instance: instance.to_owned(),
            startup: of(ProbeKind::Startup),
            liveness: of(ProbeKind::Liveness),
            readiness: of(ProbeKind::Readiness),
        }
    }
}

fn probe_of(container: &Container, kind: ProbeKind) -> Option<Probe> {
    match kind {
        ProbeKind::Startup => container.startup_probe.clone(),
        ProbeKind::Liveness => container.liveness_probe.clone(),
        ProbeKind::Readiness => container.readiness_probe.clone(),
    }
}

/// One worker.
struct Run {
    context: Arc<Context>,
    pod: Arc<Pod>,
    pod_ip: String,
    entry: Entry<'static>,
    probe: Probe,
    target: ProbeTarget,
    trigger: Arc<Notify>,
    verdicts: Verdicts,
    progress: Progress,
    changed: Arc<Notify>,
}

impl Drop for Run {
    fn drop(&mut self) {
        // Also when the task is aborted: the series go with the container.
        self.context.metrics.forget_probe(&self.probed());
    }
}

impl Run {
    async fn run(self) {
        let started = self.target.started_at;
        let now = self.context.clock.now();
        let age = Duration::try_from(now.wall.duration_since(started)).unwrap_or_default();
        let portion = (started < self.context.began.wall).then(rand::random);
        let first = self.target.first_try(&self.probe, now);
        let rhythm = Rhythm::new(self.target.kind, &self.probe, Begin { age, first, portion });
        worker::run(rhythm, &self.trigger, &self).await;
    }

    fn probed(&self) -> Probed<'_> {
        Probed {
            container: &self.target.container,
            namespace: self.pod.metadata.namespace.as_deref().unwrap_or_default(),
            pod: self.pod.metadata.name.as_deref().unwrap_or_default(),
            pod_uid: self.pod.metadata.uid.as_deref().unwrap_or_default(),
            kind: self.target.kind.as_str(),
        }
    }
}

#[async_trait]
impl Work for Run {
    async fn probe(&self) -> Outcome {
        let exec =
            async |command: Vec<String>| match run_command(&self.context, &self.target.instance, &command)
                .await
            {
                Ok((code, output)) => Ok((code, output.both())),
                Err(error) => {
                    let why = exec_failed(&self.target.instance, &error);
                    Err(format!("rpc error: code = Unknown desc = {why}"))
                }
            };
        probe(&self.probe, &self.entry.container, &self.pod_ip, exec).await
    }

    fn outcome(&self, outcome: &Outcome, took: Duration) {
        // N21.
        let result = match outcome {
            Outcome::Success | Outcome::Warning(_) => "successful",
            Outcome::Failure(_) => "failed",
            Outcome::Error { .. } => "unknown",
        };
        self.context.metrics.probed(&self.probed(), result, took);
        if let Some((reason, text)) = event(self.target.kind, outcome) {
            let path = field_path(self.entry.role, &self.target.container);
            self.context.events.warning(&self.pod, &path, reason, text);
        }
    }

    fn tried(&self, outcome: &Outcome, standing: Standing) {
        let output = match outcome {
            Outcome::Success => String::new(),
            Outcome::Warning(text) | Outcome::Failure(text) | Outcome::Error { text, .. } => {
                text.chars().take(SHOWN_OUTPUT).collect()
            }
        };
        let now = self.context.clock.now().wall;
        let progress = ProbeProgress {
            container: self.target.container.clone(),
            kind: self.target.kind,
            success: standing.run.map(|(result, _)| result == Verdict::Success),
            in_a_row: standing.run.map_or(0, |(_, length)| length),
            needed: standing.needed,
            output,
            next: standing.next.and_then(|wait| now.checked_add(wait).ok()),
        };
        let key = (self.target.container.clone(), self.target.kind);
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).insert(key, progress);
    }

    fn verdict(&self, verdict: Verdict) {
        let key = (self.target.container.clone(), self.target.kind);
        let value = (self.target.instance.clone(), verdict);
        let old = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value.clone());
        if old != Some(value) {
            self.changed.notify_one();
        }
    }
}

/// Reason and message of the Warning that tells of an outcome (R6.8, R6.9).
fn event(kind: ProbeKind, outcome: &Outcome) -> Option<(&'static str, String)> {
    let kind = kind.as_str();
    match outcome {
        Outcome::Success => None,
        Outcome::Warning(text) => Some(("ProbeWarning", format!("{kind} probe warning: {text}"))),
        Outcome::Failure(text) => Some(("Unhealthy", format!("{kind} probe failed: {text}"))),
        Outcome::Error { state, text } => {
            Some(("Unhealthy", format!("{kind} probe errored and resulted in {state} state: {text}")))
        }
    }
}

/// What a command printed, at most 10 KiB of each.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Output {
    /// Both streams one after the other (R6.15), at most 10 KiB.
    pub(crate) fn both(mut self) -> String {
        self.stdout.extend_from_slice(&self.stderr);
        self.stdout.truncate(MOST_OUTPUT);
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs a command in an instance: its exit code and its output.
pub(crate) async fn run_command(
    context: &Context,
    instance: &str,
    command: &[String],
) -> Result<(i32, Output), RuntimeError> {
    let io = IoOptions { stdout: true, stderr: true, ..IoOptions::default() };
    let process = context.runtime.exec(&instance.to_owned(), command, io).await?;
    let drain = async |stream: Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>| {
        let mut kept = Vec::new();
        let Some(mut stream) = stream else { return kept };
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            let room = MOST_OUTPUT.saturating_sub(kept.len());
            kept.extend_from_slice(&buffer[..count.min(room)]);
        }
        kept
    };
    let (stdout, stderr, exit) = tokio::join!(drain(process.stdout), drain(process.stderr), process.exit);
    // Only a session of attach ends without a code.
    Ok((exit?.unwrap_or_default(), Output { stdout, stderr }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R6.8, R6.9
    #[test]
    fn events_in_words() {
        let of = |kind, outcome| event(kind, &outcome);
        assert_eq!(of(ProbeKind::Liveness, Outcome::Success), None);
        let failure = of(ProbeKind::Liveness, Outcome::Failure("no\n".into()));
        assert_eq!(failure, Some(("Unhealthy", "Liveness probe failed: no\n".into())));
        let warning = of(ProbeKind::Readiness, Outcome::Warning("w".into()));
        assert_eq!(warning, Some(("ProbeWarning", "Readiness probe warning: w".into())));
        let error = of(ProbeKind::Startup, Outcome::Error { state: "unknown", text: "e".into() });
        let text = "Startup probe errored and resulted in unknown state: e";
        assert_eq!(error, Some(("Unhealthy", text.into())));
    }
}
