//! Stickiness by the load balancer's own cookies, AWSALB and AWSALBCORS: which target a client was
//! given, for as long as the cookie lives. A cookie that cannot be read means a new target.

use crate::http::elements_by;
use std::fmt::Write;

/// A request's stickiness, where its target group has it switched on.
#[derive(Clone, Copy, Debug)]
pub struct Sticky {
    group: u64,
    seconds: u32,
    /// The registration that the client's cookie names.
    pub wanted: Option<u64>,
}

const NAMES: [&str; 2] = ["AWSALB", "AWSALBCORS"];

impl Sticky {
    /// `cookies`: the values of the request's Cookie fields.
    pub fn new<'a>(group_arn: &str, seconds: u32, cookies: impl Iterator<Item = &'a [u8]>) -> Self {
        let group = hash(group_arn.as_bytes());
        let wanted = cookies.flat_map(|value| elements_by(value, b';')).find_map(|pair| {
            let at = pair.iter().position(|b| *b == b'=')?;
            let (name, value) = (&pair[..at], std::str::from_utf8(&pair[at + 1..]).ok()?);
            NAMES.iter().any(|n| n.as_bytes() == name).then(|| decode(group, value)).flatten()
        });
        Self { group, seconds, wanted }
    }

    /// The Set-Cookie lines that keep a client with this registration. `date` formats a time in Unix
    /// seconds as an IMF-fixdate.
    pub fn lines(&self, registration: u64, now: i64, date: impl Fn(i64) -> String) -> String {
        let (group, expires) = (self.group, date(now + i64::from(self.seconds)));
        let mut lines = String::with_capacity(256);
        for (name, suffix) in [(NAMES[0], ""), (NAMES[1], "; SameSite=None")] {
            let value = format!("{group:016x}{:016x}", registration ^ group);
            write!(lines, "Set-Cookie: {name}={value}; Expires={expires}; Path=/{suffix}\r\n").expect("memory");
        }
        lines
    }
}

fn decode(group: u64, value: &str) -> Option<u64> {
    if value.len() != 32 || !value.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let (of, registration) = value.split_at(16);
    let of = u64::from_str_radix(of, 16).ok()?;
    (of == group).then(|| u64::from_str_radix(registration, 16).ok().map(|r| r ^ group)).flatten()
}

/// FNV-1a: the same in every process, so that cookies outlive a restart.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_comes_back_to_its_own_group_alone() {
        let sticky = Sticky::new("group/a", 60, std::iter::empty());
        assert_eq!(sticky.wanted, None);
        let lines = sticky.lines(77, 0, |at| format!("t{at}"));
        assert!(lines.contains("; Expires=t60; Path=/\r\n") && lines.contains("SameSite=None"), "{lines}");
        let pair = lines["Set-Cookie: ".len()..].split(';').next().unwrap();
        let cookies = format!("x=1; {pair}; y=2");
        let back = |arn: &str, cookies: &str| Sticky::new(arn, 60, std::iter::once(cookies.as_bytes())).wanted;
        assert_eq!(back("group/a", &cookies), Some(77));
        assert_eq!(back("group/b", &cookies), None);
        for bad in ["AWSALB=", "AWSALB=zz", "AWSALB", "=", "AWSALB=+123456789abcdef0123456789abcdef"] {
            assert_eq!(back("group/a", bad), None, "{bad}");
        }
    }
}
