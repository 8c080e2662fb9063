//! Clocks that stand, jump forward and jump back: what fires, and what is missed.

use proptest::prelude::*;
use serde_json::json;

use super::{config, schedule};
use crate::ids::FlowId;
use crate::schedule::{MOST_COUNTED, Missed, Rules, Schedule, Standing, Step};

const FLOW: FlowId = FlowId(uuid::Uuid::from_u128(7));
const RULES: Rules = Rules { grace_ms: 10_000, most_kept: 5 };
const MINUTE: i64 = 60_000;

/// What a schedule did: instants that fired with the number they stand for, and how many were missed.
#[derive(Debug, Default, PartialEq)]
struct Done {
    fired: Vec<(i64, u64)>,
    missed: u64,
}

/// Does all that is due.
fn drive(schedule: &Schedule, standing: &mut Standing, done: &mut Done, now_ms: i64) {
    for _ in 0..10 * MOST_COUNTED {
        match schedule.decide(FLOW, *standing, RULES, now_ms) {
            Step::Wait { .. } => return,
            Step::Fire { instant_ms, missed, dropped, then } => {
                assert_eq!(dropped, 0);
                done.fired.push((instant_ms, missed));
                done.missed += missed;
                *standing = then;
            }
            Step::Pass { missed, then } => {
                done.missed += missed;
                *standing = then;
            }
        }
    }
    panic!("it does not come to an end");
}

fn every_minute(missed: Missed) -> (Schedule, Standing) {
    let schedule = schedule(json!({"every": "1m", "missed": missed}));
    let standing = Standing { next_ms: schedule.next_after(0), ..Standing::default() };
    (schedule, standing)
}

/// A node that is away from the fourth minute to the end of the fourteenth.
fn after_an_outage(missed: Missed, late_ms: i64) -> Done {
    let (schedule, mut standing) = every_minute(missed);
    let mut done = Done::default();
    for minute in 1..=3 {
        drive(&schedule, &mut standing, &mut done, minute * MINUTE);
    }
    drive(&schedule, &mut standing, &mut done, 14 * MINUTE + late_ms);
    drive(&schedule, &mut standing, &mut done, 15 * MINUTE);
    done.fired.iter_mut().for_each(|(instant, _)| *instant /= MINUTE);
    done
}

#[test]
fn what_was_missed_follows_the_policy() {
    // The fourteenth is a minute's half late: missed like the ten before it.
    let half = 30_000;
    assert_eq!(after_an_outage(Missed::Skip, half), Done { fired: vec![(1, 0), (2, 0), (3, 0), (15, 0)], missed: 11 });
    let one = Done { fired: vec![(1, 0), (2, 0), (3, 0), (14, 10), (15, 0)], missed: 10 };
    assert_eq!(after_an_outage(Missed::One, half), one);
    // Five are kept at most, the newest.
    let all = vec![(1, 0), (2, 0), (3, 0), (10, 6), (11, 0), (12, 0), (13, 0), (14, 0), (15, 0)];
    assert_eq!(after_an_outage(Missed::All, half), Done { fired: all, missed: 6 });
}

#[test]
fn an_instant_within_the_grace_is_on_time_and_stands_for_those_before_it() {
    let on_time = Done { fired: vec![(1, 0), (2, 0), (3, 0), (14, 10), (15, 0)], missed: 10 };
    assert_eq!(after_an_outage(Missed::One, 9_000), on_time);
    assert_eq!(after_an_outage(Missed::Skip, 9_000), on_time);
}

#[test]
fn a_clock_that_jumps_back_fires_nothing_twice() {
    for missed in [Missed::Skip, Missed::One, Missed::All] {
        let (schedule, mut standing) = every_minute(missed);
        let mut done = Done::default();
        for minute in [1, 2, 3, 2, 1, 0, 3, 3, 4, 5] {
            drive(&schedule, &mut standing, &mut done, minute * MINUTE);
        }
        assert_eq!(done.fired, (1..=5).map(|n| (n * MINUTE, 0)).collect::<Vec<_>>());
        // A flow that is saved while the clock is behind stands at an earlier instant again.
        let mut saved = Standing { next_ms: schedule.next_after(2 * MINUTE), ..standing };
        let mut done = Done::default();
        drive(&schedule, &mut saved, &mut done, 6 * MINUTE);
        assert_eq!(done.fired, [(6 * MINUTE, 0)]);
    }
}

#[test]
fn what_waits_for_the_run_before_it_was_not_missed() {
    let schedule = schedule(json!({"every": "1m", "overlap": "queue", "missed": "skip"}));
    let mut standing = Standing { next_ms: Some(MINUTE), last_ms: None, is_waiting: true };
    let mut fired = Vec::new();
    let mut all_dropped = 0;
    loop {
        match schedule.decide(FLOW, standing, RULES, 8 * MINUTE) {
            Step::Fire { instant_ms, missed: 0, dropped, then } => {
                fired.push(instant_ms / MINUTE);
                all_dropped += dropped;
                standing = then;
            }
            Step::Wait { due_ms } => break assert_eq!(due_ms, Some(9 * MINUTE)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((fired, all_dropped), (vec![4, 5, 6, 7, 8], 3), "five are kept");
    assert!(!standing.is_waiting, "nobody waits any more");
}

#[test]
fn a_long_outage_is_counted_up_to_a_bound() {
    let schedule = schedule(json!({"cron": "* * * * * *", "missed": "one"}));
    let standing = Standing { next_ms: Some(1_000), ..Standing::default() };
    let now_ms = 365 * 86_400_000;
    let Step::Fire { instant_ms, missed, .. } = schedule.decide(FLOW, standing, RULES, now_ms) else {
        panic!("it fires")
    };
    assert_eq!(instant_ms, now_ms - RULES.grace_ms, "the first on time");
    assert!((MOST_COUNTED / 3..=MOST_COUNTED).contains(&(missed as usize)), "{missed}");
}

#[test]
fn what_has_ended_waits_for_ever() {
    let schedule = schedule(json!({"every": "1m", "end_at": "1970-01-01T00:02:00Z"}));
    let mut standing = Standing { next_ms: Some(MINUTE), ..Standing::default() };
    let mut done = Done::default();
    drive(&schedule, &mut standing, &mut done, MINUTE);
    drive(&schedule, &mut standing, &mut done, 2 * MINUTE);
    assert_eq!(done.fired.len(), 2);
    assert_eq!(schedule.decide(FLOW, standing, RULES, 9 * MINUTE), Step::Wait { due_ms: None });
}

proptest! {
    #![proptest_config(config(200))]

    /// Under whatever clock each instant fires at most once, in order, and each one is fired or counted as missed.
    #[test]
    fn nothing_fires_twice_and_nothing_is_forgotten(
        jumps in proptest::collection::vec(-20 * MINUTE..40 * MINUTE, 1..40),
        policy in 0..3_usize,
        jitter in 0..50_u32,
    ) {
        let config = json!({"every": "1m", "missed": Missed::ALL[policy], "jitter_seconds": jitter});
        let schedule = schedule(config);
        let mut standing = Standing { next_ms: Some(MINUTE), ..Standing::default() };
        let (mut done, mut now_ms) = (Done::default(), 0);
        for jump in jumps {
            now_ms = (now_ms + jump).max(0);
            drive(&schedule, &mut standing, &mut done, now_ms);
        }
        prop_assert!(done.fired.windows(2).all(|pair| pair[0].0 < pair[1].0), "{:?}", done.fired);
        let settled = standing.next_ms.expect("it goes on") / MINUTE - 1;
        prop_assert_eq!(done.fired.len() as i64 + done.missed as i64, settled);
    }
}
