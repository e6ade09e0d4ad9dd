//! Address blocks of `source-ip` conditions.

use std::net::IpAddr;

/// A block such as `192.0.2.0/24` or `2001:db8::/32`. A bare address is the block of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The block's first address, as a number.
    network: u128,
    mask: u128,
    v6: bool,
}

impl Cidr {
    /// `None` if the text is no block.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) if length.len() <= 3 && length.bytes().all(|b| b.is_ascii_digit()) => {
                (address.parse::<IpAddr>().ok()?, Some(length.parse::<u32>().ok()?))
            }
            Some(_) => return None,
            None => (text.parse::<IpAddr>().ok()?, None),
        };
        let (number, bits, v6) = number(address);
        let length = length.unwrap_or(bits);
        if length > bits {
            return None;
        }
        let all = if v6 { u128::MAX } else { u128::from(u32::MAX) };
        let mask = if length == 0 { 0 } else { all & (all << (bits - length)) };
        Some(Self { network: number & mask, mask, v6 })
    }

    /// An IPv4 address written in IPv6 form counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (number, _, v6) = number(address);
        v6 == self.v6 && number & self.mask == self.network
    }
}

fn number(address: IpAddr) -> (u128, u32, bool) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32, false),
        IpAddr::V6(v6) => (u128::from(v6), 128, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_contain_their_addresses_only() {
        let holds = |block: &str, address: &str| Cidr::parse(block).unwrap().contains(address.parse().unwrap());
        assert!(holds("192.0.2.0/24", "192.0.2.255"));
        assert!(!holds("192.0.2.0/24", "192.0.3.0"));
        assert!(holds("0.0.0.0/0", "8.8.8.8"));
        assert!(!holds("0.0.0.0/0", "::1"));
        assert!(holds("127.0.0.1", "::ffff:127.0.0.1"));
        assert!(holds("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!holds("2001:db8::/32", "2001:db9::1"));
        for bad in ["", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/+1", "::/129", "a/8"] {
            assert_eq!(Cidr::parse(bad), None, "{bad}");
        }
    }
}
