//! Wall times of a time zone as instants: the rule for the days on which the zone's clocks are changed.
//!
//! - **Clocks go forward**: a wall time that does not exist fires at the first instant after the gap. Where the hour field
//!   begins with `*` nothing is due in the gap: such a schedule simply goes on.
//! - **Clocks go back**: a wall time that exists twice fires once, the first time. Where the minute or the hour field begins
//!   with `*` it fires both times: such a schedule goes on in absolute time.
//!
//! How someone could get this wrong: to add an interval to a wall time. Here the time line is cut into stretches of one
//! offset from UTC, and within a stretch the two differ by a constant.

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

use super::calendar::next_wall;
use super::cron::Cron;

/// Between two looks at the offset, in seconds. No zone changes its clocks twice within it.
const STRIDE: i64 = 6 * 3_600;
/// The longest time for which clocks were ever put back, and a little more, in seconds.
const LONGEST_FOLD: i64 = 25 * 3_600;

/// The first instant after `after` at which the fields hold in the zone, in seconds since the epoch.
pub fn next_after(cron: &Cron, zone: Tz, after: i64) -> Option<i64> {
    let repeats = cron.any_hour || cron.any_minute;
    let mut at = after;
    let mut offset = offset_at(zone, at)?;
    let mut wall = at.checked_add(offset)? + 1;
    if !repeats {
        wall = wall.max(repeated_until(zone, at)?);
    }
    loop {
        let found = next_wall(cron, wall)?;
        let candidate = found - offset;
        let Some((change, new_offset)) = change_in(zone, at, candidate)? else { return Some(candidate) };
        let (old_wall, new_wall) = (change + offset, change + new_offset);
        // Nothing holds between `at` and the change: the candidate lies behind it, or on it.
        if new_wall > old_wall && !cron.any_hour && found < new_wall {
            return Some(change);
        }
        wall = if repeats { new_wall } else { new_wall.max(old_wall) };
        (at, offset) = (change, new_offset);
    }
}

/// How far the zone is ahead of UTC, in seconds.
fn offset_at(zone: Tz, at: i64) -> Option<i64> {
    let utc = DateTime::from_timestamp(at, 0)?.naive_utc();
    Some(i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()))
}

/// The first change of the offset behind `from`, up to `until`: its instant, and the offset from there on. The outer
/// `None` is a time that the calendar does not have.
#[expect(clippy::option_option, reason = "no such time, and no change, are different answers")]
fn change_in(zone: Tz, from: i64, until: i64) -> Option<Option<(i64, i64)>> {
    if zone == Tz::UTC {
        return Some(None);
    }
    let old = offset_at(zone, from)?;
    let mut low = from;
    while low < until {
        let mut high = (low + STRIDE).min(until);
        if offset_at(zone, high)? != old {
            // `low` has the old offset and `high` does not.
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                *(if offset_at(zone, middle)? == old { &mut low } else { &mut high }) = middle;
            }
            return Some(Some((high, offset_at(zone, high)?)));
        }
        low = high;
    }
    Some(None)
}

/// Where clocks went back a short while ago: the first wall time that is not a repetition. Else far in the past.
fn repeated_until(zone: Tz, at: i64) -> Option<i64> {
    let from = at.checked_sub(LONGEST_FOLD)?;
    let old = offset_at(zone, from)?;
    Some(change_in(zone, from, at)?.map_or(i64::MIN, |(change, _)| change + old))
}
