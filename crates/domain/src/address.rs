//! The plan of addresses on the hub network, both ranges from 198.18.0.0/15, which is reserved for
//! benchmarks (RFC 2544) and so in nobody's way:
//!
//! | Addresses | Whose |
//! |---|---|
//! | 198.18.0.0/16 | where a task's own connections come from, one per task |
//! | 198.19.0.1 | the hub itself: name server and AWS endpoint |
//! | 198.19.1.0/24 | load balancers |
//! | 198.19.2.0 to 198.19.126.255 | what lies outside, one per name of the allow-list |
//! | 198.19.128.0/17 | where others reach a task, one per task: its private address |
//!
//! Beside them, as on AWS, 169.254.170.2: what tells a task its role's credentials and what it is.

use std::net::Ipv4Addr;

/// The first of the private addresses.
pub const PRIVATE: Ipv4Addr = Ipv4Addr::new(198, 19, 128, 0);
/// The prefix length of their range.
pub const PRIVATE_PREFIX: u8 = 17;

/// Where tasks ask for the credentials of their role and for what they are, at port 80.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);

/// How many hosts a third octet counts: the last one runs from 1 to 254, so that no address looks
/// like a network's or a broadcast's.
const PER_BLOCK: u64 = 254;

/// The `n`-th address that a task sends from; begins again after 65,024.
pub fn source(n: u64) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, (n / PER_BLOCK % 256) as u8, (n % PER_BLOCK) as u8 + 1)
}

/// Where tasks find the `n`-th name of what lies outside; begins again after 31,750.
pub fn outside(n: u64) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, 2 + (n / PER_BLOCK % 125) as u8, (n % PER_BLOCK) as u8 + 1)
}

/// The loopback address from which the host hears a task: `source`, 198.18.x.y, as 127.18.x.y. No task
/// can connect from there by itself.
pub fn told(source: Ipv4Addr) -> Option<Ipv4Addr> {
    match source.octets() {
        [198, 18, third, last] => Some(Ipv4Addr::new(127, 18, third, last)),
        _ => None,
    }
}

/// The task's source address behind one of [`told`]'s.
pub fn teller(told: Ipv4Addr) -> Option<Ipv4Addr> {
    match told.octets() {
        [127, 18, third, last] => Some(Ipv4Addr::new(198, 18, third, last)),
        _ => None,
    }
}

/// The loopback address from which the host hears a task that calls the AWS endpoint: 198.18.x.y as 127.19.x.y.
pub fn calling(source: Ipv4Addr) -> Option<Ipv4Addr> {
    match source.octets() {
        [198, 18, third, last] => Some(Ipv4Addr::new(127, 19, third, last)),
        _ => None,
    }
}

/// The task's source address behind one of [`calling`]'s.
pub fn caller(calling: Ipv4Addr) -> Option<Ipv4Addr> {
    match calling.octets() {
        [127, 19, third, last] => Some(Ipv4Addr::new(198, 18, third, last)),
        _ => None,
    }
}

/// The `n`-th private address; begins again after 32,512.
pub fn private(n: u64) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, 128 + (n / PER_BLOCK % 128) as u8, (n % PER_BLOCK) as u8 + 1)
}

/// Where tasks are plain processes, their private addresses are the host's loopback: the `n`-th of
/// 127.81.0.0/16.
pub fn private_on_loopback(n: u64) -> Ipv4Addr {
    Ipv4Addr::new(127, 81, (n / PER_BLOCK % 256) as u8, (n % PER_BLOCK) as u8 + 1)
}

/// Whether it is in the hub's range of private addresses.
pub fn is_private(address: Ipv4Addr) -> bool {
    u32::from(address) >> (32 - PRIVATE_PREFIX) == u32::from(PRIVATE) >> (32 - PRIVATE_PREFIX)
}

/// Whether it is a task's private address, on the hub or on loopback.
pub fn is_of_tasks(address: Ipv4Addr) -> bool {
    is_private(address) || address.octets()[..2] == [127, 81]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_ne, proptest};

    proptest! {
        #[test]
        fn every_address_is_in_its_range(n: u64, m: u64) {
            prop_assert!(is_private(private(n)) && !is_private(source(n)) && !is_private(private_on_loopback(n)));
            for address in [private(n), source(n), private_on_loopback(n), outside(n)] {
                prop_assert!((1..=254).contains(&address.octets()[3]));
            }
            prop_assert!(told(source(n)).and_then(teller) == Some(source(n)) && told(private(n)).is_none());
            prop_assert!(calling(source(n)).and_then(caller) == Some(source(n)) && teller(calling(source(n)).unwrap()).is_none());
            prop_assert!(source(n).octets()[..2] == [198, 18] && private_on_loopback(n).octets()[..2] == [127, 81]);
            prop_assert!(outside(n).octets()[1] == 19 && (2..127).contains(&outside(n).octets()[2]));
            if n % (128 * 254) != m % (128 * 254) {
                prop_assert_ne!(private(n), private(m));
            }
        }
    }

    #[test]
    fn the_hub_and_the_balancers_are_not_private() {
        for other in [Ipv4Addr::new(198, 19, 0, 1), Ipv4Addr::new(198, 19, 1, 254), Ipv4Addr::new(198, 20, 128, 1)] {
            assert!(!is_private(other));
        }
    }
}
