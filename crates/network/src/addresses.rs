//! Which endpoint has which address: a pure ledger and the file it lives in.
//!
//! The file is written before an address is used and read at start, so that a restarted agent neither hands out an
//! address a running Pod has nor forgets one. An address that was given back is not handed out again until all
//! others had their turn: peers may still remember who it was.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{Endpoint, HostPort, NetworkError};

/// What is on record of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: Ipv4Addr,
    /// The file name of its namespace. One that was made ahead keeps the name it was made under.
    pub(crate) namespace: String,
    #[serde(default)]
    pub(crate) host_ports: Vec<HostPort>,
}

impl Assignment {
    /// Whether no Pod has it yet.
    pub(crate) fn is_ahead(&self) -> bool {
        self.endpoint.pod_uid.starts_with(AHEAD)
    }
}

/// Stands where a Pod's uid will, and begins the name of the namespace. No uid begins like this.
const AHEAD: &str = "ahead-";

/// The addresses of one node.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    cidr: Ipv4Net,
    assignments: BTreeMap<Endpoint, Assignment>,
    /// Where the search for the next free address goes on.
    last: Ipv4Addr,
}

/// The ledger's file.
#[derive(Serialize, Deserialize)]
struct Stored {
    last: Ipv4Addr,
    assignments: Vec<Assignment>,
}

impl Ledger {
    pub(crate) fn new(cidr: Ipv4Net) -> Self {
        Self { cidr, assignments: BTreeMap::new(), last: gateway(cidr) }
    }

    /// The assignment an endpoint has.
    pub(crate) fn get(&self, endpoint: &Endpoint) -> Option<&Assignment> {
        self.assignments.get(endpoint)
    }

    /// All assignments.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Assignment> {
        self.assignments.values()
    }

    /// Gives the endpoint an address, or the one it has; its host ports are replaced.
    pub(crate) fn assign(
        &mut self,
        endpoint: &Endpoint,
        host_ports: &[HostPort],
    ) -> Result<Assignment, NetworkError> {
        self.refuse_taken_ports(endpoint, host_ports)?;
        let (address, namespace) = match self.assignments.get(endpoint) {
            Some(found) => (found.address, found.namespace.clone()),
            None => (self.next_free()?, format!("{}-{}", endpoint.pod_uid, endpoint.attempt)),
        };
        Ok(self.insert(Assignment {
            endpoint: endpoint.clone(),
            address,
            namespace,
            host_ports: host_ports.to_vec(),
        }))
    }

    /// Gives an address to a namespace that is made ahead of the Pod that will have it.
    pub(crate) fn assign_ahead(&mut self) -> Result<Assignment, NetworkError> {
        let address = self.next_free()?;
        let namespace = format!("{AHEAD}{address}");
        let endpoint = Endpoint { pod_uid: namespace.clone(), attempt: 0 };
        Ok(self.insert(Assignment { endpoint, address, namespace, host_ports: Vec::new() }))
    }

    /// Hands what was made ahead to the endpoint that needs it. On an error nothing has changed.
    pub(crate) fn hand_over(
        &mut self,
        ahead: &Endpoint,
        endpoint: &Endpoint,
        host_ports: &[HostPort],
    ) -> Result<Assignment, NetworkError> {
        self.refuse_taken_ports(endpoint, host_ports)?;
        let Some(made) = self.assignments.remove(ahead) else { return self.assign(endpoint, host_ports) };
        Ok(self.insert(Assignment { endpoint: endpoint.clone(), host_ports: host_ports.to_vec(), ..made }))
    }

    fn insert(&mut self, assignment: Assignment) -> Assignment {
        self.assignments.insert(assignment.endpoint.clone(), assignment.clone());
        assignment
    }

    /// Takes the endpoint's address back.
    pub(crate) fn release(&mut self, endpoint: &Endpoint) -> Option<Assignment> {
        self.assignments.remove(endpoint)
    }

    fn refuse_taken_ports(&self, endpoint: &Endpoint, wanted: &[HostPort]) -> Result<(), NetworkError> {
        let others = self.assignments.values().filter(|other| other.endpoint.pod_uid != endpoint.pod_uid);
        for other in others {
            let taken =
                wanted.iter().find(|port| other.host_ports.iter().any(|theirs| collide(port, theirs)));
            if let Some(port) = taken {
                let holder = other.endpoint.pod_uid.clone();
                return Err(NetworkError::HostPortTaken { port: port.host_port, holder });
            }
        }
        Ok(())
    }

    fn next_free(&mut self) -> Result<Ipv4Addr, NetworkError> {
        let used: BTreeSet<Ipv4Addr> = self.assignments.values().map(|a| a.address).collect();
        let (low, high) = bounds(self.cidr);
        let start = u32::from(self.last).saturating_add(1).max(low);
        let free = (start..=high).chain(low..=high).map(Ipv4Addr::from).find(|a| !used.contains(a));
        let address =
            free.ok_or_else(|| NetworkError::Exhausted { cidr: self.cidr.to_string(), used: used.len() })?;
        self.last = address;
        Ok(address)
    }

    /// Reads the ledger; no file is an empty one. An assignment outside the range is an error: the range was changed
    /// under running Pods.
    pub(crate) fn load(path: &Path, cidr: Ipv4Net) -> Result<Self, NetworkError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::new(cidr)),
            Err(source) => {
                return Err(NetworkError::Io { doing: format!("read {}", path.display()), source });
            }
        };
        let stored: Stored = serde_json::from_slice(&text).map_err(|error| NetworkError::Io {
            doing: format!("read {}", path.display()),
            source: error.into(),
        })?;
        if let Some(stranger) = stored.assignments.iter().find(|a| !cidr.contains(&a.address)) {
            return Err(NetworkError::Config(format!(
                "pod {} has address {} outside of {cidr}: start with the range it was made in, or stop all pods first",
                stranger.endpoint.pod_uid, stranger.address
            )));
        }
        let assignments = stored.assignments.into_iter().map(|a| (a.endpoint.clone(), a)).collect();
        Ok(Self { cidr, assignments, last: stored.last })
    }

    /// Every assignment a file holds, of whatever range; none if it cannot be read.
    pub(crate) fn recorded(path: &Path) -> Vec<Assignment> {
        let text = std::fs::read(path).unwrap_or_default();
        serde_json::from_slice::<Stored>(&text).map(|stored| stored.assignments).unwrap_or_default()
    }

    /// Writes the ledger in one step: a reader sees the old or the new one. It is not synced to disk, because what a
    /// power failure could take from it, the Pods' namespaces, goes with it.
    pub(crate) fn save(&self, path: &Path) -> Result<(), NetworkError> {
        let stored = Stored { last: self.last, assignments: self.assignments.values().cloned().collect() };
        let fresh = path.with_extension("new");
        let text = serde_json::to_vec(&stored).expect("plain data encodes");
        std::fs::write(&fresh, text)
            .and_then(|()| std::fs::rename(&fresh, path))
            .map_err(|source| NetworkError::Io { doing: format!("write {}", path.display()), source })
    }
}

/// The node's own address in its range: the first one.
pub(crate) fn gateway(cidr: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(cidr.network()).saturating_add(1))
}

/// The first and the last address for Pods.
fn bounds(cidr: Ipv4Net) -> (u32, u32) {
    let network = u32::from(cidr.network());
    (network.saturating_add(2), u32::from(cidr.broadcast()).saturating_sub(1))
}

fn collide(a: &HostPort, b: &HostPort) -> bool {
    let overlap = a.host_ip.is_none() || b.host_ip.is_none() || a.host_ip == b.host_ip;
    a.protocol == b.protocol && a.host_port == b.host_port && overlap
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;

    fn endpoint(uid: &str) -> Endpoint {
        Endpoint { pod_uid: uid.into(), attempt: 0 }
    }

    fn ledger(cidr: &str) -> Ledger {
        Ledger::new(cidr.parse().unwrap())
    }

    fn port(host_port: u16) -> HostPort {
        HostPort { protocol: Protocol::Tcp, host_ip: None, host_port, container_port: 80 }
    }

    #[test]
    fn an_endpoint_keeps_its_address() {
        let mut ledger = ledger("10.9.0.0/24");
        let first = ledger.assign(&endpoint("a"), &[]).unwrap().address;
        assert_eq!(first, Ipv4Addr::new(10, 9, 0, 2));
        assert_eq!(ledger.assign(&endpoint("a"), &[]).unwrap().address, first);
    }

    #[test]
    fn a_released_address_waits_for_its_turn_and_a_full_range_says_so() {
        let mut ledger = ledger("10.9.0.0/29");
        for uid in ["a", "b", "c", "d"] {
            ledger.assign(&endpoint(uid), &[]).unwrap();
        }
        ledger.release(&endpoint("a"));
        assert_eq!(ledger.assign(&endpoint("e"), &[]).unwrap().address, Ipv4Addr::new(10, 9, 0, 6));
        assert_eq!(ledger.assign(&endpoint("f"), &[]).unwrap().address, Ipv4Addr::new(10, 9, 0, 2));
        let full = ledger.assign(&endpoint("g"), &[]).unwrap_err().to_string();
        assert_eq!(full, "no address is left in 10.9.0.0/29: 5 are in use");
    }

    #[test]
    fn a_host_port_has_one_holder() {
        let mut ledger = ledger("10.9.0.0/24");
        ledger.assign(&endpoint("a"), &[port(8080)]).unwrap();
        let refused = ledger.assign(&endpoint("b"), &[port(8080)]).unwrap_err().to_string();
        assert_eq!(refused, "host port 8080 is already used by pod a");
        ledger.assign(&endpoint("b"), &[port(8081)]).unwrap();
    }

    #[test]
    fn what_was_made_ahead_keeps_its_address_and_namespace() {
        let mut ledger = ledger("10.9.0.0/24");
        ledger.assign(&endpoint("a"), &[port(8080)]).unwrap();
        let ahead = ledger.assign_ahead().unwrap();
        assert!(ahead.is_ahead());
        let refused = ledger.hand_over(&ahead.endpoint, &endpoint("b"), &[port(8080)]);
        assert!(refused.is_err() && ledger.get(&ahead.endpoint).is_some());
        let handed = ledger.hand_over(&ahead.endpoint, &endpoint("b"), &[port(8081)]).unwrap();
        assert_eq!((handed.address, &handed.namespace), (ahead.address, &ahead.namespace));
        assert!(!handed.is_ahead() && ledger.get(&ahead.endpoint).is_none());
        assert_eq!(ledger.assign(&endpoint("b"), &[port(8081)]).unwrap(), handed);
    }

    #[test]
    fn the_ledger_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("addresses.json");
        let mut before = ledger("10.9.0.0/24");
        let address = before.assign(&endpoint("a"), &[port(1)]).unwrap().address;
        before.save(&path).unwrap();
        let after = Ledger::load(&path, "10.9.0.0/24".parse().unwrap()).unwrap();
        assert_eq!(after.get(&endpoint("a")).unwrap().address, address);
        let moved = Ledger::load(&path, "10.8.0.0/24".parse().unwrap()).unwrap_err().to_string();
        assert!(moved.contains("pod a has address 10.9.0.2 outside of 10.8.0.0/24"), "{moved}");
    }
}
