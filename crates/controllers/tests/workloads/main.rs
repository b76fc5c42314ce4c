//! The workload controllers against the real API server. The test plays the kubelet: it says how Pods fare.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod access;
mod cluster;
mod cron_job;
mod daemon_set;
mod deployment;
mod garbage;
mod job;
mod quota;
mod services;
mod stateful_set;
