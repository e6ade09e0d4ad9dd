//! Stickiness by cookies: which target a client was given (AWSALB and AWSALBCORS, or AWSALBAPP-0 beside the
//! application's own cookie), and which target group of a weighted forward (AWSALBTG and AWSALBTGCORS).
//!
//! The duration is in the cookie's value and checked here; the cookies themselves live a week, as an
//! Application Load Balancer's do. A cookie that cannot be read means a new choice.

use crate::http::elements_by;
use crate::http::response::Extra;
use quarry_domain::snapshot::Stickiness;
use std::fmt::Write;
use std::sync::Arc;

/// A target group's stickiness, compiled.
#[derive(Clone, Debug)]
pub struct TargetCookie {
    group: u64,
    seconds: u32,
    /// The application's cookie, without which the balancer's means nothing.
    application: Option<Arc<str>>,
}

/// A forward action's stickiness over its target groups, compiled.
#[derive(Clone, Copy, Debug)]
pub struct GroupCookie {
    action: u64,
    seconds: u32,
}

/// What one request's answer has to tell the client, and the target its cookies name.
#[derive(Clone, Debug, Default)]
pub struct Sticky {
    target: Option<TargetCookie>,
    /// The application's cookie came with the request and its session goes on: renewed with every answer.
    renew: bool,
    /// The cookie of the chosen target group, and that group.
    group: Option<(GroupCookie, u64)>,
    /// The client has written in a cut's scope: it will be known by a cookie.
    wrote: bool,
    /// The registration that the client's cookie names.
    pub wanted: Option<u64>,
}

const TARGET: [&str; 2] = ["AWSALB", "AWSALBCORS"];
const GROUP: [&str; 2] = ["AWSALBTG", "AWSALBTGCORS"];
const APPLICATION: &str = "AWSALBAPP-0";
const WROTE: &str = "QUARRYCUTWROTE";
/// For so many seconds a client that has written in a cut's scope is known by a cookie.
pub const WROTE_SECONDS: u64 = 10;
/// Seconds that the cookies live with the client.
const WEEK: i64 = 604_800;
/// Hexadecimal digits of a value: three numbers.
const DIGITS: usize = 48;

impl TargetCookie {
    pub fn new(group_arn: &str, stickiness: &Stickiness) -> Self {
        let group = hash(group_arn.as_bytes());
        match stickiness {
            Stickiness::LoadBalancerCookie { seconds } => Self { group, seconds: *seconds, application: None },
            Stickiness::AppCookie { name, seconds } => {
                Self { group, seconds: *seconds, application: Some(name.as_str().into()) }
            }
        }
    }
}

impl GroupCookie {
    /// `groups`: the ARNs of the forward action's target groups; another set makes older cookies void.
    pub fn new<'a>(groups: impl Iterator<Item = &'a str>, seconds: u32) -> Self {
        let action = groups.map(|arn| hash(arn.as_bytes())).fold(0, u64::wrapping_add);
        Self { action, seconds }
    }

    /// What stands for the target group that the client's cookies name; compare with [`hash`] of its ARN.
    pub fn find<'a>(&self, cookies: impl Iterator<Item = &'a [u8]>, now: i64) -> Option<u64> {
        pairs(cookies).filter(|(name, _)| is_one_of(name, &GROUP)).find_map(|(_, v)| decode(self.action, v, now))
    }
}

impl Sticky {
    /// `cookies`: the values of the request's Cookie fields. `now` in Unix seconds.
    pub fn read<'a>(target: Option<&TargetCookie>, cookies: impl Iterator<Item = &'a [u8]>, now: i64) -> Self {
        let Some(target) = target else { return Self::default() };
        let (mut wanted, mut session) = (None, target.application.is_none());
        for (name, value) in pairs(cookies) {
            let ours = match &target.application {
                None => is_one_of(name, &TARGET),
                Some(application) => {
                    session |= name == application.as_bytes();
                    name == APPLICATION.as_bytes()
                }
            };
            if ours && wanted.is_none() {
                wanted = decode(target.group, value, now);
            }
        }
        let wanted = wanted.filter(|_| session);
        let renew = target.application.is_none() || wanted.is_some();
        Self { target: Some(target.clone()), renew, group: None, wrote: false, wanted }
    }

    /// The target group keeps clients with their targets.
    pub fn is_asked(&self) -> bool {
        self.target.is_some()
    }

    /// The client stays with this target group of a forward action.
    pub fn with_group(mut self, cookie: GroupCookie, group_arn: &str) -> Self {
        self.group = Some((cookie, hash(group_arn.as_bytes())));
        self
    }

    /// The request is a write in a cut's scope: see [`has_written`].
    pub fn with_written(mut self) -> Self {
        self.wrote = true;
        self
    }

    /// The Set-Cookie lines that keep a client with this registration. `date` formats a time in Unix
    /// seconds as an IMF-fixdate.
    pub fn extra(&self, registration: u64, now: i64, date: impl Fn(i64) -> String) -> Extra {
        let mut extra = Extra::default();
        if self.wrote {
            let age = WROTE_SECONDS;
            write!(extra.lines, "Set-Cookie: {WROTE}=1; Max-Age={age}; Path=/; HttpOnly\r\n").expect("memory");
        }
        if self.target.is_none() && self.group.is_none() {
            return extra;
        }
        let expires = date(now + WEEK);
        let mut both = |names: [&str; 2], value: &str| {
            for (name, suffix) in names.iter().zip(["", "; SameSite=None"]) {
                write!(extra.lines, "Set-Cookie: {name}={value}; Expires={expires}; Path=/{suffix}\r\n")
                    .expect("memory");
            }
        };
        if let Some((cookie, group)) = self.group {
            both(GROUP, &encode(cookie.action, now + i64::from(cookie.seconds), group));
        }
        if let Some(target) = &self.target {
            let value = encode(target.group, now + i64::from(target.seconds), registration);
            match &target.application {
                None => both(TARGET, &value),
                Some(application) => {
                    let line = format!("Set-Cookie: {APPLICATION}={value}; Expires={expires}; Path=/\r\n");
                    match self.renew {
                        true => extra.lines.push_str(&line),
                        false => extra.beside_cookie = Some((application.clone(), line)),
                    }
                }
            }
        }
        extra
    }
}

/// Whether the client has written in a cut's scope within [`WROTE_SECONDS`].
pub fn has_written<'a>(cookies: impl Iterator<Item = &'a [u8]>) -> bool {
    pairs(cookies).any(|(name, _)| name == WROTE.as_bytes())
}

fn pairs<'a>(cookies: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    cookies.flat_map(|value| elements_by(value, b';')).filter_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=')?;
        Some((&pair[..at], &pair[at + 1..]))
    })
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names.iter().any(|n| n.as_bytes() == name)
}

fn encode(scope: u64, until: i64, value: u64) -> String {
    format!("{scope:016x}{:016x}{:016x}", until as u64 ^ scope.rotate_left(21), value ^ scope)
}

/// The value, if it belongs to this scope and its time has not run out.
fn decode(scope: u64, text: &[u8], now: i64) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.len() != DIGITS || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let number = |n: usize| u64::from_str_radix(&text[n * 16..(n + 1) * 16], 16).ok();
    let until = number(1)? ^ scope.rotate_left(21);
    (number(0)? == scope && until as i64 >= now).then_some(())?;
    Some(number(2)? ^ scope)
}

/// FNV-1a: the same in every process, so that cookies outlive a restart.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(arn: &str) -> TargetCookie {
        TargetCookie::new(arn, &Stickiness::LoadBalancerCookie { seconds: 60 })
    }

    fn wanted(cookie: &TargetCookie, cookies: &str, now: i64) -> Option<u64> {
        Sticky::read(Some(cookie), std::iter::once(cookies.as_bytes()), now).wanted
    }

    /// `name=value` of every Set-Cookie line.
    fn set(lines: &str) -> Vec<&str> {
        lines.lines().map(|l| l["Set-Cookie: ".len()..].split(';').next().unwrap()).collect()
    }

    #[test]
    fn a_cookie_comes_back_to_its_own_group_until_its_time_is_over() {
        let (a, b) = (duration("group/a"), duration("group/b"));
        let sticky = Sticky::read(Some(&a), std::iter::empty(), 0);
        assert_eq!(sticky.wanted, None);
        let extra = sticky.extra(77, 1000, |at| format!("t{at}"));
        assert!(extra.lines.contains("; Expires=t605800; Path=/\r\n"), "{}", extra.lines);
        assert!(extra.lines.contains("; Path=/; SameSite=None\r\n") && extra.beside_cookie.is_none());
        let cookies = format!("x=1; {}; y=2", set(&extra.lines)[0]);
        assert_eq!(wanted(&a, &cookies, 1060), Some(77));
        assert_eq!(wanted(&a, &cookies, 1061), None);
        assert_eq!(wanted(&b, &cookies, 1060), None);
        for bad in ["AWSALB=", "AWSALB=zz", "AWSALB", "=", &format!("AWSALB=+{}", "1".repeat(47))] {
            assert_eq!(wanted(&a, bad, 0), None, "{bad}");
        }
    }

    #[test]
    fn an_application_cookie_begins_a_session_and_is_needed_to_go_on() {
        let cookie = TargetCookie::new("g", &Stickiness::AppCookie { name: "SESSION".into(), seconds: 60 });
        let first = Sticky::read(Some(&cookie), std::iter::empty(), 0).extra(5, 0, |_| String::new());
        assert_eq!(first.lines, "");
        let (name, line) = first.beside_cookie.expect("where the application sets its cookie");
        assert_eq!(&*name, "SESSION");
        let ours = set(&line)[0].to_owned();
        assert!(ours.starts_with("AWSALBAPP-0="), "{ours}");
        assert_eq!(wanted(&cookie, &ours, 0), None);
        let both = format!("SESSION=abc; {ours}");
        assert_eq!(wanted(&cookie, &both, 60), Some(5));
        assert_eq!(wanted(&cookie, &both, 61), None);
        let renewed = Sticky::read(Some(&cookie), std::iter::once(both.as_bytes()), 30).extra(5, 30, |_| String::new());
        assert_eq!(wanted(&cookie, &format!("SESSION=abc; {}", set(&renewed.lines)[0]), 90), Some(5));
    }

    #[test]
    fn a_group_cookie_names_a_group_of_its_own_action() {
        let action = GroupCookie::new(["g/1", "g/2"].into_iter(), 60);
        let extra = Sticky::default().with_group(action, "g/2").extra(1, 0, |_| String::new());
        let cookies = set(&extra.lines).join("; ");
        let find = |action: GroupCookie, now| action.find(std::iter::once(cookies.as_bytes()), now);
        assert_eq!(find(action, 60), Some(hash(b"g/2")));
        assert_eq!(find(action, 61), None);
        assert_eq!(find(GroupCookie::new(["g/2", "g/1"].into_iter(), 5), 60), Some(hash(b"g/2")));
        assert_eq!(find(GroupCookie::new(["g/1", "g/3"].into_iter(), 60), 0), None);
    }
}
