//! How scripted containers live.

use std::time::Duration;

use outrigger_pod_lifecycle::{FailureReason, Verdict};

/// One container: its instances one after another, and the starts that fail before the first.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// By restart count; the last one is repeated. Empty: [`Instance::serving`] for ever.
    pub instances: Vec<Instance>,
    /// The first attempts to start it fail so, one after another.
    pub failures: Vec<(FailureReason, String)>,
    /// How long its image takes to arrive, each time.
    pub pull: Duration,
}

impl Script {
    /// What the instance with this restart count does.
    pub fn instance(&self, attempt: u32) -> Instance {
        let at = usize::try_from(attempt).unwrap_or(usize::MAX);
        self.instances.get(at).or(self.instances.last()).cloned().unwrap_or_else(Instance::serving)
    }
}

/// One instance. Durations count from its start, or from what asks for it.
#[derive(Clone, Debug, Default)]
pub struct Instance {
    /// When and with what code it ends by itself; `None`: it runs until it is stopped.
    pub exit: Option<(Duration, i32)>,
    /// How it answers TERM; `None`: not at all.
    pub on_term: Option<(Duration, i32)>,
    /// Its memory cgroup ends it, with the code of `exit` (R9.30).
    pub oom_killed: bool,
    /// Its process cannot be executed (R5.32): it is over at once with 128.
    pub start_error: Option<String>,
    /// What it writes to its termination message file.
    pub message: String,
    /// How its startup probe goes.
    pub startup: Health,
    /// How its liveness probe goes.
    pub liveness: Health,
    /// How its readiness probe goes.
    pub readiness: Health,
    /// Its postStart hook, if the spec has one.
    pub post_start: Hook,
    /// Its preStop hook, if the spec has one.
    pub pre_stop: Hook,
}

impl Instance {
    /// Runs until stopped and leaves TERM with 143 at once.
    pub fn serving() -> Self {
        Self { on_term: Some((Duration::ZERO, 143)), ..Self::default() }
    }

    /// Ends by itself.
    pub fn exiting(after: Duration, code: i32) -> Self {
        Self { exit: Some((after, code)), ..Self::serving() }
    }
}

/// A hook: how long it takes, and whether it ends well.
#[derive(Clone, Debug)]
pub struct Hook {
    /// `None`: it never ends.
    pub takes: Option<Duration>,
    /// Why it fails, if it does.
    pub error: Option<String>,
}

impl Default for Hook {
    fn default() -> Self {
        Self { takes: Some(Duration::ZERO), error: None }
    }
}

/// What a probe finds, by the age of the instance.
#[derive(Clone, Debug, Default)]
pub enum Health {
    /// Every try succeeds.
    #[default]
    Good,
    /// Tries fail while the instance is at least `from` and less than `until` old; `None`: for ever.
    Fails {
        /// From this age.
        from: Duration,
        /// To this age.
        until: Option<Duration>,
        /// What the probe prints.
        output: String,
    },
    /// The verdict itself at this age, thresholds and periods aside: for tests of what follows a verdict.
    Verdict(Duration, Verdict),
}

impl Health {
    /// Fails until the instance is `age` old.
    pub fn after(age: Duration) -> Self {
        Self::Fails { from: Duration::ZERO, until: Some(age), output: "not yet".into() }
    }

    /// Fails once the instance is `age` old.
    pub fn until(age: Duration) -> Self {
        Self::Fails { from: age, until: None, output: "no answer".into() }
    }

    /// What a try at this age finds: nothing for success, else the output.
    pub(crate) fn try_at(&self, age: Duration) -> Result<(), &str> {
        match self {
            Self::Good | Self::Verdict(..) => Ok(()),
            Self::Fails { from, until, output } => {
                let failing = age >= *from && until.is_none_or(|until| age < until);
                if failing { Err(output) } else { Ok(()) }
            }
        }
    }
}
