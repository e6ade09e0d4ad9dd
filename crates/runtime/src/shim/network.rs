//! A task's network: `lo`, and `eth0` whose other end is in the hub.

use super::sandbox::{Sandbox, context};
use crate::netlink::{LOOPBACK, Netlink};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::net::Ipv4Addr;

/// Moves the calling process into the task's network namespace for good and sets it up there. True if nobody can
/// send under another task's address: then raw sockets do no harm.
/// `hub`: the hub's network namespace, the address the task sends from, and the hub's; `private`: the
/// address others reach the task by, through sockets in the hub, and it itself on `lo`. All of it goes when
/// the namespace goes, with its last process; an address may be given again at once, because the
/// route to it is replaced.
pub fn connect(
    sandbox: &Sandbox,
    id: &str,
    hub: Option<(BorrowedFd, Ipv4Addr, Ipv4Addr)>,
    private: Option<Ipv4Addr>,
) -> io::Result<bool> {
    let network = Some(LinkNameSpaceType::Network);
    // A netlink socket stays with the namespace it was opened in.
    let (hub_link, own_addresses_only) = match &hub {
        Some((namespace, ..)) => {
            move_into_link_name_space(*namespace, network).map_err(|e| context("entering the hub", e))?;
            let checked = std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter").unwrap_or_default();
            (Some(Netlink::open()?), checked.trim() == "1")
        }
        None => (None, true),
    };
    move_into_link_name_space(sandbox.net.as_fd(), network).map_err(|e| context("entering the task's network", e))?;
    let mut link = Netlink::open()?;
    link.up(LOOPBACK).map_err(|e| context("bringing lo up", e))?;
    if let Some(private) = private {
        link.add_address(LOOPBACK, private).map_err(|e| context("giving lo the private address", e))?;
    }
    // As Docker has it: users other than root may listen on port 80, too. Where /proc/sys cannot be written,
    // they keep to ports from 1024 on.
    let _ = std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    if let (Some((namespace, address, gateway)), Some(mut hub_link)) = (hub, hub_link) {
        let peer = peer_name(id);
        link.make_veth("eth0", &peer, namespace).map_err(|e| context("making eth0", e))?;
        let index = link.link_index("eth0")?;
        // The hub speaks IPv4 only; lo keeps ::1. A kernel without IPv6 refuses.
        let _ = link.without_ipv6_address(index);
        link.add_address(index, address).map_err(|e| context("giving eth0 its address", e))?;
        link.up(index)?;
        let peer_index = hub_link.link_index(&peer)?;
        hub_link.up(peer_index)?;
        hub_link.route_to(peer_index, address, gateway).map_err(|e| context("routing the hub to the task", e))?;
        link.default_route(index, gateway).map_err(|e| context("routing the task to the hub", e))?;
    }
    Ok(own_addresses_only)
}

/// The hub's end: interface names have at most 15 bytes.
fn peer_name(id: &str) -> String {
    let id: String = id.chars().filter(char::is_ascii_alphanumeric).take(14).collect();
    format!("q{id}")
}
