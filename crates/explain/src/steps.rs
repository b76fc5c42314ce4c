//! A record as sentences: what happens, one step after another, and the rule each step follows from.
//!
//! Not every entry is a step. What follows at the same moment from a step that was told (a process that runs after its
//! start, readiness without a probe) stays untold.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger_pod_lifecycle::{Cause, ProbeKind, StopSignal, WaitingFor};
use serde::Serialize;

use crate::record::{HookKind, HookStep, Kind, Row, SandboxStep, StartStep, VolumeStep, Wait, What};
use crate::rules::{self, Rule};
use crate::words::span;

/// Something that happens, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// From the chart's left edge.
    #[serde(serialize_with = "seconds")]
    pub at: Duration,
    /// The container, or `pod`.
    pub who: String,
    /// What happens to it: `starts`, `exits with 1`.
    pub what: String,
    /// The rule this follows from.
    pub rule: Rule,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// The steps of a record in order of time.
pub(crate) fn tell<'a>(rows: &[Row], entries: impl Iterator<Item = (Duration, &'a What)>) -> Vec<Step> {
    let mut teller = Teller {
        rows,
        known: BTreeMap::new(),
        ending: None,
        restarting_all: false,
        init_failed: false,
        was_ready: false,
        phase: String::new(),
        moments: BTreeMap::new(),
    };
    let mut steps = Vec::new();
    for (at, what) in entries {
        if let Some((who, what, rule)) = teller.step(at, what) {
            steps.push(Step { at, who, what, rule });
        }
    }
    steps
}

type Told = Option<(String, String, Rule)>;

struct Teller<'a> {
    rows: &'a [Row],
    known: BTreeMap<String, Known>,
    ending: Option<Cause>,
    restarting_all: bool,
    init_failed: bool,
    was_ready: bool,
    phase: String,
    /// When volumes and the sandbox were begun.
    moments: BTreeMap<&'static str, Duration>,
}

/// What was told of a container.
#[derive(Default)]
struct Known {
    ran: bool,
    begun: Duration,
    last_code: Option<i32>,
    /// How its last start failed: pulling or else.
    failed: Option<bool>,
    /// A probe's verdict ended it.
    by_probe: bool,
    stopping: bool,
    hook_begun: Duration,
}

impl Teller<'_> {
    fn step(&mut self, at: Duration, what: &What) -> Told {
        match what {
            What::Watched { again } => {
                let text = if *again { "is taken over by a new agent process" } else { "comes to its node" };
                pod(text, rules::TAKEN)
            }
            What::Volumes { step } => self.volumes(at, step),
            What::Sandbox { attempt, step } => self.sandbox(at, *attempt, step),
            What::KillFailed { problem } => pod(format!("cannot be stopped: {problem}"), rules::KILL_FAILED),
            What::Start { container, attempt, step } => self.start(at, container, *attempt, step),
            What::Running { container, .. } => self.runs(at, container),
            What::Hook { container, hook, step } => self.hook(at, container, *hook, step),
            What::Probe { container, kind, success } => self.probe(container, *kind, *success),
            What::Stop { container, grace_seconds, message } => self.stop(container, *grace_seconds, message),
            What::Signal { container, signal } => self.signal(container, *signal),
            What::Exited { container, code, oom_killed, error, .. } => {
                self.exited(container, *code, *oom_killed, error.as_deref())
            }
            What::Waits(wait) => self.waits(wait),
            What::RestartAll { begins } => {
                self.restarting_all |= begins;
                begins.then(|| ("pod".into(), "restarts all its containers".into(), rules::RESTART_ALL))
            }
            What::Ending { cause, grace_seconds } => self.ending(cause, *grace_seconds),
            What::Shortened { grace_seconds } => {
                pod(format!("has only {grace_seconds}s of grace left to stop"), rules::GRACE)
            }
            What::Phase { phase } => self.phase(phase),
            What::Condition { name, status } => self.condition(name, *status),
            What::Resize => pod("gets the resources it asks for", rules::RESIZE),
            What::Confirmed => pod("is let go: its object is removed", rules::CONFIRMED),
            What::Forgotten => {
                pod("leaves nothing on its node but what its log folder keeps", rules::VOLUMES_GO)
            }
            What::Started { .. } | What::Ready { .. } => None,
        }
    }

    fn row(&self, container: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == container)
    }

    fn kind(&self, container: &str) -> Kind {
        self.row(container).map_or(Kind::App, |row| row.kind)
    }

    fn known(&mut self, container: &str) -> &mut Known {
        self.known.entry(container.to_owned()).or_default()
    }

    /// How long ago something was begun, if long enough to tell.
    fn took(&self, at: Duration, what: &'static str) -> Option<String> {
        let begun = self.moments.get(what)?;
        took(*begun, at)
    }

    fn volumes(&mut self, at: Duration, step: &VolumeStep) -> Told {
        match step {
            VolumeStep::Mounting => {
                self.moments.insert("volumes", at);
                None
            }
            VolumeStep::Failing { problem } => {
                pod(format!("has a volume that cannot be mounted: {problem}"), rules::VOLUMES)
            }
            VolumeStep::Mounted => {
                let took = self.took(at, "volumes")?;
                pod(format!("has its volumes, after {took}"), rules::VOLUMES)
            }
            VolumeStep::Unmounted => None,
        }
    }

    fn sandbox(&mut self, at: Duration, attempt: u32, step: &SandboxStep) -> Told {
        let rule = if attempt == 0 { rules::SANDBOX } else { rules::SANDBOX_AGAIN };
        match step {
            SandboxStep::Begun => {
                self.moments.insert("sandbox", at);
                pod("gets a sandbox with its network", rule)
            }
            SandboxStep::Ready => {
                let took = self.took(at, "sandbox")?;
                pod(format!("has its sandbox, after {took}"), rule)
            }
            SandboxStep::Failed { problem } => {
                pod(format!("gets no sandbox: {problem}"), rules::SANDBOX_FAILED)
            }
            SandboxStep::Ended if self.ending.is_none() => pod("loses its sandbox", rules::SANDBOX_AGAIN),
            SandboxStep::Ended => None,
        }
    }

    fn start(&mut self, at: Duration, container: &str, attempt: u32, step: &StartStep) -> Told {
        match step {
            StartStep::Begun => {
                let rule = self.start_rule(container);
                let known = self.known(container);
                let again = known.last_code.is_some() || attempt > 0;
                known.begun = at;
                known.by_probe = false;
                known.stopping = false;
                let tries = known.failed.take().is_some();
                let text = match (again, tries) {
                    (_, true) => "is tried again".to_owned(),
                    (true, false) => format!("starts again, attempt {}", attempt + 1),
                    (false, false) => "starts".to_owned(),
                };
                told(container, text, rule)
            }
            StartStep::Creating => {
                let took = took(self.known(container).begun, at)?;
                told(container, format!("has its image, after {took}"), rules::START_ORDER)
            }
            StartStep::Failed { reason, message } => {
                let pull = matches!(
                    reason.as_str(),
                    "ErrImagePull" | "RegistryUnavailable" | "SignatureValidationFailed"
                );
                self.known(container).failed = Some(pull);
                told(container, format!("fails to start, {reason}: {message}"), rules::START_FAILED)
            }
            StartStep::Cancelled => told(container, "is not started any more", rules::GRACE),
        }
    }

    /// Why a start is begun now.
    fn start_rule(&self, container: &str) -> Rule {
        let nothing = Known::default();
        let known = self.known.get(container).unwrap_or(&nothing);
        let kind = self.kind(container);
        match known.failed {
            Some(true) => return rules::PULL_BACK_OFF,
            Some(false) => return rules::START_RETRY,
            None => {}
        }
        if known.by_probe && kind == Kind::App {
            return rules::APP_AFTER_PROBE;
        }
        match (kind, known.last_code) {
            (Kind::Ephemeral, _) => rules::EPHEMERAL,
            (Kind::Init, Some(_)) => rules::INIT_RETRY,
            (Kind::Sidecar, Some(_)) => rules::SIDECAR_RESTART,
            (Kind::App, Some(0)) => rules::APP_EXIT_0,
            (Kind::App, Some(_)) => rules::APP_FAILED,
            (Kind::Init | Kind::Sidecar, None) => match (self.before(container), kind) {
                (Some(Kind::Sidecar), _) => rules::SIDECAR_GATE,
                (_, Kind::Sidecar) => rules::SIDECAR,
                _ => rules::INIT,
            },
            (Kind::App, None) => self.first_start(container),
        }
    }

    /// The kind of the init entry before this one.
    fn before(&self, container: &str) -> Option<Kind> {
        let at = self.rows.iter().position(|row| row.name == container)?;
        self.rows[..at].last().map(|row| row.kind)
    }

    fn first_start(&self, container: &str) -> Rule {
        let first = self.rows.iter().find(|row| row.kind == Kind::App);
        if first.is_some_and(|row| row.name != container) {
            return rules::APP_TURN;
        }
        match self.before(container) {
            Some(Kind::Sidecar) => rules::SIDECAR_LAST,
            Some(_) => rules::APP_AFTER_INIT,
            None => rules::APP,
        }
    }

    fn runs(&mut self, at: Duration, container: &str) -> Told {
        let known = self.known(container);
        known.ran = true;
        let took = took(known.begun, at)?;
        let rule = match self.kind(container) {
            Kind::Init => rules::INIT,
            Kind::Sidecar => rules::SIDECAR_GATE,
            Kind::App => rules::APP_TURN,
            Kind::Ephemeral => rules::EPHEMERAL,
        };
        told(container, format!("runs, after {took}"), rule)
    }

    fn hook(&mut self, at: Duration, container: &str, hook: HookKind, step: &HookStep) -> Told {
        let name = if hook == HookKind::PostStart { "postStart" } else { "preStop" };
        let ending = self.ending.is_some();
        let known = self.known(container);
        match (hook, step) {
            (_, HookStep::Begun) => {
                known.hook_begun = at;
                let rule = match hook {
                    HookKind::PostStart => rules::POST_START,
                    HookKind::PreStop if ending => rules::ENDING,
                    HookKind::PreStop => rules::PRE_STOP,
                };
                told(container, format!("{name} hook begins"), rule)
            }
            (_, HookStep::Succeeded) => {
                let rule = match hook {
                    HookKind::PostStart => rules::POST_START_OVER,
                    HookKind::PreStop => rules::PRE_STOP_OVER,
                };
                let took = took(known.hook_begun, at).map(|took| format!(", after {took}"));
                told(container, format!("{name} hook ends{}", took.unwrap_or_default()), rule)
            }
            (HookKind::PostStart, HookStep::Failed { message }) => {
                told(container, format!("postStart hook fails: {message}"), rules::POST_START_FAILED)
            }
            (HookKind::PreStop, HookStep::Failed { message }) => {
                told(container, format!("preStop hook fails: {message}"), rules::PRE_STOP_FAILED)
            }
        }
    }

    fn probe(&mut self, container: &str, kind: ProbeKind, success: bool) -> Told {
        let sidecar = self.kind(container) == Kind::Sidecar;
        let word = kind.as_str().to_lowercase();
        if success {
            let (text, rule) = match kind {
                ProbeKind::Startup if sidecar => ("passes: it has started", rules::SIDECAR_GATE),
                ProbeKind::Startup => ("passes: it has started", rules::STARTUP_PASSED),
                ProbeKind::Readiness => ("passes: it is ready", rules::PROBE),
                ProbeKind::Liveness => return None,
            };
            return told(container, format!("{word} probe {text}"), rule);
        }
        let (text, rule) = match kind {
            ProbeKind::Startup if sidecar => ("has failed", rules::SIDECAR_STARTUP),
            ProbeKind::Startup => ("has failed", rules::STARTUP_FAILED),
            ProbeKind::Liveness if sidecar => ("has failed", rules::SIDECAR_LIVENESS),
            ProbeKind::Liveness => ("has failed", rules::APP_KILLED),
            ProbeKind::Readiness if self.ending.is_some() => return None,
            ProbeKind::Readiness => ("fails: it is not ready", rules::READINESS),
        };
        if kind != ProbeKind::Readiness {
            self.known(container).by_probe = true;
        }
        told(container, format!("{word} probe {text}"), rule)
    }

    fn stop(&mut self, container: &str, grace_seconds: u64, message: &str) -> Told {
        let restarting_all = self.restarting_all;
        let known = self.known(container);
        known.stopping = true;
        if message.is_empty() || restarting_all {
            return None;
        }
        let (by_probe, text) = (known.by_probe, format!("is stopped, with {grace_seconds}s of grace"));
        let text = if by_probe { text } else { format!("{text}: {message}") };
        told(container, text, rules::TERM_ONE)
    }

    fn signal(&mut self, container: &str, signal: StopSignal) -> Told {
        if signal == StopSignal::Kill {
            return told(container, "gets KILL", rules::FLOOR);
        }
        let rule = match self.kind(container) {
            _ if self.ending.is_none() => rules::TERM_ONE,
            Kind::Init => rules::TERM_INIT,
            Kind::Sidecar => rules::TERM_SIDECAR,
            Kind::App => rules::TERM_APP,
            Kind::Ephemeral => rules::TERM_EPHEMERAL,
        };
        told(container, "gets TERM", rule)
    }

    fn exited(&mut self, container: &str, code: i32, oom_killed: bool, error: Option<&str>) -> Told {
        let ending = self.ending.is_some();
        let (kind, policy) = match self.row(container) {
            Some(row) => (row.kind, row.restart_policy.clone()),
            None => (Kind::App, String::new()),
        };
        let known = self.known(container);
        known.last_code = Some(code);
        known.ran = true;
        let stopped = std::mem::take(&mut known.stopping);
        if let Some(error) = error {
            return told(container, format!("cannot be run: {error}"), rules::CANNOT_RUN);
        }
        let failed = code != 0 || oom_killed;
        if kind == Kind::Init && failed && policy == "Never" && !ending {
            self.init_failed = true;
        }
        let rule = match kind {
            _ if oom_killed => rules::OOM,
            _ if stopped => rules::STOPPED_CODE,
            Kind::Init if !failed => rules::INIT,
            Kind::Init if policy == "Never" => rules::INIT_FAILED,
            Kind::Init => rules::INIT_RETRY,
            Kind::Sidecar => rules::SIDECAR_RESTART,
            Kind::App if code == 0 => rules::APP_EXIT_0,
            Kind::App => rules::APP_FAILED,
            Kind::Ephemeral => rules::EPHEMERAL,
        };
        let why = if oom_killed { ", out of memory" } else { "" };
        told(container, format!("exits with {code}{why}"), rule)
    }

    fn waits(&mut self, wait: &Wait) -> Told {
        let init = self.kind(&wait.container) == Kind::Init;
        match &wait.why {
            WaitingFor::CrashBackOff { delay_seconds, .. } => {
                let rule = if init { rules::INIT_BACK_OFF } else { rules::BACK_OFF };
                let delay = span(Duration::from_secs(*delay_seconds));
                told(&wait.container, format!("waits until {delay} after its exit, CrashLoopBackOff"), rule)
            }
            WaitingFor::Retry { reason, .. } => {
                let rule = if reason.is_pull() { rules::PULL_BACK_OFF } else { rules::START_RETRY };
                told(&wait.container, "waits for the next try", rule)
            }
            _ => None,
        }
    }

    fn ending(&mut self, cause: &Cause, grace_seconds: u64) -> Told {
        self.ending = Some(cause.clone());
        let stays = |row: &&Row| row.kind == Kind::Sidecar;
        let sidecars = self.rows.iter().filter(stays).count() > 0;
        let grace = format!("with {grace_seconds}s of grace");
        match cause {
            Cause::Deleted => pod(format!("is deleted and stops, {grace}"), rules::ENDING),
            Cause::Finished if self.init_failed => pod("stops: an init container failed", rules::INIT_FAILED),
            Cause::Finished if sidecars => {
                pod(format!("has done its work; its sidecars stop, {grace}"), rules::SIDECARS_STOP)
            }
            Cause::Finished => pod("has done its work", rules::PHASE_OVER),
            Cause::DeadlineExceeded => pod(format!("has run too long and stops, {grace}"), rules::DEADLINE),
            Cause::Evicted { message, .. } => pod(format!("is evicted, {grace}: {message}"), rules::EVICTED),
            Cause::Shutdown => pod(format!("stops with its node, {grace}"), rules::SHUTDOWN),
            Cause::Preempted { message } => {
                pod(format!("makes room for another Pod: {message}"), rules::EVICTED)
            }
            Cause::Rejected { reason, message } => {
                pod(format!("is refused by its node, {reason}: {message}"), rules::REFUSED)
            }
        }
    }

    fn phase(&mut self, phase: &str) -> Told {
        let before = std::mem::replace(&mut self.phase, phase.to_owned());
        let rule = match phase {
            "Pending" if before.is_empty() => return None,
            "Pending" => rules::PHASE_PENDING,
            "Running" => rules::PHASE_RUNNING,
            _ => match self.ending {
                Some(Cause::Deleted) => rules::DELETED_PHASE,
                Some(Cause::DeadlineExceeded) => rules::DEADLINE,
                Some(Cause::Evicted { .. } | Cause::Preempted { .. }) => rules::EVICTED,
                Some(Cause::Shutdown) => rules::SHUTDOWN,
                Some(Cause::Rejected { .. }) => rules::REFUSED,
                Some(Cause::Finished) | None if self.init_failed => rules::PHASE_INIT_FAILED,
                Some(Cause::Finished) | None => rules::PHASE_OVER,
            },
        };
        let text = match phase {
            "Pending" | "Running" => format!("is {phase}"),
            "Succeeded" => "has Succeeded".to_owned(),
            _ => "has Failed".to_owned(),
        };
        pod(text, rule)
    }

    fn condition(&mut self, name: &str, status: bool) -> Told {
        let inits = self.rows.iter().any(|row| matches!(row.kind, Kind::Init | Kind::Sidecar));
        match (name, status) {
            ("Initialized", true) if inits => pod("is Initialized", rules::INITIALIZED),
            ("Ready", true) => {
                self.was_ready = true;
                pod("is Ready", rules::READY)
            }
            ("Ready", false) if self.was_ready && self.ending.is_none() => {
                pod("is Ready no more", rules::READY)
            }
            _ => None,
        }
    }
}

fn pod(what: impl Into<String>, rule: Rule) -> Told {
    Some(("pod".into(), what.into(), rule))
}

fn told(container: &str, what: impl Into<String>, rule: Rule) -> Told {
    Some((container.to_owned(), what.into(), rule))
}

/// The time something took, unless it took none.
fn took(begun: Duration, at: Duration) -> Option<String> {
    let took = at.saturating_sub(begun);
    (!took.is_zero()).then(|| span(took))
}
