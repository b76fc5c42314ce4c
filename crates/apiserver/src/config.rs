//! What a server is told at start, already validated; nothing here is read again from files or the environment.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use outrigger_api::clock::SharedClock;
use outrigger_store::Store;
use outrigger_streaming::agent::NodeAgent;

/// Everything [`ApiServer::start`](crate::ApiServer::start) needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to serve HTTPS; port 0 takes any free port.
    pub listen: SocketAddr,
    /// The address other machines and Pods reach this server at; it goes into the serving certificate and the
    /// `kubernetes` endpoints (L2).
    pub advertise: IpAddr,
    /// Holds `pki/`; created if missing.
    pub data_dir: PathBuf,
    /// The name of the node in this process; it goes into the serving certificate.
    pub node_name: String,
    /// Cluster IPs come from here (L7).
    pub service_range: ServiceRange,
    /// Where objects live. The server never closes it.
    pub store: Arc<dyn Store>,
    /// The program's clock.
    pub clock: SharedClock,
    /// How to reach the kubelets for logs, exec, attach and port-forward.
    pub nodes: Arc<dyn NodeLookup>,
}

/// Finds the agent of a node.
pub trait NodeLookup: Send + Sync + fmt::Debug {
    /// `None` if no agent of that name can be reached from here.
    fn agent(&self, node: &str) -> Option<Arc<dyn NodeAgent>>;
}

/// A cluster without nodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNodes;

impl NodeLookup for NoNodes {
    fn agent(&self, _node: &str) -> Option<Arc<dyn NodeAgent>> {
        None
    }
}

/// An IPv4 range of cluster IPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRange {
    network: u32,
    prefix_len: u8,
}

impl ServiceRange {
    /// The range of `10.0.0.0/24` (L7).
    pub const DEFAULT: Self = Self { network: 0x0A00_0000, prefix_len: 24 };

    /// Parses `a.b.c.d/n`; `None` unless 8 ≤ n ≤ 30 and the host bits are zero.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix_len) = text.split_once('/')?;
        let network = u32::from(address.parse::<Ipv4Addr>().ok()?);
        let prefix_len = prefix_len.parse::<u8>().ok().filter(|n| (8..=30).contains(n))?;
        let range = Self { network, prefix_len };
        (network & (range.size() - 1) == 0).then_some(range)
    }

    /// How many addresses the range spans, network and broadcast included.
    pub const fn size(self) -> u32 {
        1 << (32 - self.prefix_len)
    }

    /// The address `offset` places into the range; `offset` 0 is the network address.
    pub fn address(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.network + offset)
    }

    /// How far into the range `address` lies; `None` outside and for the network and broadcast addresses.
    pub fn offset(self, address: Ipv4Addr) -> Option<u32> {
        let offset = u32::from(address).checked_sub(self.network)?;
        (1..self.size() - 1).contains(&offset).then_some(offset)
    }
}

impl fmt::Display for ServiceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(0), self.prefix_len)
    }
}
