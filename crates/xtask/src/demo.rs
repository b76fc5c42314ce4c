//! `cargo xtask demo`: the examples for real, and what happened in them.

use crate::Failure;
use crate::tools;

/// Where the demo's images come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Images {
    /// Built here and served from a loopback registry.
    Fixtures,
    /// Pulled from docker.io.
    Online,
}

pub(crate) fn run(images: Images) -> Result<(), Failure> {
    tools::for_demo()?;
    let _ = images;
    Err("not wired up yet".to_owned())
}
