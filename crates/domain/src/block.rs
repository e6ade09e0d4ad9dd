//! Blocks of IPv4 addresses, as VPCs, subnets and security groups have them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;

/// A block such as `10.0.0.0/16`; the bits after the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
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

    /// Of one address.
    pub fn of(address: Ipv4Addr) -> Self {
        Self { network: address.into(), prefix: 32 }
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

impl From<Block> for String {
    fn from(block: Block) -> Self {
        block.to_string()
    }
}

impl TryFrom<String> for Block {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text} is no block of IPv4 addresses"))
    }
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
            if let Some(block) = Block::parse(&text) {
                prop_assert_eq!(Block::parse(&block.to_string()), Some(block));
            }
        }
    }
}
