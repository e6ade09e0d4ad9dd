//! Conditions of statements: AWS's "IAM JSON policy elements: Condition operators" and its rules for
//! keys of several values.

use super::context::Context;
use super::glob::Glob;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quarry_wire::Timestamp;
use std::cmp::Ordering;
use std::net::IpAddr;

/// One key compared with values.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Lower case.
    key: String,
    set: Set,
    /// Holds where the request has no such key.
    if_exists: bool,
    test: Test,
}

/// How a key of several values is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// Not as a set: there is one value.
    One,
    All,
    Any,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    /// Whether the key is absent.
    Null(Vec<bool>),
    /// `negated`: holds where none of the values fits.
    Fits { negated: bool, values: Vec<Fit> },
}

/// One value of a condition.
#[derive(Clone, Debug, PartialEq)]
enum Fit {
    Text(Glob),
    TextIgnoringCase(Glob),
    Pattern(Glob),
    Arn(Glob),
    Number(Compare, f64),
    Date(Compare, Timestamp),
    Bool(bool),
    Binary(Vec<u8>),
    Network(IpAddr, u8),
    /// A value that is none of its kind fits nothing.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Condition {
    /// `None` if there is no such operator.
    pub fn new(operator: &str, key: &str, values: &[String], variables: bool) -> Option<Self> {
        let (set, operator) = match operator.split_once(':') {
            None => (Set::One, operator),
            Some(("ForAllValues", rest)) => (Set::All, rest),
            Some(("ForAnyValue", rest)) => (Set::Any, rest),
            Some(_) => return None,
        };
        let key = key.to_ascii_lowercase();
        if operator == "Null" {
            let absent = values.iter().map(|value| value.eq_ignore_ascii_case("true")).collect();
            return Some(Self { key, set, if_exists: false, test: Test::Null(absent) });
        }
        let (operator, if_exists) = match operator.strip_suffix("IfExists") {
            Some(operator) => (operator, true),
            None => (operator, false),
        };
        let (negated, fit) = fit_of(operator)?;
        let values = values.iter().map(|value| fit(value, variables)).collect();
        Some(Self { key, set, if_exists, test: Test::Fits { negated, values } })
    }

    /// The keys that it asks for, in lower case: its own, and those of variables in its values.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = vec![self.key.clone()];
        if let Test::Fits { values, .. } = &self.test {
            for value in values {
                if let Fit::Text(glob) | Fit::TextIgnoringCase(glob) | Fit::Pattern(glob) | Fit::Arn(glob) = value {
                    keys.extend(glob.variables().map(str::to_owned));
                }
            }
        }
        keys
    }

    pub fn holds(&self, context: &Context) -> bool {
        let present = context.get(&self.key);
        let (negated, values) = match &self.test {
            Test::Null(absent) => return absent.contains(&present.is_none_or(<[String]>::is_empty)),
            Test::Fits { negated, values } => (*negated, values),
        };
        let fits = |value: &String| values.iter().any(|fit| fit.holds(value, context)) != negated;
        match (self.set, present) {
            (Set::All, None) => true,
            (Set::Any, None) => self.if_exists,
            // A comparison that is negated holds without the key.
            (Set::One, None) => self.if_exists || negated,
            (Set::All, Some(present)) => present.iter().all(fits),
            (Set::Any, Some(present)) => present.iter().any(fits),
            (Set::One, Some(present)) if negated => present.iter().all(fits),
            (Set::One, Some(present)) => present.iter().any(fits),
        }
    }
}

/// Reads one value of a condition; with or without variables.
type Reading = Box<dyn Fn(&str, bool) -> Fit>;

/// Whether an operator is negated, and how its values are read.
fn fit_of(operator: &str) -> Option<(bool, Reading)> {
    let kinds = ["String", "Numeric", "Date", "Arn"];
    let kind = kinds.iter().find_map(|kind| Some((*kind, operator.strip_prefix(kind)?)));
    Some(match kind {
        Some(("String", way)) => {
            let (negated, way) = negation(way);
            let make: fn(Glob) -> Fit = match way {
                "Equals" => Fit::Text,
                "EqualsIgnoreCase" => Fit::TextIgnoringCase,
                "Like" => return Some((negated, Box::new(|value, vars| Fit::Pattern(Glob::new(value, vars))))),
                _ => return None,
            };
            (negated, Box::new(move |value, vars| make(Glob::exact(value, vars))))
        }
        Some(("Arn", way)) => {
            let (negated, way) = negation(way);
            // Both compare as patterns.
            ["Equals", "Like"].contains(&way).then_some(())?;
            (negated, Box::new(|value, vars| Fit::Arn(Glob::new(value, vars))))
        }
        Some((kind, way)) => {
            let (negated, way) = negation(way);
            let compare = match way {
                "Equals" => Compare::Equal,
                "LessThan" => Compare::Less,
                "LessThanEquals" => Compare::LessOrEqual,
                "GreaterThan" => Compare::Greater,
                "GreaterThanEquals" => Compare::GreaterOrEqual,
                _ => return None,
            };
            if negated && compare != Compare::Equal {
                return None;
            }
            let date = kind == "Date";
            let read = move |value: &str, _| match (date, number(value), moment(value)) {
                (true, _, Some(date)) => Fit::Date(compare, date),
                (false, Some(number), _) => Fit::Number(compare, number),
                _ => Fit::Nothing,
            };
            (negated, Box::new(read))
        }
        None => match operator {
            "Bool" => (false, Box::new(|value, _| boolean(value).map_or(Fit::Nothing, Fit::Bool))),
            "BinaryEquals" => (false, Box::new(|value, _| STANDARD.decode(value).map_or(Fit::Nothing, Fit::Binary))),
            "IpAddress" | "NotIpAddress" => {
                let read = |value: &str, _| network(value).map_or(Fit::Nothing, |(ip, bits)| Fit::Network(ip, bits));
                (operator == "NotIpAddress", Box::new(read))
            }
            _ => return None,
        },
    })
}

fn negation(way: &str) -> (bool, &str) {
    match way.strip_prefix("Not") {
        Some(way) => (true, way),
        None => (false, way),
    }
}

impl Fit {
    fn holds(&self, value: &str, context: &Context) -> bool {
        match self {
            Self::Text(glob) | Self::Pattern(glob) => glob.matches(value, context),
            Self::TextIgnoringCase(glob) => {
                glob.text(context).is_some_and(|text| text.to_lowercase() == value.to_lowercase())
            }
            Self::Arn(glob) => glob.matches_arn(value, context),
            Self::Number(compare, limit) => {
                number(value).and_then(|value| value.partial_cmp(limit)).is_some_and(|order| compare.holds(order))
            }
            Self::Date(compare, limit) => {
                moment(value).is_some_and(|value| compare.holds(value.as_f64().total_cmp(&limit.as_f64())))
            }
            Self::Bool(wanted) => boolean(value) == Some(*wanted),
            Self::Binary(wanted) => STANDARD.decode(value).is_ok_and(|value| value == *wanted),
            Self::Network(network, bits) => {
                value.parse::<IpAddr>().is_ok_and(|address| is_within(address, *network, *bits))
            }
            Self::Nothing => false,
        }
    }
}

impl Compare {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        text if text.eq_ignore_ascii_case("true") => Some(true),
        text if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// ISO 8601, to the day at least, or seconds since 1970.
fn moment(text: &str) -> Option<Timestamp> {
    if let Some(seconds) = number(text) {
        return Timestamp::from_f64(seconds);
    }
    Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")))
}

/// An address, or a network such as `10.0.0.0/8`.
fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(whole);
    (bits <= whole).then_some((address, bits))
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the condition holds for a key with these values; `-`: without the key.
    fn holds(operator: &str, wanted: &[&str], present: &str) -> bool {
        let mut context = Context::default();
        context.set("aws:username", "ann");
        if present != "-" {
            context.set_all("k", present.split(',').filter(|v| !v.is_empty()).map(str::to_owned).collect());
        }
        let wanted: Vec<String> = wanted.iter().map(|&value| value.to_owned()).collect();
        Condition::new(operator, "K", &wanted, true).unwrap_or_else(|| panic!("{operator}")).holds(&context)
    }

    #[test]
    fn operators_as_aws_documents_them() {
        let cases: &[(&str, &[&str], &str, bool)] = &[
            ("StringEquals", &["a", "b"], "b", true),
            ("StringEquals", &["a*"], "ab", false),
            ("StringEquals", &["a"], "A", false),
            ("StringEquals", &["a"], "-", false),
            ("StringEquals", &["${aws:username}"], "ann", true),
            ("StringEqualsIfExists", &["a"], "-", true),
            ("StringEqualsIfExists", &["a"], "b", false),
            ("StringNotEquals", &["a", "b"], "b", false),
            ("StringNotEquals", &["a", "b"], "c", true),
            ("StringNotEquals", &["a"], "-", true),
            ("StringEqualsIgnoreCase", &["Ann"], "aNN", true),
            ("StringNotEqualsIgnoreCase", &["Ann"], "aNN", false),
            ("StringLike", &["a?c*"], "abcd", true),
            ("StringLike", &["${aws:username}/*"], "ann/x", true),
            ("StringNotLike", &["a*"], "abc", false),
            ("NumericEquals", &["10"], "10.0", true),
            ("NumericNotEquals", &["10"], "11", true),
            ("NumericLessThan", &["10"], "9", true),
            ("NumericLessThanEquals", &["10"], "10", true),
            ("NumericGreaterThan", &["10"], "10", false),
            ("NumericGreaterThanEquals", &["10"], "x", false),
            ("DateLessThan", &["2030-01-01T00:00:00Z"], "2029-12-31T23:59:59Z", true),
            ("DateGreaterThan", &["2030-01-01T00:00:00Z"], "2029-12-31T23:59:59Z", false),
            ("DateEquals", &["1577836800"], "2020-01-01T00:00:00Z", true),
            ("DateGreaterThanEquals", &["2020-01-01"], "2020-01-01T00:00:00Z", true),
            ("Bool", &["true"], "TRUE", true),
            ("Bool", &["false"], "true", false),
            ("Bool", &["false"], "-", false),
            ("BoolIfExists", &["false"], "-", true),
            ("BinaryEquals", &["QmluYXJ5"], "QmluYXJ5", true),
            ("IpAddress", &["203.0.113.0/24", "2001:DB8:1234:5678::/64"], "203.0.113.9", true),
            ("IpAddress", &["203.0.113.0/24", "2001:DB8:1234:5678::/64"], "2001:db8:1234:5678::1", true),
            ("IpAddress", &["203.0.113.0/24"], "203.0.114.9", false),
            ("IpAddress", &["0.0.0.0/0"], "8.8.8.8", true),
            ("IpAddress", &["127.0.0.1"], "127.0.0.1", true),
            ("NotIpAddress", &["203.0.113.0/24"], "203.0.113.9", false),
            ("NotIpAddress", &["203.0.113.0/24"], "-", true),
            ("ArnLike", &["arn:aws:ecs:*:0:cluster/*"], "arn:aws:ecs:us-east-1:0:cluster/a", true),
            ("ArnEquals", &["arn:aws:ecs:*:0:cluster/*"], "arn:aws:ecs:us-east-1:0:cluster/a", true),
            ("ArnLike", &["arn:aws:ecs:*:cluster/a"], "arn:aws:ecs:us-east-1:0:cluster/a", false),
            ("ArnNotLike", &["arn:aws:ecs:*:0:cluster/*"], "arn:aws:ecs:us-east-1:0:task/a", true),
            ("Null", &["true"], "-", true),
            ("Null", &["true"], "a", false),
            ("Null", &["false"], "a", true),
            ("ForAllValues:StringEquals", &["a", "b"], "a,b", true),
            ("ForAllValues:StringEquals", &["a", "b"], "a,c", false),
            ("ForAllValues:StringEquals", &["a"], "-", true),
            ("ForAllValues:StringEquals", &["a"], "", true),
            ("ForAnyValue:StringEquals", &["a", "b"], "c,b", true),
            ("ForAnyValue:StringEquals", &["a"], "c,d", false),
            ("ForAnyValue:StringEquals", &["a"], "-", false),
            ("ForAllValues:StringNotEquals", &["a"], "b,c", true),
            ("ForAllValues:StringNotEquals", &["a"], "a,c", false),
            ("ForAnyValue:StringNotEquals", &["a"], "a,c", true),
            ("ForAnyValue:StringLikeIfExists", &["a*"], "-", true),
        ];
        for (operator, wanted, present, expected) in cases {
            assert_eq!(holds(operator, wanted, present), *expected, "{operator} {wanted:?} of {present:?}");
        }
        for none in ["Equals", "StringLess", "NumericNotLessThan", "ForSome:StringEquals", "BoolNot", ""] {
            assert_eq!(Condition::new(none, "k", &[], true), None, "{none}");
        }
    }
}
