//! Explains Pods to people: what will happen, what happened, and what keeps one from running.
//!
//! ```text
//! decide ──► Recorder ──► Report ──► Chart ──► text, SVG, trace, JSON     (`outrigger explain`, `outrigger timeline`)
//!  (input,   (bounded)       │
//!  decision)                 └─────► why::explain ──► text, JSON          (`outrigger why`)
//! ```
//!
//! A [`Recorder`] compares each decision about a Pod with the one before and writes down what changed, so the kubelet
//! and the simulated node leave records of the same kind and everything after that is shared. Start at [`Recorder`],
//! then [`Chart`] and `steps`, where each step gets the rule behind it.
//!
//! This crate refuses to do I/O, to read a clock and to decide anything: it only tells.

mod chart;
mod record;
mod recorder;
pub mod render;
mod rules;
mod steps;
pub mod why;
mod words;

pub use chart::{Bar, Chart, Mark, MarkKind, Shade, Track};
pub use record::{
    Entry, Feature, HookKind, HookStep, Kind, PodName, ProbeProgress, Report, Row, SandboxStep, StartStep,
    VolumeStep, Wait, What,
};
pub use recorder::{HEAD, Recorder, TAIL};
pub use rules::{RULES, Rule};
pub use steps::Step;
