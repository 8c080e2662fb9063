//! Gradual roll-out of a flow's version: which runs get it, and when it has proven itself or failed.
//!
//! A share of the new runs starts with the candidate, the others with the base. The share is taken by a digest of the run's
//! key, so that the same key always gets the same version, and more keys get the candidate as the share grows, never fewer.
//! The verdict compares the error rates of the runs that have ended since the roll-out began.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::expr::{ExprError, Expression, Names};
use crate::ids::FlowId;
use crate::words::words;

words! {
    /// Where a roll-out stands: new runs are shared out, or all of them get the candidate, or the base. Persisted.
    RolloutStatus { Running = "running", Promoted = "promoted", Returned = "returned" }
}

/// How a version is rolled out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutTerms {
    /// The share of new runs that get the version, more than 0 and at most 100.
    #[schemars(range(min = 0, max = 100))]
    pub percent: f64,
    /// So many runs of the version must have ended before it is judged, at least 1.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(default = "twenty")]
    pub min_runs: i64,
    /// The version is returned when its error rate (0 to 1) exceeds the old one's by more than this.
    #[schemars(range(min = 0, max = 1))]
    #[serde(default = "five_percent")]
    pub max_error_rate_increase: f64,
    /// The version is promoted when so many of its runs have ended and its error rate is no worse. Absent: a person
    /// promotes it.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promote_after_runs: Option<i64>,
    /// CEL over the trigger: runs whose key is equal get the same version. Absent: each run by itself.
    #[schemars(length(max = 1_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

fn twenty() -> i64 {
    20
}
fn five_percent() -> f64 {
    0.05
}

/// The most that any count of runs may be.
const MOST_RUNS: i64 = 1_000_000;

impl RolloutTerms {
    /// What is wrong with the terms, as (field, message). The key's expression is checked by whoever can evaluate it.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let mut found = Vec::new();
        if !(self.percent > 0.0 && self.percent <= 100.0) {
            found.push(("percent", "must be more than 0 and at most 100"));
        }
        if !(1..=MOST_RUNS).contains(&self.min_runs) {
            found.push(("min_runs", "must be 1 to 1000000"));
        }
        if !(0.0..=1.0).contains(&self.max_error_rate_increase) {
            found.push(("max_error_rate_increase", "must be 0 to 1"));
        }
        if self.promote_after_runs.is_some_and(|runs| !(self.min_runs..=MOST_RUNS).contains(&runs)) {
            found.push(("promote_after_runs", "must be min_runs to 1000000"));
        }
        if self.key.as_ref().is_some_and(|key| key.chars().count() > 1_000) {
            found.push(("key", "must have at most 1000 characters"));
        }
        found
    }

    /// The key, compiled; none where each run stands by itself.
    pub fn key_expression(&self) -> Result<Option<Expression>, ExprError> {
        let names = Names::new(&["trigger", "webhook", "tenant", "now"], &[]);
        self.key.as_ref().map(|source| Expression::parse(source, &names)).transpose()
    }

    /// Whether a run with this key gets the candidate.
    pub fn takes_candidate(&self, flow: FlowId, key: &str) -> bool {
        let mut digest = Sha256::new();
        digest.update(flow.0.as_bytes());
        digest.update(key.as_bytes());
        let bytes: [u8; 8] = digest.finalize()[..8].try_into().expect("a digest has 32 bytes");
        // The upper 53 bits: as many as a float holds exactly.
        let place = (u64::from_be_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64;
        place * 100.0 < self.percent
    }

    /// What the ended runs of both versions say.
    pub fn judge(&self, candidate: Ended, base: Ended) -> Verdict {
        if candidate.runs < self.min_runs {
            return Verdict::Wait;
        }
        let (new, old) = (candidate.error_rate(), base.error_rate());
        if new > old + self.max_error_rate_increase {
            return Verdict::Return;
        }
        match self.promote_after_runs {
            Some(runs) if candidate.runs >= runs => Verdict::Promote,
            _ => Verdict::Wait,
        }
    }
}

/// Runs of one version that have ended since the roll-out began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    pub runs: i64,
    /// Those that did not complete, cancelled ones apart: somebody wanted those to end.
    pub failed: i64,
}

impl Ended {
    /// 0 to 1; 0 where nothing has ended.
    pub fn error_rate(self) -> f64 {
        if self.runs > 0 { self.failed as f64 / self.runs as f64 } else { 0.0 }
    }
}

/// What is to become of a roll-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Wait,
    Promote,
    Return,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;
    use uuid::Uuid;

    use super::*;

    fn terms(percent: f64) -> RolloutTerms {
        RolloutTerms { percent, min_runs: 10, max_error_rate_increase: 0.1, promote_after_runs: None, key: None }
    }

    #[test]
    fn the_share_is_what_was_asked_for() {
        let flow = FlowId(Uuid::from_u128(7));
        for percent in [1.0, 10.0, 50.0, 99.0] {
            let taken = (0..20_000).filter(|n| terms(percent).takes_candidate(flow, &n.to_string())).count();
            let share = taken as f64 / 200.0;
            assert!((share - percent).abs() < 1.5, "{percent}: {share}");
        }
        assert!((0..1_000).all(|n| terms(100.0).takes_candidate(flow, &n.to_string())));
    }

    #[test]
    fn a_worse_version_is_returned_and_a_good_one_waits_for_its_number() {
        let ended = |runs, failed| Ended { runs, failed };
        let plain = terms(10.0);
        let counting = RolloutTerms { promote_after_runs: Some(20), ..plain.clone() };
        for (terms, candidate, base, verdict) in [
            (&plain, ended(9, 9), ended(100, 0), Verdict::Wait),
            (&plain, ended(10, 2), ended(100, 0), Verdict::Return),
            (&plain, ended(10, 1), ended(100, 0), Verdict::Wait),
            (&plain, ended(10, 5), ended(10, 5), Verdict::Wait),
            (&plain, ended(1_000, 0), ended(0, 0), Verdict::Wait),
            (&counting, ended(19, 0), ended(5, 0), Verdict::Wait),
            (&counting, ended(20, 0), ended(5, 0), Verdict::Promote),
            (&counting, ended(20, 3), ended(5, 0), Verdict::Return),
        ] {
            assert_eq!(terms.judge(candidate, base), verdict, "{candidate:?} {base:?}");
        }
    }

    #[test]
    fn terms_out_of_bounds_are_named() {
        let wrong = RolloutTerms {
            percent: f64::NAN,
            min_runs: 0,
            max_error_rate_increase: 2.0,
            promote_after_runs: Some(-1),
            key: Some("x".repeat(1_001)),
        };
        let fields: Vec<&str> = wrong.problems().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["percent", "min_runs", "max_error_rate_increase", "promote_after_runs", "key"]);
        assert_eq!(terms(0.1).problems(), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(314), ..ProptestConfig::default() })]
        #[test]
        fn a_growing_share_takes_nothing_away(key in ".{0,20}", low in 0.1f64..100.0, more in 0.0f64..50.0) {
            let flow = FlowId(Uuid::from_u128(3));
            let high = (low + more).min(100.0);
            prop_assert!(!terms(low).takes_candidate(flow, &key) || terms(high).takes_candidate(flow, &key));
        }
    }
}
