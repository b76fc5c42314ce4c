//! What this machine is called and how it is reached.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::Ipv4Net;
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

/// A range for Pods that no route of this machine leads into. Where to begin looking differs from process to process,
/// as two that look at the same time must not find the same.
pub(crate) fn free_range() -> Option<Ipv4Net> {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    free_among(&routes, std::process::id())
}

/// One of 10.64.0.0/20 to 10.127.240.0/20; `routes` is a table of the kernel's (proc(5), `/proc/net/route`).
fn free_among(routes: &str, begin: u32) -> Option<Ipv4Net> {
    const RANGES: u32 = 64 << 4;
    let taken: Vec<Ipv4Net> = routes.lines().skip(1).filter_map(destination).collect();
    (0..RANGES).find_map(|step| {
        let address = Ipv4Addr::new(10, 64, 0, 0).to_bits() | ((begin.wrapping_add(step) % RANGES) << 12);
        let range = Ipv4Net::new(Ipv4Addr::from_bits(address), 20).ok()?;
        let free = taken.iter().all(|net| !net.contains(&range.addr()) && !range.contains(&net.addr()));
        free.then_some(range)
    })
}

/// Where a route leads; the default route leads everywhere and takes nothing.
fn destination(line: &str) -> Option<Ipv4Net> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok().map(u32::swap_bytes);
    let (address, mask) = (number(1)?, number(7)?);
    (mask != 0).then(|| Ipv4Net::with_netmask(address.into(), mask.into()).ok()).flatten()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_range_avoids_every_route_but_the_default() {
        let head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";
        let default = format!("{head}eth0 00000000 0100A8C0 0003 0 0 0 00000000 0 0 0\n");
        assert_eq!(free_among(&default, 0), "10.64.0.0/20".parse().ok());
        // 10.64.0.0/16 is taken: sixteen ranges further.
        let taken = format!("{default}or0 0000400A 00000000 0001 0 0 0 0000FFFF 0 0 0\n");
        assert_eq!(free_among(&taken, 0), "10.65.0.0/20".parse().ok());
        let all = format!("{default}vpn0 0000000A 00000000 0001 0 0 0 000000FF 0 0 0\n");
        assert_eq!(free_among(&all, 7), None);
    }
}
