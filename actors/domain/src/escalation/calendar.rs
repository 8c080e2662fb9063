//! Working time: the hours of a week in a zone, less its holidays.
//!
//! How someone could get this wrong: to add minutes to a wall time. Here every day's windows are first turned into instants,
//! by the zone's rules of that very day, and only instants are added up.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Weekday};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longer deadlines than this many days are none.
const MOST_DAYS: i64 = 3_660;
const MOST_HOLIDAYS: usize = 1_000;
const MOST_WINDOWS: usize = 24;

/// A working calendar as people write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarDocument {
    /// IANA.
    pub time_zone: String,
    /// For `mon` to `sun` the windows, such as `["09:00-17:30"]`; a day that is not named is free.
    pub hours: BTreeMap<String, Vec<String>>,
    /// Dates that are free, such as `2026-12-25`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holidays: Vec<String>,
}

/// A working calendar, compiled.
#[derive(Debug, Clone)]
pub struct WorkingCalendar(Option<Hours>);

#[derive(Debug, Clone)]
struct Hours {
    zone: Tz,
    /// From Monday; windows in minutes of the day, in order.
    days: [Vec<(u32, u32)>; 7],
    holidays: BTreeSet<NaiveDate>,
}

impl WorkingCalendar {
    /// The calendar of those who never sleep.
    pub const fn always() -> Self {
        Self(None)
    }

    /// Compiles a calendar. An error is a pointer into the document and the message.
    pub fn compile(document: &CalendarDocument) -> Result<Self, (String, String)> {
        let zone = zone(&document.time_zone).map_err(|message| ("/time_zone".to_owned(), message))?;
        let mut days: [Vec<(u32, u32)>; 7] = Default::default();
        for (name, windows) in &document.hours {
            let day = day(name).ok_or_else(|| {
                (format!("/hours/{name}"), format!("'{name}' is no day: mon, tue, wed, thu, fri, sat or sun"))
            })?;
            if windows.len() > MOST_WINDOWS {
                return Err((format!("/hours/{name}"), format!("must have at most {MOST_WINDOWS} windows")));
            }
            for (no, text) in windows.iter().enumerate() {
                let window = window(text).map_err(|message| (format!("/hours/{name}/{no}"), message))?;
                if days[day].last().is_some_and(|before| window.0 < before.1) {
                    let message = "begins before the window before it has ended".to_owned();
                    return Err((format!("/hours/{name}/{no}"), message));
                }
                days[day].push(window);
            }
        }
        if days.iter().all(Vec::is_empty) {
            return Err(("/hours".to_owned(), "has no working time at all: no deadline would ever come".to_owned()));
        }
        if document.holidays.len() > MOST_HOLIDAYS {
            return Err(("/holidays".to_owned(), format!("must have at most {MOST_HOLIDAYS} dates")));
        }
        let read = |(no, text): (usize, &String)| {
            text.parse::<NaiveDate>()
                .map_err(|_| (format!("/holidays/{no}"), format!("'{text}' is no date YYYY-MM-DD")))
        };
        let holidays = document.holidays.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Self(Some(Hours { zone, days, holidays })))
    }

    /// The instant at which so much working time has passed since `from_ms`; the end of what is looked at where it never
    /// does.
    pub fn add(&self, from_ms: i64, work_ms: i64) -> i64 {
        let Some(hours) = &self.0 else { return from_ms.saturating_add(work_ms) };
        let mut left = work_ms;
        for (start, end) in hours.windows_from(from_ms) {
            let start = start.max(from_ms);
            if end <= start {
                continue;
            }
            if left <= end - start {
                return start + left;
            }
            left -= end - start;
        }
        from_ms.saturating_add(MOST_DAYS * 86_400_000)
    }

    /// How much working time lies between two instants.
    pub fn between(&self, from_ms: i64, to_ms: i64) -> i64 {
        let Some(hours) = &self.0 else { return (to_ms - from_ms).max(0) };
        let windows = hours.windows_from(from_ms).take_while(|(start, _)| *start < to_ms);
        windows.map(|(start, end)| (end.min(to_ms) - start.max(from_ms)).max(0)).sum()
    }
}

impl Hours {
    /// The windows of the days from the one before `from_ms` on, as instants, in order.
    fn windows_from(&self, from_ms: i64) -> impl Iterator<Item = (i64, i64)> + '_ {
        let first = local(self.zone, from_ms).date() - Duration::days(1);
        (0..MOST_DAYS).flat_map(move |ahead| {
            let date = first + Duration::days(ahead);
            let free = self.holidays.contains(&date);
            let windows = if free { &[][..] } else { &self.days[date.weekday().num_days_from_monday() as usize][..] };
            windows.iter().map(move |(start, end)| (instant(self.zone, date, *start), instant(self.zone, date, *end)))
        })
    }
}

/// The zone of this name.
pub(crate) fn zone(name: &str) -> Result<Tz, String> {
    name.parse::<Tz>().map_err(|_| format!("'{name}' is no time zone, such as Europe/Berlin or UTC"))
}

/// The number of a day, from Monday.
pub(crate) fn day(name: &str) -> Option<usize> {
    ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].iter().position(|known| *known == name)
}

/// `09:00-17:00` in minutes of the day; an end of `24:00` is midnight.
pub(crate) fn window(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("'{text}' is no window such as 09:00-17:00");
    let (start, end) = text.split_once('-').ok_or_else(wrong)?;
    let (start, end) = (minute(start).ok_or_else(wrong)?, minute(end).ok_or_else(wrong)?);
    if start >= end {
        return Err(format!("'{text}' must end after it begins: a window over midnight is two"));
    }
    Ok((start, end))
}

/// `09:30` in minutes of the day.
pub(crate) fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let is_short = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    let (hour, minute) =
        (is_short(hour).then(|| hour.parse::<u32>().ok())??, is_short(minute).then(|| minute.parse::<u32>().ok())??);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= 24 * 60).then_some(minutes)
}

/// The wall clock of the zone at an instant.
pub(crate) fn local(zone: Tz, at_ms: i64) -> NaiveDateTime {
    DateTime::from_timestamp_millis(at_ms).unwrap_or_default().with_timezone(&zone).naive_local()
}

/// The instant of a minute of a day: of two the first, and where there is none the first after the gap.
pub(super) fn instant(zone: Tz, date: NaiveDate, minute: u32) -> i64 {
    let wall = date.and_time(NaiveTime::MIN) + Duration::minutes(i64::from(minute));
    wall_instant(zone, wall)
}

/// The same of any wall time.
pub(crate) fn wall_instant(zone: Tz, wall: NaiveDateTime) -> i64 {
    let mut wall = wall;
    // No zone's clocks skip more than a day; a quarter of an hour divides every gap there ever was by minutes.
    for _ in 0..96 {
        if let Some(found) = zone.from_local_datetime(&wall).earliest() {
            return found.timestamp_millis();
        }
        wall += Duration::minutes(15);
    }
    wall.and_utc().timestamp_millis()
}

/// The weekday of a wall time, from Monday.
pub(crate) fn weekday(wall: NaiveDateTime) -> usize {
    let day: Weekday = wall.weekday();
    day.num_days_from_monday() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    fn berlin(holidays: &[&str]) -> WorkingCalendar {
        let days = ["mon", "tue", "wed", "thu", "fri"];
        let hours = days.map(|day| (day.to_owned(), vec!["09:00-12:00".to_owned(), "13:00-17:00".to_owned()]));
        let holidays = holidays.iter().map(|day| (*day).to_owned()).collect();
        let document = CalendarDocument { time_zone: "Europe/Berlin".to_owned(), hours: hours.into(), holidays };
        WorkingCalendar::compile(&document).unwrap()
    }

    #[test]
    fn nights_weekends_breaks_and_holidays_do_not_count() {
        // Friday 16:30 in Berlin, summer: half an hour is left, the rest is Monday's.
        let friday = at("2026-07-03T16:30:00+02:00");
        assert_eq!(berlin(&[]).add(friday, 60 * 60_000), at("2026-07-06T09:30:00+02:00"));
        assert_eq!(berlin(&["2026-07-06"]).add(friday, 60 * 60_000), at("2026-07-07T09:30:00+02:00"));
        assert_eq!(berlin(&[]).add(at("2026-07-06T11:30:00+02:00"), 60 * 60_000), at("2026-07-06T13:30:00+02:00"));
        assert_eq!(berlin(&[]).between(friday, at("2026-07-06T10:00:00+02:00")), 90 * 60_000);
        assert_eq!(berlin(&[]).between(at("2026-07-04T00:00:00Z"), at("2026-07-05T00:00:00Z")), 0);
    }

    #[test]
    fn a_day_of_changed_clocks_has_the_hours_of_that_day() {
        let hours = BTreeMap::from([("sun".to_owned(), vec!["00:00-04:00".to_owned()])]);
        let document =
            |zone: &str| CalendarDocument { time_zone: zone.to_owned(), hours: hours.clone(), holidays: vec![] };
        let calendar = WorkingCalendar::compile(&document("Europe/Berlin")).unwrap();
        let day = |start: &str, end: &str| calendar.between(at(start), at(end));
        assert_eq!(day("2026-03-28T20:00:00Z", "2026-03-29T20:00:00Z"), 3 * 3_600_000, "the hour at two is left out");
        assert_eq!(day("2026-10-24T20:00:00Z", "2026-10-25T20:00:00Z"), 5 * 3_600_000, "the hour at two comes twice");
    }

    #[test]
    fn what_is_wrong_with_a_calendar_is_named() {
        let refused = |hours: &[(&str, &str)]| {
            let hours = hours.iter().map(|(day, window)| ((*day).to_owned(), vec![(*window).to_owned()])).collect();
            let document = CalendarDocument { time_zone: "UTC".to_owned(), hours, holidays: vec!["soon".to_owned()] };
            WorkingCalendar::compile(&document).map(drop).unwrap_err()
        };
        assert_eq!(refused(&[("monday", "09:00-17:00")]).0, "/hours/monday");
        assert!(refused(&[("mon", "9-17")]).1.contains("09:00-17:00"));
        assert!(refused(&[("mon", "22:00-06:00")]).1.contains("is two"));
        assert!(refused(&[]).1.contains("no working time"));
        assert_eq!(refused(&[("mon", "09:00-24:00")]).0, "/holidays/0");
    }
}
