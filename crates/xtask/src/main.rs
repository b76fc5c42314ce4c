//! The workspace's own tools, run as `cargo xtask VERB`.
//!
//! | verb | does |
//! |---|---|
//! | `demo` | builds, installs what is missing, runs the examples and shows what happened |
//! | `test` | everything: format, lints, tidy rules, the crate graph, unit, adapter and end-to-end tests |
//! | `check` | of that, what runs nothing: format, lints, tidy rules, the crate graph |
//! | `bench` | measures, prints promised beside measured, writes the table of `BUDGETS.md` |
//! | `traces` | runs the scenarios of `conformance/traces` and says what differs from a reference cluster |
//! | `simulate` | plays seeds of the simulated node and says which break an invariant, and how fast it decides |
//! | `spec` | per rule book: rules with a test, rules without, and the share |
//!
//! It decides nothing about the product and has next to no dependencies: it is the first thing a newcomer compiles.

mod bench;
mod cluster;
mod demo;
mod graph;
mod run;
mod simulate;
mod spec;
mod suite;
mod tidy;
mod tools;
mod traces;

use std::process::ExitCode;

/// A step that failed, in words for the person at the terminal.
type Failure = String;

const USAGE: &str = "usage: cargo xtask demo [--online] | test [--quick] | check | spec [--missing]
       cargo xtask bench [--report] [--rounds N] [SUITE...]
       cargo xtask traces [SCENARIO...]
       cargo xtask simulate [--seeds N] [--seed S]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["demo"] => demo::run(demo::Images::Fixtures),
        ["demo", "--online"] => demo::run(demo::Images::Online),
        ["test"] => suite::run(suite::Depth::Everything),
        ["test", "--quick"] => suite::run(suite::Depth::Quick),
        ["check"] => suite::check(),
        ["simulate", "--seeds", seeds] => simulate::run(seeds, None),
        ["simulate", "--seed", seed] => simulate::run("1", Some(seed)),
        ["simulate", "--seeds", seeds, "--seed", seed] => simulate::run(seeds, Some(seed)),
        ["bench", options @ ..] => bench::run(options),
        ["traces", scenarios @ ..] => traces::run(scenarios),
        ["spec"] => spec::run(spec::Detail::Shares),
        ["spec", "--missing"] => spec::run(spec::Detail::Missing),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
