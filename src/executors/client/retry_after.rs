//! `Retry-After`: seconds or a date (RFC 9110, 10.2.3); without it, the budget's reset that several services send.

use chrono::{DateTime, NaiveDateTime, Utc};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// How much is left of a budget of requests, and when it is full again, in seconds since 1970: what GitHub, GitLab
/// (as `ratelimit-*` beside a `Retry-After`), SendGrid and others send without a `Retry-After`.
const REMAINING: &str = "x-ratelimit-remaining";
const RESET: &str = "x-ratelimit-reset";

/// How long the other side wishes to be left alone, in milliseconds from now, at most `max_ms`. `None` without a wish
/// that can be read. A date is compared with the other side's own clock where its answer tells it.
pub fn wish_ms(headers: &HeaderMap, now: DateTime<Utc>, max_ms: i64) -> Option<i64> {
    let Some(text) = headers.get(RETRY_AFTER) else { return Some(reset_ms(headers, now)?.clamp(0, max_ms)) };
    let text = text.to_str().ok()?.trim();
    let wish_ms = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a number holds are a wish for ever.
        text.parse::<i64>().unwrap_or(i64::MAX).saturating_mul(1_000)
    } else {
        let now = headers.get(DATE).and_then(|date| date.to_str().ok()).and_then(http_date).unwrap_or(now);
        (http_date(text)? - now).num_milliseconds()
    };
    Some(wish_ms.clamp(0, max_ms))
}

/// Whether a 403 means too many requests, as GitHub says it: a `Retry-After`, or none left of a budget.
pub fn asks_for_patience(headers: &HeaderMap) -> bool {
    headers.contains_key(RETRY_AFTER) || headers.get(REMAINING).is_some_and(|left| left.as_bytes() == b"0")
}

/// When a spent budget is full again, in milliseconds from now: a time in seconds since 1970.
fn reset_ms(headers: &HeaderMap, now: DateTime<Utc>) -> Option<i64> {
    let none_left = headers.get(REMAINING).is_some_and(|left| left.as_bytes() == b"0");
    let seconds: i64 = headers.get(RESET).filter(|_| none_left)?.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.saturating_mul(1_000).saturating_sub(now.timestamp_millis()))
}

/// A date in any of the three forms of HTTP.
fn http_date(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    let forms = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()).map(|naive| naive.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(retry_after: &str, date: Option<&str>) -> Option<i64> {
        let now = "1994-11-06T08:49:07Z".parse().expect("a time");
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry_after.parse().expect("a header"));
        if let Some(date) = date {
            headers.insert(DATE, date.parse().expect("a header"));
        }
        wish_ms(&headers, now, 3_600_000)
    }

    #[test]
    fn seconds() {
        assert_eq!(wish("120", None), Some(120_000));
        assert_eq!(wish(" 0 ", None), Some(0));
        assert_eq!(wish("99999999999999999999999", None), Some(3_600_000));
    }

    #[test]
    fn dates_in_the_three_forms_of_http() {
        for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(wish(date, None), Some(30_000), "{date}");
        }
        assert_eq!(wish("Sun, 06 Nov 1994 08:00:00 GMT", None), Some(0));
    }

    #[test]
    fn a_date_is_compared_with_the_other_sides_clock() {
        assert_eq!(wish("Sun, 06 Nov 1994 08:49:37 GMT", Some("Sun, 06 Nov 1994 08:49:32 GMT")), Some(5_000));
    }

    #[test]
    fn what_cannot_be_read_is_no_wish() {
        for text in ["", "-1", "1.5", "soon", "Sun, 06 Nov 1994"] {
            assert_eq!(wish(text, None), None, "{text}");
        }
    }

    #[test]
    fn a_spent_budget_says_when_it_is_full_again() {
        let now: DateTime<Utc> = "2024-01-01T00:00:00Z".parse().expect("a time");
        let of = |pairs: &[(&'static str, &str)]| {
            let pairs =
                pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
            pairs.collect::<HeaderMap>()
        };
        let spent = of(&[(REMAINING, "0"), (RESET, "1704067260")]);
        assert_eq!(wish_ms(&spent, now, 3_600_000), Some(60_000));
        assert!(asks_for_patience(&spent) && asks_for_patience(&of(&[("retry-after", "5")])));
        let left = of(&[(REMAINING, "7"), (RESET, "1704067260")]);
        assert_eq!((wish_ms(&left, now, 3_600_000), asks_for_patience(&left)), (None, false));
    }
}
