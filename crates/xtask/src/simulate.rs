//! `cargo xtask simulate`: seeds played by an optimised build of the simulator.

use crate::Failure;
use crate::run::{cargo, run as finish};

/// Plays `seeds` seeds from `first` on.
pub(crate) fn run(seeds: &str, first: Option<&str>) -> Result<(), Failure> {
    let profile = ["run", "--quiet", "--release", "-p", "outrigger-simulator", "--example", "simulate"];
    let mut command = cargo(&profile);
    command.args(["--", "--seeds", seeds]);
    if let Some(first) = first {
        command.args(["--seed", first]);
    }
    finish(&mut command)
}
