//! Questions and answers as they are on the wire.

use std::net::Ipv4Addr;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, ResourceRecord, TYPE};

/// How long clients may keep an answer: short, because Pods come and go.
const KEEP_SECONDS: u32 = 5;
/// What fits into a datagram for a client that names no size.
const DATAGRAM: usize = 512;

/// What a name of the cluster stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No such name.
    Nothing,
    /// It has these addresses, maybe none.
    Addresses(Vec<Ipv4Addr>),
    /// It is another name for this one.
    Alias(String),
    /// It could not be looked up.
    Failed,
}

/// The cluster's domain.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    /// `.cluster.local`.
    end: String,
}

/// A question.
pub(crate) struct Asked<'a> {
    packet: Packet<'a>,
    /// Of a name of the cluster the labels before the domain, in lower case.
    pub(crate) local: Option<Vec<String>>,
}

impl Zone {
    pub(crate) fn new(domain: &str) -> Self {
        Self { end: format!(".{}", domain.trim_matches('.').to_ascii_lowercase()) }
    }

    /// `None` if the bytes are no question.
    pub(crate) fn read<'a>(&self, bytes: &'a [u8]) -> Option<Asked<'a>> {
        let packet = Packet::parse(bytes).ok()?;
        if packet.has_flags(PacketFlag::RESPONSE) {
            return None;
        }
        let name = packet.questions.first()?.qname.to_string().to_ascii_lowercase();
        let local = format!(".{name}").strip_suffix(&self.end).map(|rest| {
            rest.split('.').filter(|label| !label.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        });
        Some(Asked { packet, local })
    }
}

impl Asked<'_> {
    /// The wire form of the answer.
    pub(crate) fn answer(&self, found: &Found, by_datagram: bool) -> Option<Vec<u8>> {
        let question = self.packet.questions.first()?;
        let mut reply = self.reply(question);
        reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        let wants = |ty: TYPE| question.qtype == QTYPE::TYPE(ty) || question.qtype == QTYPE::ANY;
        let record = |data| ResourceRecord::new(question.qname.clone(), CLASS::IN, KEEP_SECONDS, data);
        match found {
            Found::Nothing => *reply.rcode_mut() = RCODE::NameError,
            Found::Failed => *reply.rcode_mut() = RCODE::ServerFailure,
            Found::Addresses(addresses) if wants(TYPE::A) => {
                reply.answers = addresses.iter().map(|ip| record(RData::A((*ip).into()))).collect();
            }
            Found::Addresses(_) => {}
            Found::Alias(name) => {
                reply.answers.push(record(RData::CNAME(Name::new(name).ok()?.into_owned().into())));
            }
        }
        let bytes = reply.build_bytes_vec_compressed().ok()?;
        if by_datagram && bytes.len() > DATAGRAM {
            reply.answers.clear();
            reply.set_flags(PacketFlag::TRUNCATION);
            return reply.build_bytes_vec_compressed().ok();
        }
        Some(bytes)
    }

    /// That nobody could answer.
    pub(crate) fn failure(&self) -> Option<Vec<u8>> {
        let mut reply = self.reply(self.packet.questions.first()?);
        *reply.rcode_mut() = RCODE::ServerFailure;
        reply.build_bytes_vec_compressed().ok()
    }

    fn reply<'q>(&self, question: &Question<'q>) -> Packet<'q> {
        let mut reply = Packet::new_reply(self.packet.id());
        if self.packet.has_flags(PacketFlag::RECURSION_DESIRED) {
            reply.set_flags(PacketFlag::RECURSION_DESIRED);
        }
        reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
        reply.questions.push(question.clone());
        reply
    }
}

#[cfg(test)]
mod tests {
    use simple_dns::QCLASS;

    use super::*;

    fn asked(name: &str, ty: TYPE) -> Vec<u8> {
        let mut query = Packet::new_query(7);
        let name = Name::new(name).unwrap().into_owned();
        query.questions.push(Question::new(name, ty.into(), QCLASS::CLASS(CLASS::IN), false));
        query.build_bytes_vec().unwrap()
    }

    #[test]
    fn names_of_the_domain_are_told_from_others() {
        let zone = Zone::new("cluster.local");
        let labels = |name: &str| zone.read(&asked(name, TYPE::A)).unwrap().local;
        assert_eq!(
            labels("Kubernetes.default.svc.CLUSTER.local"),
            Some(["kubernetes", "default", "svc"].map(str::to_owned).to_vec())
        );
        assert_eq!(labels("cluster.local"), Some(Vec::new()));
        assert_eq!(labels("mycluster.local"), None);
        assert_eq!(labels("example.org"), None);
        assert!(zone.read(b"no question").is_none());
    }

    #[test]
    fn what_is_found_is_what_is_answered() {
        let zone = Zone::new("cluster.local");
        let say = |ty: TYPE, found: &Found| {
            let question = asked("s.n.svc.cluster.local", ty);
            let bytes = zone.read(&question).unwrap().answer(found, true).unwrap();
            let reply = Packet::parse(&bytes).unwrap();
            assert_eq!(reply.id(), 7);
            (reply.rcode(), reply.answers.len(), reply.has_flags(PacketFlag::TRUNCATION))
        };
        let some = |count| Found::Addresses((0..count).map(|n| Ipv4Addr::new(10, 0, 0, n)).collect());
        assert_eq!(say(TYPE::A, &some(2)), (RCODE::NoError, 2, false));
        assert_eq!(say(TYPE::AAAA, &some(2)), (RCODE::NoError, 0, false), "the name is there all the same");
        assert_eq!(say(TYPE::A, &some(100)), (RCODE::NoError, 0, true), "to be asked for by a stream");
        assert_eq!(say(TYPE::A, &Found::Nothing), (RCODE::NameError, 0, false));
        assert_eq!(say(TYPE::A, &Found::Alias("example.org".into())), (RCODE::NoError, 1, false));
        assert_eq!(say(TYPE::A, &Found::Failed), (RCODE::ServerFailure, 0, false));
    }
}
