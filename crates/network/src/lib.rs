//! Pod networking on one node: a bridge, a veth pair per Pod, addresses that survive restarts, masquerade and host
//! ports, all by netlink. No plug-in is executed and nothing is pulled.
//!
//! This crate knows no API objects and starts no processes. Start reading at [`PodNetworking`].

mod error;
mod pod;

pub use error::NetworkError;
pub use pod::{Endpoint, HostPort, PodNetwork, PodNetworking, Protocol};
