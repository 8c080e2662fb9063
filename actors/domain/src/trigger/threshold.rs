//! A metric's threshold: when a value exceeds it, and when it has cleared again.
//!
//! ```text
//!            exceeds, for so long          clears
//! below ─────────────────────────► fired ─────────► below
//! ```
//! Between the threshold and the value that clears it nothing changes, so that a metric that wavers around the threshold
//! starts one run and not many.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::words::words;

words! {
    /// How a value is compared with a threshold.
    Operator {
        Less = "<", Greater = ">", LessOrEqual = "<=", GreaterOrEqual = ">=", Equal = "=", NotEqual = "!=",
    }
}

impl Operator {
    /// Whether the comparison holds.
    #[expect(clippy::float_cmp, reason = "a person who asks for equality means the very value")]
    pub fn holds(self, value: f64, with: f64) -> bool {
        match self {
            Self::Less => value < with,
            Self::Greater => value > with,
            Self::LessOrEqual => value <= with,
            Self::GreaterOrEqual => value >= with,
            Self::Equal => value == with,
            Self::NotEqual => value != with,
        }
    }
}

/// The longest time for which a threshold may have to be exceeded: a day.
const MAX_FOR_SECONDS: u64 = 86_400;
const MAX_LABELS: usize = 20;

/// Of a threshold: each flow watches its own, so there is nothing to match.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ThresholdTrigger")]
pub struct Threshold {
    /// The metric's name.
    pub metric: String,
    /// Only values with these labels count. Values whose labels differ are series of their own.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    pub operator: Operator,
    pub value: f64,
    /// Until a value is on this side of it, the threshold counts as exceeded; absent: the threshold itself.
    pub clear: Option<f64>,
    /// How long it must have been exceeded, in seconds.
    #[serde(default, rename = "for")]
    pub for_seconds: u64,
}

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Exceeds,
    /// Neither: what was so stays so.
    Between,
    Cleared,
}

impl Threshold {
    /// What is wrong with it: the pointer and the message.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.for_seconds > MAX_FOR_SECONDS {
            return Err(("/for", format!("must be 0 to {MAX_FOR_SECONDS} seconds (a day)")));
        }
        if self.labels.len() > MAX_LABELS {
            return Err(("/labels", format!("must have at most {MAX_LABELS} labels")));
        }
        let Some(clear) = self.clear else { return Ok(()) };
        let is_beyond = match self.operator {
            Operator::Less | Operator::LessOrEqual => clear < self.value,
            Operator::Greater | Operator::GreaterOrEqual => clear > self.value,
            Operator::Equal | Operator::NotEqual => {
                return Err(("/clear", format!("is not for the operator {}", self.operator)));
            }
        };
        if is_beyond {
            return Err(("/clear", "lies beyond the threshold: it would clear what is exceeded".to_owned()));
        }
        Ok(())
    }

    /// Whether a value of a metric is watched.
    pub fn watches(&self, metric: &str, labels: &BTreeMap<String, String>) -> bool {
        self.metric == metric && self.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
    }

    /// Where a value stands.
    pub fn standing(&self, value: f64) -> Standing {
        if self.operator.holds(value, self.value) {
            return Standing::Exceeds;
        }
        match self.clear {
            Some(clear) if self.operator.holds(value, clear) => Standing::Between,
            Some(_) | None => Standing::Cleared,
        }
    }
}

/// Which series of a metric a value belongs to: SHA-256 of its labels, each name and value ended by a NUL.
pub fn series(labels: &BTreeMap<String, String>) -> [u8; 32] {
    let texts = labels.iter().flat_map(|(name, value)| [name, value]);
    texts.fold(Sha256::new(), |digest, text| digest.chain_update(text).chain_update(b"\0")).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threshold(operator: Operator, clear: Option<f64>) -> Threshold {
        let labels = BTreeMap::from([("host".to_owned(), "a".to_owned())]);
        Threshold { metric: "cpu".to_owned(), labels, operator, value: 90.0, clear, for_seconds: 0 }
    }

    #[test]
    fn a_value_between_threshold_and_clearing_changes_nothing() {
        let above = threshold(Operator::Greater, Some(80.0));
        let standings: Vec<Standing> = [91.0, 90.0, 81.0, 80.0].map(|value| above.standing(value)).into();
        assert_eq!(standings, [Standing::Exceeds, Standing::Between, Standing::Between, Standing::Cleared]);
        let below = threshold(Operator::LessOrEqual, Some(95.0));
        assert_eq!(below.standing(90.0), Standing::Exceeds);
        assert_eq!(below.standing(95.0), Standing::Between);
        assert_eq!(below.standing(95.5), Standing::Cleared);
        assert_eq!(threshold(Operator::Greater, None).standing(90.0), Standing::Cleared);
    }

    #[test]
    fn labels_beside_the_wanted_ones_do_not_matter() {
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let watched = threshold(Operator::Greater, None);
        assert!(watched.watches("cpu", &labels(&[("host", "a"), ("core", "1")])));
        assert!(!watched.watches("cpu", &labels(&[("host", "b")])));
        assert!(!watched.watches("mem", &labels(&[("host", "a")])));
    }

    #[test]
    fn a_clearing_value_lies_on_the_other_side() {
        assert!(threshold(Operator::Greater, Some(90.0)).check().is_ok());
        assert_eq!(threshold(Operator::Greater, Some(91.0)).check().expect_err("beyond").0, "/clear");
        assert_eq!(threshold(Operator::Equal, Some(1.0)).check().expect_err("makes no sense").0, "/clear");
        let long = Threshold { for_seconds: 86_401, ..threshold(Operator::Less, None) };
        assert_eq!(long.check().expect_err("too long").0, "/for");
    }
}
