//! When a schedule is due (N7, K30): five fields, macros, and `@every`.
//!
//! A time that a clock change leaves out is not made up for; one that comes twice is due twice, as upstream has it.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};
use outrigger_api::WallTime;

/// Lowest value, highest value and names: minute, hour, day of month, month, day of week.
const FIELDS: [(u32, u32, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];
/// A schedule that is due on no day of so many years is never due.
const HORIZON_YEARS: i16 = 5;

/// A schedule that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// At these minutes, hours and days.
    Calendar(Calendar),
    /// So long after the last time.
    Every(Duration),
}

/// The values of each field, a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    fields: [u64; 5],
    /// One of the two day fields says nothing, so both must hold; else one is enough.
    either_day_is_free: bool,
}

impl Schedule {
    /// Reads a schedule; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(every) = text.strip_prefix("@every ") {
            return duration(every.trim()).map(|every| Self::Every(every.max(Duration::from_secs(1))));
        }
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() != FIELDS.len() {
            return None;
        }
        let mut fields = [0; 5];
        for ((word, field), bits) in words.iter().zip(FIELDS).zip(&mut fields) {
            *bits = word.split(',').try_fold(0, |bits, part| Some(bits | values(part, field)?))?;
        }
        let free = |word: &str| word.split(',').any(|part| part.starts_with(['*', '?']));
        Some(Self::Calendar(Calendar { fields, either_day_is_free: free(words[2]) || free(words[4]) }))
    }

    /// The first time after this one; `None` if there is none in the next years.
    pub fn next(&self, after: WallTime, zone: &TimeZone) -> Option<WallTime> {
        match self {
            Self::Every(every) => {
                let next = after.checked_add(*every).ok()?;
                WallTime::from_second(next.as_second()).ok()
            }
            Self::Calendar(calendar) => calendar.next(after, zone),
        }
    }
}

impl Calendar {
    fn next(&self, after: WallTime, zone: &TimeZone) -> Option<WallTime> {
        let minute = SignedDuration::from_mins(1);
        let start = WallTime::from_second(after.as_second().div_euclid(60) * 60).ok()?;
        let mut at = start.checked_add(minute).ok()?;
        let last = at.to_zoned(zone.clone()).year() + HORIZON_YEARS;
        loop {
            let there = at.to_zoned(zone.clone());
            if there.year() > last {
                return None;
            }
            if !self.has(3, there.month()) {
                let first = Date::new(there.year(), there.month(), 1).ok()?;
                at = start_of(first.checked_add(1.month()).ok()?, zone)?;
            } else if !self.has_day(there.date()) {
                at = start_of(there.date().tomorrow().ok()?, zone)?;
            } else if !self.has(1, there.hour()) {
                let past = SignedDuration::from_mins(i64::from(there.minute()));
                at = at.checked_add(SignedDuration::from_hours(1) - past).ok()?;
            } else if !self.has(0, there.minute()) {
                at = at.checked_add(minute).ok()?;
            } else {
                return Some(at);
            }
        }
    }

    fn has(&self, field: usize, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| self.fields[field] >> value & 1 == 1)
    }

    fn has_day(&self, date: Date) -> bool {
        let of_month = self.has(2, date.day());
        let of_week = self.has(4, date.weekday().to_sunday_zero_offset());
        if self.either_day_is_free { of_month && of_week } else { of_month || of_week }
    }
}

fn start_of(date: Date, zone: &TimeZone) -> Option<WallTime> {
    Some(date.to_zoned(zone.clone()).ok()?.timestamp())
}

/// The bits of one part of a field: `*`, `*/2`, `1`, `1-5`, `1-5/2`, `3/2`.
fn values(part: &str, (low, high, names): (u32, u32, &[&str])) -> Option<u64> {
    let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
    let read = |text: &str| {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        named.and_then(|at| u32::try_from(at).ok()).map(|at| at + low).or_else(|| text.parse().ok())
    };
    let (first, last) = match range {
        "*" | "?" => (low, high),
        _ => match range.split_once('-') {
            Some((first, last)) => (read(first)?, read(last)?),
            None => (read(range)?, if step.is_some() { high } else { read(range)? }),
        },
    };
    let step: u32 = step.map_or(Some(1), |step| step.parse().ok())?;
    if first < low || last > high || first > last || step == 0 {
        return None;
    }
    Some((first..=last).step_by(usize::try_from(step).ok()?).fold(0, |bits, value| bits | 1 << value))
}

/// A duration as Go writes it: `1h30m`, `1.5h`, `10s`.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, more) = rest.split_at(end);
        let end = more.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(more.len());
        let (unit, more) = more.split_at(end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = more;
    }
    Duration::try_from_secs_f64(total).ok().filter(|_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(schedule: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let zone = TimeZone::get(zone).unwrap();
        let schedule = Schedule::parse(schedule).unwrap();
        let mut at: WallTime = after.parse().unwrap();
        let mut times = Vec::new();
        for _ in 0..count {
            at = schedule.next(at, &zone).unwrap();
            times.push(at.to_string());
        }
        times
    }

    /// N7, K30.
    #[test]
    fn fields_and_macros() {
        let after = "2026-01-30T10:07:30Z";
        for (schedule, wanted) in [
            ("* * * * *", "2026-01-30T10:08:00Z"),
            ("*/15 * * * *", "2026-01-30T10:15:00Z"),
            ("5 4 * * *", "2026-01-31T04:05:00Z"),
            ("0 0 1 * *", "2026-02-01T00:00:00Z"),
            ("0 0 29 feb *", "2028-02-29T00:00:00Z"),
            ("0 9 * * mon-fri", "2026-02-02T09:00:00Z"),
            ("0 0 13 * 5", "2026-02-06T00:00:00Z"),
            ("30 10/6 * * *", "2026-01-30T10:30:00Z"),
            ("@yearly", "2027-01-01T00:00:00Z"),
            ("@monthly", "2026-02-01T00:00:00Z"),
            ("@weekly", "2026-02-01T00:00:00Z"),
            ("@daily", "2026-01-31T00:00:00Z"),
            ("@hourly", "2026-01-30T11:00:00Z"),
            ("@every 1h30m", "2026-01-30T11:37:30Z"),
            ("@every 1.5s", "2026-01-30T10:07:31Z"),
        ] {
            assert_eq!(times(schedule, "UTC", after, 1), [wanted], "{schedule}");
        }
        for bad in
            ["", "* * * *", "61 * * * *", "5-1 * * * *", "*/0 * * * *", "x * * * *", "@never", "@every x"]
        {
            assert_eq!(Schedule::parse(bad), None, "{bad}");
        }
        let never = Schedule::parse("0 0 31 feb *").unwrap();
        assert_eq!(never.next(after.parse().unwrap(), &TimeZone::UTC), None);
    }

    /// N7: time zones, and the nights when clocks change.
    #[test]
    fn clock_changes() {
        let berlin = "Europe/Berlin";
        assert_eq!(times("0 9 * * *", berlin, "2026-01-01T00:00:00Z", 1), ["2026-01-01T08:00:00Z"]);
        // 2:30 does not exist on 29 March.
        let spring = times("30 2 * * *", berlin, "2026-03-28T00:00:00Z", 2);
        assert_eq!(spring, ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"]);
        // 2:30 exists twice on 25 October.
        let autumn = times("30 2 * * *", berlin, "2026-10-24T12:00:00Z", 3);
        assert_eq!(autumn, ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"]);
    }
}
