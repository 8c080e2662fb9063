//! The `trigger_config` of a flow whose trigger is `schedule`: its fields, and what is wrong with them.

use chrono::DateTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::cron::Cron;
use super::{Schedule, Timing, interval};
use crate::document::{self, FlowDocument};
use crate::plan::Problem;
use crate::words::{TriggerType, words};

words! {
    /// What becomes of instants at which nobody was there to start the flow.
    Missed { Skip = "skip", One = "one", All = "all" }
    /// What becomes of an instant while an earlier run of the schedule goes on.
    Overlap { Allow = "allow", Skip = "skip", Queue = "queue", CancelRunning = "cancel_running" }
    /// Why an instant has no run: nobody was there in time, an earlier run went on, the flow's conditions did not hold, a
    /// person had paused the schedule, or the run was refused again and again.
    NotFired {
        Missed = "missed", Overlap = "overlap", Conditions = "conditions", Paused = "paused", Refused = "refused",
    }
}

/// An hour.
const MOST_JITTER_SECONDS: u32 = 3_600;
const DEFAULT_ZONE: &str = "UTC";

/// When a flow starts by itself. One of `cron` and `every` is required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Five fields (minute, hour, day of month, month, day of week), six with seconds in front, or a word such as `@daily`.
    #[schemars(length(max = 256))]
    #[serde(default)]
    pub cron: Option<String>,
    /// An interval such as `90s` or `1h30m`, counted from `start_at`, or from 1970-01-01T00:00:00Z.
    #[schemars(length(max = 256))]
    #[serde(default)]
    pub every: Option<String>,
    /// The IANA time zone of the cron fields, such as `Europe/Berlin`; `UTC` by default.
    #[serde(default)]
    pub timezone: Option<String>,
    /// What becomes of instants at which nobody was there: nothing, one run for all of them (the default), or a run each.
    #[serde(default = "one")]
    pub missed: Missed,
    /// What becomes of an instant while an earlier run of the schedule goes on; `allow` by default.
    #[serde(default = "allow")]
    pub overlap: Overlap,
    /// Each start is delayed by 0 to so many seconds, by the same number each time it is computed.
    #[schemars(range(max = 3_600))]
    #[serde(default)]
    pub jitter_seconds: u32,
    /// RFC 3339: no instant before it.
    #[serde(default)]
    pub start_at: Option<String>,
    /// RFC 3339: no instant after it.
    #[serde(default)]
    pub end_at: Option<String>,
    /// Whether the document itself keeps the schedule from firing.
    #[serde(default)]
    pub paused: bool,
}

fn one() -> Missed {
    Missed::One
}
fn allow() -> Overlap {
    Overlap::Allow
}

/// What is wrong with the schedule of a document. Nothing where its trigger is another one.
pub fn check(document: &FlowDocument) -> Vec<Problem> {
    match document.trigger_type {
        TriggerType::Schedule => Schedule::read(&document.trigger_config).err().unwrap_or_default(),
        _ => Vec::new(),
    }
}

impl Schedule {
    /// Reads a `trigger_config`. Problems point into the document.
    pub fn read(config: &Map<String, Value>) -> Result<Self, Vec<Problem>> {
        let misshapen = |error: document::ShapeError| {
            vec![Problem::new(format!("/trigger_config{}", error.pointer), error.message)]
        };
        Self::of(document::read(Value::Object(config.clone())).map_err(misshapen)?)
    }

    fn of(config: ScheduleConfig) -> Result<Self, Vec<Problem>> {
        let mut check = Check::default();
        let timing = match (&config.cron, &config.every) {
            (Some(text), None) => check.field("cron", Cron::parse(text)).map(|cron| Timing::Cron(Box::new(cron))),
            (None, Some(text)) => check.field("every", interval::parse(text)).map(Timing::Every),
            (Some(_), Some(_)) => check.wrong("every", "cannot stand beside cron: a schedule has one of them"),
            (None, None) => {
                check.wrong("cron", "is required, or every: a schedule needs a cron expression or an interval")
            }
        };
        if config.every.is_some() && config.timezone.is_some() {
            check.wrong::<()>("timezone", "has no use beside every: an interval is absolute time");
        }
        let zone = check.field("timezone", zone(config.timezone.as_deref().unwrap_or(DEFAULT_ZONE)));
        if config.jitter_seconds > MOST_JITTER_SECONDS {
            check.wrong::<()>("jitter_seconds", format!("must be 0 to {MOST_JITTER_SECONDS}"));
        }
        let start_s = check.time("start_at", config.start_at.as_deref(), |ms| -(-ms).div_euclid(1_000));
        let end_s = check.time("end_at", config.end_at.as_deref(), |ms| ms.div_euclid(1_000));
        let (Some(timing), Some(zone), true) = (timing, zone, check.0.is_empty()) else { return Err(check.0) };
        let text = config.cron.or(config.every.map(|every| format!("every {every}"))).unwrap_or_default();
        let schedule = Self {
            timing,
            zone,
            text,
            missed: config.missed,
            overlap: config.overlap,
            jitter_ms: i64::from(config.jitter_seconds) * 1_000,
            start_s,
            end_s,
            is_paused: config.paused,
        };
        // The epoch, or the first thousandth after it: whether there is an instant at all does not depend on the day.
        match schedule.next_after(0) {
            Some(_) => Ok(schedule),
            None => Err(vec![schedule.never()]),
        }
    }

    /// Why it has no instant.
    fn never(&self) -> Problem {
        let unbounded = Self { start_s: None, end_s: None, ..self.clone() };
        let (field, message) = if unbounded.next_after(0).is_none() {
            ("cron", format!("'{}' never fires: there is no such date within 60 years", self.text))
        } else {
            ("end_at", "the schedule never fires: no instant lies between its start and its end".to_owned())
        };
        Problem::new(format!("/trigger_config/{field}"), message)
    }
}

/// Collects problems under their fields.
#[derive(Default)]
struct Check(Vec<Problem>);

impl Check {
    fn field<T>(&mut self, name: &str, read: Result<T, String>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(message) => self.wrong(name, message),
        }
    }

    fn wrong<T>(&mut self, name: &str, message: impl Into<String>) -> Option<T> {
        self.0.push(Problem::new(format!("/trigger_config/{name}"), message));
        None
    }

    /// A time, in seconds since the epoch.
    fn time(&mut self, name: &str, text: Option<&str>, to_seconds: impl Fn(i64) -> i64) -> Option<i64> {
        let text = text?;
        let read = DateTime::parse_from_rfc3339(text).map(|time| to_seconds(time.timestamp_millis()));
        let wrong = |_| {
            let shown: String = text.chars().take(40).collect();
            format!("'{shown}' is not an RFC 3339 time, such as 2030-01-31T08:00:00Z")
        };
        self.field(name, read.map_err(wrong))
    }
}

fn zone(name: &str) -> Result<chrono_tz::Tz, String> {
    name.parse().map_err(|_| {
        let shown: String = name.chars().take(40).collect();
        format!("'{shown}' is not a name of the IANA time zone database, such as Europe/Berlin")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(config: Value) -> Result<Schedule, Vec<(String, String)>> {
        let Value::Object(config) = config else { panic!("an object") };
        Schedule::read(&config).map_err(|problems| problems.into_iter().map(|p| (p.pointer, p.message)).collect())
    }

    #[test]
    fn a_config_has_the_documented_defaults() {
        let schedule = read(json!({"cron": "0 8 * * MON-FRI"})).expect("a schedule");
        assert_eq!((schedule.missed, schedule.overlap, schedule.timezone()), (Missed::One, Overlap::Allow, "UTC"));
        assert_eq!(schedule.text, "0 8 * * MON-FRI");
        assert_eq!(read(json!({"every": "90s"})).expect("a schedule").text, "every 90s");
    }

    #[test]
    fn everything_wrong_is_named_with_its_place() {
        for (config, pointer, words) in [
            (json!({}), "/trigger_config/cron", "is required"),
            (json!({"cron": "* * * * *", "every": "1h"}), "/trigger_config/every", "one of them"),
            (json!({"cron": "61 * * * *"}), "/trigger_config/cron", "minute: '61'"),
            (json!({"cron": 5}), "/trigger_config/cron", "expected a string"),
            (json!({"every": "x"}), "/trigger_config/every", "not an interval"),
            (json!({"every": "1h", "timezone": "UTC"}), "/trigger_config/timezone", "absolute"),
            (json!({"cron": "@daily", "timezone": "Mars/Olympus"}), "/trigger_config/timezone", "IANA"),
            (json!({"cron": "@daily", "missed": "some"}), "/trigger_config/missed", "unknown variant"),
            (json!({"cron": "@daily", "jitter_seconds": 3_601}), "/trigger_config/jitter_seconds", "0 to 3600"),
            (json!({"cron": "@daily", "start_at": "tomorrow"}), "/trigger_config/start_at", "RFC 3339"),
            (json!({"cron": "@daily", "speed": 1}), "/trigger_config/speed", "unknown field"),
            (json!({"cron": "0 0 30 2 *"}), "/trigger_config/cron", "never fires"),
            (
                json!({"cron": "@yearly", "start_at": "2026-01-02T00:00:00Z", "end_at": "2026-12-31T00:00:00Z"}),
                "/trigger_config/end_at",
                "never fires",
            ),
        ] {
            let problems = read(config.clone()).expect_err("refused");
            assert_eq!(problems.len(), 1, "{config}: {problems:?}");
            assert!(problems[0].0 == pointer && problems[0].1.contains(words), "{config}: {problems:?}");
        }
        let both = read(json!({"cron": "x", "timezone": "y"})).expect_err("refused");
        assert_eq!(both.len(), 2, "all at once");
    }

    #[test]
    fn a_schedule_lies_between_its_start_and_its_end() {
        let config = json!({"every": "1h", "start_at": "2026-01-01T00:30:00.5Z", "end_at": "2026-01-01T02:30:01Z"});
        let schedule = read(config).expect("a schedule");
        let shown: Vec<String> = schedule.instants(0, 10).into_iter().map(|at| schedule.local(at)).collect();
        assert_eq!(shown, ["2026-01-01T00:30:01Z", "2026-01-01T01:30:01Z", "2026-01-01T02:30:01Z"]);
    }
}
