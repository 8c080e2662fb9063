//! Dates and times of day on a calendar without time zones: which of them cron fields name.
//!
//! A wall time is a number of seconds since 1970-01-01T00:00:00 on the wall, whatever the zone.

use chrono::{Datelike, NaiveDate};

use super::cron::Cron;

/// Seconds of a day on a wall without changes.
const DAY: i64 = 86_400;
/// The rarest dates that fields can name come again within 40 years: a fifth weekday of February around 2100.
const YEARS: i32 = 60;

/// The first wall time that the fields name, at or after this one. `None` when there is none for 60 years.
pub fn next_wall(cron: &Cron, from: i64) -> Option<i64> {
    let mut date = NaiveDate::from_epoch_days(i32::try_from(from.div_euclid(DAY)).ok()?)?;
    let mut time = from.rem_euclid(DAY) as u32;
    let last_year = date.year() + YEARS;
    while date.year() <= last_year {
        if !cron.has_month(date.month()) {
            let next_month = date.with_day(1)?.checked_add_months(chrono::Months::new(1))?;
            (date, time) = (next_month, 0);
            continue;
        }
        if is_day(cron, date)
            && let Some(found) = time_of_day(cron, time)
        {
            return Some(i64::from(date.to_epoch_days()) * DAY + i64::from(found));
        }
        (date, time) = (date.succ_opt()?, 0);
    }
    None
}

/// Whether the fields name this day of its month. As in every cron: where both day fields restrict, either is enough.
fn is_day(cron: &Cron, date: NaiveDate) -> bool {
    let (day, last) = (date.day(), u32::from(date.num_days_in_month()));
    let by_date = cron.days & (1 << day) != 0 || cron.days_from_end & (1 << (last - day)) != 0;
    let weekday = date.weekday().num_days_from_sunday();
    let nth = cron.nth_weekdays[weekday as usize];
    let is_last = day + 7 > last;
    let by_weekday = cron.weekdays & (1 << weekday) != 0
        || nth & (1 << day.div_ceil(7)) != 0
        || (is_last && nth & Cron::LAST_WEEKDAY != 0);
    match (cron.any_day, cron.any_weekday) {
        (true, true) => true,
        (true, false) => by_weekday,
        (false, true) => by_date,
        (false, false) => by_date || by_weekday,
    }
}

/// The first second of a day at or after this one.
fn time_of_day(cron: &Cron, from: u32) -> Option<u32> {
    let (first_hour, first_minute, first_second) = (from / 3_600, from / 60 % 60, from % 60);
    let mut hour = next_bit(cron.hours, first_hour)?;
    loop {
        let is_first_hour = hour == first_hour;
        let mut minute = next_bit(cron.minutes, if is_first_hour { first_minute } else { 0 });
        while let Some(found) = minute {
            let is_first_minute = is_first_hour && found == first_minute;
            if let Some(second) = next_bit(cron.seconds, if is_first_minute { first_second } else { 0 }) {
                return Some(hour * 3_600 + found * 60 + second);
            }
            minute = next_bit(cron.minutes, found + 1);
        }
        hour = next_bit(cron.hours, hour + 1)?;
    }
}

/// The lowest bit that is set, from this one on.
fn next_bit(bits: u64, from: u32) -> Option<u32> {
    let left = bits.checked_shr(from)?;
    (left != 0).then(|| from + left.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(expression: &str, from: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(expression).expect("an expression");
        let from = from.parse::<NaiveDate>().expect("a date").to_epoch_days();
        let next = |wall: &i64| next_wall(&cron, wall + 1);
        let found = std::iter::successors(next_wall(&cron, i64::from(from) * DAY), next).take(count);
        let shown = |wall: i64| chrono::DateTime::from_timestamp(wall, 0).expect("a time").format("%F %T").to_string();
        found.map(shown).collect()
    }

    #[test]
    fn days_are_found_by_date_and_weekday() {
        assert_eq!(days("0 0 L * *", "2028-02-01", 2), ["2028-02-29 00:00:00", "2028-03-31 00:00:00"]);
        assert_eq!(days("0 0 L-3 2 *", "2027-02-01", 2), ["2027-02-25 00:00:00", "2028-02-26 00:00:00"]);
        assert_eq!(days("30 9 * * MON#1", "2026-11-01", 2), ["2026-11-02 09:30:00", "2026-12-07 09:30:00"]);
        assert_eq!(days("0 9 * * 5L", "2026-11-01", 2), ["2026-11-27 09:00:00", "2026-12-25 09:00:00"]);
        let either = ["2026-11-13 00:00:00", "2026-11-20 00:00:00", "2026-11-27 00:00:00", "2026-12-04 00:00:00"];
        assert_eq!(days("0 0 13 * FRI", "2026-11-07", 4), either);
        assert_eq!(days("0 0 29 2 *", "2097-01-01", 1), ["2104-02-29 00:00:00"]);
        assert_eq!(days("0 0 * 2 1#5", "2072-03-01", 1), ["2112-02-29 00:00:00"]);
        assert!(days("0 0 30 2 *", "2026-01-01", 1).is_empty());
    }

    #[test]
    fn a_time_of_day_is_the_next_one_or_the_first_of_the_next_day() {
        let next = |expression: &str, from: &str| {
            let from = format!("2026-01-01T{from}Z").parse::<chrono::DateTime<chrono::Utc>>().expect("a time");
            let found = next_wall(&Cron::parse(expression).expect("an expression"), from.timestamp()).expect("one");
            chrono::DateTime::from_timestamp(found, 0).expect("a time").format("%d %T").to_string()
        };
        assert_eq!(next("15,45 8-9 * * *", "08:45:00"), "01 08:45:00");
        assert_eq!(next("15,45 8-9 * * *", "08:45:01"), "01 09:15:00");
        assert_eq!(next("15,45 8-9 * * *", "09:45:01"), "02 08:15:00");
        assert_eq!(next("*/20 59 23 * * *", "23:59:41"), "02 23:59:00");
        assert_eq!(next("* * * * * *", "23:59:59"), "01 23:59:59");
    }
}
