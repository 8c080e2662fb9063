//! How a person wants to be told: which messages go beyond their inbox, by what, when they want to be left alone, and what
//! can wait for a digest.
//!
//! Invariants:
//! - What is critical goes out at once, whatever hour it is; no preference keeps it in.
//! - What is held has an instant at which it goes out, at most a week away.

use chrono::{Duration, NaiveTime};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ContactKind;
use crate::escalation::{day, local, minute, wall_instant, weekday, zone};
use crate::plan::Problem;
use crate::words::{NotificationType, Severity, words};

const MOST_RULES: usize = 20;
const MOST_QUIET: usize = 20;
const MOST_DIGESTS: usize = 24;
/// Minutes of a day.
const DAY: u32 = 24 * 60;
/// Quiet times that meet are one; there cannot be more edges than this before a week is over.
const MOST_EDGES: usize = 2 * 7 * MOST_QUIET + 2;
const WEEK_MS: i64 = 7 * 86_400_000;

words! {
    /// What becomes of a message, beside the row in the inbox.
    Delivery { Now = "now", Digest = "digest", Never = "never" }
}

/// How a person wants to be told, as they write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NotificationPreferences")]
pub struct PreferencesDocument {
    /// The zone of all hours here, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// The first that fits a message decides. Where none fits, severity high and critical go out at once, and the rest stays
    /// in the inbox.
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub rules: Vec<RouteDocument>,
    /// Times in which messages are held until their end.
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub quiet_hours: Vec<QuietDocument>,
    /// The lowest severity that quiet hours let through: `critical`, or `high`.
    #[serde(default = "critical")]
    pub goes_through: Severity,
    /// When digests are sent, such as `08:00`; rules with `send: digest` need one.
    #[serde(default)]
    #[schemars(length(max = 24))]
    pub digest: Vec<String>,
}

/// What becomes of some messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NotificationRoute")]
pub struct RouteDocument {
    /// Empty: of every type.
    #[serde(default)]
    pub types: Vec<NotificationType>,
    /// Empty: of every severity.
    #[serde(default)]
    pub severities: Vec<Severity>,
    #[serde(default = "at_once")]
    pub send: Delivery,
    /// By which kinds of contact methods; empty: by all that are verified.
    #[serde(default)]
    pub by: Vec<ContactKind>,
}

/// A time in which a person wants to be left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "QuietHours")]
pub struct QuietDocument {
    /// `mon` to `sun`, the days on which it begins; empty: every day.
    #[serde(default)]
    pub days: Vec<String>,
    /// Such as `22:00-07:00`, which goes over midnight.
    pub hours: String,
}

/// Preferences, compiled.
#[derive(Debug, Clone)]
pub struct Preferences {
    pub document: PreferencesDocument,
    zone: Tz,
    quiet: Vec<Quiet>,
    /// Minutes of the day, in order.
    digests: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Quiet {
    days: [bool; 7],
    start: u32,
    /// Beyond the day's end where it goes over midnight.
    end: u32,
}

/// When a message goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Now,
    /// Quiet hours end then.
    Held {
        until_ms: i64,
    },
    /// With the others that came since the digest before, in the digest of that instant.
    Digest {
        since_ms: i64,
        at_ms: i64,
    },
}

/// How somebody wants to be told of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub when: When,
    /// Empty: by all.
    pub by: Vec<ContactKind>,
}

impl Wish {
    /// Whether contact methods of this kind are wanted.
    pub fn wants(&self, kind: ContactKind) -> bool {
        self.by.is_empty() || self.by.contains(&kind)
    }
}

impl Default for PreferencesDocument {
    fn default() -> Self {
        Self { time_zone: utc(), rules: vec![], quiet_hours: vec![], goes_through: critical(), digest: vec![] }
    }
}

impl Preferences {
    /// Checks preferences and compiles them. All that is wrong with them is told at once.
    pub fn compile(document: PreferencesDocument) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let zone = zone(&document.time_zone).unwrap_or_else(|message| {
            problems.push(Problem::new("/time_zone", message));
            Tz::UTC
        });
        if document.goes_through < Severity::High {
            problems.push(Problem::new("/goes_through", "must be high or critical: quiet hours hold the rest"));
        }
        for (list, count, most) in [
            ("/rules", document.rules.len(), MOST_RULES),
            ("/quiet_hours", document.quiet_hours.len(), MOST_QUIET),
            ("/digest", document.digest.len(), MOST_DIGESTS),
        ] {
            if count > most {
                problems.push(Problem::new(list, format!("must have at most {most} items")));
            }
        }
        for (no, rule) in document.rules.iter().enumerate() {
            problems.extend(rule.problem(no, !document.digest.is_empty()));
        }
        let mut quiet = Vec::new();
        for (no, hours) in document.quiet_hours.iter().enumerate() {
            match Quiet::compile(hours) {
                Ok(hours) => quiet.push(hours),
                Err((part, message)) => problems.push(Problem::new(format!("/quiet_hours/{no}{part}"), message)),
            }
        }
        let mut digests = Vec::new();
        for (no, text) in document.digest.iter().enumerate() {
            match minute(text).filter(|minute| *minute < DAY) {
                Some(minute) => digests.push(minute),
                None => {
                    problems.push(Problem::new(format!("/digest/{no}"), format!("'{text}' is no time such as 08:00")));
                }
            }
        }
        digests.sort_unstable();
        digests.dedup();
        if problems.is_empty() { Ok(Self { document, zone, quiet, digests }) } else { Err(problems) }
    }

    /// How the person wants to be told of a message beyond their inbox; `None`: not at all.
    pub fn wish(&self, kind: NotificationType, severity: Severity, now_ms: i64) -> Option<Wish> {
        let fits = |rule: &&RouteDocument| {
            (rule.types.is_empty() || rule.types.contains(&kind))
                && (rule.severities.is_empty() || rule.severities.contains(&severity))
        };
        let rule = self.document.rules.iter().find(fits);
        let is_critical = severity == Severity::Critical;
        let by = rule.map(|rule| rule.by.clone()).unwrap_or_default();
        let send =
            rule.map_or(if severity >= Severity::High { Delivery::Now } else { Delivery::Never }, |rule| rule.send);
        let when = match send {
            _ if is_critical => When::Now,
            Delivery::Never => return None,
            Delivery::Now if severity >= self.document.goes_through => When::Now,
            Delivery::Now => match self.quiet_until(now_ms) {
                Some(until_ms) => When::Held { until_ms },
                None => When::Now,
            },
            Delivery::Digest => {
                let (since_ms, at_ms) = self.digest_window(now_ms)?;
                When::Digest { since_ms, at_ms }
            }
        };
        Some(Wish { when, by })
    }

    /// When the quiet hours end that an instant lies in.
    pub fn quiet_until(&self, now_ms: i64) -> Option<i64> {
        let mut at_ms = now_ms;
        for _ in 0..MOST_EDGES {
            match self.quiet.iter().filter_map(|quiet| quiet.end_of(self.zone, at_ms)).max() {
                Some(end_ms) if end_ms < now_ms + WEEK_MS => at_ms = end_ms,
                // Always quiet: a week is as long as anything is held.
                Some(_) => return Some(now_ms + WEEK_MS),
                None => break,
            }
        }
        (at_ms > now_ms).then_some(at_ms)
    }

    /// The digests before and after an instant; one that comes at that instant was before it.
    pub fn digest_window(&self, now_ms: i64) -> Option<(i64, i64)> {
        let today = local(self.zone, now_ms).date();
        let instants = (-2..=2).flat_map(|ahead| {
            let midnight = (today + Duration::days(ahead)).and_time(NaiveTime::MIN);
            self.digests.iter().map(move |minute| midnight + Duration::minutes(i64::from(*minute)))
        });
        let mut since_ms = None;
        for at_ms in instants.map(|wall| wall_instant(self.zone, wall)) {
            if at_ms > now_ms {
                return since_ms.zip(Some(at_ms));
            }
            since_ms = Some(at_ms);
        }
        None
    }
}

impl RouteDocument {
    fn problem(&self, no: usize, has_digest: bool) -> Option<Problem> {
        let problem = |message: &str| Some(Problem::new(format!("/rules/{no}/send"), message));
        match self.send {
            Delivery::Now => None,
            _ if self.severities == [Severity::Critical] => problem("must be now: what is critical goes out at once"),
            Delivery::Digest if !has_digest => problem("needs the times of digests, in /digest"),
            Delivery::Digest | Delivery::Never => None,
        }
    }
}

impl Quiet {
    fn compile(document: &QuietDocument) -> Result<Self, (String, String)> {
        let mut days = [document.days.is_empty(); 7];
        for name in &document.days {
            let no = day(name).ok_or_else(|| {
                ("/days".to_owned(), format!("'{name}' is no day: mon, tue, wed, thu, fri, sat or sun"))
            })?;
            days[no] = true;
        }
        let text = &document.hours;
        let wrong = || ("/hours".to_owned(), format!("'{text}' is no time such as 22:00-07:00"));
        let (start, end) = text.split_once('-').ok_or_else(wrong)?;
        let (start, end) = (minute(start).ok_or_else(wrong)?, minute(end).ok_or_else(wrong)?);
        if start == end || start == DAY {
            return Err(wrong());
        }
        Ok(Self { days, start, end: if end > start { end } else { end + DAY } })
    }

    /// When it ends, if the instant lies in it: it may have begun the day before.
    fn end_of(&self, zone: Tz, at_ms: i64) -> Option<i64> {
        let today = local(zone, at_ms).date();
        let edges = [today - Duration::days(1), today].into_iter().filter_map(|date| {
            let midnight = date.and_time(NaiveTime::MIN);
            self.days[weekday(midnight)].then(|| {
                let edge = |minute: u32| wall_instant(zone, midnight + Duration::minutes(i64::from(minute)));
                (edge(self.start), edge(self.end))
            })
        });
        edges.filter(|(start_ms, end_ms)| *start_ms <= at_ms && at_ms < *end_ms).map(|(_, end_ms)| end_ms).max()
    }
}

fn utc() -> String {
    "UTC".to_owned()
}
fn critical() -> Severity {
    Severity::Critical
}
fn at_once() -> Delivery {
    Delivery::Now
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(text: &str) -> i64 {
        chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    fn preferences(document: Value) -> Preferences {
        Preferences::compile(serde_json::from_value(document).unwrap()).unwrap()
    }

    fn problems(document: Value) -> Vec<String> {
        let found = Preferences::compile(serde_json::from_value(document).unwrap()).unwrap_err();
        found.into_iter().map(|problem| problem.pointer).collect()
    }

    const NIGHT: &str = "2026-07-01T23:30:00+02:00";

    #[test]
    fn without_preferences_what_matters_goes_out_and_the_rest_stays_in_the_inbox() {
        let none = Preferences::compile(PreferencesDocument::default()).unwrap();
        let when = |severity| none.wish(NotificationType::Notify, severity, at(NIGHT)).map(|wish| wish.when);
        assert_eq!(when(Severity::Low), None);
        assert_eq!(when(Severity::Medium), None);
        assert_eq!(when(Severity::High), Some(When::Now));
        assert_eq!(when(Severity::Critical), Some(When::Now));
    }

    #[test]
    fn quiet_hours_hold_until_their_end_and_let_through_what_is_critical() {
        let quiet = preferences(json!({"time_zone": "Europe/Berlin", "quiet_hours": [{"hours": "22:00-07:00"}]}));
        let when = |severity, text| quiet.wish(NotificationType::Alert, severity, at(text)).map(|wish| wish.when);
        let until_ms = at("2026-07-02T07:00:00+02:00");
        assert_eq!(when(Severity::High, NIGHT), Some(When::Held { until_ms }));
        assert_eq!(when(Severity::High, "2026-07-02T06:59:59+02:00"), Some(When::Held { until_ms }));
        assert_eq!(when(Severity::High, "2026-07-02T07:00:00+02:00"), Some(When::Now));
        assert_eq!(when(Severity::Critical, NIGHT), Some(When::Now));
        let less = preferences(json!({"time_zone": "Europe/Berlin", "goes_through": "high",
            "quiet_hours": [{"hours": "22:00-07:00"}]}));
        assert_eq!(less.wish(NotificationType::Alert, Severity::High, at(NIGHT)).unwrap().when, When::Now);
    }

    #[test]
    fn quiet_times_that_meet_are_one_and_a_quiet_week_holds_for_a_week() {
        let weekend = preferences(json!({"quiet_hours": [
            {"days": ["fri"], "hours": "18:00-24:00"}, {"days": ["sat", "sun"], "hours": "00:00-24:00"}, {"hours": "00:00-08:00"},
        ]}));
        assert_eq!(weekend.quiet_until(at("2026-07-03T19:00:00Z")), Some(at("2026-07-06T08:00:00Z")));
        assert_eq!(weekend.quiet_until(at("2026-07-06T08:00:00Z")), None);
        let always = preferences(json!({"quiet_hours": [{"hours": "00:00-24:00"}]}));
        assert_eq!(always.quiet_until(0), Some(WEEK_MS));
    }

    #[test]
    fn quiet_hours_keep_to_the_wall_clock_when_it_is_put_forward_and_back() {
        let quiet = preferences(json!({"time_zone": "Europe/Berlin", "quiet_hours": [{"hours": "22:00-07:00"}]}));
        assert_eq!(quiet.quiet_until(at("2026-03-28T23:00:00+01:00")), Some(at("2026-03-29T07:00:00+02:00")));
        assert_eq!(quiet.quiet_until(at("2026-10-24T23:00:00+02:00")), Some(at("2026-10-25T07:00:00+01:00")));
    }

    #[test]
    fn the_first_rule_that_fits_decides_by_what_and_when() {
        let ruled = preferences(json!({"time_zone": "Europe/Berlin", "digest": ["17:00", "08:00"], "rules": [
            {"types": ["info"], "send": "digest", "by": ["email"]},
            {"severities": ["critical", "high"], "by": ["sms", "slack"]},
            {"send": "never"},
        ]}));
        let wish = |kind, severity| ruled.wish(kind, severity, at("2026-07-01T09:00:00+02:00"));
        let digest = wish(NotificationType::Info, Severity::Low).unwrap();
        let window = (at("2026-07-01T08:00:00+02:00"), at("2026-07-01T17:00:00+02:00"));
        assert_eq!(digest.when, When::Digest { since_ms: window.0, at_ms: window.1 });
        assert!(digest.wants(ContactKind::Email) && !digest.wants(ContactKind::Sms));
        let high = wish(NotificationType::Alert, Severity::High).unwrap();
        assert_eq!((high.when, high.by), (When::Now, vec![ContactKind::Sms, ContactKind::Slack]));
        assert_eq!(wish(NotificationType::Warning, Severity::Medium), None);
        let critical = wish(NotificationType::Info, Severity::Critical).unwrap();
        assert_eq!(critical.when, When::Now, "no digest keeps what is critical");
        assert_eq!(ruled.digest_window(window.1), Some((window.1, at("2026-07-02T08:00:00+02:00"))));
        assert_eq!(ruled.digest_window(window.1 - 1), Some(window));
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let wrong = json!({"time_zone": "Mars/Base", "goes_through": "low", "digest": ["25:00"],
            "quiet_hours": [{"hours": "8-9"}, {"days": ["monday"], "hours": "08:00-09:00"}, {"hours": "08:00-08:00"}],
            "rules": [{"severities": ["critical"], "send": "never"}]});
        assert_eq!(
            problems(wrong),
            [
                "/time_zone",
                "/goes_through",
                "/rules/0/send",
                "/quiet_hours/0/hours",
                "/quiet_hours/1/days",
                "/quiet_hours/2/hours",
                "/digest/0"
            ]
        );
        assert_eq!(problems(json!({"rules": [{"send": "digest"}]})), ["/rules/0/send"]);
        let many = vec![json!({"hours": "08:00-09:00"}); 21];
        assert_eq!(problems(json!({"quiet_hours": many})), ["/quiet_hours"]);
    }
}
