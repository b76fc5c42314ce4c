//! What is measured: one file for each suite.

mod api;
mod pods;
mod simulation;
mod start;
mod store;
mod sustained;

use std::future::Future;
use std::pin::Pin;

use crate::Options;
use crate::budget::Row;
use crate::error::Error;

/// The rows of a suite, or why it could not be measured.
type Measuring<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Error>> + 'a>>;

/// A suite: `cargo xtask bench NAME`.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&Options) -> Measuring<'_>,
}

/// All of them, in the order of the file.
pub(crate) const SUITES: &[Suite] = &[
    Suite { name: "start", about: "The program alone", run: |options| Box::pin(start::run(options)) },
    Suite { name: "pods", about: "From POST to running Pods", run: |options| Box::pin(pods::run(options)) },
    Suite {
        name: "sustained",
        about: "A full node, and what is left of Pods that are gone",
        run: |options| Box::pin(sustained::run(options)),
    },
    Suite {
        name: "simulation",
        about: "The Pod decision in the seeded simulation",
        run: |options| Box::pin(simulation::run(options)),
    },
    Suite {
        name: "store",
        about: "The embedded store without a server",
        run: |options| Box::pin(store::run(options)),
    },
    Suite { name: "api", about: "The API server under load", run: |options| Box::pin(api::run(options)) },
];

/// Bytes as megabytes.
#[expect(clippy::cast_precision_loss, reason = "for people to read")]
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// How many of something happened in a second.
#[expect(clippy::cast_precision_loss, reason = "for people to read")]
pub(crate) fn per_second(count: usize, took: std::time::Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
