//! `cargo xtask test`: everything that must hold on `main`, cheapest first.

use std::process::Command;

use crate::run::{cargo, require_root, run as finish};
use crate::{Failure, graph, spec, tidy, tools};

/// How much to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// All of it, as CI does.
    Everything,
    /// Without lints and the long crash loops; for the inner loop.
    Quick,
}

/// Runs the suite and stops at the first step that fails.
pub(crate) fn run(depth: Depth) -> Result<(), Failure> {
    require_root("test")?;
    step("tools", tools::for_tests)?;
    if depth == Depth::Everything {
        check()?;
    }
    // End-to-end tests run the program itself; build it once, before anything asks for it.
    step("build", || finish(&mut cargo(&["build", "--quiet", "--workspace", "--all-targets"])))?;
    step("tests", || finish(&mut tests(depth)))?;
    step("rule books", || spec::run(spec::Detail::Shares))
}

/// What can be said of the sources without running them.
pub(crate) fn check() -> Result<(), Failure> {
    step("crate graph", graph::check)?;
    step("tidy", tidy::check)?;
    step("format", || finish(&mut cargo(&["fmt", "--all", "--check"])))?;
    step("lints", || {
        finish(&mut cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })
}

fn tests(depth: Depth) -> Command {
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    command.env("OUTRIGGER_TOOLS", tools::folder());
    if depth == Depth::Quick {
        command.env("OUTRIGGER_CRASH_ROUNDS", "5");
    }
    command
}

fn step(name: &str, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    println!("== {name}");
    work().map_err(|failure| format!("{name}: {failure}"))
}
