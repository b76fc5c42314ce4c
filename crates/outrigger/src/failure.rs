//! Failures of a verb, with the exit code scripts go by.

use std::error::Error;
use std::fmt;

/// Wrong call.
pub(crate) const USAGE: u8 = 64;
/// A manifest cannot be used.
pub(crate) const BAD_MANIFEST: u8 = 65;
/// The machine lacks something.
pub(crate) const MISSING_FEATURE: u8 = 69;
/// Out of time.
pub(crate) const TIMED_OUT: u8 = 124;
/// Anything else.
const OTHER: u8 = 1;

/// Why a verb failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    text: String,
}

impl Failure {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    pub(crate) fn other(text: impl Into<String>) -> Self {
        Self::new(OTHER, text)
    }

    /// What was being done, and everything the error has to say; for `map_err`.
    pub(crate) fn doing<E: Error>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |error| Self::other(format!("{what}: {}", chain(&error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    outrigger_images::chain_text(error)
}
