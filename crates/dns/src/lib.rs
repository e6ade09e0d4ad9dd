//! The tasks' name server, as a pure function from a packet to its answer. Sockets are the proxy's.
//!
//! Names come from the routing snapshot: A records with each task's or load balancer's address. A name
//! that is known but has no record of the type asked for gets an empty answer, one that is not known
//! gets NXDOMAIN; nothing is ever asked of other servers.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use quarry_domain::snapshot::NameRecord;

/// The names that can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    records: &'a [NameRecord],
}

/// How a packet came, which bounds its answer: over UDP to 512 bytes or what the asker says it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What this server takes, and at most sends, in one datagram.
const MAX_DATAGRAM: u16 = 1232;
const HEADER: usize = 12;

impl<'a> Names<'a> {
    pub fn new(records: &'a [NameRecord]) -> Self {
        Self { records }
    }

    /// Ignores case and a final dot.
    fn find(&self, name: &str) -> Option<&'a NameRecord> {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.records.iter().find(|record| record.name.eq_ignore_ascii_case(name))
    }

    /// Some known name ends in this one: it exists, though it has no records of its own.
    fn is_parent(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        !name.is_empty()
            && self.records.iter().any(|record| {
                let Some(at) = record.name.len().checked_sub(name.len()).filter(|at| *at > 0) else { return false };
                record.name.is_char_boundary(at)
                    && record.name[..at].ends_with('.')
                    && record.name[at..].eq_ignore_ascii_case(name)
            })
    }
}

/// The answer to a packet. `None` where none may be given: the packet is too short to have an
/// identifier, or is itself an answer.
pub fn answer(packet: &[u8], names: &Names<'_>, transport: Transport) -> Option<Vec<u8>> {
    let id = u16::from_be_bytes([*packet.first()?, *packet.get(1)?]);
    let flags = *packet.get(2)?;
    // An answer answered would make two servers talk for ever.
    if packet.len() < HEADER || flags & 0x80 != 0 {
        return None;
    }
    let Ok(query) = Message::from_vec(packet) else {
        return Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok();
    };
    let reply = reply(&query, names);
    let bytes = reply.to_vec().ok()?;
    let limit = match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => usize::from(query.edns.as_ref().map_or(512, |e| e.max_payload().clamp(512, MAX_DATAGRAM))),
    };
    // Too long for a datagram: the asker comes again over TCP.
    if bytes.len() > limit { reply.truncate().to_vec().ok() } else { Some(bytes) }
}

fn reply(query: &Message, names: &Names<'_>) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    if let Some(edns) = &query.edns {
        let mut own = Edns::new();
        own.set_max_payload(MAX_DATAGRAM);
        own.set_version(0);
        reply.set_edns(own);
        if edns.version() != 0 {
            reply.metadata.response_code = ResponseCode::BADVERS;
            return reply;
        }
    }
    reply.metadata.response_code = match (query.metadata.op_code, &query.queries[..]) {
        (OpCode::Query, [question]) => {
            reply.add_query(question.clone());
            resolve(question, names, query.metadata.id, &mut reply)
        }
        (OpCode::Query, _) => ResponseCode::FormErr,
        (_, _) => ResponseCode::NotImp,
    };
    reply
}

fn resolve(question: &Query, names: &Names<'_>, id: u16, reply: &mut Message) -> ResponseCode {
    if !matches!(question.query_class(), DNSClass::IN | DNSClass::ANY) {
        return ResponseCode::Refused;
    }
    reply.metadata.authoritative = true;
    // Askers wait for a server that offers recursion; this one knows all there is.
    reply.metadata.recursion_available = true;
    let name = question.name().to_ascii();
    let Some(record) = names.find(&name) else {
        return if names.is_parent(&name) { ResponseCode::NoError } else { ResponseCode::NXDomain };
    };
    if matches!(question.query_type(), RecordType::A | RecordType::ANY) && !record.addresses.is_empty() {
        // Whoever takes the first address spreads its connections.
        let first = usize::from(id) % record.addresses.len();
        let addresses = record.addresses[first..].iter().chain(&record.addresses[..first]);
        for address in addresses {
            let data = RData::A(A::from(*address));
            reply.add_answer(Record::from_rdata(question.name().clone(), record.ttl, data));
        }
    }
    ResponseCode::NoError
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::Name;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;
    use std::str::FromStr;

    fn records() -> Vec<NameRecord> {
        let record = |name: &str, addresses: Vec<Ipv4Addr>| NameRecord { name: name.into(), addresses, ttl: 5 };
        vec![
            record("users.local", vec![Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2)]),
            record("many.local", (0..200).map(|n| Ipv4Addr::new(198, 18, 1, n)).collect()),
            record("gone.local", vec![]),
        ]
    }

    fn question(name: &str, kind: RecordType, id: u16) -> Message {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
        message
    }

    fn ask_by(message: &Message, transport: Transport) -> Message {
        let records = records();
        let bytes = answer(&message.to_vec().unwrap(), &Names::new(&records), transport).unwrap();
        let reply = Message::from_vec(&bytes).unwrap();
        assert_eq!(reply.metadata.id, message.metadata.id);
        assert_eq!(reply.metadata.message_type, MessageType::Response);
        reply
    }

    fn addresses(message: &Message) -> Vec<Ipv4Addr> {
        let address = |r: &Record| match &r.data {
            RData::A(a) => a.0,
            other => panic!("{other:?}"),
        };
        message.answers.iter().map(address).collect()
    }

    #[test]
    fn known_names_have_addresses_in_turn() {
        let one = ask_by(&question("Users.LOCAL.", RecordType::A, 2), Transport::Udp);
        assert_eq!(one.metadata.response_code, ResponseCode::NoError);
        assert!(one.metadata.authoritative && one.metadata.recursion_desired);
        assert_eq!(addresses(&one), [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2)]);
        assert_eq!(one.answers[0].ttl, 5);
        let two = ask_by(&question("users.local.", RecordType::A, 3), Transport::Udp);
        assert_eq!(addresses(&two), [Ipv4Addr::new(198, 18, 0, 2), Ipv4Addr::new(198, 18, 0, 1)]);
    }

    #[test]
    fn what_is_not_there_is_said_rightly() {
        let code = |name: &str, kind| {
            let reply = ask_by(&question(name, kind, 1), Transport::Udp);
            assert!(reply.answers.is_empty());
            reply.metadata.response_code
        };
        assert_eq!(code("users.local.", RecordType::AAAA), ResponseCode::NoError);
        assert_eq!(code("gone.local.", RecordType::A), ResponseCode::NoError);
        assert_eq!(code("local.", RecordType::A), ResponseCode::NoError);
        assert_eq!(code("nobody.local.", RecordType::A), ResponseCode::NXDomain);
        assert_eq!(code("sers.local.", RecordType::A), ResponseCode::NXDomain);
        assert_eq!(code("nobody.localhost.", RecordType::A), ResponseCode::NXDomain);
        assert_eq!(code("example.com.", RecordType::A), ResponseCode::NXDomain);
    }

    #[test]
    fn long_answers_are_truncated_over_udp_alone() {
        let message = question("many.local.", RecordType::A, 0);
        let short = ask_by(&message, Transport::Udp);
        assert!(short.metadata.truncation && short.answers.is_empty());
        assert_eq!(ask_by(&message, Transport::Tcp).answers.len(), 200);
    }

    #[test]
    fn broken_packets_get_form_error_or_nothing() {
        let records = records();
        let names = Names::new(&records);
        let good = question("users.local.", RecordType::A, 7).to_vec().unwrap();
        let mut answered = good.clone();
        answered[2] |= 0x80;
        assert_eq!(answer(&answered, &names, Transport::Udp), None);
        assert_eq!(answer(&good[..11], &names, Transport::Udp), None);
        let code = |packet: &[u8]| {
            let reply = Message::from_vec(&answer(packet, &names, Transport::Udp).unwrap()).unwrap();
            assert_eq!(reply.metadata.id, 7);
            reply.metadata.response_code
        };
        assert_eq!(code(&good[..good.len() - 3]), ResponseCode::FormErr);
        // A name that points at itself.
        let mut looped = good[..12].to_vec();
        looped.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(code(&looped), ResponseCode::FormErr);
        // No question at all.
        let mut none = good[..12].to_vec();
        none[5] = 0;
        assert_eq!(code(&none), ResponseCode::FormErr);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn no_packet_makes_it_panic(packet in proptest::collection::vec(any::<u8>(), 0..200)) {
            let records = records();
            let _ = answer(&packet, &Names::new(&records), Transport::Udp);
        }

        #[test]
        fn no_damage_makes_it_panic(at in 0usize..29, byte: u8, cut in 0usize..29) {
            let records = records();
            let mut packet = question("users.local.", RecordType::A, 1).to_vec().unwrap();
            if let Some(b) = packet.get_mut(at) {
                *b = byte;
            }
            packet.truncate(packet.len() - cut.min(packet.len()));
            for transport in [Transport::Udp, Transport::Tcp] {
                if let Some(reply) = answer(&packet, &Names::new(&records), transport) {
                    prop_assert!(reply.len() >= HEADER && reply[2] & 0x80 != 0);
                    prop_assert_eq!(&reply[..2], &packet[..2]);
                }
            }
        }
    }
}
