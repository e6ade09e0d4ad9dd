//! The tasks' name server, as a pure function from a packet and its asker to the answer. Sockets are
//! the proxy's.
//!
//! Names come from the routing snapshot: the load balancers', which every task sees, and those of the
//! private DNS namespaces, which the tasks of their VPC see. A name that is known but has no record of
//! the type asked for gets an empty answer, one that is not known gets NXDOMAIN; nothing is ever asked of
//! other servers.

mod names;
#[cfg(test)]
mod tests;

pub use names::Names;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use names::View;
use quarry_domain::snapshot::Zone;
use std::net::IpAddr;

/// How a packet came, which bounds its answer: over UDP to 512 bytes or what the asker says it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What this server takes, and at most sends, in one datagram.
const MAX_DATAGRAM: u16 = 1232;
const HEADER: usize = 12;

/// CNAME records that are followed, one from the other.
const MOST_ALIASES: usize = 8;

/// The answer to a packet. `None` where none may be given: the packet is too short to have an
/// identifier, or is itself an answer.
pub fn answer(packet: &[u8], names: &Names, asker: IpAddr, transport: Transport) -> Option<Vec<u8>> {
    let id = u16::from_be_bytes([*packet.first()?, *packet.get(1)?]);
    let flags = *packet.get(2)?;
    // An answer answered would make two servers talk for ever.
    if packet.len() < HEADER || flags & 0x80 != 0 {
        return None;
    }
    let Ok(query) = Message::from_vec(packet) else {
        return Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok();
    };
    let mut reply = reply(&query, names.seen_from(asker));
    let bytes = reply.to_vec().ok()?;
    let limit = match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => usize::from(query.edns.as_ref().map_or(512, |e| e.max_payload().clamp(512, MAX_DATAGRAM))),
    };
    if bytes.len() <= limit {
        return Some(bytes);
    }
    // The hosts' addresses that go along with SRV records can be asked for.
    reply.additionals.clear();
    let bytes = reply.to_vec().ok()?;
    // Too long for a datagram: the asker comes again over TCP.
    if bytes.len() > limit { reply.truncate().to_vec().ok() } else { Some(bytes) }
}

fn reply(query: &Message, names: View<'_>) -> Message {
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

fn resolve(question: &Query, names: View<'_>, id: u16, reply: &mut Message) -> ResponseCode {
    if !matches!(question.query_class(), DNSClass::IN | DNSClass::ANY) {
        return ResponseCode::Refused;
    }
    reply.metadata.authoritative = true;
    // Askers wait for a server that offers recursion; this one knows all there is.
    reply.metadata.recursion_available = true;
    let asked = plain(question.name());
    let known = |name: &str| names.records(name).next().is_some() || names.is_parent(name);
    let zone = names.zone(&asked);
    if !known(&asked) && zone.is_none_or(|zone| zone.name != asked) {
        deny(zone, reply);
        return ResponseCode::NXDomain;
    }
    answer_with(question.name(), &asked, question.query_type(), names, id, reply);
    if let Some(zone) = zone.filter(|zone| zone.name == asked)
        && matches!(question.query_type(), RecordType::SOA | RecordType::ANY)
    {
        reply.answers.extend(start_of_authority(zone));
    }
    if reply.answers.is_empty() {
        deny(zone, reply);
    }
    ResponseCode::NoError
}

/// Adds the records of a name, following its alias if it has one.
fn answer_with(owner: &Name, name: &str, kind: RecordType, names: View<'_>, id: u16, reply: &mut Message) {
    let (mut owner, mut name) = (owner.clone(), name.to_owned());
    let wants = |one| kind == one || kind == RecordType::ANY;
    for _ in 0..MOST_ALIASES {
        let mut alias = None;
        for record in names.records(&name) {
            let mut add = |data| reply.answers.push(Record::from_rdata(owner.clone(), record.ttl, data));
            if wants(RecordType::A) {
                choose(&record.addresses, record.most, id).for_each(|address| add(RData::A(A(*address))));
            }
            if wants(RecordType::AAAA) {
                choose(&record.addresses6, record.most, id).for_each(|address| add(RData::AAAA(AAAA(*address))));
            }
            if wants(RecordType::SRV) {
                for service in choose(&record.services, record.most, id) {
                    let Ok(target) = absolute(&service.target) else { continue };
                    add(RData::SRV(SRV::new(1, 1, service.port, target)));
                }
            }
            // A name has one alias at a time; whatever is asked for is asked for there.
            if alias.is_none()
                && let Some(target) = choose(&record.canonical, record.most, id).next()
                && let Ok(canonical) = absolute(target)
            {
                add(RData::CNAME(CNAME(canonical.clone())));
                alias = Some((canonical, target.clone()));
            }
        }
        match alias {
            Some((next, text)) if kind != RecordType::CNAME => (owner, name) = (next, text),
            Some(_) | None => break,
        }
    }
    if wants(RecordType::SRV) {
        add_hosts(names, reply);
    }
}

/// The addresses of the hosts that SRV records in the answer name.
fn add_hosts(names: View<'_>, reply: &mut Message) {
    let hosts: Vec<Name> = reply
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(service) => Some(service.target.clone()),
            _ => None,
        })
        .collect();
    for host in hosts {
        for record in names.records(&plain(&host)) {
            for address in &record.addresses {
                reply.additionals.push(Record::from_rdata(host.clone(), record.ttl, RData::A(A(*address))));
            }
            for address in &record.addresses6 {
                reply.additionals.push(Record::from_rdata(host.clone(), record.ttl, RData::AAAA(AAAA(*address))));
            }
        }
    }
}

/// At most `most` of the values, in turn from one that the question's identifier chooses: whoever takes
/// the first address spreads its connections.
fn choose<T>(values: &[T], most: Option<usize>, id: u16) -> impl Iterator<Item = &T> {
    let first = if values.is_empty() { 0 } else { usize::from(id) % values.len() };
    values[first..].iter().chain(&values[..first]).take(most.unwrap_or(usize::MAX))
}

/// Says for how long "there is none" may be kept.
fn deny(zone: Option<&Zone>, reply: &mut Message) {
    reply.authorities.extend(zone.and_then(start_of_authority));
}

/// As Route 53 has it for private hosted zones, but for the names of its servers.
fn start_of_authority(zone: &Zone) -> Option<Record> {
    let name = absolute(&zone.name).ok()?;
    let server = absolute(&format!("ns.{}", zone.name)).unwrap_or_else(|_| name.clone());
    let mailbox = absolute(&format!("hostmaster.{}", zone.name)).unwrap_or_else(|_| name.clone());
    let data = SOA::new(server, mailbox, 1, 7200, 900, 1_209_600, zone.soa_ttl);
    Some(Record::from_rdata(name, zone.soa_ttl, RData::SOA(data)))
}

/// A name in lower case, without the final dot.
fn plain(name: &Name) -> String {
    let mut text = name.to_ascii().to_ascii_lowercase();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

fn absolute(name: &str) -> Result<Name, hickory_proto::ProtoError> {
    let mut name = Name::from_ascii(name)?;
    name.set_fqdn(true);
    Ok(name)
}
