//! Probe workers (section 6): one task per probe of a running instance, each with its thresholds. They report
//! verdicts; what follows from them is decided elsewhere.

mod grpc;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use outrigger_pod_lifecycle::{ProbeKind, ProbeTarget, ProbeVerdicts, Verdict, field_path};
use outrigger_runtime::{IoOptions, RuntimeError};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::container::{Entry, find};
use crate::context::Context;
use crate::env::expand;
use crate::http_get::{http_get, resolve_port};
use crate::metrics::Probed;

/// Bytes of a command's output that are kept.
const MOST_OUTPUT: usize = 10 * 1024;
/// R6.8.
const TRIES: usize = 3;

type Verdicts = Arc<Mutex<BTreeMap<(String, ProbeKind), (String, Verdict)>>>;

/// The probe workers of one Pod. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Prober {
    context: Arc<Context>,
    workers: BTreeMap<(String, ProbeKind), Worker>,
    verdicts: Verdicts,
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
    /// `changed` is notified with every new verdict.
    pub(crate) fn new(context: Arc<Context>, changed: Arc<Notify>) -> Self {
        Self { context, workers: BTreeMap::new(), verdicts: Verdicts::default(), changed }
    }

    /// Starts what is missing, ends what is no longer wanted, triggers what shall run at once.
    pub(crate) fn adjust(&mut self, pod: &Arc<Pod>, pod_ip: &str, targets: &[ProbeTarget]) {
        self.workers.retain(|(container, kind), worker| {
            targets
                .iter()
                .any(|t| t.container == *container && t.kind == *kind && t.instance == worker.instance)
        });
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
                entry,
                probe,
                target: target.clone(),
                trigger: trigger.clone(),
                verdicts: self.verdicts.clone(),
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
    entry: Entry,
    probe: Probe,
    target: ProbeTarget,
    trigger: Arc<Notify>,
    verdicts: Verdicts,
    changed: Arc<Notify>,
}

impl Drop for Run {
    fn drop(&mut self) {
        // Also when the task is aborted: the series go with the container.
        self.context.metrics.forget_probe(&self.probed());
    }
}

/// What one probe said.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Success,
    Warning(String),
    Failure(String),
    /// It could not be made.
    Error(String),
}

impl Run {
    async fn run(self) {
        let positive =
            |value: Option<i32>, default| value.filter(|v| *v > 0).map_or(default, i32::unsigned_abs);
        let period = Duration::from_secs(positive(self.probe.period_seconds, 10).into());
        let delay = Duration::from_secs(positive(self.probe.initial_delay_seconds, 0).into());
        let mut thresholds = Thresholds {
            failures: positive(self.probe.failure_threshold, 3),
            successes: positive(self.probe.success_threshold, 1),
            run: None,
        };
        let age = self.context.clock.now().wall.duration_since(self.target.started_at);
        tokio::time::sleep(delay.saturating_sub(Duration::try_from(age).unwrap_or_default())).await;
        loop {
            let began = self.context.clock.now().mono;
            let outcome = self.probe_with_retries().await;
            self.count(&outcome, self.context.clock.now().mono.since(began));
            self.tell(&outcome);
            let step = match outcome {
                Outcome::Success | Outcome::Warning(_) => thresholds.step(Verdict::Success),
                Outcome::Failure(_) => thresholds.step(Verdict::Failure),
                Outcome::Error(_) => None,
            };
            if let Some(verdict) = step {
                self.report(verdict);
                let ends = match self.target.kind {
                    ProbeKind::Startup => true,
                    ProbeKind::Liveness => verdict == Verdict::Failure,
                    ProbeKind::Readiness => false,
                };
                if ends {
                    return;
                }
            }
            let _ = tokio::time::timeout(period, self.trigger.notified()).await;
        }
    }

    fn report(&self, verdict: Verdict) {
        let key = (self.target.container.clone(), self.target.kind);
        let value = (self.target.instance.clone(), verdict);
        let old = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value.clone());
        if old != Some(value) {
            self.changed.notify_one();
        }
    }

    fn tell(&self, outcome: &Outcome) {
        let kind = self.target.kind.as_str();
        let path = field_path(self.entry.role, &self.target.container);
        let (reason, text) = match outcome {
            Outcome::Success => return,
            Outcome::Warning(text) => ("ProbeWarning", format!("{kind} probe warning: {text}")),
            Outcome::Failure(text) => ("Unhealthy", format!("{kind} probe failed: {text}")),
            Outcome::Error(text) => {
                ("Unhealthy", format!("{kind} probe errored and resulted in unknown state: {text}"))
            }
        };
        self.context.events.warning(&self.pod, &path, reason, text);
    }

    /// N21.
    fn count(&self, outcome: &Outcome, took: Duration) {
        let result = match outcome {
            Outcome::Success | Outcome::Warning(_) => "successful",
            Outcome::Failure(_) => "failed",
            Outcome::Error(_) => "unknown",
        };
        self.context.metrics.probed(&self.probed(), result, took);
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

    async fn probe_with_retries(&self) -> Outcome {
        let mut outcome = self.probe().await;
        for _ in 1..TRIES {
            if !matches!(outcome, Outcome::Error(_)) {
                break;
            }
            outcome = self.probe().await;
        }
        outcome
    }

    async fn probe(&self) -> Outcome {
        let seconds = self.probe.timeout_seconds.filter(|s| *s > 0).map_or(1, i32::unsigned_abs);
        let limit = Duration::from_secs(seconds.into());
        let container = &self.entry.container;
        if let Some(exec) = &self.probe.exec {
            let command = expanded(container, exec.command.as_deref().unwrap_or_default());
            let run = run_command(&self.context, &self.target.instance, &command);
            return match tokio::time::timeout(limit, run).await {
                Err(_) => Outcome::Failure(format!(
                    "command timed out: \"{}\" timed out after {seconds}s",
                    command.join(" ")
                )),
                Ok(Ok((Some(0) | None, _))) => Outcome::Success,
                Ok(Ok((Some(_), output))) => Outcome::Failure(output),
                Ok(Err(error)) => Outcome::Error(error.to_string()),
            };
        }
        if let Some(action) = &self.probe.http_get {
            let get = http_get(action, container, &self.pod_ip, "kube-probe/1.36");
            return match tokio::time::timeout(limit, get).await {
                Err(_) => Outcome::Failure(
                    "context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into(),
                ),
                Ok(Err(error)) => Outcome::Failure(error),
                Ok(Ok(answer)) if answer.leads_away => {
                    Outcome::Warning(format!("Probe terminated redirects, Response body: {}", answer.body))
                }
                Ok(Ok(answer)) if (200..400).contains(&answer.status) => Outcome::Success,
                Ok(Ok(answer)) => {
                    Outcome::Failure(format!("HTTP probe failed with statuscode: {}", answer.status))
                }
            };
        }
        if let Some(action) = &self.probe.tcp_socket {
            let port = match resolve_port(&action.port, container) {
                Ok(port) => port,
                Err(error) => return Outcome::Error(error),
            };
            let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&self.pod_ip);
            return match tokio::time::timeout(limit, TcpStream::connect((host, port))).await {
                Err(_) => Outcome::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
                Ok(Err(error)) => Outcome::Failure(format!("dial tcp {host}:{port}: {error}")),
                Ok(Ok(_)) => Outcome::Success,
            };
        }
        if let Some(action) = &self.probe.grpc {
            let port = u16::try_from(action.port).unwrap_or_default();
            let service = action.service.as_deref().unwrap_or_default();
            return match grpc::check(&self.pod_ip, port, service, limit).await {
                Ok(()) => Outcome::Success,
                Err(error) => Outcome::Failure(error),
            };
        }
        Outcome::Error("missing probe handler".into())
    }
}

/// R6.15: only literal values of the container's own list are known.
fn expanded(container: &Container, command: &[String]) -> Vec<String> {
    let lookup = |name: &str| {
        let variable = container.env.iter().flatten().rev().find(|variable| variable.name == name)?;
        Some(variable.value.as_deref().unwrap_or_default())
    };
    command.iter().map(|word| expand(word, lookup)).collect()
}

/// R6.6: only so many equal results in a row make a verdict.
#[derive(Debug)]
struct Thresholds {
    failures: u32,
    successes: u32,
    run: Option<(Verdict, u32)>,
}

impl Thresholds {
    fn step(&mut self, result: Verdict) -> Option<Verdict> {
        let length = match self.run {
            Some((verdict, length)) if verdict == result => length.saturating_add(1),
            _ => 1,
        };
        self.run = Some((result, length));
        let needed = match result {
            Verdict::Success => self.successes,
            Verdict::Failure => self.failures,
        };
        (length >= needed).then_some(result)
    }
}

/// Runs a command in an instance: its exit code and its output, both streams together, at most 10 KiB.
pub(crate) async fn run_command(
    context: &Context,
    instance: &str,
    command: &[String],
) -> Result<(Option<i32>, String), RuntimeError> {
    let io = IoOptions { stdout: true, stderr: true, ..IoOptions::default() };
    let process = context.runtime.exec(&instance.to_owned(), command, io).await?;
    let kept = Mutex::new(Vec::new());
    let drain = async |stream: Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>| {
        let Some(mut stream) = stream else { return };
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            let room = MOST_OUTPUT.saturating_sub(kept.len());
            kept.extend_from_slice(&buffer[..count.min(room)]);
        }
    };
    let (_, _, exit) = tokio::join!(drain(process.stdout), drain(process.stderr), process.exit);
    let kept = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((exit?, String::from_utf8_lossy(&kept).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R6.6
    #[test]
    fn verdicts_need_runs() {
        let mut thresholds = Thresholds { failures: 3, successes: 2, run: None };
        let (s, f) = (Verdict::Success, Verdict::Failure);
        let verdicts: Vec<_> = [s, s, f, f, s, f, f, f].into_iter().map(|r| thresholds.step(r)).collect();
        assert_eq!(verdicts, [None, Some(s), None, None, None, None, None, Some(f)]);
    }
}
