//! The few nf_tables expressions our rules are made of, and chains.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::message::{Attributes, Batch, Request};
use crate::Protocol;

/// The register all our expressions use, and a second for a port.
const REG_1: u32 = 1;
const REG_2: u32 = 2;
const REG_VERDICT: u32 = 0;
const JUMP: i32 = -3;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
/// The connection's destination was rewritten (IPS_DST_NAT).
const DESTINATION_REWRITTEN: u32 = 1 << 5;

/// Where a base chain hangs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hook {
    /// Before routing: destinations of what comes in.
    Prerouting,
    /// Destinations of what the node itself sends.
    Output,
    /// After routing: sources.
    Postrouting,
}

impl Hook {
    /// Hook number and the usual NAT priority.
    fn place(self) -> (u32, i32) {
        match self {
            Self::Prerouting => (0, -100),
            Self::Output => (3, -100),
            Self::Postrouting => (4, 100),
        }
    }
}

/// A rule under construction: expressions in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Rule(Attributes);

impl Rule {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn source_in(self, net: Ipv4Net) -> Self {
        self.address(12, net, EQUAL)
    }

    pub(super) fn destination_in(self, net: Ipv4Net) -> Self {
        self.address(16, net, EQUAL)
    }

    pub(super) fn destination_not_in(self, net: Ipv4Net) -> Self {
        self.address(16, net, NOT_EQUAL)
    }

    /// The packet leaves by this interface.
    pub(super) fn leaves_by(self, interface: &str) -> Self {
        self.interface(7, interface)
    }

    /// The packet came in by this interface.
    pub(super) fn came_by(self, interface: &str) -> Self {
        self.interface(6, interface)
    }

    /// The connection's destination was rewritten on the way.
    pub(super) fn was_rewritten(self) -> Self {
        let mask = DESTINATION_REWRITTEN.to_ne_bytes();
        let load = Attributes::new().number(1, REG_1).number(2, 2);
        self.expression("ct", &load).masked(&mask).compare(NOT_EQUAL, &[0; 4])
    }

    /// The destination is one of the node's own addresses.
    pub(super) fn destined_to_node(self) -> Self {
        let load = Attributes::new().number(1, REG_1).number(2, 3).number(3, 2);
        self.expression("fib", &load).compare(EQUAL, &2u32.to_ne_bytes())
    }

    pub(super) fn destination_port(self, protocol: Protocol, port: u16) -> Self {
        let number = match protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        };
        let load_protocol = Attributes::new().number(1, REG_1).number(2, 16);
        self.expression("meta", &load_protocol)
            .compare(EQUAL, &[number])
            .payload(2, 2, 2)
            .compare(EQUAL, &port.to_be_bytes())
    }

    pub(super) fn masquerade(self) -> Self {
        self.expression("masq", &Attributes::new())
    }

    pub(super) fn rewrite_destination(self, address: Ipv4Addr, port: u16) -> Self {
        let nat = Attributes::new().number(1, 1).number(2, 2).number(3, REG_1).number(5, REG_2);
        self.load(REG_1, &address.octets()).load(REG_2, &port.to_be_bytes()).expression("nat", &nat)
    }

    pub(super) fn jump(self, chain: &str) -> Self {
        #[expect(clippy::cast_sign_loss, reason = "verdicts are negative numbers in an unsigned attribute")]
        let verdict = Attributes::new().number(1, JUMP as u32).text(2, chain);
        let data = Attributes::new().nested(2, &verdict);
        let load = Attributes::new().number(1, REG_VERDICT).nested(2, &data);
        self.expression("immediate", &load)
    }

    fn address(self, offset: u32, net: Ipv4Net, operator: u32) -> Self {
        self.payload(1, offset, 4).masked(&net.netmask().octets()).compare(operator, &net.network().octets())
    }

    fn interface(self, key: u32, name: &str) -> Self {
        let mut padded = [0u8; 16];
        let length = name.len().min(15);
        padded[..length].copy_from_slice(&name.as_bytes()[..length]);
        let load = Attributes::new().number(1, REG_1).number(2, key);
        self.expression("meta", &load).compare(EQUAL, &padded)
    }

    fn payload(self, base: u32, offset: u32, length: u32) -> Self {
        let load = Attributes::new().number(1, REG_1).number(2, base).number(3, offset).number(4, length);
        self.expression("payload", &load)
    }

    fn masked(self, mask: &[u8; 4]) -> Self {
        let mask = Attributes::new().bytes(1, mask);
        let zero = Attributes::new().bytes(1, &[0; 4]);
        let and = Attributes::new().number(1, REG_1).number(2, REG_1).number(3, 4);
        self.expression("bitwise", &and.nested(4, &mask).nested(5, &zero))
    }

    fn compare(self, operator: u32, value: &[u8]) -> Self {
        let value = Attributes::new().bytes(1, value);
        let compare = Attributes::new().number(1, REG_1).number(2, operator).nested(3, &value);
        self.expression("cmp", &compare)
    }

    fn load(self, register: u32, value: &[u8]) -> Self {
        let value = Attributes::new().bytes(1, value);
        self.expression("immediate", &Attributes::new().number(1, register).nested(2, &value))
    }

    fn expression(self, name: &str, data: &Attributes) -> Self {
        let expression = Attributes::new().text(1, name).nested(2, data);
        Self(self.0.nested(1, &expression))
    }
}

/// Builds one table.
#[derive(Debug)]
pub(super) struct Table<'a> {
    name: &'a str,
    batch: Batch,
}

impl<'a> Table<'a> {
    /// A table that will replace the one of the same name in one step.
    pub(super) fn replacing(name: &'a str) -> Self {
        let mut table = Self::removing(name);
        table.batch.push(Request::NewTable, &Attributes::new().text(1, name));
        table
    }

    /// Only removes the table. Making it first keeps its absence from being an error.
    pub(super) fn removing(name: &'a str) -> Self {
        let mut batch = Batch::new();
        let table = Attributes::new().text(1, name);
        batch.push(Request::NewTable, &table);
        batch.push(Request::DeleteTable, &table);
        Self { name, batch }
    }

    pub(super) fn base_chain(&mut self, chain: &str, hook: Hook) {
        let (number, priority) = hook.place();
        #[expect(clippy::cast_sign_loss, reason = "priorities are signed numbers in an unsigned attribute")]
        let place = Attributes::new().number(1, number).number(2, priority as u32);
        let chain = Attributes::new().text(1, self.name).text(3, chain).nested(4, &place).text(7, "nat");
        self.batch.push(Request::NewChain, &chain);
    }

    pub(super) fn chain(&mut self, chain: &str) {
        self.batch.push(Request::NewChain, &Attributes::new().text(1, self.name).text(3, chain));
    }

    pub(super) fn rule(&mut self, chain: &str, rule: &Rule) {
        let rule = Attributes::new().text(1, self.name).text(2, chain).nested(4, &rule.0);
        self.batch.push(Request::NewRule, &rule);
    }

    pub(super) fn finish(self) -> (Vec<u8>, u32) {
        self.batch.finish()
    }
}
