//! The whole program with its real counterparts: kubectl in front, a registry behind. Needs root.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod ask;
mod etcd;
mod examples;
mod features;
mod kubectl;
mod node;
mod port_forward;
mod proxy;
mod run;
mod suite;
mod terminal;
mod verbs;
mod workloads;
