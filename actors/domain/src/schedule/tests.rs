//! Schedules against an independent reference: every minute of a year is walked through the time zone's own conversion, and
//! asked whether it should fire.

mod clock;

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, Duration, LocalResult, NaiveDateTime, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

use super::*;

/// The same cases each time.
pub fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(314), ..ProptestConfig::default() }
}

pub fn schedule(config: Value) -> Schedule {
    let Value::Object(config) = config else { panic!("an object") };
    Schedule::read(&config).unwrap_or_else(|problems| panic!("{config:?}: {problems:?}"))
}

/// An expression, whether its hour and minute fields begin with a star, and what it means, said once more.
type Case = (&'static str, (bool, bool), fn(NaiveDateTime) -> bool);

const CASES: &[Case] = &[
    ("0 0 * * *", (false, false), |t| t.hour() == 0 && t.minute() == 0),
    ("30 2 * * *", (false, false), |t| t.hour() == 2 && t.minute() == 30),
    ("15 1,2,3 * * *", (false, false), |t| [1, 2, 3].contains(&t.hour()) && t.minute() == 15),
    ("0 * * * *", (true, false), |t| t.minute() == 0),
    ("45 */2 * * *", (true, false), |t| t.hour().is_multiple_of(2) && t.minute() == 45),
    ("*/20 1-3 * * *", (false, true), |t| (1..=3).contains(&t.hour()) && t.minute().is_multiple_of(20)),
    ("*/7 * * * *", (true, true), |t| t.minute().is_multiple_of(7)),
    ("5 12 1,15 * MON", (false, false), |t| {
        t.hour() == 12 && t.minute() == 5 && ([1, 15].contains(&t.day()) || t.weekday() == chrono::Weekday::Mon)
    }),
    ("59 23 L * *", (false, false), |t| {
        t.hour() == 23 && t.minute() == 59 && (t + Duration::days(1)).month() != t.month()
    }),
    ("0 2 * MAR,OCT SUNL", (false, false), |t| {
        [3, 10].contains(&t.month())
            && t.weekday() == chrono::Weekday::Sun
            && (t + Duration::days(7)).month() != t.month()
            && (t.hour(), t.minute()) == (2, 0)
    }),
];

fn first_of(year: i32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).single().expect("a time")
}

/// What each stretch of so many seconds between two times should fire, for each case.
fn reference(zone: Tz, from: DateTime<Utc>, until: DateTime<Utc>, cases: &[Case]) -> Vec<Vec<i64>> {
    let mut fired = vec![Vec::new(); cases.len()];
    let minute = Duration::minutes(1);
    let mut before = (from - minute).with_timezone(&zone).naive_local();
    let mut at = from;
    while at < until {
        let wall = at.with_timezone(&zone).naive_local();
        let is_first = || match zone.from_local_datetime(&wall) {
            LocalResult::Ambiguous(first, _) => first.with_timezone(&Utc) == at,
            LocalResult::Single(_) => true,
            LocalResult::None => panic!("{at} has a wall time"),
        };
        let missing: Vec<NaiveDateTime> = std::iter::successors(Some(before + minute), |wall| Some(*wall + minute))
            .take_while(|skipped| *skipped < wall)
            .collect();
        for ((_, (any_hour, any_minute), holds), fired) in cases.iter().zip(&mut fired) {
            let by_wall = holds(wall) && (*any_hour || *any_minute || is_first());
            let by_gap = !any_hour && missing.iter().any(|skipped| holds(*skipped));
            if by_wall || by_gap {
                fired.push(at.timestamp_millis());
            }
        }
        (before, at) = (wall, at + minute);
    }
    fired
}

fn agrees(zone: Tz, year: i32) {
    let (from, until) = (first_of(year), first_of(year + 1));
    for ((expression, ..), expected) in CASES.iter().zip(reference(zone, from, until, CASES)) {
        let schedule = schedule(json!({"cron": expression, "timezone": zone.name()}));
        let next = |at: &i64| schedule.next_after(*at).filter(|at| *at < until.timestamp_millis());
        let found: Vec<i64> = std::iter::successors(next(&(from.timestamp_millis() - 1)), next).collect();
        let difference = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        let shown = difference.map(|(found, expected)| (schedule.local(*found), schedule.local(*expected)));
        assert_eq!(shown, None, "{expression} in {zone}");
        assert_eq!(found.len(), expected.len(), "{expression} in {zone}");
    }
}

/// One test a zone, so that they run side by side.
macro_rules! agrees_in {
    ($($name:ident: $zone:ident, $year:literal;)*) => {
        $(#[test]
        fn $name() {
            agrees(Tz::$zone, $year);
        })*
    };
}

agrees_in! {
    a_year_in_utc: UTC, 2026;
    a_year_in_berlin: Europe__Berlin, 2026;
    a_year_in_new_york: America__New_York, 2026;
    a_year_on_lord_howe_whose_clocks_change_by_half_an_hour: Australia__Lord_Howe, 2026;
    a_year_in_kathmandu_which_is_three_quarters_ahead: Asia__Kathmandu, 2026;
    a_year_in_sao_paulo_whose_clocks_changed_at_midnight: America__Sao_Paulo, 2018;
    a_year_in_casablanca_whose_clocks_follow_ramadan: Africa__Casablanca, 2026;
    a_year_in_apia_which_left_out_a_day: Pacific__Apia, 2011;
}

/// The instants of a day, as the wall shows them.
fn day(expression: &str, zone: &str, date: &str) -> Vec<String> {
    let schedule = schedule(json!({"cron": expression, "timezone": zone}));
    let from = format!("{date}T00:00:00Z").parse::<DateTime<Utc>>().expect("a date").timestamp_millis() - 86_400_000;
    let shown = schedule.instants(from, 10_000).into_iter().map(|at| schedule.local(at));
    shown.filter(|local| local.starts_with(date)).collect()
}

#[test]
fn the_days_on_which_clocks_change() {
    // Forward from 02:00 to 03:00.
    assert_eq!(day("30 2 * * *", "Europe/Berlin", "2026-03-29"), ["2026-03-29T03:00:00+02:00"]);
    assert_eq!(day("*/20 2 * * *", "Europe/Berlin", "2026-03-29"), ["2026-03-29T03:00:00+02:00"]);
    assert_eq!(day("0 2,3 * * *", "Europe/Berlin", "2026-03-29"), ["2026-03-29T03:00:00+02:00"]);
    assert_eq!(day("30 * * * *", "Europe/Berlin", "2026-03-29").len(), 23);
    assert_eq!(day("* 30 2 * * *", "Europe/Berlin", "2026-03-29"), ["2026-03-29T03:00:00+02:00"]);
    // Back from 03:00 to 02:00.
    assert_eq!(day("30 2 * * *", "Europe/Berlin", "2026-10-25"), ["2026-10-25T02:30:00+02:00"]);
    assert_eq!(day("30 * * * *", "Europe/Berlin", "2026-10-25").len(), 25);
    assert_eq!(day("30 2,3 * * *", "Europe/Berlin", "2026-10-25")[1], "2026-10-25T03:30:00+01:00");
    assert_eq!(day("15,45 30 2 * * *", "Europe/Berlin", "2026-10-25").len(), 2);
}

#[test]
fn a_start_within_the_repeated_hour_fires_nothing_again() {
    let schedule = schedule(json!({"cron": "30 2 * * *", "timezone": "Europe/Berlin"}));
    // 02:10 for the second time.
    let again = "2026-10-25T01:10:00Z".parse::<DateTime<Utc>>().expect("a time");
    let next = schedule.next_after(again.timestamp_millis()).expect("one");
    assert_eq!(schedule.local(next), "2026-10-26T02:30:00+01:00");
}

#[test]
fn an_interval_knows_no_clock_changes() {
    let schedule = schedule(json!({"every": "6h"}));
    let from = "2026-03-28T23:59:59Z".parse::<DateTime<Utc>>().expect("a time").timestamp_millis();
    let found = schedule.instants(from, 5);
    assert!(found.windows(2).all(|pair| pair[1] - pair[0] == 21_600_000), "{found:?}");
    assert_eq!(schedule.local(found[0]), "2026-03-29T00:00:00Z");
}

#[test]
fn seconds_around_a_change_are_walked_one_by_one() {
    let zone = Tz::Australia__Lord_Howe;
    for (expression, repeats, holds) in [
        (
            "*/17 */10 * * * *",
            true,
            (|t| t.second().is_multiple_of(17) && t.minute().is_multiple_of(10)) as fn(NaiveDateTime) -> bool,
        ),
        ("5 45 1 * * *", false, |t| (t.hour(), t.minute(), t.second()) == (1, 45, 5)),
    ] {
        let schedule = schedule(json!({"cron": expression, "timezone": zone.name()}));
        // Clocks go back from 02:00 to 01:30 on this day.
        let from = Utc.with_ymd_and_hms(2026, 4, 4, 12, 0, 0).single().expect("a time").timestamp();
        let expected: BTreeSet<i64> = (from..from + 8 * 3_600)
            .filter(|at| {
                let time = DateTime::from_timestamp(*at, 0).expect("a time").with_timezone(&zone);
                let first = zone.from_local_datetime(&time.naive_local()).earliest();
                holds(time.naive_local()) && (repeats || first == Some(time))
            })
            .collect();
        let next = |at: &i64| schedule.next_after(*at).filter(|at| *at < (from + 8 * 3_600) * 1_000);
        let found: BTreeSet<i64> =
            std::iter::successors(next(&(from * 1_000 - 1)), next).map(|at| at / 1_000).collect();
        assert_eq!(found, expected, "{expression}");
    }
}

#[test]
fn jitter_is_bounded_and_the_same_each_time() {
    let schedule = schedule(json!({"every": "1h", "jitter_seconds": 60}));
    let flow = FlowId(uuid::Uuid::from_u128(7));
    let delays: BTreeSet<i64> = schedule.instants(0, 200).iter().map(|at| schedule.due_ms(flow, *at) - at).collect();
    assert!(delays.len() > 150 && delays.iter().all(|delay| (0..=60_000).contains(delay)), "{delays:?}");
    assert_eq!(schedule.due_ms(flow, 3_600_000), schedule.due_ms(flow, 3_600_000));
    assert_ne!(schedule.due_ms(flow, 3_600_000), schedule.due_ms(FlowId(uuid::Uuid::from_u128(8)), 3_600_000));
}

fn field(least: u32, most: u32) -> impl Strategy<Value = String> {
    let number = least..=most;
    prop_oneof![
        3 => Just("*".to_owned()),
        2 => number.clone().prop_map(|n| n.to_string()),
        1 => (number.clone(), number.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (number.clone(), 1_u32..7).prop_map(|(n, step)| format!("{n}/{step}")),
        1 => (1_u32..7).prop_map(|step| format!("*/{step}")),
        1 => (number.clone(), number).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns"];

proptest! {
    #![proptest_config(config(300))]

    /// Instants grow, and none lies between an instant and the time it was asked for.
    #[test]
    fn instants_grow_and_none_is_left_out(
        fields in (field(0, 59), field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6)),
        zone in 0..ZONES.len(),
        from_s in 1_500_000_000_i64..1_900_000_000,
    ) {
        let (s, m, h, d, mo, w) = fields;
        let config = json!({"cron": format!("{s} {m} {h} {d} {mo} {w}"), "timezone": ZONES[zone]});
        let schedule = schedule(config);
        let mut at = from_s * 1_000;
        for _ in 0..20 {
            let next = schedule.next_after(at).expect("such a schedule goes on");
            prop_assert!(next > at);
            let between = at + (next - at) / 2;
            prop_assert_eq!(schedule.next_after(between), Some(next));
            prop_assert_eq!(schedule.next_after(next - 1), Some(next));
            at = next;
        }
    }

    /// Whatever text comes, it is a schedule or a refusal with a place.
    #[test]
    fn no_text_makes_it_panic(cron in ".{0,40}", every in "[0-9dhms .]{0,12}", zone in ".{0,12}", time in "[-0-9T:Z]{0,24}") {
        for config in [
            json!({"cron": cron, "timezone": zone}),
            json!({"cron": cron}),
            json!({"every": every, "start_at": time}),
            json!({"cron": "* * * * *", "end_at": time}),
        ] {
            let Value::Object(config) = config else { panic!("an object") };
            match Schedule::read(&config) {
                Ok(schedule) => prop_assert!(schedule.next_after(0).is_some()),
                Err(problems) => prop_assert!(problems.iter().all(|p| p.pointer.starts_with("/trigger_config/"))),
            }
        }
    }

    /// Times that no calendar has are no instants, and no panic.
    #[test]
    fn no_time_makes_it_panic(after_ms in any::<i64>()) {
        for config in [json!({"cron": "30 2 * * *", "timezone": "Europe/Berlin"}), json!({"every": "90s"})] {
            prop_assert!(schedule(config).next_after(after_ms).is_none_or(|next| next > after_ms));
        }
    }
}
