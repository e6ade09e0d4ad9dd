//! Address blocks.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A block such as `10.0.0.0/16`; the bits after the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    network: u32,
    prefix: u8,
}

impl Block {
    /// `None` unless it is `a.b.c.d/n`. Bits after the prefix are cut off, as EC2 does.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let prefix: u8 = prefix.parse().ok().filter(|p| *p <= 32)?;
        let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
        Some(Self { network: address & mask(prefix), prefix })
    }

    pub fn prefix(self) -> u8 {
        self.prefix
    }

    pub fn contains(self, other: Self) -> bool {
        other.prefix >= self.prefix && other.network & mask(self.prefix) == self.network
    }

    pub fn has(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.network
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other) || other.contains(self)
    }

    /// How many addresses it has.
    pub fn size(self) -> u64 {
        1 << (32 - self.prefix)
    }

    /// The address at an offset, if it is inside.
    pub fn address(self, offset: u64) -> Option<Ipv4Addr> {
        (offset < self.size()).then(|| Ipv4Addr::from(self.network + offset as u32))
    }
}

/// An IPv6 block in its usual form, the bits after the prefix cut off. `None` unless it is one.
pub fn ipv6_block(text: &str) -> Option<String> {
    let (address, prefix) = text.split_once('/')?;
    let prefix: u32 = prefix.parse().ok().filter(|p| *p <= 128)?;
    let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
    let network = u128::from(address.parse::<Ipv6Addr>().ok()?) & mask;
    Some(format!("{}/{prefix}", Ipv6Addr::from(network)))
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ipv6_blocks_have_one_form() {
        assert_eq!(ipv6_block("::/0").as_deref(), Some("::/0"));
        assert_eq!(ipv6_block("2001:DB8:0::1/32").as_deref(), Some("2001:db8::/32"));
        assert_eq!(ipv6_block("2001:db8::1/128").as_deref(), Some("2001:db8::1/128"));
        for bad in ["::/129", "::", "10.0.0.0/8", "g::/8"] {
            assert_eq!(ipv6_block(bad), None, "{bad}");
        }
    }

    #[test]
    fn blocks_contain_and_overlap() {
        let vpc = Block::parse("10.0.0.0/16").unwrap();
        let one = Block::parse("10.0.1.7/24").unwrap();
        assert_eq!(one.to_string(), "10.0.1.0/24");
        assert!(vpc.contains(one) && !one.contains(vpc) && one.overlaps(vpc));
        assert_eq!(one.address(4), Some(Ipv4Addr::new(10, 0, 1, 4)));
        assert_eq!(one.address(256), None);
        assert_eq!(Block::parse("0.0.0.0/0").unwrap().size(), 1 << 32);
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0/8", "/8", ""] {
            assert_eq!(Block::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = Block::parse(&text);
        }
    }
}
