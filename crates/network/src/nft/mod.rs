//! Our nftables table: masquerade for what Pods send out, and host ports.
//!
//! The table is small and always written whole, in one atomic batch, from the ledger: what the kernel has is what the
//! ledger says, whatever happened before. The `nft` program is not needed.

mod message;
mod rule;

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ipnet::Ipv4Net;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use self::rule::{Hook, Rule, Table};
use crate::NetworkError;
use crate::addresses::Assignment;

/// What the table is about.
#[derive(Clone, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) table: &'a str,
    pub(crate) bridge: &'a str,
    pub(crate) cidr: Ipv4Net,
    pub(crate) assignments: Vec<&'a Assignment>,
}

/// How long the kernel may take to answer before the step counts as failed; it normally takes microseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Makes the kernel's table what `rules` say.
pub(crate) fn apply(rules: &Rules<'_>) -> Result<(), NetworkError> {
    let mut table = Table::replacing(rules.table);
    table.base_chain("prerouting", Hook::Prerouting);
    table.base_chain("output", Hook::Output);
    table.base_chain("postrouting", Hook::Postrouting);
    table.chain("hostports");
    let jump = Rule::new().destined_to_node().jump("hostports");
    table.rule("prerouting", &jump);
    table.rule("output", &jump);
    source_rules(&mut table, rules);
    for assignment in &rules.assignments {
        host_ports(&mut table, assignment);
    }
    let (bytes, last) = table.finish();
    transact(&bytes, last).map_err(|cause| kernel("write", rules.table, &cause))
}

/// Takes the table away; its absence is success.
pub(crate) fn remove(table: &str) -> Result<(), NetworkError> {
    let (bytes, last) = Table::removing(table).finish();
    transact(&bytes, last).map_err(|cause| kernel("remove", table, &cause))
}

/// Pods keep their address among themselves and towards the node; beyond it they take the node's. A Pod that reaches
/// itself or a neighbour through a host port must see the answer come back through the node, and so must whoever uses
/// a host port by a loopback address.
fn source_rules(table: &mut Table<'_>, rules: &Rules<'_>) {
    let loopback = Ipv4Net::new_assert([127, 0, 0, 0].into(), 8);
    let multicast = Ipv4Net::new_assert([224, 0, 0, 0].into(), 4);
    let returned = Rule::new().came_by(rules.bridge).leaves_by(rules.bridge).was_rewritten();
    table.rule("postrouting", &returned.masquerade());
    let local = Rule::new().source_in(loopback).leaves_by(rules.bridge).was_rewritten();
    table.rule("postrouting", &local.masquerade());
    let outward =
        Rule::new().source_in(rules.cidr).destination_not_in(rules.cidr).destination_not_in(multicast);
    table.rule("postrouting", &outward.masquerade());
}

fn host_ports(table: &mut Table<'_>, assignment: &Assignment) {
    for port in &assignment.host_ports {
        let rule = match port.host_ip {
            Some(IpAddr::V4(address)) if !address.is_unspecified() => {
                Rule::new().destination_in(Ipv4Net::from(address))
            }
            Some(IpAddr::V6(_)) => continue,
            Some(IpAddr::V4(_)) | None => Rule::new(),
        };
        let rule = rule
            .destination_port(port.protocol, port.host_port)
            .rewrite_destination(assignment.address, port.container_port);
        table.rule("hostports", &rule);
    }
}

/// Sends a batch and waits for its outcome.
fn transact(batch: &[u8], last: u32) -> Result<(), Errno> {
    let socket = open()?;
    net::send(&socket, batch, SendFlags::empty())?;
    let mut buffer = vec![0u8; 16 * 1024];
    loop {
        let (received, _) = net::recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        for (sequence, errno) in outcomes(&buffer[..received]) {
            if errno != 0 {
                return Err(Errno::from_raw_os_error(errno));
            }
            if sequence == last {
                return Ok(());
            }
        }
    }
}

fn open() -> Result<OwnedFd, Errno> {
    let protocol = Some(net::netlink::NETFILTER);
    let socket = net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_WITHIN))?;
    Ok(socket)
}

/// The NLMSG_ERROR messages of a datagram as (sequence, errno); errno 0 is an acknowledgement.
fn outcomes(mut datagram: &[u8]) -> Vec<(u32, i32)> {
    const NLMSG_ERROR: u16 = 2;
    let mut found = Vec::new();
    while let Some((header, _)) = datagram.split_at_checked(20) {
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        if kind == NLMSG_ERROR {
            #[expect(clippy::cast_possible_wrap, reason = "the kernel sends a negative errno")]
            let errno = (word(16) as i32).saturating_neg();
            found.push((word(8), errno));
        }
        let length = usize::try_from(word(0)).unwrap_or(usize::MAX).max(20).next_multiple_of(4);
        datagram = datagram.get(length..).unwrap_or_default();
    }
    found
}

fn kernel(verb: &str, table: &str, cause: &Errno) -> NetworkError {
    let hint = if *cause == Errno::PERM { " (CAP_NET_ADMIN is needed)" } else { "" };
    NetworkError::Kernel { doing: format!("{verb} nftables table {table}"), cause: format!("{cause}{hint}") }
}
