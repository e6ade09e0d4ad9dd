//! Security groups: who may connect to whom. Groups are stateful, and what is decided here is decided once for
//! each connection, when it is opened (AWS's documentation of security groups for VPCs).
//!
//! Everything that travels between tasks, load balancers and what is outside is TCP, so that rules for other
//! protocols let nothing through. Nor do rules for IPv6 blocks and prefix lists: nothing here has such an address.

use crate::block::Block;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

/// All that decides about connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// By id.
    pub groups: BTreeMap<String, SecurityGroup>,
    /// Of tasks, by the address that their connections come from and by the private one; of load balancers, by
    /// each of their addresses.
    pub interfaces: BTreeMap<Ipv4Addr, Interface>,
    /// By where tasks find it.
    pub outside: BTreeMap<SocketAddrV4, Outside>,
}

/// The rules of a group for TCP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    pub ingress: Vec<Permission>,
    pub egress: Vec<Permission>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// First and last port.
    pub ports: (u16, u16),
    pub peer: Peer,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    Block(Block),
    /// A group's id: whoever has that group.
    Group(String),
}

/// A network interface, as rules see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub vpc: String,
    /// Ids.
    pub groups: Vec<String>,
    /// A rule's block is for this interface if it contains one of these: its address, and its subnet, because
    /// the addresses that tasks and load balancers really have are none of their subnets.
    pub blocks: Vec<Block>,
    /// Other VPCs reach it too, as its groups allow (an internet-facing load balancer).
    pub public: bool,
}

/// What is not a part of any VPC and may be reached all the same, by those who are allowed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// What a rule's block must contain: its address, or everything where only a name is known.
    pub block: Block,
    /// The addresses that the connections of those come from who may reach it.
    pub sources: BTreeSet<Ipv4Addr>,
}

impl Security {
    /// Whether a connection from `from` may be opened to `port` at `to`. Addresses that nothing is known of —
    /// name server, AWS endpoint, task metadata — are not the groups' matter, as on AWS.
    pub fn admits(&self, from: Ipv4Addr, to: Ipv4Addr, port: u16) -> bool {
        let source = self.interfaces.get(&from);
        if let Some(outside) = self.outside.get(&SocketAddrV4::new(to, port)) {
            let goes_out = |source| self.lets_out(source, &[], &[outside.block], port);
            return outside.sources.contains(&from) && source.is_some_and(goes_out);
        }
        let Some(target) = self.interfaces.get(&to) else { return true };
        match source {
            Some(source) => self.connects(source, target, port),
            // Nobody's interface: a client of this machine, known by nothing but its address.
            None => self.lets_in(target, &[], &[Block::of(from)], port),
        }
    }

    /// Whether groups and VPCs let one interface open a connection to a port of another.
    pub fn connects(&self, source: &Interface, target: &Interface, port: u16) -> bool {
        (target.public || source.vpc == target.vpc)
            && self.lets_out(source, &target.groups, &target.blocks, port)
            && self.lets_in(target, &source.groups, &source.blocks, port)
    }

    /// Whether an interface may open connections to a port at one of `blocks`, which is nobody's interface.
    pub fn reaches(&self, source: &Interface, block: Block, port: u16) -> bool {
        self.lets_out(source, &[], &[block], port)
    }

    /// Whether nobody in a block, as far as it is nobody's interface, may connect to a port of an interface.
    pub fn is_shut(&self, to: Ipv4Addr, port: u16, block: Block) -> bool {
        let Some(target) = self.interfaces.get(&to) else { return false };
        let mut own = target.groups.iter().filter_map(|id| self.groups.get(id)).flat_map(|group| &group.ingress);
        !own.any(|rule| rule.has(port) && matches!(&rule.peer, Peer::Block(own) if own.overlaps(block)))
    }

    fn lets_out(&self, source: &Interface, groups: &[String], blocks: &[Block], port: u16) -> bool {
        let mut own = source.groups.iter().filter_map(|id| self.groups.get(id));
        own.any(|group| group.egress.iter().any(|rule| rule.is_for(groups, blocks, port)))
    }

    fn lets_in(&self, target: &Interface, groups: &[String], blocks: &[Block], port: u16) -> bool {
        let mut own = target.groups.iter().filter_map(|id| self.groups.get(id));
        own.any(|group| group.ingress.iter().any(|rule| rule.is_for(groups, blocks, port)))
    }
}

impl Permission {
    /// A rule in EC2's terms. `None` if it lets no TCP connection over IPv4 through.
    ///
    /// `protocol`: `-1` (all, whatever the ports), `tcp` or a number; the ports as EC2 keeps them, -1 for none.
    pub fn of(protocol: &str, from_port: i32, to_port: i32, peer: Peer) -> Option<Self> {
        let ports = match protocol {
            "-1" => (0, u16::MAX),
            "tcp" | "6" => (u16::try_from(from_port).ok()?, u16::try_from(to_port).ok()?),
            _ => return None,
        };
        Some(Self { ports, peer })
    }

    fn has(&self, port: u16) -> bool {
        (self.ports.0..=self.ports.1).contains(&port)
    }

    fn is_for(&self, groups: &[String], blocks: &[Block], port: u16) -> bool {
        self.has(port)
            && match &self.peer {
                Peer::Block(own) => blocks.iter().any(|block| own.contains(*block)),
                Peer::Group(id) => groups.contains(id),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WEB: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
    const DB: Ipv4Addr = Ipv4Addr::new(198, 19, 128, 2);
    const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 80, 0, 1);
    const CLIENT: Ipv4Addr = Ipv4Addr::LOCALHOST;
    const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 19, 2, 1);

    fn block(text: &str) -> Block {
        Block::parse(text).unwrap()
    }

    fn from_block(ports: (u16, u16), text: &str) -> Permission {
        Permission { ports, peer: Peer::Block(block(text)) }
    }

    fn from_group(ports: (u16, u16), id: &str) -> Permission {
        Permission { ports, peer: Peer::Group(id.into()) }
    }

    fn interface(group: &str, blocks: &[&str], public: bool) -> Interface {
        let blocks = blocks.iter().map(|text| block(text)).collect();
        Interface { vpc: "vpc-1".into(), groups: vec![group.into()], blocks, public }
    }

    /// `web` (198.18.0.1) and `db` (198.19.128.2) with a group each that lets everything out and nothing in, a
    /// public load balancer in group `front`, and something outside that `web` may reach.
    fn security() -> Security {
        let group = || SecurityGroup { ingress: Vec::new(), egress: vec![from_block((0, 65_535), "0.0.0.0/0")] };
        Security {
            groups: ["web", "db", "front"].map(|id| (id.to_owned(), group())).into(),
            interfaces: [
                (WEB, interface("web", &["198.19.128.1/32", "10.0.1.0/24"], false)),
                (DB, interface("db", &["198.19.128.2/32", "10.0.2.0/24"], false)),
                (BALANCER, interface("front", &["198.19.1.1/32", "10.0.1.0/24"], true)),
            ]
            .into(),
            outside: [(
                SocketAddrV4::new(OUTSIDE, 5432),
                Outside { block: block("192.0.2.7/32"), sources: [WEB].into() },
            )]
            .into(),
        }
    }

    /// Each rule alone, and whether it lets `web` in to port 5432 of `db`.
    #[test]
    fn a_rule_is_for_its_ports_and_its_peer() {
        for (rule, expected) in [
            (from_group((5432, 5432), "web"), true),
            (from_group((0, 65_535), "web"), true),
            (from_group((5433, 65_535), "web"), false),
            (from_group((5432, 5432), "db"), false),
            (from_block((5432, 5432), "0.0.0.0/0"), true),
            // The VPC, the subnet, its own address; not a part of the subnet, not the neighbour's.
            (from_block((5432, 5432), "10.0.0.0/16"), true),
            (from_block((5432, 5432), "10.0.1.0/24"), true),
            (from_block((5432, 5432), "198.19.128.1/32"), true),
            (from_block((5432, 5432), "10.0.1.0/25"), false),
            (from_block((5432, 5432), "10.0.2.0/24"), false),
        ] {
            let mut security = security();
            assert!(!security.admits(WEB, DB, 5432));
            security.groups.get_mut("db").unwrap().ingress.push(rule.clone());
            assert_eq!(security.admits(WEB, DB, 5432), expected, "{rule:?}");
            // And what it lets out decides, too.
            security.groups.get_mut("web").unwrap().egress.clear();
            assert!(!security.admits(WEB, DB, 5432));
            security.groups.get_mut("web").unwrap().egress.push(from_group((5432, 5432), "db"));
            assert_eq!(security.admits(WEB, DB, 5432), expected, "{rule:?}");
        }
    }

    #[test]
    fn protocols_that_are_not_tcp_let_nothing_through() {
        let of = |protocol, from, to| Permission::of(protocol, from, to, Peer::Group("g".into())).map(|p| p.ports);
        assert_eq!(of("-1", -1, -1), Some((0, 65_535)));
        assert_eq!(of("tcp", 80, 81), Some((80, 81)));
        assert_eq!((of("udp", 80, 81), of("icmp", -1, -1), of("50", -1, -1)), (None, None, None));
    }

    #[test]
    fn clients_of_this_machine_are_known_by_their_address() {
        let mut security = security();
        let web = security.interfaces.get(&WEB).unwrap().clone();
        assert!(!security.admits(CLIENT, BALANCER, 80));
        for (text, client, task) in
            [("0.0.0.0/0", true, true), ("127.0.0.0/8", true, false), ("10.0.0.0/16", false, true)]
        {
            security.groups.get_mut("front").unwrap().ingress = vec![from_block((80, 80), text)];
            assert_eq!(security.admits(CLIENT, BALANCER, 80), client, "{text}");
            assert_eq!(security.admits(WEB, BALANCER, 80), task, "{text}");
            assert!(!security.admits(CLIENT, BALANCER, 81));
            assert_eq!(security.is_shut(BALANCER, 80, block("127.0.0.0/8")), !client);
            assert!(security.is_shut(BALANCER, 81, block("127.0.0.0/8")));
        }
        // What is not public is not reached from another VPC.
        security.groups.get_mut("front").unwrap().ingress = vec![from_block((80, 80), "0.0.0.0/0")];
        security.interfaces.insert(WEB, Interface { vpc: "vpc-2".into(), ..web });
        assert!(security.admits(WEB, BALANCER, 80));
        security.interfaces.get_mut(&BALANCER).unwrap().public = false;
        assert!(security.admits(CLIENT, BALANCER, 80) && !security.admits(WEB, BALANCER, 80));
    }

    #[test]
    fn outside_is_for_those_on_the_list_and_as_their_groups_allow() {
        let mut security = security();
        assert!(security.admits(WEB, OUTSIDE, 5432));
        assert!(!security.admits(Ipv4Addr::new(198, 18, 0, 9), OUTSIDE, 5432));
        security.groups.get_mut("web").unwrap().egress = vec![from_block((5432, 5432), "192.0.2.0/24")];
        assert!(security.admits(WEB, OUTSIDE, 5432));
        security.groups.get_mut("web").unwrap().egress = vec![from_block((5433, 5433), "192.0.2.0/24")];
        assert!(!security.admits(WEB, OUTSIDE, 5432));
        security.groups.get_mut("web").unwrap().egress = vec![from_block((0, 65_535), "10.0.0.0/8")];
        assert!(!security.admits(WEB, OUTSIDE, 5432));
    }

    /// Of the hub itself, the name server and the metadata, groups say nothing.
    #[test]
    fn what_is_nobodys_interface_is_open() {
        assert!(security().admits(WEB, Ipv4Addr::new(198, 19, 0, 1), 4566));
    }

    proptest! {
        /// More rules never let less through, and it is the same with groups of an interface.
        #[test]
        fn rules_only_add(from in 0u16..10, to in 0u16..10, port in 0u16..10, wide: bool) {
            let mut one = security();
            one.groups.get_mut("db").unwrap().ingress.push(from_group((from, to), "web"));
            let before = one.admits(WEB, DB, port);
            prop_assert_eq!(before, (from..=to).contains(&port));
            let more = if wide { from_block((3, 5), "0.0.0.0/0") } else { from_group((3, 5), "front") };
            one.groups.get_mut("front").unwrap().ingress.push(more);
            one.interfaces.get_mut(&DB).unwrap().groups.push("front".into());
            prop_assert_eq!(one.admits(WEB, DB, port), before || wide && (3..=5).contains(&port));
        }
    }
}
