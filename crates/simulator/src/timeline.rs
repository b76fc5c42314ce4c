//! What happened, as values that print as one line each.

use std::fmt;
use std::time::Duration;

use outrigger_pod_lifecycle::{PodEvent, ProbeKind, StopSignal};

/// Something that happened to a Pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Since the beginning of the simulation.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What can happen. The words it prints with are the language of the text cases.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each prints as what it is")]
pub enum What {
    /// From the test or the user, not from the node.
    Asked(String),
    /// A fault was injected.
    Fault(String),
    CreateSandbox {
        attempt: u32,
    },
    StopSandbox,
    Start {
        container: String,
        attempt: u32,
    },
    /// The start ended badly.
    StartFailed {
        container: String,
        reason: &'static str,
    },
    CancelStart {
        container: String,
    },
    PostStart {
        container: String,
    },
    PreStop {
        container: String,
    },
    Signal {
        container: String,
        signal: StopSignal,
    },
    Exit {
        container: String,
        code: i32,
    },
    /// A probe's verdict changed.
    Probe {
        container: String,
        kind: ProbeKind,
        good: bool,
    },
    Resize,
    Unmount,
    ConfirmDeletion,
    /// The object left the store.
    ObjectGone,
    Forget,
    Event(PodEvent),
    Phase(String),
    /// Ready, Initialized and the others, when their status changed.
    Condition {
        ty: String,
        status: String,
        reason: Option<String>,
    },
    /// A container's state as the API shows it: `waiting CrashLoopBackOff`.
    State {
        container: String,
        text: String,
        ready: bool,
    },
    /// What `kubectl get pod` shows: READY, STATUS, RESTARTS.
    Row {
        ready: String,
        status: String,
        restarts: String,
    },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(what) => write!(f, "-- {what}"),
            Self::Fault(what) => write!(f, "!! {what}"),
            Self::CreateSandbox { attempt } => write!(f, "sandbox #{attempt}"),
            Self::StopSandbox => f.write_str("stop sandbox"),
            Self::Start { container, attempt } => write!(f, "start {container}#{attempt}"),
            Self::StartFailed { container, reason } => write!(f, "start of {container} fails: {reason}"),
            Self::CancelStart { container } => write!(f, "cancel start {container}"),
            Self::PostStart { container } => write!(f, "postStart {container}"),
            Self::PreStop { container } => write!(f, "preStop {container}"),
            Self::Signal { container, signal: StopSignal::Term } => write!(f, "TERM {container}"),
            Self::Signal { container, signal: StopSignal::Kill } => write!(f, "KILL {container}"),
            Self::Exit { container, code } => write!(f, "exit {container} {code}"),
            Self::Probe { container, kind, good } => {
                let word = if *good { "passes" } else { "fails" };
                write!(f, "{} probe of {container} {word}", kind.as_str().to_lowercase())
            }
            Self::Resize => f.write_str("resize"),
            Self::Unmount => f.write_str("unmount"),
            Self::ConfirmDeletion => f.write_str("confirm"),
            Self::ObjectGone => f.write_str("object gone"),
            Self::Forget => f.write_str("forget"),
            Self::Event(event) => {
                write!(f, "event {} {}: {}", event.kind.as_str(), event.reason_word(), event.message)
            }
            Self::Phase(phase) => write!(f, "phase {phase}"),
            Self::Condition { ty, status, reason } => {
                write!(f, "condition {ty}={status}")?;
                reason.as_ref().map_or(Ok(()), |reason| write!(f, " {reason}"))
            }
            Self::State { container, text, ready } => {
                write!(f, "{container}: {text}{}", if *ready { ", ready" } else { "" })
            }
            Self::Row { ready, status, restarts } => {
                write!(f, "row {status} {ready}")?;
                if restarts == "0" { Ok(()) } else { write!(f, " restarts {restarts}") }
            }
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", seconds(self.at), self.what)
    }
}

/// `12`, or `12.5` where it is not whole.
pub fn seconds(at: Duration) -> String {
    let millis = at.subsec_millis();
    if millis == 0 {
        at.as_secs().to_string()
    } else {
        format!("{}.{}", at.as_secs(), format!("{millis:03}").trim_end_matches('0'))
    }
}
