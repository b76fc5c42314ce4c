//! The seam: what a node agent asks of Pod networking.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::NetworkError;

/// One network namespace to be: a Pod may have several over its life, one per sandbox attempt (R2.9).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// `metadata.uid` of the Pod.
    pub pod_uid: String,
    /// The sandbox attempt, 0 for the first.
    pub attempt: u32,
}

/// A port of the node that leads to a port of the Pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// How.
    pub protocol: Protocol,
    /// An address of the node; `None` is all of them.
    pub host_ip: Option<IpAddr>,
    /// On the node.
    pub host_port: u16,
    /// In the Pod.
    pub container_port: u16,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the wire words")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// What a Pod was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodNetwork {
    /// The bind-mounted namespace.
    pub netns: PathBuf,
    /// The Pod's addresses, the primary one first.
    pub ips: Vec<IpAddr>,
    /// The node's side of the Pod's link: where the Pod finds the node.
    pub gateway: IpAddr,
}

/// Pod networking as the node agent sees it. All verbs are idempotent; dropping a future midway leaves something
/// that the same verb called again completes.
#[async_trait]
pub trait PodNetworking: Send + Sync + fmt::Debug {
    /// Makes the namespace, address, link and host ports, or finds them as an earlier call left them.
    async fn set_up(&self, endpoint: &Endpoint, host_ports: &[HostPort]) -> Result<PodNetwork, NetworkError>;

    /// Takes all of it away; nothing to take away is success.
    async fn tear_down(&self, endpoint: &Endpoint) -> Result<(), NetworkError>;

    /// Everything that is set up, found anew after a restart.
    async fn list(&self) -> Result<Vec<(Endpoint, PodNetwork)>, NetworkError>;
}
