//! The order of dispatch as one indexable number, smallest first.
//!
//! An entry's number is the time it was due, less a credit for urgency and priority. A critical entry so overtakes what
//! was due up to an hour before it and no more: ageing is linear and nothing starves.

use serde::Deserialize;

use crate::words::Urgency;

/// How many seconds of waiting each urgency and each step of priority is worth.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credits {
    pub urgency_low_seconds: i64,
    pub urgency_medium_seconds: i64,
    pub urgency_high_seconds: i64,
    pub urgency_critical_seconds: i64,
    /// For each step of priority below 10.
    pub priority_step_seconds: i64,
}

impl Default for Credits {
    fn default() -> Self {
        Self {
            urgency_low_seconds: 0,
            urgency_medium_seconds: 60,
            urgency_high_seconds: 600,
            urgency_critical_seconds: 3_600,
            priority_step_seconds: 5,
        }
    }
}

impl Credits {
    /// The dispatch number of an entry that may start at `due_ms`, in milliseconds. Priority 1 goes first, 10 last.
    pub fn order(&self, due_ms: i64, urgency: Urgency, priority: u8) -> i64 {
        let urgency_seconds = match urgency {
            Urgency::Low => self.urgency_low_seconds,
            Urgency::Medium => self.urgency_medium_seconds,
            Urgency::High => self.urgency_high_seconds,
            Urgency::Critical => self.urgency_critical_seconds,
        };
        let steps = i64::from(10 - priority.clamp(1, 10));
        due_ms - 1_000 * (urgency_seconds + steps * self.priority_step_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urgency_then_priority_then_due_time() {
        let c = Credits::default();
        let order = |due, urgency, priority| c.order(due, urgency, priority);
        assert!(order(1_000, Urgency::Critical, 10) < order(0, Urgency::High, 1));
        assert!(order(1_000, Urgency::Medium, 3) < order(1_000, Urgency::Medium, 4));
        assert!(order(1_000, Urgency::Low, 5) < order(1_001, Urgency::Low, 5));
    }

    proptest! {
        #[test]
        fn nothing_starves(due in 0_i64..1_000_000, urgency in 0_usize..4, priority in 1_u8..=10) {
            let c = Credits::default();
            let oldest = c.order(due, Urgency::Low, 10);
            let later = due + 1_000 * (3_600 + 45) + 1;
            prop_assert!(oldest < c.order(later, Urgency::ALL[urgency], priority));
        }
    }
}
