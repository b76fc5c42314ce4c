//! The simulation: how many decisions a second the whole machinery around them plays, invariants checked.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use outrigger_simulator::seeds::simulate_all;

use super::per_second;
use crate::Options;
use crate::budget::Row;
use crate::error::Error;

/// As many as every run of the tests plays.
const SEEDS: u64 = 2000;

pub(super) async fn run(_: &Options) -> Result<Vec<Row>, Error> {
    let (decisions, broken) = (AtomicUsize::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let began = Instant::now();
    // The suite is alone in its runtime: nothing waits for this thread.
    simulate_all(1..1 + SEEDS, threads, |outcome| {
        decisions.fetch_add(usize::try_from(outcome.decisions).unwrap_or(usize::MAX), Ordering::Relaxed);
        broken.fetch_add(u64::from(outcome.violation.is_some()), Ordering::Relaxed);
    });
    let took = began.elapsed();
    if broken.into_inner() > 0 {
        return Err(Error::Unexpected("a seed breaks a rule; see cargo xtask simulate".to_owned()));
    }
    let decisions = decisions.into_inner();
    let seconds = took.as_secs_f64();
    let note =
        format!("{SEEDS} seeds on {threads} threads, {decisions} decisions in {seconds:.1} s, mimalloc");
    Ok(vec![
        Row::new("decisions, invariants checked after each", per_second(decisions, took), "/s")
            .at_least(100_000.0)
            .note(note),
    ])
}
