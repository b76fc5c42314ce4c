//! The rhythm of one probe: when it runs, and when its results make a verdict (section 6A).

use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Probe;
use outrigger_pod_lifecycle::{ProbeKind, Verdict};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::probe::Outcome;

/// Time from a failing probe to the next, however often it is asked for: R6.10 asks once per step, and steps follow
/// changes by about a second.
const PAUSE: Duration = Duration::from_secs(1);

/// R6.8.
const TRIES: usize = 3;

/// What a worker needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    pub(super) kind: ProbeKind,
    /// Nothing before this, whoever asks for it.
    delay: Duration,
    /// Until the first probe nobody asks for.
    first: Duration,
    period: Duration,
    failures: u32,
    successes: u32,
}

/// How a worker begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    /// The instance's age.
    pub(super) age: Duration,
    /// Until its first tick (R6.5).
    pub(super) first: Duration,
    /// An instance that is older than this process waits such a portion of a period, so that not all probes of a node
    /// run at once (R6.5).
    pub(super) portion: Option<f64>,
}

impl Rhythm {
    pub(super) fn new(kind: ProbeKind, probe: &Probe, begin: Begin) -> Self {
        let positive =
            |value: Option<i32>, default| value.filter(|v| *v > 0).map_or(default, i32::unsigned_abs);
        let seconds = |value, default| Duration::from_secs(positive(value, default).into());
        let period = seconds(probe.period_seconds, 10);
        let left = seconds(probe.initial_delay_seconds, 0).saturating_sub(begin.age);
        let spread = begin.portion.map_or(Duration::ZERO, |portion| period.mul_f64(portion.clamp(0.0, 1.0)));
        let delay = left.max(spread);
        Self {
            kind,
            // A start counts from its whole second, so a tick may come a little before the delay is over (R6.3).
            delay: delay.min(begin.first.max(spread)),
            first: begin.first.max(spread),
            period,
            failures: positive(probe.failure_threshold, 3),
            successes: positive(probe.success_threshold, 1),
        }
    }
}

/// What a worker does with its time, and where its results go.
#[async_trait]
pub(super) trait Work: Sync {
    /// One probe.
    async fn probe(&self) -> Outcome;
    /// Every outcome, and how long it took to get it.
    fn outcome(&self, outcome: &Outcome, took: Duration);
    /// How it stands after every try; before the verdict, if there is one.
    fn tried(&self, _outcome: &Outcome, _standing: Standing) {}
    /// Whenever the thresholds are met.
    fn verdict(&self, verdict: Verdict);
}

/// How a probe stands after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// The newest result, and how many in a row were equal; `None` while there were only errors.
    pub(super) run: Option<(Verdict, u32)>,
    /// So many of them make a verdict.
    pub(super) needed: u32,
    /// Until the next try, if there is one.
    pub(super) next: Option<Duration>,
}

/// Probes until a verdict that ends it (R6.7). `trigger` asks for a probe at once; the period restarts from it (R6.10).
pub(super) async fn run(rhythm: Rhythm, trigger: &Notify, work: &impl Work) {
    let mut thresholds = Thresholds { rhythm, run: None };
    let first = Instant::now() + rhythm.first;
    tokio::time::sleep(rhythm.delay).await;
    // Whoever asked earlier is served by the first probe.
    let _ = tokio::time::timeout(Duration::ZERO, trigger.notified()).await;
    let _ = tokio::time::timeout_at(first, trigger.notified()).await;
    loop {
        let began = Instant::now();
        let outcome = with_retries(work).await;
        work.outcome(&outcome, began.elapsed());
        let step = match &outcome {
            Outcome::Success | Outcome::Warning(_) => thresholds.step(Verdict::Success),
            Outcome::Failure(_) => thresholds.step(Verdict::Failure),
            Outcome::Error { .. } => None,
        };
        let ends = match (rhythm.kind, step) {
            (ProbeKind::Startup, Some(_)) | (ProbeKind::Liveness, Some(Verdict::Failure)) => true,
            (ProbeKind::Startup | ProbeKind::Liveness | ProbeKind::Readiness, _) => false,
        };
        let next = (!ends).then(|| rhythm.period.saturating_sub(began.elapsed()));
        work.tried(&outcome, thresholds.standing(next));
        if let Some(verdict) = step {
            work.verdict(verdict);
        }
        if ends {
            return;
        }
        let next = began + rhythm.period;
        if matches!(outcome, Outcome::Failure(_) | Outcome::Error { .. }) {
            tokio::time::sleep_until(next.min(began + PAUSE)).await;
        }
        let _ = tokio::time::timeout_at(next, trigger.notified()).await;
    }
}

async fn with_retries(work: &impl Work) -> Outcome {
    let mut outcome = work.probe().await;
    for _ in 1..TRIES {
        if !matches!(outcome, Outcome::Error { .. }) {
            break;
        }
        outcome = work.probe().await;
    }
    outcome
}

/// R6.6: only so many equal results in a row make a verdict.
#[derive(Debug)]
struct Thresholds {
    rhythm: Rhythm,
    run: Option<(Verdict, u32)>,
}

impl Thresholds {
    fn step(&mut self, result: Verdict) -> Option<Verdict> {
        let length = match self.run {
            Some((verdict, length)) if verdict == result => length.saturating_add(1),
            _ => 1,
        };
        self.run = Some((result, length));
        (length >= self.needed(result)).then_some(result)
    }

    const fn needed(&self, result: Verdict) -> u32 {
        match result {
            Verdict::Success => self.rhythm.successes,
            Verdict::Failure => self.rhythm.failures,
        }
    }

    fn standing(&self, next: Option<Duration>) -> Standing {
        let result = self.run.map_or(Verdict::Failure, |(result, _)| result);
        Standing { run: self.run, needed: self.needed(result), next }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const S: Outcome = Outcome::Success;

    fn bad() -> Outcome {
        Outcome::Failure("no".into())
    }

    fn error() -> Outcome {
        Outcome::Error { state: "unknown", text: "cannot".into() }
    }

    /// A script and what became of it, at which second.
    struct Play {
        began: Instant,
        took: Duration,
        script: Vec<Outcome>,
        over: Notify,
        probes: Mutex<Vec<u64>>,
        outcomes: Mutex<Vec<Outcome>>,
        verdicts: Mutex<Vec<(u64, Verdict)>>,
        standings: Mutex<Vec<Standing>>,
    }

    impl Play {
        fn second(&self) -> u64 {
            self.began.elapsed().as_secs()
        }

        fn probes(&self) -> Vec<u64> {
            self.probes.lock().unwrap().clone()
        }

        fn outcomes(&self) -> Vec<Outcome> {
            self.outcomes.lock().unwrap().clone()
        }

        fn verdicts(&self) -> Vec<(u64, Verdict)> {
            self.verdicts.lock().unwrap().clone()
        }
    }

    #[async_trait]
    impl Work for Play {
        async fn probe(&self) -> Outcome {
            let at = self.probes().len();
            let Some(outcome) = self.script.get(at).cloned() else {
                self.over.notify_one();
                return std::future::pending().await;
            };
            self.probes.lock().unwrap().push(self.second());
            tokio::time::sleep(self.took).await;
            outcome
        }

        fn outcome(&self, outcome: &Outcome, _: Duration) {
            self.outcomes.lock().unwrap().push(outcome.clone());
        }

        fn tried(&self, _: &Outcome, standing: Standing) {
            self.standings.lock().unwrap().push(standing);
        }

        fn verdict(&self, verdict: Verdict) {
            self.verdicts.lock().unwrap().push((self.second(), verdict));
        }
    }

    /// Runs a worker to the end of its script or its own; triggers come at these seconds.
    async fn play(rhythm: Rhythm, triggers: &[u64], took: Duration, script: &[Outcome]) -> Play {
        let play = Play {
            began: Instant::now(),
            took,
            script: script.to_vec(),
            over: Notify::new(),
            probes: Mutex::default(),
            outcomes: Mutex::default(),
            verdicts: Mutex::default(),
            standings: Mutex::default(),
        };
        let trigger = Notify::new();
        let pull = async {
            for second in triggers {
                tokio::time::sleep_until(play.began + Duration::from_secs(*second)).await;
                trigger.notify_one();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = run(rhythm, &trigger, &play) => {}
            () = play.over.notified() => {}
            () = pull => {}
        }
        play
    }

    fn probe(initial_delay: i32, period: i32, failures: i32, successes: i32) -> Probe {
        Probe {
            initial_delay_seconds: Some(initial_delay),
            period_seconds: Some(period),
            failure_threshold: Some(failures),
            success_threshold: Some(successes),
            ..Probe::default()
        }
    }

    fn rhythm(kind: ProbeKind, probe: &Probe) -> Rhythm {
        let first = Duration::from_secs(u64::try_from(probe.initial_delay_seconds.unwrap_or(0)).unwrap());
        Rhythm::new(kind, probe, Begin { age: Duration::ZERO, first, portion: None })
    }

    /// R6.6
    #[test]
    fn verdicts_need_runs() {
        let rhythm = rhythm(ProbeKind::Readiness, &probe(0, 1, 3, 2));
        let mut thresholds = Thresholds { rhythm, run: None };
        let (s, f) = (Verdict::Success, Verdict::Failure);
        let verdicts: Vec<_> = [s, s, f, f, s, f, f, f].into_iter().map(|r| thresholds.step(r)).collect();
        assert_eq!(verdicts, [None, Some(s), None, None, None, None, None, Some(f)]);
    }

    /// R6.5: at once, then every period, however long one takes.
    #[tokio::test(start_paused = true)]
    async fn every_period() {
        let every = rhythm(ProbeKind::Readiness, &probe(0, 5, 3, 1));
        let quick = play(every, &[], Duration::ZERO, &[S, S, S]).await;
        assert_eq!(quick.probes(), [0, 5, 10]);
        let slow = play(every, &[], Duration::from_secs(3), &[S, S, S]).await;
        assert_eq!(slow.probes(), [0, 5, 10]);
        let slower = play(every, &[], Duration::from_secs(7), &[S, S, S]).await;
        assert_eq!(slower.probes(), [0, 7, 14]);
    }

    /// R6.3, R6.4: the delay counts from the container's start, whenever the worker begins.
    #[tokio::test(start_paused = true)]
    async fn initial_delay() {
        let delayed = probe(8, 5, 3, 1);
        let fresh = play(rhythm(ProbeKind::Liveness, &delayed), &[3], Duration::ZERO, &[S, S]).await;
        assert_eq!(fresh.probes(), [8, 13], "a trigger changes nothing before");
        let begin = Begin { age: Duration::from_secs(6), first: Duration::from_secs(2), portion: None };
        let late = Rhythm::new(ProbeKind::Liveness, &delayed, begin);
        assert_eq!(play(late, &[], Duration::ZERO, &[S]).await.probes(), [2]);
    }

    /// R6.5: containers that were there before this process are not all probed in its first instant.
    #[test]
    fn spread_after_a_restart() {
        let of = |portion| {
            let begin = Begin { age: Duration::ZERO, first: Duration::ZERO, portion };
            Rhythm::new(ProbeKind::Liveness, &probe(0, 20, 3, 1), begin).first
        };
        assert_eq!([of(None), of(Some(0.25)), of(Some(7.0))].map(|it| it.as_secs()), [0, 5, 20]);
    }

    /// R6.6, R6.7: how many tries of how many, and when the next one is, if any.
    #[tokio::test(start_paused = true)]
    async fn standings() {
        let startup = rhythm(ProbeKind::Startup, &probe(0, 5, 3, 1));
        let seen =
            play(startup, &[], Duration::from_secs(2), &[error(), error(), error(), bad(), bad(), bad()])
                .await;
        let standing = |length: u32, next: Option<u64>| Standing {
            run: (length > 0).then_some((Verdict::Failure, length)),
            needed: 3,
            next: next.map(Duration::from_secs),
        };
        let want = [standing(0, Some(0)), standing(1, Some(3)), standing(2, Some(3)), standing(3, None)];
        assert_eq!(*seen.standings.lock().unwrap(), want);
    }

    /// R6.10: triggered runs count, and the period begins anew.
    #[tokio::test(start_paused = true)]
    async fn triggers() {
        let twice = rhythm(ProbeKind::Readiness, &probe(0, 10, 3, 2));
        let seen = play(twice, &[4], Duration::ZERO, &[S, S, S]).await;
        assert_eq!(seen.probes(), [0, 4, 14]);
        assert_eq!(seen.verdicts()[0], (4, Verdict::Success));
    }

    /// R6.5, R6.10: the first tick may be asked for; what fails is not tried again within a second.
    #[tokio::test(start_paused = true)]
    async fn asked_for_before_the_first_tick() {
        let begin = Begin { age: Duration::ZERO, first: Duration::from_secs(9), portion: None };
        let every = Rhythm::new(ProbeKind::Readiness, &probe(0, 10, 3, 1), begin);
        let seen = play(every, &[3, 3, 5], Duration::ZERO, &[bad(), bad(), S, S]).await;
        assert_eq!(seen.probes(), [3, 4, 5, 15]);
    }

    /// R6.7, R6.23
    #[tokio::test(start_paused = true)]
    async fn verdicts_that_end_it() {
        let script = [bad(), bad(), bad(), S];
        let live = rhythm(ProbeKind::Liveness, &probe(1, 2, 3, 1));
        let seen = play(live, &[], Duration::ZERO, &script).await;
        assert_eq!(seen.probes(), [1, 3, 5]);
        assert_eq!(seen.verdicts(), [(5, Verdict::Failure)]);
        for (script, verdict) in [(&[S, S][..], (0, Verdict::Success)), (&script[..], (4, Verdict::Failure))]
        {
            let startup = rhythm(ProbeKind::Startup, &probe(0, 2, 3, 1));
            let seen = play(startup, &[], Duration::ZERO, script).await;
            assert_eq!(seen.verdicts(), [verdict]);
        }
        let ready = rhythm(ProbeKind::Readiness, &probe(0, 2, 1, 1));
        let seen = play(ready, &[], Duration::ZERO, &[bad(), S, bad()]).await;
        assert_eq!(seen.verdicts().len(), 3);
    }

    /// R6.8: errors are tried three times, failures once; what remains an error changes nothing.
    #[tokio::test(start_paused = true)]
    async fn errors_are_retried() {
        let once = rhythm(ProbeKind::Readiness, &probe(0, 5, 1, 1));
        let script = [error(), error(), error(), error(), S, bad(), S];
        let seen = play(once, &[], Duration::ZERO, &script).await;
        assert_eq!(seen.probes(), [0, 0, 0, 5, 5, 10, 15]);
        assert_eq!(seen.outcomes(), [error(), S, bad(), S]);
        let (s, f) = (Verdict::Success, Verdict::Failure);
        assert_eq!(seen.verdicts(), [(5, s), (10, f), (15, s)]);
    }

    /// R6.6: an error neither counts nor ends a run of failures.
    #[tokio::test(start_paused = true)]
    async fn errors_do_not_count() {
        let twice = rhythm(ProbeKind::Liveness, &probe(0, 1, 2, 1));
        let seen = play(twice, &[], Duration::ZERO, &[bad(), error(), error(), error(), bad()]).await;
        assert_eq!(seen.verdicts(), [(2, Verdict::Failure)]);
    }
}
