//! The Kubernetes API server: one pipeline for every kind (rule book sections A-E, G, H, I, L).
//!
//! A request travels `serve` (TLS) or `in_process` → `handler` (who, what, may they) → `storage` for reads or
//! `pipeline` for writes → the [`outrigger_store::Store`]. What a kind is and does is data: a
//! [`KindInfo`](outrigger_api::KindInfo) row and the pure hooks of `outrigger-admission`.
//!
//! This crate refuses to know any kind's meaning outside the row and the few subresources that are their own verbs
//! (`subresource/`), to keep objects as typed structs, and to run controllers.
//!
//! Start reading at [`ApiServer::start`], then `handler`.

mod auth;
mod bootstrap;
mod codec;
mod compress;
mod config;
mod discovery;
mod error;
mod guards;
mod handler;
mod impersonation;
mod in_process;
mod metrics;
mod negotiate;
mod non_resource;
mod openapi;
mod pipeline;
pub mod pki;
mod present;
mod protobuf;
mod read;
mod request;
mod respond;
mod reviews;
mod serve;
mod server;
mod storage;
mod subresource;
mod websocket_watch;

pub use auth::Identity;
pub use config::{Config, NoNodes, NodeLookup, ServiceRange};
pub use error::StartError;
pub use in_process::InProcess;
pub use respond::{Body, BoxError};
pub use server::{ApiServer, Running};
