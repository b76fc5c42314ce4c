//! Controllers that die between any two writes, and Pods that end when they like.

use proptest::prelude::*;

use super::*;

/// What happens between two turns.
#[derive(Clone, Debug)]
enum Event {
    /// The controller is killed after so many writes of its turn.
    Crash(usize),
    /// The nth Pod that still runs ends, well or not.
    End(usize, bool),
    /// Somebody deletes the nth Pod.
    Delete(usize),
    Wait(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..6_usize).prop_map(Event::Crash),
        4 => (0..4_usize, proptest::bool::weighted(0.7)).prop_map(|(n, well)| Event::End(n, well)),
        1 => (0..4_usize).prop_map(Event::Delete),
        2 => (0..30_i64).prop_map(Event::Wait),
    ]
}

/// What became of each tracked Pod, told by the world and not by the status.
#[derive(Default)]
struct Ledger(HashMap<String, bool>);

impl Ledger {
    fn look(&mut self, world: &World) {
        for pod in world.pods.iter().filter(|pod| is_tracked(pod) && pods::is_finished(pod)) {
            self.0.insert(pods::uid(pod).to_owned(), pods::phase(pod) == "Succeeded");
        }
    }
}

fn play(indexed: bool, completions: i32, parallelism: i32, events: Vec<Event>) -> Result<(), TestCaseError> {
    let mode = if indexed { "Indexed" } else { "NonIndexed" };
    let mut world = World::new(json!({"completions": completions, "parallelism": parallelism,
        "completionMode": mode, "backoffLimit": 1000, "podReplacementPolicy": "Failed"}));
    let mut ledger = Ledger::default();
    for event in events {
        match event {
            Event::Crash(writes) => {
                let decision = world.decide();
                steps(&decision).into_iter().take(writes).for_each(|step| world.take(step));
                world.backoff = None;
            }
            Event::End(number, well) => {
                let running: Vec<usize> = (1..=world.made).filter(|number| runs(&world, *number)).collect();
                if let Some(number) = running.get(number) {
                    world.phase(*number, if well { "Succeeded" } else { "Failed" });
                }
            }
            Event::Delete(number) => {
                let active: Vec<_> = world.pods.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
                active.get(number).into_iter().for_each(|pod| world.take(Step::Delete(Arc::clone(pod))));
            }
            Event::Wait(seconds) => world.wait(seconds),
        }
        ledger.look(&world);
        let alive = (1..=world.made).filter(|number| runs(&world, *number)).count();
        prop_assert!(alive <= usize::try_from(parallelism).unwrap(), "{alive} Pods at once");
        prop_assert!(finish(&world.job).is_none() || alive == 0, "finished while Pods run");
    }
    finish_all(&mut world, &mut ledger);
    let status = world.job.status.clone().unwrap();
    let well = ledger.0.values().filter(|well| **well).count();
    let badly = ledger.0.len() - well;
    let told = |count: Option<i32>| usize::try_from(count.unwrap_or(0)).unwrap();
    prop_assert_eq!(
        told(status.succeeded),
        if indexed { usize::try_from(completions).unwrap() } else { well }
    );
    prop_assert_eq!(told(status.failed), badly);
    prop_assert_eq!(finish(&world.job).unwrap().type_.as_str(), "Complete");
    prop_assert!(!world.pods.iter().any(|pod| is_tracked(pod)));
    Ok(())
}

fn runs(world: &World, number: usize) -> bool {
    world.pods.iter().any(|pod| pods::uid(pod) == format!("u{number}") && !pods::is_finished(pod))
}

/// Everything that runs succeeds until the Job is over.
fn finish_all(world: &mut World, ledger: &mut Ledger) {
    for _ in 0..100 {
        world.settle();
        if finish(&world.job).is_some() {
            return;
        }
        let running: Vec<usize> = (1..=world.made).filter(|number| runs(world, *number)).collect();
        running.into_iter().for_each(|number| world.phase(number, "Succeeded"));
        ledger.look(world);
        world.wait(600);
    }
}

proptest! {
    /// N6: whatever dies in between, every Pod is counted once, never more run than may, and the Job ends.
    #[test]
    fn every_pod_is_counted_once(
        indexed in any::<bool>(),
        completions in 1..5_i32,
        parallelism in 1..4_i32,
        events in proptest::collection::vec(event(), 0..60),
    ) {
        play(indexed, completions, parallelism, events)?;
    }
}
