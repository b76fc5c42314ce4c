//! `cargo xtask simulate --seeds N [--seed S]`: plays seeds, prints how many decisions that were a second, and for a
//! seed that breaks a rule its number, the rule, the Pod and its timeline.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use outrigger_api::Clock as _;
use outrigger_api::clock::SystemClock;
use outrigger_simulator::seeds::{Outcome, simulate, simulate_all};

/// Half of a decision's time is memory.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)?.parse::<u64>().ok()
    };
    let (first, count) = match (number("--seed"), number("--seeds")) {
        (Some(seed), count) => (seed, count.unwrap_or(1)),
        (None, Some(count)) => (1, count),
        (None, None) => {
            eprintln!("usage: simulate --seeds N [--seed FIRST]");
            return ExitCode::from(64);
        }
    };
    let begun = SystemClock.now().mono;
    let (decisions, pods) = (AtomicU64::new(0), AtomicU64::new(0));
    let broken = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    simulate_all(first..first + count, threads, |outcome| {
        decisions.fetch_add(outcome.decisions, Ordering::Relaxed);
        pods.fetch_add(u64::try_from(outcome.pods).unwrap_or(0), Ordering::Relaxed);
        if let Some((_, violation)) = outcome.violation {
            let mut broken = broken.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            broken.push((outcome.seed, format!("{}: {}", violation.rule, violation.what)));
        }
    });
    let took = SystemClock.now().mono.since(begun);
    let decisions = decisions.into_inner();
    let rate = u128::from(decisions) * 1000 / took.as_millis().max(1);
    println!(
        "{count} seeds, {} pods, {decisions} decisions in {:.1} s: {rate} decisions/s",
        pods.into_inner(),
        took.as_secs_f64()
    );
    let mut broken = broken.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    broken.sort_unstable();
    for (seed, rule) in &broken {
        println!("seed {seed} breaks {rule}");
    }
    if let Some((seed, _)) = broken.first() {
        tell(&simulate(*seed, Box::new(outrigger_pod_lifecycle::decide), true));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn tell(outcome: &Outcome) {
    let Some((pod, violation)) = &outcome.violation else { return };
    println!("seed {}, {pod:?}\n{}\n\n{}\n", outcome.seed, outcome.spec, outcome.story.join("\n"));
    println!("{} at {:.3} s: {}", violation.rule, violation.at.as_secs_f64(), violation.what);
}
