//! What this machine is called and how it is reached.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use outrigger_apiserver::NodeLookup;
use outrigger_streaming::agent::NodeAgent;

/// The machine's host name as a node name: lower case, up to the first dot kept whole.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let usable = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let name: String = name.chars().filter(|c| usable(*c)).collect();
    let name = name.trim_matches(['-', '.']).to_owned();
    if name.is_empty() { "node".to_owned() } else { name }
}

/// The address the machine uses towards others: the kernel's choice for a route, nothing is sent.
pub(crate) fn address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

/// The agents in this process, by node name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agents(Arc<Mutex<HashMap<String, Arc<dyn NodeAgent>>>>);

impl Agents {
    pub(crate) fn add(&self, node: &str, agent: Arc<dyn NodeAgent>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(node.to_owned(), agent);
    }
}

impl NodeLookup for Agents {
    fn agent(&self, node: &str) -> Option<Arc<dyn NodeAgent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }
}
