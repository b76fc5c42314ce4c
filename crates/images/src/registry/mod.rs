//! Talking to registries: who to ask, with which credentials, and what their answers mean.
//!
//! `hosts` turns mirror files into a list of endpoints, `credentials` finds the secrets for them, `http` carries
//! requests, `auth` answers challenges and `client` puts them together. Nothing here writes to disk and nothing here
//! knows what a layer is: bytes come out as the registry sent them, bounded in size.

pub(crate) mod answer;
pub(crate) mod auth;
pub(crate) mod blob;
pub(crate) mod client;
pub(crate) mod credentials;
pub(crate) mod hosts;
pub(crate) mod http;
pub(crate) mod toml;
