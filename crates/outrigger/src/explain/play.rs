//! Plays one Pod on the simulated node and keeps the record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use outrigger_explain::{Recorder, Report};
use outrigger_pod_lifecycle::{Input, ProbeKind, Role, decide, init_role};
use outrigger_simulator::{Chaos, Health, Instance, Node, Script};

use crate::explain::options::{ExplainOptions, Fail};

/// How long an init container takes.
const INIT: Duration = Duration::from_secs(1);
/// How long an app container takes that is not to run for ever.
const APP: Duration = Duration::from_secs(5);
/// How long whoever serves runs before it fails, if it is to fail.
const SERVED: Duration = Duration::from_secs(1);
/// Nobody looks further without a reason.
const HORIZON: Duration = Duration::from_secs(600);
/// What is left to happen is waited for so much longer than the last thing that did.
const QUIET: Duration = Duration::from_secs(30);
/// The clock moves on in steps of this size.
const STEP: Duration = Duration::from_millis(500);

/// What happens to the Pod, from the moment its node hears of it.
pub(crate) fn play(pod: &Pod, options: &ExplainOptions) -> Result<Report, String> {
    let scripts = scripts(pod, options)?;
    let recorder = Arc::new(Mutex::new(Recorder::default()));
    let mut node = Node::new(recorded(&recorder), Chaos::calm());
    let index = node.create(pod.clone(), scripts.clone());
    let quiet = QUIET + longest_probe(pod);
    let last_word = last_scripted(&scripts, options);
    let end = options.until.unwrap_or_else(|| horizon(pod, options.delete_at));
    let mut deleted = None;
    let (mut changed_at, mut seen) = (Duration::ZERO, 0);
    while node.now() < end && !node.is_forgotten(index) {
        let next = node.now() + STEP;
        let next = match options.delete_at.filter(|_| deleted.is_none()) {
            Some(at) if at <= next => {
                node.run(at);
                node.delete(index, None);
                deleted = Some(at);
                at
            }
            _ => next,
        };
        node.run(next.min(end));
        let entries = report(&recorder, &node).entries.len();
        if entries != seen {
            (seen, changed_at) = (entries, node.now());
        }
        let due = node.last_decision(index).is_some_and(|decision| decision.wake_at.is_some());
        let awaited = due || (options.delete_at.is_some() && deleted.is_none());
        if !awaited && node.now() > changed_at.max(last_word) + quiet {
            break;
        }
    }
    if let Some((_, broken)) = node.violations().next() {
        return Err(format!("the simulated node broke {}: {}", broken.rule, broken.what));
    }
    Ok(report(&recorder, &node))
}

type Shared = Arc<Mutex<Recorder>>;

/// The core itself, with its decisions written down.
fn recorded(recorder: &Shared) -> outrigger_simulator::Decide {
    let recorder = recorder.clone();
    Box::new(move |input: &Input<'_>| {
        let decision = decide(input);
        recorder.lock().unwrap_or_else(PoisonError::into_inner).note(input, &decision);
        decision
    })
}

fn report(recorder: &Shared, node: &Node) -> Report {
    recorder.lock().unwrap_or_else(PoisonError::into_inner).report(node.clocks().wall, Vec::new())
}

/// Deadline, deletion and grace may lie behind the usual horizon.
fn horizon(pod: &Pod, delete_at: Option<Duration>) -> Duration {
    let spec = pod.spec.as_ref();
    let seconds = |value: Option<i64>| Duration::from_secs(value.unwrap_or(0).max(0).unsigned_abs());
    let deadline = seconds(spec.and_then(|spec| spec.active_deadline_seconds));
    let grace = seconds(spec.and_then(|spec| spec.termination_grace_period_seconds));
    HORIZON.max(deadline + grace + QUIET).max(delete_at.unwrap_or_default() + grace + QUIET)
}

/// The longest time a probe may take to its first verdict.
fn longest_probe(pod: &Pod) -> Duration {
    let budget = |probe: &Probe| {
        let or =
            |value: Option<i32>, default: u32| value.filter(|v| *v > 0).map_or(default, i32::unsigned_abs);
        let tries = u64::from(or(probe.failure_threshold, 3)) * u64::from(or(probe.period_seconds, 10));
        Duration::from_secs(u64::from(or(probe.initial_delay_seconds, 0)) + tries)
    };
    let probes = containers(pod).flat_map(|(container, _)| {
        [&container.startup_probe, &container.liveness_probe, &container.readiness_probe]
    });
    probes.flatten().map(budget).max().unwrap_or_default()
}

/// The last moment a flag speaks of.
fn last_scripted(scripts: &BTreeMap<String, Script>, options: &ExplainOptions) -> Duration {
    let exits = scripts.values().flat_map(|script| script.instances.iter().filter_map(|it| it.exit));
    let exits = exits.map(|(after, _)| after).max().unwrap_or_default();
    let probes = options.probe_fail.iter().map(|fail| fail.until.unwrap_or(fail.from)).max();
    exits.max(probes.unwrap_or_default())
}

/// All containers that take part from the beginning.
pub(crate) fn containers(pod: &Pod) -> impl Iterator<Item = (&Container, Role)> {
    let spec = pod.spec.as_ref();
    let inits = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
    let inits = inits.map(|container| (container, init_role(container)));
    let apps = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    inits.chain(apps.iter().map(|container| (container, Role::App)))
}

/// How long a container of this role runs, unless it is told otherwise; `None`: until it is stopped.
fn time(container: &Container, role: Role, pod: &Pod, options: &ExplainOptions) -> Option<Duration> {
    let own = container.restart_policy.as_deref();
    let policy = own.or_else(|| pod.spec.as_ref()?.restart_policy.as_deref()).unwrap_or("Always");
    let usual = match role {
        Role::Init => Some(INIT),
        Role::App if policy != "Always" => Some(APP),
        Role::App | Role::Sidecar | Role::Ephemeral => None,
    };
    let asked = options.runs.iter().rev().find(|runs| runs.container == container.name);
    asked.map_or(usual, |runs| runs.time)
}

/// What is assumed of the containers of which no flag speaks, in a sentence.
pub(crate) fn assumed(pod: &Pod, options: &ExplainOptions) -> String {
    let of = |name: &str| options.play.iter().any(|line| split_play(line).is_ok_and(|(of, _)| of == name));
    let told = |name: &str| of(name) || options.runs.iter().any(|runs| runs.container == name);
    let mut parts = vec!["images are there, starting takes no time".to_owned()];
    for (container, role) in containers(pod).filter(|(container, _)| !told(&container.name)) {
        parts.push(match time(container, role, pod, options) {
            Some(time) => format!("{} runs {}s", container.name, time.as_secs()),
            None => format!("{} serves until it is stopped", container.name),
        });
    }
    format!("Assumed: {}. Change it with --runs, --fail, --probe-fail or --play.", parts.join("; "))
}

/// How each container lives.
fn scripts(pod: &Pod, options: &ExplainOptions) -> Result<BTreeMap<String, Script>, String> {
    let mut scripts = BTreeMap::new();
    for (container, role) in containers(pod) {
        let name = &container.name;
        let time = time(container, role, pod, options);
        scripts.insert(name.clone(), script(name, time, options));
    }
    for line in &options.play {
        let (name, rest) = split_play(line)?;
        // A play for a container of another Pod of the same file.
        if scripts.contains_key(name) {
            scripts.insert(name.to_owned(), Script::parse(rest)?);
        }
    }
    Ok(scripts)
}

/// `NAME: clauses`.
pub(crate) fn split_play(line: &str) -> Result<(&str, &str), String> {
    let (name, rest) = line.split_once(':').ok_or("--play: write CONTAINER: and what it does")?;
    Ok((name.trim(), rest))
}

fn script(name: &str, time: Option<Duration>, options: &ExplainOptions) -> Script {
    let mut good = match time {
        Some(after) => Instance::exiting(after, 0),
        None => Instance::serving(),
    };
    for fail in options.probe_fail.iter().filter(|fail| fail.container == name) {
        let health = Health::Fails { from: fail.from, until: fail.until, output: "as asked for".into() };
        match fail.kind {
            ProbeKind::Startup => good.startup = health,
            ProbeKind::Liveness => good.liveness = health,
            ProbeKind::Readiness => good.readiness = health,
        }
    }
    let fails = |fail: &Fail| {
        let exit = Some((time.unwrap_or(SERVED), fail.code));
        Instance { exit, oom_killed: fail.oom, ..good.clone() }
    };
    let mine: Vec<&Fail> = options.fail.iter().filter(|fail| fail.container == name).collect();
    let each = mine.iter().rev().find(|fail| fail.attempt.is_none()).map(|fail| fails(fail));
    let usual = each.unwrap_or_else(|| good.clone());
    let runs = mine.iter().filter_map(|fail| fail.attempt).max().map_or(0, |last| last + 1);
    let mut instances = vec![usual.clone(); runs];
    for fail in mine {
        if let Some(place) = fail.attempt.and_then(|attempt| instances.get_mut(attempt)) {
            *place = fails(fail);
        }
    }
    instances.push(usual);
    Script { instances, ..Script::default() }
}
