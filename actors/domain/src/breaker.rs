//! A circuit breaker: a service that is ill is left alone for a while, and then asked with care.
//!
//! ```text
//!            too many failures, or too many slow calls, in the window
//!   closed ──────────────────────────────────────────────────────────► open
//!     ▲                                                                  │ open_seconds
//!     │ half_open_calls good ones in a row                               ▼
//!     └────────────────────────────────────────────────────────────── half-open ──► open (one bad call)
//! ```
//! The window slides: it consists of [`PARTS`] parts, and the oldest is forgotten when time has passed it. A person or a
//! recovery may hold the breaker open or closed, whatever the calls say, until they let it go.
//!
//! Invariants:
//! - While it is open nothing passes; while it is half-open no more than `half_open_calls` are under way at once.
//! - It trips on `min_calls` calls at least: one failure of two is no sign.
//! - A call counts in the state in which it began: one that was let through before it opened does not close it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::Problem;
use crate::words::words;

/// Parts of the sliding window.
const PARTS: usize = 10;

/// When a breaker trips, and how it comes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerPolicy {
    /// The window over which calls are counted, in seconds: 1 to 3,600.
    #[schemars(range(min = 1, max = 3_600))]
    pub window_seconds: u32,
    /// Calls in the window below which it never trips: 1 to 100,000.
    #[schemars(range(min = 1, max = 100_000))]
    pub min_calls: u32,
    /// It trips at this share of failed calls: more than 0, at most 1.
    pub failure_rate: f64,
    /// A call that takes longer is slow, in milliseconds. Absent: none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_ms: Option<u64>,
    /// It trips at this share of slow calls: more than 0, at most 1.
    pub slow_rate: f64,
    /// How long it stays open, in seconds: 1 to 86,400.
    #[schemars(range(min = 1, max = 86_400))]
    pub open_seconds: u32,
    /// Calls that may be under way while it is half-open, and good ones in a row that close it: 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub half_open_calls: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            window_seconds: 60,
            min_calls: 10,
            failure_rate: 0.5,
            slow_ms: None,
            slow_rate: 0.8,
            open_seconds: 30,
            half_open_calls: 3,
        }
    }
}

impl BreakerPolicy {
    /// What is wrong with it; pointers lead into it.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut check = |is_sound: bool, field: &str, message: &str| {
            if !is_sound {
                found.push(Problem::new(format!("/{field}"), message));
            }
        };
        check((1..=3_600).contains(&self.window_seconds), "window_seconds", "must be 1 to 3600");
        check((1..=100_000).contains(&self.min_calls), "min_calls", "must be 1 to 100000");
        check((1..=86_400).contains(&self.open_seconds), "open_seconds", "must be 1 to 86400");
        check((1..=100).contains(&self.half_open_calls), "half_open_calls", "must be 1 to 100");
        check(self.slow_ms.is_none_or(|ms| (1..=86_400_000).contains(&ms)), "slow_ms", "must be 1 to 86400000");
        for (rate, field) in [(self.failure_rate, "failure_rate"), (self.slow_rate, "slow_rate")] {
            check(rate > 0.0 && rate <= 1.0, field, "must be more than 0 and at most 1");
        }
        found
    }
}

words! {
    /// Where a breaker stands.
    BreakerState { Closed = "closed", Open = "open", HalfOpen = "half_open" }
}

words! {
    /// What holds a breaker, whatever the calls say.
    BreakerHold { Open = "open", Closed = "closed" }
}

/// What is kept of a breaker through a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub state: BreakerState,
    /// Since when it is in this state.
    pub since_ms: i64,
    /// While it is open: until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<BreakerHold>,
    /// Why it is in this state.
    #[serde(default)]
    pub reason: String,
}

impl Default for Kept {
    /// Of a breaker that has never tripped.
    fn default() -> Self {
        Self { state: BreakerState::Closed, since_ms: 0, until_ms: None, held: None, reason: String::new() }
    }
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    Yes(Ticket),
    /// Not before this time; `None`: when somebody else has come back, or a person lets go.
    No {
        until_ms: Option<i64>,
    },
}

/// In which state a call began: its end counts there alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    generation: u64,
    is_probe: bool,
}

/// How a call ended, as far as it tells of the service's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Good,
    Ill,
    /// It says nothing: it was cut off, or it was refused for what it asked.
    Unknown,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Part {
    /// Which part of all time this is.
    number: i64,
    calls: u32,
    failed: u32,
    slow: u32,
}

/// Counts of the present window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "BreakerCounts")]
pub struct Counts {
    pub calls: u32,
    pub failed: u32,
    pub slow: u32,
}

/// A breaker.
#[derive(Debug, Clone)]
pub struct Breaker {
    policy: BreakerPolicy,
    kept: Kept,
    parts: [Part; PARTS],
    /// Counts the changes of state.
    generation: u64,
    probes: u32,
    good_in_a_row: u32,
}

impl Breaker {
    /// A breaker as it was kept. What it had counted is gone: a service is not judged by what happened before a restart.
    pub fn new(policy: BreakerPolicy, kept: Kept) -> Self {
        Self { policy, kept, parts: [Part::default(); PARTS], generation: 0, probes: 0, good_in_a_row: 0 }
    }

    /// Another policy from now on.
    pub fn set_policy(&mut self, policy: BreakerPolicy) {
        if self.policy != policy {
            self.parts = [Part::default(); PARTS];
            self.policy = policy;
        }
    }

    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Asks for one call. A change of state is told by [`Self::kept`].
    pub fn enter(&mut self, now_ms: i64) -> Pass {
        match self.kept.held {
            Some(BreakerHold::Open) => return Pass::No { until_ms: None },
            Some(BreakerHold::Closed) => return Pass::Yes(self.ticket(false)),
            None => {}
        }
        match self.kept.state {
            BreakerState::Closed => Pass::Yes(self.ticket(false)),
            BreakerState::Open => {
                if let Some(until_ms) = self.kept.until_ms.filter(|until| now_ms < *until) {
                    // A clock that was set back makes nobody wait for longer than the policy says.
                    return Pass::No { until_ms: Some(until_ms.min(now_ms + self.open_ms())) };
                }
                self.turn(BreakerState::HalfOpen, "it is asked again with care".to_owned(), now_ms);
                self.probe()
            }
            BreakerState::HalfOpen => self.probe(),
        }
    }

    fn probe(&mut self) -> Pass {
        if self.probes >= self.policy.half_open_calls {
            return Pass::No { until_ms: None };
        }
        self.probes += 1;
        Pass::Yes(self.ticket(true))
    }

    const fn ticket(&self, is_probe: bool) -> Ticket {
        Ticket { generation: self.generation, is_probe }
    }

    /// A call has ended.
    pub fn leave(&mut self, ticket: Ticket, health: Health, took_ms: u64, now_ms: i64) {
        if ticket.generation != self.generation {
            return;
        }
        let is_slow = health != Health::Unknown && self.policy.slow_ms.is_some_and(|slow_ms| took_ms > slow_ms);
        if ticket.is_probe {
            self.probes = self.probes.saturating_sub(1);
            match health {
                Health::Ill => self.open("a call failed while it was asked with care".to_owned(), now_ms),
                Health::Good if is_slow => self.open("a call was slow while it was asked with care".to_owned(), now_ms),
                Health::Good => {
                    self.good_in_a_row += 1;
                    if self.good_in_a_row >= self.policy.half_open_calls {
                        self.turn(BreakerState::Closed, "it answers again".to_owned(), now_ms);
                    }
                }
                Health::Unknown => {}
            }
            return;
        }
        if health == Health::Unknown || self.kept.state != BreakerState::Closed {
            return;
        }
        let part = self.part(now_ms);
        part.calls += 1;
        part.failed += u32::from(health == Health::Ill);
        part.slow += u32::from(is_slow);
        self.judge(now_ms);
    }

    fn judge(&mut self, now_ms: i64) {
        let counts = self.counts(now_ms);
        if counts.calls < self.policy.min_calls || self.kept.held.is_some() {
            return;
        }
        let share = |of: u32| f64::from(of) / f64::from(counts.calls);
        let of = counts.calls;
        if share(counts.failed) >= self.policy.failure_rate {
            self.open(format!("{} of {of} calls failed", counts.failed), now_ms);
        } else if counts.slow > 0 && share(counts.slow) >= self.policy.slow_rate {
            self.open(format!("{} of {of} calls were slow", counts.slow), now_ms);
        }
    }

    fn open_ms(&self) -> i64 {
        i64::from(self.policy.open_seconds) * 1_000
    }

    fn open(&mut self, reason: String, now_ms: i64) {
        self.turn(BreakerState::Open, reason, now_ms);
        self.kept.until_ms = Some(now_ms + self.open_ms());
    }

    fn turn(&mut self, state: BreakerState, reason: String, now_ms: i64) {
        self.kept = Kept { state, since_ms: now_ms, until_ms: None, held: self.kept.held, reason };
        self.generation += 1;
        (self.probes, self.good_in_a_row) = (0, 0);
        self.parts = [Part::default(); PARTS];
    }

    /// Opens it as failed calls would: it is asked again with care when its time is over. False where a hand holds it: that
    /// goes before.
    pub fn trip(&mut self, reason: String, now_ms: i64) -> bool {
        if self.kept.held.is_some() {
            return false;
        }
        self.open(reason, now_ms);
        true
    }

    /// A person, or a recovery, holds it open or closed, or lets it go: then it begins closed.
    pub fn hold(&mut self, hold: Option<BreakerHold>, by: &str, now_ms: i64) {
        let state = match hold {
            Some(BreakerHold::Open) => BreakerState::Open,
            Some(BreakerHold::Closed) | None => BreakerState::Closed,
        };
        let reason = match hold {
            Some(_) => format!("held by {by}"),
            None => format!("let go by {by}"),
        };
        self.turn(state, reason, now_ms);
        self.kept.held = hold;
    }

    /// Whether a call would pass just now, without asking for one.
    pub fn is_open(&self, now_ms: i64) -> bool {
        match self.kept.held {
            Some(BreakerHold::Open) => true,
            Some(BreakerHold::Closed) => false,
            None => match self.kept.state {
                BreakerState::Closed => false,
                BreakerState::Open => self.kept.until_ms.is_some_and(|until| now_ms < until),
                BreakerState::HalfOpen => self.probes >= self.policy.half_open_calls,
            },
        }
    }

    /// What was counted in the window that ends now.
    pub fn counts(&self, now_ms: i64) -> Counts {
        let last = self.number(now_ms);
        let within = |part: &&Part| part.calls > 0 && part.number <= last && part.number > last - PARTS as i64;
        self.parts.iter().filter(within).fold(Counts::default(), |sum, part| Counts {
            calls: sum.calls + part.calls,
            failed: sum.failed + part.failed,
            slow: sum.slow + part.slow,
        })
    }

    fn number(&self, now_ms: i64) -> i64 {
        now_ms.div_euclid(i64::from(self.policy.window_seconds) * 1_000 / PARTS as i64)
    }

    fn part(&mut self, now_ms: i64) -> &mut Part {
        let number = self.number(now_ms);
        let part = &mut self.parts[number.rem_euclid(PARTS as i64) as usize];
        if part.number != number {
            *part = Part { number, ..Part::default() };
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> BreakerPolicy {
        BreakerPolicy { min_calls: 4, slow_ms: Some(100), half_open_calls: 2, ..BreakerPolicy::default() }
    }

    fn breaker() -> Breaker {
        Breaker::new(policy(), Kept::default())
    }

    #[track_caller]
    fn enter(breaker: &mut Breaker, now_ms: i64) -> Ticket {
        match breaker.enter(now_ms) {
            Pass::Yes(ticket) => ticket,
            Pass::No { until_ms } => panic!("it is closed to calls until {until_ms:?}"),
        }
    }

    fn call(breaker: &mut Breaker, health: Health, took_ms: u64, now_ms: i64) {
        let ticket = enter(breaker, now_ms);
        breaker.leave(ticket, health, took_ms, now_ms);
    }

    #[test]
    fn half_of_the_calls_failing_trips_it_and_good_ones_close_it() {
        let mut b = breaker();
        for health in [Health::Good, Health::Ill, Health::Good] {
            call(&mut b, health, 1, 1_000);
        }
        assert_eq!(b.kept().state, BreakerState::Closed, "too few calls");
        call(&mut b, Health::Ill, 1, 1_000);
        assert_eq!((b.kept().state, b.kept().reason.as_str()), (BreakerState::Open, "2 of 4 calls failed"));
        assert_eq!(b.enter(2_000), Pass::No { until_ms: Some(31_000) });
        assert!(b.is_open(30_999) && !b.is_open(31_000));
        let (first, second) = (enter(&mut b, 31_000), enter(&mut b, 31_000));
        assert_eq!(b.kept().state, BreakerState::HalfOpen);
        assert_eq!(b.enter(31_000), Pass::No { until_ms: None }, "two at once, and no more");
        b.leave(first, Health::Good, 1, 31_001);
        b.leave(second, Health::Good, 1, 31_002);
        assert_eq!(b.kept().state, BreakerState::Closed);
        assert_eq!(b.counts(31_002), Counts::default(), "it begins anew");
    }

    #[test]
    fn one_bad_probe_opens_it_again_and_what_was_cut_off_says_nothing() {
        let mut b = breaker();
        (0..4).for_each(|_| call(&mut b, Health::Ill, 1, 0));
        let probe = enter(&mut b, 30_000);
        b.leave(probe, Health::Unknown, 1, 30_001);
        assert_eq!(b.kept().state, BreakerState::HalfOpen);
        call(&mut b, Health::Ill, 1, 30_002);
        assert_eq!((b.kept().state, b.kept().until_ms), (BreakerState::Open, Some(60_002)));
    }

    #[test]
    fn slow_calls_trip_it_too() {
        let mut b = breaker();
        (0..4).for_each(|_| call(&mut b, Health::Good, 101, 0));
        assert_eq!((b.kept().state, b.kept().reason.as_str()), (BreakerState::Open, "4 of 4 calls were slow"));
    }

    #[test]
    fn the_window_slides() {
        let mut b = breaker();
        (0..2).for_each(|_| call(&mut b, Health::Ill, 1, 0));
        assert_eq!(b.counts(59_999).calls, 2);
        assert_eq!(b.counts(60_000).calls, 0);
        (0..3).for_each(|_| call(&mut b, Health::Good, 1, 60_000));
        call(&mut b, Health::Ill, 1, 60_000);
        assert_eq!(b.kept().state, BreakerState::Closed, "what failed long ago does not count");
    }

    #[test]
    fn a_call_that_began_before_does_not_count_after() {
        let mut b = breaker();
        let early: Vec<Ticket> = (0..10).map(|_| enter(&mut b, 0)).collect();
        early[..4].iter().for_each(|ticket| b.leave(*ticket, Health::Ill, 1, 1));
        assert_eq!(b.kept().state, BreakerState::Open);
        early[4..].iter().for_each(|ticket| b.leave(*ticket, Health::Good, 1, 2));
        assert_eq!((b.kept().state, b.kept().since_ms), (BreakerState::Open, 1));
    }

    #[test]
    fn a_person_holds_it_and_lets_it_go() {
        let mut b = breaker();
        b.hold(Some(BreakerHold::Open), "user:1", 5);
        assert_eq!(b.enter(1_000_000), Pass::No { until_ms: None });
        let kept = b.kept().clone();
        let mut again = Breaker::new(policy(), kept);
        assert_eq!(again.enter(2_000_000), Pass::No { until_ms: None }, "through a restart");
        again.hold(Some(BreakerHold::Closed), "user:1", 6);
        (0..20).for_each(|_| call(&mut again, Health::Ill, 1, 7));
        assert_eq!(again.kept().state, BreakerState::Closed);
        again.hold(None, "user:1", 8);
        (0..4).for_each(|_| call(&mut again, Health::Ill, 1, 9));
        assert_eq!(again.kept().state, BreakerState::Open);
    }

    #[test]
    fn one_that_is_tripped_comes_back_by_itself_and_a_hand_goes_before() {
        let mut b = breaker();
        assert!(b.trip("switched".to_owned(), 5));
        assert_eq!((b.kept().state, b.kept().until_ms), (BreakerState::Open, Some(30_005)));
        (0..2).for_each(|_| call(&mut b, Health::Good, 1, 30_005));
        assert_eq!(b.kept().state, BreakerState::Closed);
        b.hold(Some(BreakerHold::Closed), "user:1", 6);
        assert!(!b.trip("switched".to_owned(), 7));
        assert!(!b.is_open(8));
    }

    #[test]
    fn a_policy_is_bounded() {
        assert_eq!(BreakerPolicy::default().problems(), []);
        let wrong = BreakerPolicy {
            window_seconds: 0,
            min_calls: 0,
            failure_rate: 0.0,
            slow_ms: Some(0),
            slow_rate: f64::NAN,
            open_seconds: 86_401,
            half_open_calls: 0,
        };
        assert_eq!(wrong.problems().len(), 7);
    }
}
