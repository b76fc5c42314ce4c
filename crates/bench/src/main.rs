//! `bench`: measures the program from outside, prints promised beside measured and writes `BUDGETS.md`.
//!
//! `bench --program FILE --data DIR --budgets FILE [--rounds N] [--report] [SUITE…]`
//!
//! It decides nothing about the product and asks it only what any user could: command line, API, `/proc`. A suite is
//! one file in [`suites`] and one entry in [`suites::SUITES`]; it answers with [`Row`](budget::Row)s. Latencies are
//! taken by watch from a separate process over HTTP/2 and TLS, so the client's share is in them but small. What
//! machines differ in is shown as a ratio to peers measured in the same run, turn by turn: see [`peers`].

mod budget;
mod client;
mod cluster;
mod error;
mod machine;
mod manifest;
mod peers;
mod process;
mod report;
mod suites;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use error::Error;

/// What the suites need to know.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The program under test.
    pub(crate) program: PathBuf,
    /// A folder of the disk to measure on; a suite's own folder below it is removed when it ends.
    pub(crate) data: PathBuf,
    /// The file to write.
    pub(crate) budgets: PathBuf,
    /// Pods made and deleted when looking for growth.
    pub(crate) rounds: usize,
    /// Print only: nothing is written, and a broken promise is no failure.
    pub(crate) report: bool,
    /// Which suites; all of them if empty.
    pub(crate) suites: Vec<String>,
}

/// For the simulation, half of whose time is memory; it is what `cargo xtask simulate` has.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str =
    "usage: bench --program FILE --data DIR --budgets FILE [--rounds N] [--report] [SUITE...]";

fn parse(words: impl Iterator<Item = String>) -> Option<Options> {
    let mut words = words;
    let mut options = Options {
        program: PathBuf::new(),
        data: PathBuf::new(),
        budgets: PathBuf::new(),
        rounds: 1000,
        report: false,
        suites: Vec::new(),
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--program" => options.program = words.next()?.into(),
            "--data" => options.data = words.next()?.into(),
            "--budgets" => options.budgets = words.next()?.into(),
            "--rounds" => options.rounds = words.next()?.parse().ok()?,
            "--report" => options.report = true,
            name if suites::SUITES.iter().any(|suite| suite.name == name) => {
                options.suites.push(word);
            }
            _ => return None,
        }
    }
    let given = |path: &PathBuf| !path.as_os_str().is_empty();
    (given(&options.program) && given(&options.data) && given(&options.budgets)).then_some(options)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(options) = parse(std::env::args().skip(1)) else {
        let names: Vec<&str> = suites::SUITES.iter().map(|suite| suite.name).collect();
        eprintln!("{USAGE}\nsuites: {}", names.join(", "));
        return ExitCode::from(64);
    };
    match run(&options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {}", error::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Runs the suites, and says whether every promise was kept.
async fn run(options: &Options) -> Result<bool, Error> {
    let mut sections = Vec::new();
    for suite in suites::SUITES {
        if options.suites.is_empty() || options.suites.iter().any(|name| name == suite.name) {
            println!("== {}: {}", suite.name, suite.about);
            let rows = (suite.run)(options).await?;
            print!("{}", report::table(&rows));
            sections.push((suite, rows));
        }
    }
    let kept = sections.iter().flat_map(|(_, rows)| rows).all(budget::Row::is_kept);
    if options.report {
        return Ok(true);
    }
    report::write(&options.budgets, &machine::describe(&options.data)?, &sections)?;
    if !kept {
        eprintln!("bench: promises are broken; see the rows marked **no**");
    }
    Ok(kept)
}
