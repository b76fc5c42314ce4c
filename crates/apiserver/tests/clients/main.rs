//! The real kubectl and helm, every version the test command has fetched, against the API server alone.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod apply;
mod helm;
mod kubectl;
mod tools;
