//! Pod networking on one node: a bridge, a veth pair per Pod, addresses that survive restarts, masquerade and host
//! ports, all by netlink. No plug-in is executed and nothing is pulled. IPv4 only, so far.
//!
//! This crate knows no API objects and starts no processes. Start reading at [`PodNetworking`], the promise, and
//! [`NodeNetwork`], which keeps it.

mod addresses;
mod departures;
mod error;
mod links;
mod netns;
mod nft;
mod node;
mod pod;

pub use error::NetworkError;
pub use node::{NetworkConfig, NodeNetwork};
pub use pod::{Endpoint, HostPort, PodNetwork, PodNetworking, Protocol};
