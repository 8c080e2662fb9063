//! When a failed attempt is tried again: exponential backoff with jitter, inside a budget of attempts and time.
//!
//! Jitter is *full* (a uniform share of the delay, AWS Architecture Blog, "Exponential Backoff and Jitter") unless the
//! policy says otherwise. The share comes from a digest of execution and attempt, so that a decision repeated after a
//! crash is the same decision.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::ExecutionId;

/// The retry policy of a flow or a step. `max_attempts` counts the first attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// 1 to 100, the first attempt included.
    pub max_attempts: u32,
    /// The delay before the second attempt.
    pub backoff_seconds: f64,
    /// What each further delay is multiplied by.
    pub multiplier: f64,
    /// No delay is longer, a server's `Retry-After` apart.
    pub max_backoff_seconds: f64,
    /// How the delay is spread.
    pub jitter: Jitter,
    /// No attempt starts later than this after the step was released; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<f64>,
}

/// How a delay is spread, so that those who failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// The delay as computed.
    None,
    /// Between half the delay and all of it.
    Equal,
    /// Between nothing and all of it.
    Full,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff_seconds: 2.0,
            multiplier: 2.0,
            max_backoff_seconds: 300.0,
            jitter: Jitter::Full,
            deadline_seconds: None,
        }
    }
}

impl RetryPolicy {
    /// What is wrong with the policy, as (field, message).
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if !(1..=100).contains(&self.max_attempts) {
            found.push(("max_attempts", format!("must be 1 to 100, is {}", self.max_attempts)));
        }
        let mut within = |field, value: f64, low: f64, high: f64| {
            if !(value >= low && value <= high) {
                found.push((field, format!("must be {low} to {high}, is {value}")));
            }
        };
        within("backoff_seconds", self.backoff_seconds, 0.0, 86_400.0);
        within("multiplier", self.multiplier, 1.0, 100.0);
        within("max_backoff_seconds", self.max_backoff_seconds, 0.0, 604_800.0);
        within("deadline_seconds", self.deadline_seconds.unwrap_or(1.0), 0.0, 31_536_000.0);
        found
    }

    /// The delay in milliseconds between the end of `attempt` (from 0) and the next one.
    pub fn delay_ms(&self, execution: ExecutionId, attempt: u32) -> i64 {
        let grown = self.backoff_seconds * self.multiplier.powi(attempt.min(1_000) as i32);
        let full = grown.min(self.max_backoff_seconds).max(0.0) * 1_000.0;
        let share = uniform(execution, attempt);
        let spread = match self.jitter {
            Jitter::None => full,
            Jitter::Equal => full * (0.5 + share / 2.0),
            Jitter::Full => full * share,
        };
        spread.round() as i64
    }

    /// When the attempt after `attempt` may start, or `None` when the budget of attempts or time is spent.
    /// A server's own wish (`retry_after_ms`) is honoured where it is later.
    pub fn next_at_ms(
        &self,
        execution: ExecutionId,
        attempt: u32,
        released_at_ms: i64,
        now_ms: i64,
        retry_after_ms: Option<i64>,
    ) -> Option<i64> {
        if attempt + 1 >= self.max_attempts {
            return None;
        }
        let delay_ms = self.delay_ms(execution, attempt).max(retry_after_ms.unwrap_or(0));
        let at_ms = now_ms.saturating_add(delay_ms);
        let limit_ms = self.deadline_seconds.map(|s| released_at_ms.saturating_add((s * 1_000.0) as i64));
        limit_ms.is_none_or(|limit| at_ms <= limit).then_some(at_ms)
    }
}

/// A number in [0, 1) that depends on execution and attempt alone.
fn uniform(execution: ExecutionId, attempt: u32) -> f64 {
    let digest = Sha256::new().chain_update(execution.0.as_bytes()).chain_update(attempt.to_be_bytes()).finalize();
    let mut head = [0_u8; 8];
    head.copy_from_slice(&digest[..8]);
    (u64::from_be_bytes(head) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RunId;
    use proptest::prelude::*;

    fn execution(random: u128) -> ExecutionId {
        RunId::new(1, random << 20).execution(0)
    }

    proptest! {
        #[test]
        fn a_delay_stays_within_its_jitter(random: u64, attempt in 0_u32..200, backoff in 0.0..600.0_f64) {
            let mut policy = RetryPolicy { backoff_seconds: backoff, ..RetryPolicy::default() };
            policy.jitter = Jitter::None;
            let full = policy.delay_ms(execution(u128::from(random)), attempt);
            prop_assert!(full <= 300_000);
            policy.jitter = Jitter::Equal;
            let equal = policy.delay_ms(execution(u128::from(random)), attempt);
            prop_assert!(equal >= full / 2 && equal <= full);
            policy.jitter = Jitter::Full;
            let spread = policy.delay_ms(execution(u128::from(random)), attempt);
            prop_assert!((0..=full).contains(&spread));
            prop_assert_eq!(spread, policy.delay_ms(execution(u128::from(random)), attempt));
        }
    }

    #[test]
    fn the_budget_of_attempts_and_time_ends_it() {
        let policy = RetryPolicy {
            max_attempts: 3,
            jitter: Jitter::None,
            deadline_seconds: Some(10.0),
            ..RetryPolicy::default()
        };
        let e = execution(7);
        assert_eq!(policy.next_at_ms(e, 0, 0, 1_000, None), Some(3_000));
        assert_eq!(policy.next_at_ms(e, 1, 0, 1_000, None), Some(5_000));
        assert_eq!(policy.next_at_ms(e, 2, 0, 1_000, None), None, "three attempts are three");
        assert_eq!(policy.next_at_ms(e, 1, 0, 7_000, None), None, "past the deadline");
        assert_eq!(policy.next_at_ms(e, 0, 0, 1_000, Some(9_000)), Some(10_000), "the server's wish is later");
    }
}
