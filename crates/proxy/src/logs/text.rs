//! Parts of log lines.

use crate::http::push_number;
use std::net::SocketAddr;
use std::time::Duration;

/// Appends a client's text within quotes so that it stays within them and within the line: what is not printable
/// ASCII, quotes and backslashes become `\xHH`.
pub fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        match byte {
            b'"' | b'\\' | 0..=31 | 127..=255 => {
                out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            byte => out.push(*byte),
        }
    }
}

/// Appends a time in ISO 8601, in UTC: `2018-07-02T22:23:00.186000Z`.
pub fn push_time(out: &mut Vec<u8>, unix_millis: i64) {
    let (year, month, day, hour, minute, second) = civil(unix_millis.div_euclid(1000));
    let mut part = |n: i64, digits: usize, end: u8| {
        push_padded(out, n.unsigned_abs(), digits);
        out.push(end);
    };
    part(year, 4, b'-');
    part(month, 2, b'-');
    part(day, 2, b'T');
    part(hour, 2, b':');
    part(minute, 2, b':');
    part(second, 2, b'.');
    part(unix_millis.rem_euclid(1000) * 1000, 6, b'Z');
}

/// Appends seconds with milliseconds, or `-1`.
pub fn push_seconds(out: &mut Vec<u8>, time: Option<Duration>) {
    match time {
        None => out.extend_from_slice(b"-1"),
        Some(time) => {
            push_number(out, time.as_secs());
            out.push(b'.');
            push_padded(out, u64::from(time.subsec_millis()), 3);
        }
    }
}

/// Appends `address:port`; IPv4 addresses as such.
pub fn push_address(out: &mut Vec<u8>, address: SocketAddr) {
    use std::io::Write;
    let _ = match address.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => write!(out, "{ip}:{}", address.port()),
        std::net::IpAddr::V6(ip) => write!(out, "[{ip}]:{}", address.port()),
    };
}

fn push_padded(out: &mut Vec<u8>, n: u64, digits: usize) {
    let mut divisor = 10u64.pow(digits as u32 - 1);
    while divisor > 0 {
        out.push(b'0' + (n / divisor % 10) as u8);
        divisor /= 10;
    }
}

/// Year, month, day, hour, minute and second of a time in Unix seconds (Hinnant's calendar arithmetic).
pub fn civil(seconds: i64) -> (i64, i64, i64, i64, i64, i64) {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day, rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for seconds in (-10_000_000_000i64..20_000_000_000).step_by(86_399 * 997) {
            let time = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            let (year, month, day) = (i64::from(time.year()), i64::from(u8::from(time.month())), i64::from(time.day()));
            let (hour, minute, second) = time.to_hms();
            assert_eq!(civil(seconds), (year, month, day, hour.into(), minute.into(), second.into()));
        }
        assert_eq!(pushed(|out| push_time(out, 1_530_570_180_186)), "2018-07-02T22:23:00.186000Z");
    }

    #[test]
    fn nothing_leaves_its_quotes_or_its_line() {
        let text = b"a\"b\\c\r\nd\xffe \x7f";
        assert_eq!(pushed(|out| push_escaped(out, text)), "a\\x22b\\x5Cc\\x0D\\x0Ad\\xFFe \\x7F");
    }

    #[test]
    fn durations_and_addresses() {
        assert_eq!(pushed(|out| push_seconds(out, Some(Duration::from_micros(1_002_900)))), "1.002");
        assert_eq!(pushed(|out| push_seconds(out, None)), "-1");
        let address = |text: &str| pushed(|out| push_address(out, text.parse().unwrap()));
        assert_eq!(address("[::ffff:192.0.2.7]:99"), "192.0.2.7:99");
        assert_eq!(address("[2001:db8::1]:99"), "[2001:db8::1]:99");
    }
}
