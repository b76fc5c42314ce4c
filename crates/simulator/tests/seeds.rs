//! The seeded simulation finds nothing, and plays a seed the same way twice.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use outrigger_pod_lifecycle::decide;
use outrigger_simulator::seeds::simulate;

/// Two thousand, or as many as `OUTRIGGER_SEEDS` says.
fn seeds() -> u64 {
    std::env::var("OUTRIGGER_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2000)
}

// I1, I2, I3, I4, I5, I6, I7, I8, I9, I10, I11, I12, I13, I14: after every step of every seed.
#[test]
fn no_seed_breaks_an_invariant() {
    let (next, broken) = (AtomicU64::new(1), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds() || broken.lock().unwrap().is_some() {
                        return;
                    }
                    if simulate(seed, Box::new(decide), false).violation.is_some() {
                        *broken.lock().unwrap() = Some(seed);
                    }
                }
            });
        }
    });
    if let Some(seed) = broken.into_inner().unwrap() {
        let outcome = simulate(seed, Box::new(decide), true);
        let story = outcome.story.join("\n");
        panic!("seed {seed} (cargo xtask simulate --seed {seed})\n{story}\n{:?}", outcome.violation);
    }
}

#[test]
fn a_seed_plays_the_same_way_twice() {
    // With a bug in it, so that there is a story to compare.
    let broken = || {
        simulate(
            3,
            Box::new(|input| {
                let mut decision = decide(input);
                decision.status.phase = Some("Succeeded".into());
                decision
            }),
            true,
        )
    };
    let (first, second) = (broken(), broken());
    assert!(first.story.len() > 1, "{first:?}");
    assert_eq!((first.story, first.violation), (second.story, second.violation));
}
