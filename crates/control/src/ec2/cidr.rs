//! Address blocks.

pub use quarry_domain::block::Block;
use std::net::Ipv6Addr;

/// An IPv6 block in its usual form, the bits after the prefix cut off. `None` unless it is one.
pub fn ipv6_block(text: &str) -> Option<String> {
    let (address, prefix) = text.split_once('/')?;
    let prefix: u32 = prefix.parse().ok().filter(|p| *p <= 128)?;
    let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
    let network = u128::from(address.parse::<Ipv6Addr>().ok()?) & mask;
    Some(format!("{}/{prefix}", Ipv6Addr::from(network)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_blocks_have_one_form() {
        assert_eq!(ipv6_block("::/0").as_deref(), Some("::/0"));
        assert_eq!(ipv6_block("2001:DB8:0::1/32").as_deref(), Some("2001:db8::/32"));
        assert_eq!(ipv6_block("2001:db8::1/128").as_deref(), Some("2001:db8::1/128"));
        for bad in ["::/129", "::", "10.0.0.0/8", "g::/8"] {
            assert_eq!(ipv6_block(bad), None, "{bad}");
        }
    }
}
