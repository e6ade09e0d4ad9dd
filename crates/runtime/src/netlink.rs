//! The little that is asked of rtnetlink: bring links up, give addresses and routes, make a veth pair.

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The loopback device's index in every network namespace.
pub const LOOPBACK: u32 = 1;

/// A conversation with the network namespace it was opened in.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the calling process's present network namespace; it stays with that one.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Index of the link called `name`.
    pub fn link_index(&mut self, name: &str) -> io::Result<u32> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.ask(RouteNetlinkMessage::GetLink(message), 0)? {
            Some(RouteNetlinkMessage::NewLink(link)) => Ok(link.header.index),
            _ => Err(io::Error::other(format!("no answer about link {name}"))),
        }
    }

    pub fn up(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.tell(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// The link gets no IPv6 address of its own when it comes up, and so says nothing in IPv6. (To write `disable_ipv6`
    /// below `/proc/sys` would do more, but the kernel has its writers spin for a lock that every change of a network has.)
    pub fn without_ipv6_address(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let inet6 = vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)];
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(inet6)]));
        self.tell(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// A pair of connected links: `name` here, `peer` in the other namespace.
    pub fn make_veth(&mut self, name: &str, peer: &str, peer_namespace: BorrowedFd) -> io::Result<()> {
        let mut other = LinkMessage::default();
        other.attributes.push(LinkAttribute::IfName(peer.to_owned()));
        other.attributes.push(LinkAttribute::NetNsFd(peer_namespace.as_raw_fd()));
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
        ]));
        self.tell(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds `address/32` to a link. That it is there already is no error.
    pub fn add_address(&mut self, index: u32, address: Ipv4Addr) -> io::Result<()> {
        let message = address_message(index, address);
        match self.tell(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Takes `address/32` off a link. That it is not there is no error.
    pub fn remove_address(&mut self, index: u32, address: Ipv4Addr) -> io::Result<()> {
        match self.tell(RouteNetlinkMessage::DelAddress(address_message(index, address)), 0) {
            Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(()),
            other => other,
        }
    }

    /// `destination/32` is directly on this link; replaces an older route.
    pub fn route_to(&mut self, index: u32, destination: Ipv4Addr, source: Ipv4Addr) -> io::Result<()> {
        let mut message = route_message(RouteScope::Link, 32);
        message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(destination)));
        message.attributes.push(RouteAttribute::PrefSource(RouteAddress::Inet(source)));
        message.attributes.push(RouteAttribute::Oif(index));
        self.tell(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Everything else goes to `gateway`, which is taken to be on this link.
    pub fn default_route(&mut self, index: u32, gateway: Ipv4Addr) -> io::Result<()> {
        let mut message = route_message(RouteScope::Universe, 0);
        message.header.flags = RouteFlags::Onlink;
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
        message.attributes.push(RouteAttribute::Oif(index));
        self.tell(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Every address of `network/prefix` is this namespace's own: sockets may listen at any of them.
    pub fn local_network(&mut self, network: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut message = route_message(RouteScope::Host, prefix);
        message.header.table = libc::RT_TABLE_LOCAL;
        message.header.kind = RouteType::Local;
        message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(network)));
        message.attributes.push(RouteAttribute::Oif(LOOPBACK));
        self.tell(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    fn tell(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(message, flags | NLM_F_ACK).map(drop)
    }

    /// Sends one request and reads its one answer: an acknowledgement (`None`), an error, or a message.
    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Option<RouteNetlinkMessage>> {
        self.sequence += 1;
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut bytes = vec![0u8; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            let header = NetlinkBuffer::new_checked(&answer).map_err(io::Error::other)?;
            if header.sequence_number() != self.sequence {
                continue;
            }
            let parsed = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
            return match parsed.payload {
                NetlinkPayload::Error(error) if error.code.is_none() => Ok(None),
                NetlinkPayload::Error(error) => Err(error.to_io()),
                NetlinkPayload::InnerMessage(message) => Ok(Some(message)),
                other => Err(io::Error::other(format!("unexpected netlink answer {other:?}"))),
            };
        }
    }
}

fn address_message(index: u32, address: Ipv4Addr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = 32;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(IpAddr::V4(address)));
    message.attributes.push(AddressAttribute::Address(IpAddr::V4(address)));
    message
}

fn route_message(scope: RouteScope, prefix: u8) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = prefix;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = scope;
    message.header.kind = RouteType::Unicast;
    message
}
