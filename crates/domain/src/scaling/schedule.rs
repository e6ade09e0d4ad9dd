//! Schedules of scheduled actions: `at(…)`, `rate(…)` and `cron(…)`, in a time zone. Rules: AWS's
//! guide to Application Auto Scaling, "Schedule recurring scaling actions using cron expressions".

use crate::door::UnixMillis;
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// When a scheduled action runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Once.
    At(DateTime),
    /// Every so many milliseconds.
    Rate(i64),
    Cron(Cron),
}

/// Minute, hour, day of the month, month, day of the week, year.
#[derive(Clone, Debug, PartialEq)]
pub struct Cron {
    minutes: Vec<i16>,
    hours: Vec<i16>,
    days: Days,
    months: Vec<i16>,
    years: Vec<i16>,
}

/// One of the two fields for days is `?`.
#[derive(Clone, Debug, PartialEq)]
enum Days {
    OfMonth(Vec<i16>),
    LastOfMonth,
    /// The weekday nearest to a day of the month.
    NearestWeekday(i16),
    /// 1 is Sunday.
    OfWeek(Vec<i16>),
    /// The last such weekday of the month.
    LastOfWeek(i16),
    /// The n-th such weekday of the month.
    NthOfWeek(i16, i16),
}

/// Why a schedule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScheduleError(String);

const FIRST_YEAR: i16 = 1970;
const LAST_YEAR: i16 = 2199;
const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// A time zone by its name, such as `Europe/Rome`; `None` if there is no such.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

impl Schedule {
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let inner = |kind: &str| text.trim().strip_prefix(kind)?.strip_prefix('(')?.strip_suffix(')').map(str::trim);
        let refused = || ScheduleError(format!("Unsupported schedule expression: {text}"));
        if let Some(at) = inner("at") {
            return at.parse().map(Self::At).map_err(|_| refused());
        }
        if let Some(rate) = inner("rate") {
            let (value, unit) = rate.split_once(' ').ok_or_else(refused)?;
            let value: i64 = value.parse().ok().filter(|n| (1..=1_000_000).contains(n)).ok_or_else(refused)?;
            let minutes = match unit.trim() {
                "minute" | "minutes" => 1,
                "hour" | "hours" => 60,
                "day" | "days" => 1440,
                _ => return Err(refused()),
            };
            return Ok(Self::Rate(value * minutes * 60_000));
        }
        let cron = inner("cron").ok_or_else(refused)?;
        Cron::parse(cron).map(Self::Cron).ok_or_else(refused)
    }

    /// The first run after `after_ms`. A rate counts from `from_ms`, at which it runs first.
    pub fn next(&self, after_ms: UnixMillis, from_ms: UnixMillis, zone: &TimeZone) -> Option<UnixMillis> {
        match self {
            Self::At(at) => instant(*at, zone).filter(|ms| *ms > after_ms),
            Self::Rate(every) if after_ms < from_ms => Some(from_ms).filter(|_| *every > 0),
            Self::Rate(every) => Some(from_ms + ((after_ms - from_ms) / every + 1) * every),
            Self::Cron(cron) => cron.next(after_ms, zone),
        }
    }
}

/// A local time that a change of clocks leaves out is the one as much later.
fn instant(at: DateTime, zone: &TimeZone) -> Option<UnixMillis> {
    Some(zone.to_timestamp(at).ok()?.as_millisecond())
}

impl Cron {
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<String> = text.split_whitespace().map(str::to_ascii_uppercase).collect();
        let [minute, hour, day, month, weekday, year] = <[String; 6]>::try_from(fields).ok()?;
        let days = match (day.as_str(), weekday.as_str()) {
            ("?", "?") => return None,
            (day, "?") => day_of_month(day)?,
            ("?", weekday) => day_of_week(weekday)?,
            // Both given: one must be a question mark; `*` beside a value is taken as one.
            ("*", weekday) if weekday != "*" => day_of_week(weekday)?,
            (day, "*") => day_of_month(day)?,
            _ => return None,
        };
        Some(Self {
            minutes: values(&minute, 0, 59, &[])?,
            hours: values(&hour, 0, 23, &[])?,
            days,
            months: values(&month, 1, 12, &MONTHS)?,
            years: values(&year, FIRST_YEAR, LAST_YEAR, &[])?,
        })
    }

    fn next(&self, after_ms: UnixMillis, zone: &TimeZone) -> Option<UnixMillis> {
        let local = zone.to_datetime(Timestamp::from_millisecond(after_ms).ok()?);
        // A day earlier: clocks that were put back make a local time come twice.
        let mut date = local.date().checked_sub(1.day()).ok()?;
        let last = *self.years.last()?;
        while date.year() <= last {
            if !self.years.contains(&date.year()) {
                date = Date::new(date.year() + 1, 1, 1).ok()?;
                continue;
            }
            if !self.months.contains(&i16::from(date.month())) {
                date = date.last_of_month().tomorrow().ok()?;
                continue;
            }
            if self.days.hold(date) {
                let times = self.hours.iter().flat_map(|h| self.minutes.iter().map(move |m| (*h, *m)));
                let runs = times.filter_map(|(h, m)| instant(date.at(h as i8, m as i8, 0, 0), zone));
                if let Some(next) = runs.filter(|ms| *ms > after_ms).min() {
                    return Some(next);
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }
}

impl Days {
    fn hold(&self, date: Date) -> bool {
        let day = i16::from(date.day());
        let weekday = i16::from(date.weekday().to_sunday_one_offset());
        let last = i16::from(date.days_in_month());
        match self {
            Self::OfMonth(days) => days.contains(&day),
            Self::LastOfMonth => day == last,
            Self::NearestWeekday(wanted) => {
                let wanted = (*wanted).min(last);
                let Ok(at) = Date::new(date.year(), date.month(), wanted as i8) else { return false };
                let nearest = match at.weekday() {
                    Weekday::Saturday if wanted > 1 => wanted - 1,
                    Weekday::Saturday => wanted + 2,
                    Weekday::Sunday if wanted < last => wanted + 1,
                    Weekday::Sunday => wanted - 2,
                    _ => wanted,
                };
                day == nearest
            }
            Self::OfWeek(days) => days.contains(&weekday),
            Self::LastOfWeek(wanted) => weekday == *wanted && day + 7 > last,
            Self::NthOfWeek(wanted, nth) => weekday == *wanted && (day - 1) / 7 + 1 == *nth,
        }
    }
}

fn day_of_month(text: &str) -> Option<Days> {
    if text == "L" {
        return Some(Days::LastOfMonth);
    }
    if let Some(day) = text.strip_suffix('W') {
        return number(day, 1, 31, &[]).map(Days::NearestWeekday);
    }
    values(text, 1, 31, &[]).map(Days::OfMonth)
}

fn day_of_week(text: &str) -> Option<Days> {
    if let Some((day, nth)) = text.split_once('#') {
        return Some(Days::NthOfWeek(number(day, 1, 7, &WEEKDAYS)?, number(nth, 1, 5, &[])?));
    }
    match text.strip_suffix('L') {
        Some("") => Some(Days::OfWeek(vec![7])),
        Some(day) => number(day, 1, 7, &WEEKDAYS).map(Days::LastOfWeek),
        None => values(text, 1, 7, &WEEKDAYS).map(Days::OfWeek),
    }
}

/// The values of a field, ascending: `*`, `a`, `a-b`, each also with `/step`, and lists of those.
fn values(text: &str, least: i16, most: i16, names: &[&str]) -> Option<Vec<i16>> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step, 1, most.max(1), &[])?)),
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((first, last)) => (number(first, least, most, names)?, number(last, least, most, names)?),
            None => {
                let first = number(range, least, most, names)?;
                (first, if step.is_some() { most } else { first })
            }
        };
        if first > last {
            // Such as FRI-MON.
            all.extend((first..=most).chain(least..=last).step_by(step.unwrap_or(1) as usize));
        } else {
            all.extend((first..=last).step_by(step.unwrap_or(1) as usize));
        }
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

/// A number, or a name that counts from `least`.
fn number(text: &str, least: i16, most: i16, names: &[&str]) -> Option<i16> {
    if let Some(at) = names.iter().position(|name| *name == text) {
        return Some(least + at as i16);
    }
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| digits && (least..=most).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn next(schedule: &str, after: &str, zone: &str) -> Option<String> {
        let after: Timestamp = after.parse().unwrap();
        let schedule = Schedule::parse(schedule).unwrap();
        let ms = schedule.next(after.as_millisecond(), 0, &time_zone(zone).unwrap())?;
        Some(Timestamp::from_millisecond(ms).unwrap().to_string())
    }

    #[test]
    fn runs_follow_the_schedule() {
        for (schedule, after, zone, expected) in [
            ("at(2026-12-24T18:00:00)", "2026-11-21T00:00:00Z", "UTC", Some("2026-12-24T18:00:00Z")),
            ("at(2026-12-24T18:00:00)", "2026-11-21T00:00:00Z", "America/New_York", Some("2026-12-24T23:00:00Z")),
            ("at(2026-12-24T18:00:00)", "2026-12-24T18:00:00Z", "UTC", None),
            ("rate(5 minutes)", "1970-01-01T00:07:00Z", "UTC", Some("1970-01-01T00:10:00Z")),
            ("cron(0 9 * * ? *)", "2026-11-21T09:00:00Z", "UTC", Some("2026-11-22T09:00:00Z")),
            ("cron(0 9 * * ? *)", "2026-07-01T00:00:00Z", "Europe/Berlin", Some("2026-07-01T07:00:00Z")),
            ("cron(0 9 * * ? *)", "2026-12-01T00:00:00Z", "Europe/Berlin", Some("2026-12-01T08:00:00Z")),
            ("cron(0/15 8-17 ? * MON-FRI *)", "2026-11-20T17:50:00Z", "UTC", Some("2026-11-23T08:00:00Z")),
            ("cron(30 4 L * ? *)", "2028-02-01T00:00:00Z", "UTC", Some("2028-02-29T04:30:00Z")),
            ("cron(0 0 ? * 2#1 *)", "2026-11-03T00:00:00Z", "UTC", Some("2026-12-07T00:00:00Z")),
            ("cron(0 0 ? * 6L *)", "2026-11-01T00:00:00Z", "UTC", Some("2026-11-27T00:00:00Z")),
            ("cron(0 0 1W * ? *)", "2026-08-01T00:00:00Z", "UTC", Some("2026-08-03T00:00:00Z")),
            ("cron(0 0 29 2 ? *)", "2026-01-01T00:00:00Z", "UTC", Some("2028-02-29T00:00:00Z")),
            ("cron(0 0 1 1 ? 2020)", "2026-01-01T00:00:00Z", "UTC", None),
            // Clocks go from 2 to 3: half past two is half past three.
            ("cron(30 2 * * ? *)", "2026-03-29T00:00:00Z", "Europe/Berlin", Some("2026-03-29T01:30:00Z")),
        ] {
            assert_eq!(next(schedule, after, zone).as_deref(), expected, "{schedule} after {after} in {zone}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "",
            "at()",
            "at(tomorrow)",
            "rate(0 minutes)",
            "rate(5 seconds)",
            "cron(* * * * *)",
            "cron(0 9 1 * 2 *)",
            "cron(60 0 * * ? *)",
            "cron(0 0 ? * ? *)",
            "cron(0 0 +1 * ? *)",
            "every(5 minutes)",
            "cron(0 0 * * ? 1969)",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
        assert_eq!(time_zone("Europe/Atlantis"), None);
    }

    proptest! {
        #[test]
        fn the_next_run_is_later_and_there_is_none_between(
            after in 1_700_000_000_000i64..1_900_000_000_000, minute in 0u8..60, hour in 0u8..24, zone in 0usize..3
        ) {
            let zone = time_zone(["UTC", "America/New_York", "Australia/Lord_Howe"][zone]).unwrap();
            let schedule = Schedule::parse(&format!("cron({minute} {hour} * * ? *)")).unwrap();
            let next = schedule.next(after, 0, &zone).unwrap();
            prop_assert!(next > after && next - after <= 26 * 3_600_000);
            prop_assert_eq!(schedule.next(next - 1, 0, &zone), Some(next));
        }
    }
}
