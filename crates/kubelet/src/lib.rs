//! The node agent: registers the node, watches the Pods bound to it and drives one task per Pod around the pure
//! decision of `outrigger-pod-lifecycle`.
//!
//! A task gathers facts, asks for a decision, writes its memory down, publishes its status and begins its actions;
//! what the actions leave behind are the next turn's facts. This crate decides nothing about containers and starts
//! no processes itself: it carries out decisions through the runtime, network and image seams. Start reading at
//! [`Kubelet::run`], then `pod_workers`.

#![allow(clippy::result_large_err, reason = "a failed request's status is large and rare")]

mod admission;
mod agent;
mod allocation;
mod config;
mod configuration;
mod container;
mod context;
mod env;
mod events;
mod eviction;
mod files;
mod hooks;
mod http_get;
mod id_ranges;
mod image_gc;
mod images;
mod kubelet;
mod logs;
mod metrics;
mod node_state;
mod node_status;
mod objects;
mod pod_table;
mod pod_workers;
mod prober;
mod quantity;
mod records;
mod reference_text;
mod runtime_words;
mod server;
mod shutdown;
mod static_pods;
mod stats;
mod status;
mod volumes;

pub use agent::KubeletAgent;
pub use config::{Decide, KubeletConfig};
pub use configuration::{ConfigurationError, KubeletConfiguration};
pub use eviction::{EvictionConfig, Limit, Signal, Threshold, ThresholdError};
pub use image_gc::ImageGcConfig;
pub use images::{ImageService, PullFailure};
pub use kubelet::Kubelet;
pub use server::{ListenError, Listeners, ServingKeys};
pub use shutdown::{NodeShutdown, ShutdownGrace};
