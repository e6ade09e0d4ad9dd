//! The two scalar types of the AWS models that Rust has no plain type for.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Any JSON; only JSON protocols carry it.
pub use serde_json::Value as Document;
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

/// An instant in whole milliseconds since 1970-01-01T00:00:00Z.
///
/// JSON protocols write it as seconds with a fraction, XML protocols as
/// ISO 8601 in UTC with milliseconds; both forms survive a round trip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Bytes that travel base64-encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl Timestamp {
    /// The last instant this type writes with a four-digit year: 9999-12-31T23:59:59.999Z.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999);
    /// The first instant this type writes with a four-digit year: 0001-01-01T00:00:00Z.
    pub const MIN: Timestamp = Timestamp(-62_135_596_800_000);

    /// Milliseconds since the epoch, clamped to the years 1 to 9999.
    pub const fn from_millis(millis: i64) -> Self {
        if millis > Self::MAX.0 {
            Self::MAX
        } else if millis < Self::MIN.0 {
            Self::MIN
        } else {
            Timestamp(millis)
        }
    }

    /// Whole seconds since the epoch, clamped like [`Timestamp::from_millis`].
    pub const fn from_secs(secs: i64) -> Self {
        Self::from_millis(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Seconds with a fraction, as JSON protocols write it.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// From seconds with a fraction; `None` when not finite or outside the years 1 to 9999.
    pub fn from_f64(seconds: f64) -> Option<Self> {
        let millis = (seconds * 1000.0).round();
        (millis >= Self::MIN.0 as f64 && millis <= Self::MAX.0 as f64).then_some(Timestamp(millis as i64))
    }

    /// From ISO 8601 (RFC 3339, also without an offset or with a bare date) or RFC 822 text.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let parsed = OffsetDateTime::parse(text, &Rfc3339)
            .or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339))
            .or_else(|_| OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339))
            .or_else(|_| OffsetDateTime::parse(&text.replace("GMT", "+0000"), &Rfc2822))
            .ok()?;
        let millis = parsed.unix_timestamp_nanos().div_euclid(1_000_000) as i64;
        (Self::MIN.0..=Self::MAX.0).contains(&millis).then_some(Timestamp(millis))
    }
}

impl fmt::Display for Timestamp {
    /// ISO 8601 in UTC with milliseconds: `2026-01-31T12:00:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(at) = OffsetDateTime::from_unix_timestamp(self.secs()) else {
            return f.write_str("1970-01-01T00:00:00.000Z");
        };
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            self.0.rem_euclid(1000)
        )
    }
}

impl Deref for Blob {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Blob {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Blob(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_text_round_trips() {
        for millis in [0, 1, -1, 1_700_000_000_123, Timestamp::MAX.0, Timestamp::MIN.0] {
            let at = Timestamp::from_millis(millis);
            assert_eq!(Timestamp::parse(&at.to_string()), Some(at), "{at}");
            assert_eq!(Timestamp::from_f64(at.as_f64()), Some(at), "{at}");
        }
    }

    #[test]
    fn accepts_the_forms_clients_send() {
        let noon = Timestamp::from_secs(1_422_705_600);
        for text in [
            "2015-01-31T12:00:00Z",
            "2015-01-31T12:00:00.000Z",
            "2015-01-31T12:00:00",
            "2015-01-31T13:00:00+01:00",
            "Sat, 31 Jan 2015 12:00:00 GMT",
        ] {
            assert_eq!(Timestamp::parse(text), Some(noon), "{text}");
        }
        assert_eq!(Timestamp::parse("2015-01-31"), Some(Timestamp::from_secs(1_422_662_400)));
        assert_eq!(Timestamp::parse("yesterday"), None);
        assert_eq!(Timestamp::from_f64(f64::NAN), None);
    }
}
