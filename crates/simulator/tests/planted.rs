//! Bugs planted on purpose, one for each invariant: the simulation must find every one of them soon. A bug is a wrapper
//! around the decision that the node decides with, so no switch is needed in the product.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_pod_lifecycle::{
    Action, Decision, Input, InstanceState, Role, StopSignal, WaitingFor, Worker, decide, init_role,
};
use outrigger_simulator::seeds::simulate;

/// More seeds than this are never needed.
const MOST: u64 = 400;

/// The rule that the first seed breaks which breaks any.
fn found(bug: fn(&Input<'_>, &mut Decision)) -> Option<(u64, &'static str, String)> {
    (1..=MOST).find_map(|seed| {
        let decide = move |input: &Input<'_>| {
            let mut decision = decide(input);
            bug(input, &mut decision);
            decision
        };
        let (_, violation) = simulate(seed, Box::new(decide), false).violation?;
        Some((seed, violation.rule, violation.what))
    })
}

#[track_caller]
fn finds(rule: &str, bug: fn(&Input<'_>, &mut Decision)) {
    let found = found(bug);
    let Some((_, broken, _)) = &found else { panic!("{MOST} seeds do not find it") };
    assert_eq!(*broken, rule, "{found:?}");
}

fn apps<'a>(input: &'a Input<'_>) -> impl Iterator<Item = &'a str> {
    input.pod.spec.iter().flat_map(|spec| &spec.containers).map(|container| container.name.as_str())
}

fn inits<'a>(input: &'a Input<'_>, role: Role) -> impl Iterator<Item = &'a str> {
    let all = input.pod.spec.iter().filter_map(|spec| spec.init_containers.as_ref()).flatten();
    all.filter(move |container| init_role(container) == role).map(|container| container.name.as_str())
}

/// The newest instance, if it runs.
fn running(input: &Input<'_>, container: &str) -> Option<(String, u32)> {
    let newest = input.containers.get(container)?.newest()?;
    matches!(newest.state, InstanceState::Running { .. }).then(|| (newest.id.clone(), newest.attempt))
}

fn start(input: &Input<'_>, decision: &mut Decision, container: &str, attempt: u32) {
    let ready = input.sandboxes.last().filter(|sandbox| sandbox.ready);
    let begun = input.containers.get(container).is_some_and(|facts| facts.operation.is_some());
    if let Some(sandbox) = ready.filter(|_| !begun) {
        let (container, sandbox) = (container.to_owned(), sandbox.id.clone());
        decision.actions.push(Action::StartContainer { container, attempt, sandbox });
    }
}

fn is_syncing(decision: &Decision) -> bool {
    decision.memory.worker == Worker::Syncing
}

// I1: a running container is started once more.
#[test]
fn a_second_instance() {
    finds("I1", |input, decision| {
        let first = apps(input).next().map(str::to_owned).unwrap_or_default();
        if let Some((_, attempt)) = running(input, &first).filter(|_| is_syncing(decision)) {
            start(input, decision, &first, attempt + 1);
        }
    });
}

// I2: app containers do not wait for init containers.
#[test]
fn an_impatient_app() {
    finds("I2", |input, decision| {
        let first = apps(input).next().map(str::to_owned).unwrap_or_default();
        let never = input.containers.get(&first).is_none_or(|facts| facts.newest().is_none());
        let has_init = inits(input, Role::Init).next().is_some();
        if never && has_init && is_syncing(decision) && decision.actions.is_empty() {
            start(input, decision, &first, 0);
        }
    });
}

// I3: init containers start together.
#[test]
fn init_containers_side_by_side() {
    finds("I3", |input, decision| {
        let plain: Vec<String> = inits(input, Role::Init).map(str::to_owned).collect();
        if let [first, second, ..] = plain.as_slice()
            && running(input, first).is_some()
            && input.containers.get(second).is_none_or(|facts| facts.newest().is_none())
            && is_syncing(decision)
        {
            start(input, decision, second, 0);
        }
    });
}

// I4: a crashed container comes back although its Pod stops.
#[test]
fn a_start_while_stopping() {
    finds("I4", |input, decision| {
        let crashed = apps(input).find(|app| {
            let newest = input.containers.get(*app).and_then(|facts| facts.newest());
            newest.is_some_and(|it| matches!(it.state, InstanceState::Exited(_)))
        });
        if let (Worker::Terminating(_), Some(app)) = (&decision.memory.worker, crashed.map(str::to_owned)) {
            let attempt = decision.memory.containers.get(&app).map_or(1, |memory| memory.next_attempt);
            start(input, decision, &app, attempt);
        }
    });
}

// I5: sidecars are stopped together with the app containers.
#[test]
fn sidecars_without_turns() {
    finds("I5", |input, decision| {
        if !matches!(decision.memory.worker, Worker::Terminating(_)) {
            return;
        }
        let sidecars: Vec<String> = inits(input, Role::Sidecar).map(str::to_owned).collect();
        for container in sidecars {
            if let Some((instance, _)) = running(input, &container) {
                decision.actions.push(Action::Signal { container, instance, signal: StopSignal::Term });
            }
        }
    });
}

// I6: KILL follows TERM at once.
#[test]
fn no_mercy() {
    finds("I6", |_, decision| {
        let terms = decision.actions.iter().filter_map(|action| match action {
            Action::Signal { container, instance, signal: StopSignal::Term } => Some(Action::Signal {
                container: container.clone(),
                instance: instance.clone(),
                signal: StopSignal::Kill,
            }),
            _ => None,
        });
        let kills: Vec<Action> = terms.collect();
        decision.actions.extend(kills);
    });
}

// I6: KILL is never sent.
#[test]
fn endless_mercy() {
    finds("I6", |_, decision| {
        decision.actions.retain(|action| !matches!(action, Action::Signal { signal: StopSignal::Kill, .. }));
    });
}

// I7: a restarting container makes its Pod Pending.
#[test]
fn a_phase_that_goes_back() {
    finds("I7", |_, decision| {
        let mut statuses = decision.status.container_statuses.iter().flatten();
        if statuses.any(|status| status.restart_count > 0) && is_syncing(decision) {
            decision.status.phase = Some("Pending".into());
        }
    });
}

// I8: a terminal phase is published as soon as it is known.
#[test]
fn a_hasty_phase() {
    finds("I8", |_, decision| {
        if matches!(decision.memory.worker, Worker::Terminating(_)) {
            decision.status.phase = Some("Failed".into());
        }
    });
}

// I9: the restart count is taken from what is left of the records.
#[test]
fn a_forgotten_count() {
    finds("I9", |_, decision| {
        for action in &mut decision.actions {
            if let Action::StartContainer { attempt, .. } = action {
                *attempt = (*attempt).min(1);
            }
        }
    });
}

// I10: Initialized follows the sidecars.
#[test]
fn initialized_goes_back() {
    finds("I10", |input, decision| {
        let syncing = is_syncing(decision);
        let down = inits(input, Role::Sidecar).any(|sidecar| running(input, sidecar).is_none());
        for condition in decision.status.conditions.iter_mut().flatten() {
            if condition.type_ == "Initialized" && down && syncing {
                condition.status = "False".into();
            }
        }
        decision.memory.status = Some(Box::new(decision.status.clone()));
    });
}

// I11: the object is given up before its volumes are.
#[test]
fn an_early_goodbye() {
    finds("I11", |input, decision| {
        let deleted = input.pod.metadata.deletion_timestamp.is_some();
        if deleted && decision.actions.contains(&Action::UnmountVolumes) {
            decision.actions.push(Action::ConfirmDeletion);
        }
    });
}

// I12: every status carries new times.
#[test]
fn restless_times() {
    finds("I12", |input, decision| {
        for condition in decision.status.conditions.iter_mut().flatten() {
            condition.last_transition_time = Some(Time(input.now.wall));
        }
    });
}

// I13: no back-off.
#[test]
fn no_back_off() {
    finds("I13", |input, decision| {
        let crashed: Vec<(String, u32)> = apps(input)
            .filter_map(|app| {
                let newest = input.containers.get(app)?.newest()?;
                let loops = decision
                    .waiting
                    .iter()
                    .any(|(name, why)| name == app && matches!(why, WaitingFor::CrashBackOff { .. }));
                loops.then(|| (app.to_owned(), newest.attempt + 1))
            })
            .collect();
        for (app, attempt) in crashed {
            start(input, decision, &app, attempt);
        }
    });
}

// I14: a sidecar's exit code decides the phase.
#[test]
fn a_sidecar_that_counts() {
    finds("I14", |_, decision| {
        let mut inits = decision.status.init_container_statuses.iter().flatten();
        let failed = inits.any(|status| {
            let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
            ended.is_some_and(|end| end.exit_code != 0)
        });
        if failed && decision.status.phase.as_deref() == Some("Succeeded") {
            decision.status.phase = Some("Failed".into());
        }
    });
}

// P1: the wake-up after a delay is forgotten.
#[test]
fn a_pod_that_sleeps_for_ever() {
    finds("P1", |_, decision| {
        let loops = |(_, why): &(String, WaitingFor)| matches!(why, WaitingFor::CrashBackOff { .. });
        let stops = decision.memory.containers.values().any(|memory| memory.stop.is_some());
        if decision.waiting.iter().any(loops) && !stops {
            decision.wake_at = None;
        }
    });
}

// P2: a Pod stops and is never confirmed.
#[test]
fn a_pod_that_never_goes() {
    finds("P2", |_, decision| decision.actions.retain(|action| *action != Action::ConfirmDeletion));
}

// W1: nothing says why a container waits.
#[test]
fn silence() {
    finds("W1", |_, decision| decision.waiting.clear());
}
