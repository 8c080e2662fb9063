//! On-call schedules: who is on call at an instant.
//!
//! Layers lie on one another: the last one that has somebody wins, and an override wins over all. Rotations by days and weeks
//! hand over at a time of the zone's wall clock, whatever its clocks do; rotations by hours are absolute time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use chrono::{Duration, NaiveDateTime};
use chrono_tz::Tz;

use super::calendar::{day, local, wall_instant, weekday, window, zone};
use crate::ids::UserId;
use crate::plan::Problem;
use crate::words::words;

words! {
    /// In what a rotation counts.
    Unit { Hours = "hours", Days = "days", Weeks = "weeks" }
}

const MOST_LAYERS: usize = 20;
const MOST_USERS: usize = 200;
const MOST_RESTRICTIONS: usize = 50;
const MOST_EVERY: u32 = 1_000;
/// Changes that are looked at to say until when somebody is on call.
const MOST_CHANGES: usize = 200;
const HOUR_MS: i64 = 3_600_000;

/// A schedule as people write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnCallDocument {
    /// Unique in its tenant: `on_call:NAME`.
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// IANA.
    pub time_zone: String,
    /// The last one that has somebody wins.
    pub layers: Vec<LayerDocument>,
}

/// One layer: people who take turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayerDocument {
    #[serde(default)]
    pub name: String,
    /// In the order of their turns.
    pub users: Vec<UserId>,
    /// The first turn's beginning, on the zone's wall clock: `2026-01-05T09:00`. Nobody is on call before.
    pub starts_at: String,
    /// How long a turn is.
    #[serde(default = "one")]
    pub every: u32,
    #[serde(default = "weeks")]
    pub unit: Unit,
    /// Only in these times; empty: always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restrictions: Vec<RestrictionDocument>,
}

/// A time of the week in which a layer counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestrictionDocument {
    /// `mon` to `sun`; empty: every day.
    #[serde(default)]
    pub days: Vec<String>,
    /// Such as `18:00-24:00`.
    pub hours: String,
}

/// Somebody stands in for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    pub user: UserId,
    pub starts_ms: i64,
    pub ends_ms: i64,
}

/// A schedule, compiled.
#[derive(Debug, Clone)]
pub struct OnCall {
    pub document: OnCallDocument,
    zone: Tz,
    layers: Vec<Layer>,
}

/// A layer, compiled.
#[derive(Debug, Clone)]
pub struct Layer {
    name: String,
    users: Vec<UserId>,
    start: NaiveDateTime,
    start_ms: i64,
    every: i64,
    unit: Unit,
    /// Days from Monday, and minutes of the day.
    restrictions: Vec<([bool; 7], (u32, u32))>,
}

/// Who is on call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shift {
    /// Absent: nobody is.
    pub user: Option<UserId>,
    /// The layer's name or number, or `override`.
    pub by: Option<String>,
    /// Until when it stays so, as far as the schedule says.
    pub until_ms: Option<i64>,
}

impl OnCall {
    /// Checks a schedule and compiles it.
    pub fn compile(document: OnCallDocument) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if document.name.trim().is_empty() || document.name.chars().count() > 100 || document.name.contains(':') {
            problems.push(Problem::new("/name", "must have 1 to 100 characters, none of them a colon"));
        }
        let zone = zone(&document.time_zone).unwrap_or_else(|message| {
            problems.push(Problem::new("/time_zone", message));
            Tz::UTC
        });
        if document.layers.is_empty() || document.layers.len() > MOST_LAYERS {
            problems.push(Problem::new("/layers", format!("must have 1 to {MOST_LAYERS} layers")));
        }
        let mut layers = Vec::new();
        for (no, layer) in document.layers.iter().enumerate() {
            match Layer::compile(no, layer, zone) {
                Ok(layer) => layers.push(layer),
                Err((pointer, message)) => problems.push(Problem::new(format!("/layers/{no}{pointer}"), message)),
            }
        }
        if problems.is_empty() { Ok(Self { document, zone, layers }) } else { Err(problems) }
    }

    /// Who is on call at an instant, and until when.
    pub fn at(&self, overrides: &[Override], at_ms: i64) -> Shift {
        let (user, by) = self.who(overrides, at_ms);
        let mut from_ms = at_ms;
        for _ in 0..MOST_CHANGES {
            let Some(change_ms) = self.next_change(overrides, from_ms) else { break };
            if self.who(overrides, change_ms).0 != user {
                return Shift { user, by, until_ms: Some(change_ms) };
            }
            from_ms = change_ms;
        }
        Shift { user, by, until_ms: None }
    }

    fn who(&self, overrides: &[Override], at_ms: i64) -> (Option<UserId>, Option<String>) {
        // Of overrides that overlap the one that begins last was meant.
        let covers = |over: &&Override| over.starts_ms <= at_ms && at_ms < over.ends_ms;
        if let Some(over) = overrides.iter().filter(covers).max_by_key(|over| over.starts_ms) {
            return (Some(over.user), Some("override".to_owned()));
        }
        let found = self.layers.iter().rev().find_map(|layer| Some((layer.who(self.zone, at_ms)?, layer.name.clone())));
        found.map_or((None, None), |(user, name)| (Some(user), Some(name)))
    }

    /// The next instant at which somebody else might be on call.
    fn next_change(&self, overrides: &[Override], at_ms: i64) -> Option<i64> {
        let edges = overrides.iter().flat_map(|over| [over.starts_ms, over.ends_ms]);
        let layers = self.layers.iter().flat_map(|layer| layer.changes(self.zone, at_ms));
        edges.chain(layers).filter(|change_ms| *change_ms > at_ms).min()
    }
}

impl Layer {
    fn compile(no: usize, document: &LayerDocument, zone: Tz) -> Result<Self, (String, String)> {
        let wrong = |pointer: &str, message: String| (pointer.to_owned(), message);
        if document.users.is_empty() || document.users.len() > MOST_USERS {
            return Err(wrong("/users", format!("must have 1 to {MOST_USERS} users")));
        }
        if !(1..=MOST_EVERY).contains(&document.every) {
            return Err(wrong("/every", format!("must be 1 to {MOST_EVERY}")));
        }
        let text = &document.starts_at;
        let start = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M")
            .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S"))
            .map_err(|_| wrong("/starts_at", format!("'{text}' is no wall time such as 2026-01-05T09:00")))?;
        if document.restrictions.len() > MOST_RESTRICTIONS {
            return Err(wrong("/restrictions", format!("must have at most {MOST_RESTRICTIONS} items")));
        }
        let mut restrictions = Vec::new();
        for (place, restriction) in document.restrictions.iter().enumerate() {
            let hours = window(&restriction.hours)
                .map_err(|message| wrong(&format!("/restrictions/{place}/hours"), message))?;
            let mut days = [restriction.days.is_empty(); 7];
            for name in &restriction.days {
                let day = day(name).ok_or_else(|| {
                    let message = format!("'{name}' is no day: mon, tue, wed, thu, fri, sat or sun");
                    wrong(&format!("/restrictions/{place}/days"), message)
                })?;
                days[day] = true;
            }
            restrictions.push((days, hours));
        }
        let name = if document.name.is_empty() { format!("layer {}", no + 1) } else { document.name.clone() };
        let (users, every, unit) = (document.users.clone(), i64::from(document.every), document.unit);
        let start_ms = wall_instant(zone, start);
        Ok(Self { name, users, start, start_ms, every, unit, restrictions })
    }

    fn who(&self, zone: Tz, at_ms: i64) -> Option<UserId> {
        if at_ms < self.start_ms || !self.counts(zone, at_ms) {
            return None;
        }
        let turn = self.turn(zone, at_ms).max(0) as usize;
        Some(self.users[turn % self.users.len()])
    }

    /// Whether the restrictions let it count.
    fn counts(&self, zone: Tz, at_ms: i64) -> bool {
        let wall = local(zone, at_ms);
        let minute = (wall - wall.date().and_time(chrono::NaiveTime::MIN)).num_minutes() as u32;
        let day = weekday(wall);
        let is_in = |(days, (start, end)): &([bool; 7], (u32, u32))| days[day] && *start <= minute && minute < *end;
        self.restrictions.is_empty() || self.restrictions.iter().any(is_in)
    }

    /// The number of the turn that an instant lies in, from 0.
    fn turn(&self, zone: Tz, at_ms: i64) -> i64 {
        match self.unit {
            Unit::Hours => (at_ms - self.start_ms).div_euclid(self.every * HOUR_MS),
            Unit::Days | Unit::Weeks => {
                // A wall clock that was put back may show a time before the handover once more: the instants decide.
                let guess = (local(zone, at_ms) - self.start).num_minutes().div_euclid(self.turn_minutes());
                if at_ms >= self.turn_start(zone, guess + 1) {
                    guess + 1
                } else if at_ms < self.turn_start(zone, guess) {
                    guess - 1
                } else {
                    guess
                }
            }
        }
    }

    fn turn_minutes(&self) -> i64 {
        let days = if self.unit == Unit::Weeks { 7 } else { 1 };
        self.every * days * 24 * 60
    }

    fn turn_start(&self, zone: Tz, turn: i64) -> i64 {
        match self.unit {
            Unit::Hours => self.start_ms + turn * self.every * HOUR_MS,
            Unit::Days | Unit::Weeks => wall_instant(zone, self.start + Duration::minutes(turn * self.turn_minutes())),
        }
    }

    /// Instants after this one at which the layer may change: its next handover, and the edges of its restrictions in the
    /// days that follow.
    fn changes(&self, zone: Tz, at_ms: i64) -> Vec<i64> {
        if at_ms < self.start_ms {
            return vec![self.start_ms];
        }
        let mut found = vec![self.turn_start(zone, self.turn(zone, at_ms) + 1)];
        let today = local(zone, at_ms).date();
        for ahead in 0..=7 {
            let date = today + Duration::days(ahead);
            for (days, (start, end)) in &self.restrictions {
                let wall = date.and_time(chrono::NaiveTime::MIN);
                if days[weekday(wall)] {
                    let edges = [start, end].map(|minute| wall + Duration::minutes(i64::from(*minute)));
                    found.extend(edges.map(|edge| wall_instant(zone, edge)));
                }
            }
        }
        found.retain(|change_ms| *change_ms > at_ms);
        found
    }
}

fn one() -> u32 {
    1
}
fn weeks() -> Unit {
    Unit::Weeks
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    fn at(text: &str) -> i64 {
        chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    fn user(no: u128) -> UserId {
        UserId(Uuid::from_u128(no))
    }

    fn schedule(layers: &Value) -> OnCall {
        let document = json!({"name": "primary", "time_zone": "Europe/Berlin", "layers": layers});
        OnCall::compile(serde_json::from_value(document).unwrap()).unwrap()
    }

    #[test]
    fn a_weekly_turn_is_handed_over_at_the_same_wall_time_in_summer_and_winter() {
        let weekly = schedule(&json!([
            {"users": [user(1), user(2)], "starts_at": "2026-03-23T09:00", "unit": "weeks"},
        ]));
        let who = |text: &str| weekly.at(&[], at(text)).user;
        assert_eq!(who("2026-03-23T07:59:59Z"), None, "nobody before the first turn");
        assert_eq!(who("2026-03-23T08:00:00Z"), Some(user(1)));
        // Clocks go forward on 29 March: nine in Berlin is seven in UTC from then on.
        assert_eq!(who("2026-03-30T06:59:59Z"), Some(user(1)));
        assert_eq!(who("2026-03-30T07:00:00Z"), Some(user(2)));
        let shift = weekly.at(&[], at("2026-03-30T07:00:00Z"));
        assert_eq!(shift.until_ms, Some(at("2026-04-06T07:00:00Z")));
    }

    #[test]
    fn a_handover_in_the_hour_that_comes_twice_happens_once() {
        let daily = schedule(&json!([
            {"users": [user(1), user(2)], "starts_at": "2026-10-24T02:30", "unit": "days"},
        ]));
        let who = |text: &str| daily.at(&[], at(text)).user;
        // Half past two comes at 00:30 and at 01:30 UTC on 25 October.
        assert_eq!(who("2026-10-25T00:29:59Z"), Some(user(1)));
        for later in ["2026-10-25T00:30:00Z", "2026-10-25T01:10:00Z", "2026-10-25T01:29:00Z", "2026-10-26T01:29:59Z"] {
            assert_eq!(who(later), Some(user(2)), "{later}");
        }
        assert_eq!(who("2026-10-26T01:30:00Z"), Some(user(1)));
    }

    #[test]
    fn the_last_layer_that_counts_wins_and_an_override_over_all() {
        let layered = schedule(&json!([
            {"name": "days", "users": [user(1)], "starts_at": "2026-01-05T00:00"},
            {"name": "nights", "users": [user(2)], "starts_at": "2026-01-05T00:00",
             "restrictions": [{"days": ["mon", "tue", "wed", "thu", "fri"], "hours": "18:00-24:00"}]},
        ]));
        let shift = layered.at(&[], at("2026-01-06T12:00:00+01:00"));
        assert_eq!((shift.user, shift.by.as_deref()), (Some(user(1)), Some("days")));
        assert_eq!(shift.until_ms, Some(at("2026-01-06T18:00:00+01:00")));
        let shift = layered.at(&[], at("2026-01-06T18:00:00+01:00"));
        assert_eq!((shift.user, shift.until_ms), (Some(user(2)), Some(at("2026-01-07T00:00:00+01:00"))));
        let starts_ms = at("2026-01-06T20:00:00+01:00");
        let over = [Override { user: user(3), starts_ms, ends_ms: starts_ms + 3_600_000 }];
        assert_eq!(layered.at(&over, starts_ms).user, Some(user(3)));
        assert_eq!(layered.at(&over, starts_ms).until_ms, Some(starts_ms + 3_600_000));
        assert_eq!(layered.at(&over, starts_ms - 1).until_ms, Some(starts_ms));
        assert_eq!(layered.at(&over, starts_ms + 3_600_000).user, Some(user(2)));
    }

    #[test]
    fn what_is_wrong_with_a_schedule_is_named() {
        let refused = |layer: Value| {
            let document = json!({"name": "x", "time_zone": "UTC", "layers": [layer]});
            OnCall::compile(serde_json::from_value(document).unwrap()).unwrap_err()[0].pointer.clone()
        };
        assert_eq!(refused(json!({"users": [], "starts_at": "2026-01-05T09:00"})), "/layers/0/users");
        assert_eq!(refused(json!({"users": [user(1)], "starts_at": "tomorrow"})), "/layers/0/starts_at");
        let restricted =
            json!({"users": [user(1)], "starts_at": "2026-01-05T09:00", "restrictions": [{"hours": "8-9"}]});
        assert_eq!(refused(restricted), "/layers/0/restrictions/0/hours");
        assert_eq!(
            refused(json!({"users": [user(1)], "starts_at": "2026-01-05T09:00", "every": 0})),
            "/layers/0/every"
        );
    }
}
