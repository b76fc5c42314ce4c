//! `cargo xtask bench`: promised beside measured, written to BUDGETS.md.

use crate::Failure;

pub(crate) fn run() -> Result<(), Failure> {
    Err("no benchmark is wired up yet".to_owned())
}
