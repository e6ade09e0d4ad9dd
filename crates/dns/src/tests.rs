//! Packets through the whole server, from askers in two VPCs and in none.

use super::*;
use hickory_proto::rr::Name;
use proptest::prelude::*;
use quarry_domain::snapshot::{NameRecord, ServiceAddress, Snapshot};
use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A task in vpc-1, one in vpc-2, and an asker that is no task.
const ONE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const NOBODY: Ipv4Addr = Ipv4Addr::new(198, 18, 9, 9);

fn addresses_of(n: u8) -> Vec<Ipv4Addr> {
    (0..n).map(|n| Ipv4Addr::new(198, 19, 128, n)).collect()
}

fn in_vpc(vpc: &str, name: &str) -> NameRecord {
    NameRecord { name: name.into(), vpc: Some(vpc.into()), ttl: 5, ..NameRecord::default() }
}

fn service(port: u16, target: &str) -> ServiceAddress {
    ServiceAddress { port, target: target.into() }
}

/// An instance's own name.
fn host(n: u16) -> String {
    format!("{n:016}.posts.board.local")
}

fn names() -> Names {
    let everyone = |name: &str, addresses| NameRecord { name: name.into(), addresses, ttl: 5, ..NameRecord::default() };
    let posts = |vpc: &str| in_vpc(vpc, "posts.board.local");
    let names = vec![
        everyone("users.local", vec![Ipv4Addr::new(198, 19, 1, 1), Ipv4Addr::new(198, 19, 1, 2)]),
        everyone("many.local", addresses_of(200)),
        everyone("gone.local", vec![]),
        NameRecord { addresses: addresses_of(10), most: Some(8), ..posts("vpc-1") },
        NameRecord {
            services: (0..10).map(|n| service(3000 + n, &host(n))).collect(),
            ttl: 7,
            most: Some(8),
            ..posts("vpc-1")
        },
        NameRecord { addresses6: vec![Ipv6Addr::LOCALHOST], most: Some(8), ..posts("vpc-1") },
        NameRecord { addresses: vec![Ipv4Addr::new(198, 19, 129, 1)], most: Some(8), ..posts("vpc-2") },
        NameRecord { addresses: addresses_of(10), most: Some(1), ..in_vpc("vpc-1", "one.board.local") },
        NameRecord {
            canonical: vec!["posts.board.local".into()],
            most: Some(1),
            ..in_vpc("vpc-1", "alias.board.local")
        },
        NameRecord { canonical: vec!["loop.board.local".into()], most: Some(1), ..in_vpc("vpc-1", "loop.board.local") },
        NameRecord { canonical: vec!["db.example.com".into()], most: Some(1), ..in_vpc("vpc-1", "db.board.local") },
    ];
    let hosts = (0..10).map(|n| NameRecord {
        addresses: vec![Ipv4Addr::new(198, 19, 128, n)],
        ..in_vpc("vpc-1", &host(u16::from(n)))
    });
    let zone = |name: &str, vpc: &str, soa_ttl| Zone { name: name.into(), vpc: vpc.into(), soa_ttl };
    Names::new(&Snapshot {
        names: names.into_iter().chain(hosts).collect(),
        zones: vec![
            zone("board.local", "vpc-1", 15),
            zone("board.local", "vpc-2", 30),
            zone("empty.test", "vpc-1", 60),
        ],
        networks: [(ONE, "vpc-1".to_owned()), (TWO, "vpc-2".to_owned())].into(),
        ..Snapshot::default()
    })
}

fn question(name: &str, kind: RecordType, id: u16) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    message
}

fn ask_from(asker: Ipv4Addr, message: &Message, transport: Transport) -> Message {
    let bytes = answer(&message.to_vec().unwrap(), &names(), asker.into(), transport).unwrap();
    let reply = Message::from_vec(&bytes).unwrap();
    assert_eq!(reply.metadata.id, message.metadata.id);
    assert_eq!(reply.metadata.message_type, MessageType::Response);
    reply
}

fn ask(asker: Ipv4Addr, name: &str, kind: RecordType) -> Message {
    ask_from(asker, &question(name, kind, 0), Transport::Udp)
}

fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    let address = |r: &Record| match &r.data {
        RData::A(a) => Some(a.0),
        _ => None,
    };
    message.answers.iter().filter_map(address).collect()
}

/// Port and host of each SRV record.
fn services(message: &Message) -> Vec<(u16, String)> {
    let service = |r: &Record| match &r.data {
        RData::SRV(srv) => {
            assert_eq!((srv.priority, srv.weight), (1, 1));
            Some((srv.port, srv.target.to_string()))
        }
        _ => None,
    };
    message.answers.iter().filter_map(service).collect()
}

fn negative_ttl(message: &Message) -> Option<u32> {
    message.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.minimum),
        _ => None,
    })
}

#[test]
fn known_names_have_addresses_in_turn() {
    let one = ask_from(NOBODY, &question("Users.LOCAL.", RecordType::A, 2), Transport::Udp);
    assert_eq!(one.metadata.response_code, ResponseCode::NoError);
    assert!(one.metadata.authoritative && one.metadata.recursion_desired);
    assert_eq!(addresses(&one), [Ipv4Addr::new(198, 19, 1, 1), Ipv4Addr::new(198, 19, 1, 2)]);
    assert_eq!(one.answers[0].ttl, 5);
    let two = ask_from(NOBODY, &question("users.local.", RecordType::A, 3), Transport::Udp);
    assert_eq!(addresses(&two), [Ipv4Addr::new(198, 19, 1, 2), Ipv4Addr::new(198, 19, 1, 1)]);
}

#[test]
fn what_is_not_there_is_said_rightly() {
    let code = |name: &str, kind| {
        let reply = ask(NOBODY, name, kind);
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
fn a_namespace_is_seen_from_its_own_vpc_alone() {
    assert_eq!(addresses(&ask(ONE, "posts.board.local.", RecordType::A)).len(), 8);
    assert_eq!(addresses(&ask(TWO, "posts.board.local.", RecordType::A)), [Ipv4Addr::new(198, 19, 129, 1)]);
    for name in ["posts.board.local.", "board.local.", &host(1)] {
        assert_eq!(ask(NOBODY, name, RecordType::A).metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
    assert_eq!(ask(TWO, "one.board.local.", RecordType::A).metadata.response_code, ResponseCode::NXDomain);
    // How long "there is none" holds is the zone's to say, and outside of every zone nobody's.
    assert_eq!(negative_ttl(&ask(ONE, "nobody.board.local.", RecordType::A)), Some(15));
    assert_eq!(negative_ttl(&ask(TWO, "one.board.local.", RecordType::A)), Some(30));
    assert_eq!(negative_ttl(&ask(ONE, "nobody.local.", RecordType::A)), None);
    let apex = ask(ONE, "empty.test.", RecordType::A);
    assert_eq!((apex.metadata.response_code, negative_ttl(&apex)), (ResponseCode::NoError, Some(60)));
    assert_eq!(ask(TWO, "empty.test.", RecordType::A).metadata.response_code, ResponseCode::NXDomain);
    let authority = ask(ONE, "board.local.", RecordType::SOA);
    assert!(matches!(&authority.answers[..], [Record { data: RData::SOA(soa), .. }] if soa.minimum == 15));
}

#[test]
fn srv_records_come_with_their_hosts_addresses() {
    let reply = ask_from(ONE, &question("posts.board.local.", RecordType::SRV, 0), Transport::Tcp);
    let found = services(&reply);
    assert_eq!(found.len(), 8);
    assert_eq!(found[0], (3000, format!("{}.", host(0))));
    assert_eq!(reply.answers[0].ttl, 7);
    assert_eq!(reply.additionals.len(), 8);
    assert_eq!(addresses(&ask(ONE, &host(3), RecordType::A)), [Ipv4Addr::new(198, 19, 128, 3)]);
    let any = ask_from(ONE, &question("posts.board.local.", RecordType::ANY, 0), Transport::Tcp);
    let six = |r: &&Record| matches!(r.data, RData::AAAA(_));
    assert_eq!((services(&any).len(), addresses(&any).len(), any.answers.iter().filter(six).count()), (8, 8, 1));
}

#[test]
fn over_udp_the_hosts_are_left_out_before_the_answer_is() {
    let message = question("posts.board.local.", RecordType::SRV, 0);
    let short = ask_from(ONE, &message, Transport::Udp);
    assert!(!short.metadata.truncation, "eight records fit");
    assert_eq!((services(&short).len(), short.additionals.len()), (8, 0));
    let mut roomy = message.clone();
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    roomy.set_edns(edns);
    let long = ask_from(ONE, &roomy, Transport::Udp);
    assert_eq!((services(&long).len(), long.additionals.len()), (8, 8));
}

#[test]
fn long_answers_are_truncated_over_udp_alone() {
    let message = question("many.local.", RecordType::A, 0);
    let short = ask_from(NOBODY, &message, Transport::Udp);
    assert!(short.metadata.truncation && short.answers.is_empty());
    assert_eq!(ask_from(NOBODY, &message, Transport::Tcp).answers.len(), 200);
}

#[test]
fn a_weighted_name_has_one_answer_and_all_in_their_turn() {
    let mut seen = HashSet::new();
    for id in 0..40 {
        let reply = ask_from(ONE, &question("one.board.local.", RecordType::A, id), Transport::Udp);
        let [address] = addresses(&reply)[..] else { panic!("{:?}", reply.answers) };
        seen.insert(address);
    }
    assert_eq!(seen.len(), 10);
}

#[test]
fn aliases_are_followed_as_far_as_names_are_known() {
    let reply = ask(ONE, "alias.board.local.", RecordType::A);
    assert!(matches!(&reply.answers[0].data, RData::CNAME(name) if name.0.to_string() == "posts.board.local."));
    assert_eq!(addresses(&reply).len(), 8);
    assert_eq!(ask(ONE, "alias.board.local.", RecordType::CNAME).answers.len(), 1);
    let outside = ask(ONE, "db.board.local.", RecordType::A);
    assert!(matches!(&outside.answers[..], [Record { data: RData::CNAME(_), .. }]));
    assert_eq!(ask(ONE, "loop.board.local.", RecordType::A).answers.len(), MOST_ALIASES);
}

#[test]
fn broken_packets_get_form_error_or_nothing() {
    let names = names();
    let asker = IpAddr::from(ONE);
    let good = question("users.local.", RecordType::A, 7).to_vec().unwrap();
    let mut answered = good.clone();
    answered[2] |= 0x80;
    assert_eq!(answer(&answered, &names, asker, Transport::Udp), None);
    assert_eq!(answer(&good[..11], &names, asker, Transport::Udp), None);
    let code = |packet: &[u8]| {
        let reply = Message::from_vec(&answer(packet, &names, asker, Transport::Udp).unwrap()).unwrap();
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
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_packet_makes_it_panic(packet in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = answer(&packet, &names(), ONE.into(), Transport::Udp);
    }

    #[test]
    fn no_damage_makes_it_panic(at in 0usize..36, byte: u8, cut in 0usize..36) {
        let mut packet = question("posts.board.local.", RecordType::SRV, 1).to_vec().unwrap();
        if let Some(b) = packet.get_mut(at) {
            *b = byte;
        }
        packet.truncate(packet.len() - cut.min(packet.len()));
        for transport in [Transport::Udp, Transport::Tcp] {
            if let Some(reply) = answer(&packet, &names(), ONE.into(), transport) {
                prop_assert!(reply.len() >= HEADER && reply[2] & 0x80 != 0);
                prop_assert_eq!(&reply[..2], &packet[..2]);
            }
        }
    }

    /// Whatever a service's records are: no answer over UDP is longer than the asker takes, what is
    /// truncated is whole over TCP, never more than the most are given, and each is one of the service's.
    #[test]
    fn answers_keep_their_bounds(
        count in 0usize..60,
        most in prop_oneof![Just(None), (1usize..10).prop_map(Some)],
        label in "[a-z]{1,60}",
        id: u16,
        payload in prop_oneof![Just(None), (0u16..5000).prop_map(Some)],
        kind in prop_oneof![Just(RecordType::A), Just(RecordType::SRV), Just(RecordType::ANY)],
    ) {
        let host = |n: usize| format!("t{n}.{label}.board.local");
        let name = format!("{label}.board.local");
        let mut records = vec![
            NameRecord {
                addresses: (0..count).map(|n| Ipv4Addr::new(198, 19, 128, n as u8)).collect(),
                most,
                ..in_vpc("vpc-1", &name)
            },
            NameRecord {
                services: (0..count).map(|n| service(n as u16, &host(n))).collect(),
                most,
                ..in_vpc("vpc-1", &name)
            },
        ];
        records.extend((0..count).map(|n| NameRecord { addresses: vec![ONE], ..in_vpc("vpc-1", &host(n)) }));
        let networks = [(ONE, "vpc-1".to_owned())].into();
        let names = Names::new(&Snapshot { names: records, networks, ..Snapshot::default() });
        let mut message = question(&name, kind, id);
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        let packet = message.to_vec().unwrap();
        let limit = payload.map_or(512, |p| usize::from(p).clamp(512, usize::from(MAX_DATAGRAM)));
        let datagram = answer(&packet, &names, ONE.into(), Transport::Udp).unwrap();
        prop_assert!(datagram.len() <= limit);
        let whole = Message::from_vec(&answer(&packet, &names, ONE.into(), Transport::Tcp).unwrap()).unwrap();
        prop_assert!(!whole.metadata.truncation);
        let datagram = Message::from_vec(&datagram).unwrap();
        prop_assert!(datagram.metadata.truncation || datagram.answers == whole.answers);
        let expected = count.min(most.unwrap_or(usize::MAX));
        if kind != RecordType::SRV {
            let given: HashSet<_> = addresses(&whole).into_iter().collect();
            prop_assert_eq!(given.len(), expected);
        }
        if kind != RecordType::A {
            let given: HashSet<_> = services(&whole).into_iter().collect();
            prop_assert_eq!(given.len(), expected);
            for (port, target) in given {
                prop_assert_eq!(target, format!("{}.", host(usize::from(port))));
            }
        }
    }
}
