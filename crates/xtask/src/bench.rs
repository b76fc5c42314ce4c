//! `cargo xtask bench`: builds the program as users get it and hands it to the `bench` program, which measures.

use crate::run::{cargo, require_root, root, run as finish, target};
use crate::{Failure, tools};

/// `options` go to `bench` as they are: suites, `--report`, `--rounds N`.
pub(crate) fn run(options: &[&str]) -> Result<(), Failure> {
    require_root("bench")?;
    tools::for_bench()?;
    finish(&mut cargo(&["build", "--release", "--quiet", "-p", "outrigger", "-p", "outrigger-bench"]))?;
    let data = target().join("bench");
    std::fs::create_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
    let mut bench = std::process::Command::new(target().join("release/outrigger-bench"));
    bench.arg("--program").arg(target().join("release/outrigger")).arg("--data").arg(&data);
    finish(bench.arg("--budgets").arg(root().join("BUDGETS.md")).args(options))
}
