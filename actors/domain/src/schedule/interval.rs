//! Intervals in absolute time, such as `90s` or `1h30m`.
//!
//! They are counted from the schedule's start, or from 1970-01-01T00:00:00Z where it has none: every node computes the same
//! instants, and an hour is an hour whatever the wall clock does.

const UNITS: &[(char, i64)] = &[('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
/// 366 days.
const MOST_SECONDS: i64 = 366 * 86_400;

/// Reads an interval: whole numbers with their units, the larger ones first. In seconds.
pub fn parse(text: &str) -> Result<i64, String> {
    let wrong =
        || format!("'{}' is not an interval such as 90s, 15m, 1h30m or 2d", text.chars().take(40).collect::<String>());
    let mut units = UNITS.iter();
    let (mut sum, mut rest) = (0_i64, text.trim());
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = rest[digits..].chars().next().ok_or_else(wrong)?;
        let (_, seconds) = units.find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        sum = number.checked_mul(*seconds).and_then(|more| sum.checked_add(more)).ok_or_else(wrong)?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    if (1..=MOST_SECONDS).contains(&sum) { Ok(sum) } else { Err("must be 1s to 366d".to_owned()) }
}

/// The first instant after `after_s`: the anchor, or whole periods later.
pub fn next_after(period_s: i64, anchor_s: i64, after_s: i64) -> Option<i64> {
    let count = (after_s.checked_sub(anchor_s)?.div_euclid(period_s) + 1).max(0);
    anchor_s.checked_add(count.checked_mul(period_s)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up_and_nonsense_is_refused() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h30m", 5_400), ("2d", 172_800), (" 1d1h1m1s ", 90_061)] {
            assert_eq!(parse(text), Ok(seconds), "{text}");
        }
        for text in ["", "90", "s", "1.5h", "30m1h", "1h1h", "-1s", "0s", "367d", "99999999999999999999s", "1 h", "9é"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn instants_are_whole_periods_from_the_anchor() {
        assert_eq!(next_after(90, 0, 0), Some(90));
        assert_eq!(next_after(90, 0, 89), Some(90));
        assert_eq!(next_after(90, 7, 6), Some(7));
        assert_eq!(next_after(90, 7, -900), Some(7), "not before the anchor");
        assert_eq!(next_after(90, 7, 7), Some(97));
        assert_eq!(next_after(1, i64::MIN, i64::MAX), None);
    }
}
