//! What a flow's limits mean: their keys, computed for each trigger, and who may start.
//!
//! A run that is subject to limits carries a [`Claim`]: the keys and bounds that its flow's version gave it. The [`Book`]
//! of a partition says of each claim whether its run may start, waits, or is not taken. Placement is part of the meaning:
//! all runs that share a key live on one partition ([`Limits::home`]), so that one writer, fenced by the partition's epoch,
//! decides about a key and nothing has to be agreed upon (ADR 009).

mod book;
mod bucket;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::document::{LimitStrategy, LimitsDocument};
use crate::expr::{ExprError, Expression, Names, Scope, Types};
use crate::ids::FlowId;
use crate::plan::Problem;

pub use book::{Admission, Arrival, Book, Hold};
pub use bucket::Bucket;

/// What keys may name: what is known of a trigger before there is a run, and does not change with the time.
const KEY_ROOTS: &[&str] = &["trigger", "webhook", "tenant"];
/// A longer key is refused: it stands in rows and indexes.
const MOST_KEY_BYTES: usize = 512;

/// The checked limits of a flow.
#[derive(Debug)]
pub struct Limits {
    concurrency: Option<(Option<Expression>, u32, LimitStrategy)>,
    rate: Option<(Option<Expression>, Rate)>,
}

/// A rate, in whole numbers, so that it is the same on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Between two starts, in microseconds; rounded up, so that the rate is never exceeded.
    pub interval_us: i64,
    /// How many may start at once after a pause.
    pub burst: u32,
}

/// What one run asks of the limits of its flow. Stored with the run while it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub flow: FlowId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<(Arc<str>, Rate)>,
}

/// A claim on one of `max` places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    /// Empty for all runs of the flow.
    pub key: Arc<str>,
    pub max: u32,
    pub strategy: LimitStrategy,
}

/// Why a trigger has no key. The flow or the trigger must be mended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("{0}")]
    Expression(#[from] ExprError),
    #[error("the key of a limit must give a text, a number or a bool, and `{expression}` gives {found}")]
    Kind { expression: String, found: &'static str },
    #[error("the key of a limit must have at most {MOST_KEY_BYTES} bytes and no NUL, and `{0}` gives another")]
    Text(String),
}

impl Limits {
    /// Checks the limits of a document; keys also by what is known of the trigger's types. Pointers begin at the document.
    pub fn check(document: &LimitsDocument, types: Option<&Types>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut within = |pointer: &str, found: u32, most: u32| {
            if !(1..=most).contains(&found) {
                problems.push(Problem::new(format!("/limits/{pointer}"), format!("must be 1 to {most}")));
            }
        };
        if let Some(concurrency) = &document.concurrency {
            within("concurrency/max", concurrency.max, 10_000);
        }
        if let Some(rate) = &document.rate {
            within("rate/max", rate.max, 1_000_000);
            within("rate/per_seconds", rate.per_seconds, 86_400);
            within("rate/burst", rate.burst, 1_000_000);
        }
        let mut key = |part: &str, text: &Option<String>| {
            let text = text.as_deref()?;
            let parsed = Expression::parse(text, &Names { types, ..Names::new(KEY_ROOTS, &[]) });
            let problem = |e: ExprError| Problem {
                excerpt: e.excerpt(),
                ..Problem::new(format!("/limits/{part}/key"), e.to_string())
            };
            parsed.map_err(|error| problems.push(problem(error))).ok()
        };
        let concurrency = document.concurrency.as_ref().map(|c| (key("concurrency", &c.key), c.max, c.strategy));
        let rate = document.rate.as_ref().map(|r| (key("rate", &r.key), Rate::of(r.max, r.per_seconds, r.burst)));
        if problems.is_empty() { Ok(Self { concurrency, rate }) } else { Err(problems) }
    }

    /// What a run of this trigger asks for.
    pub fn claim(&self, flow: FlowId, scope: &Scope) -> Result<Claim, KeyError> {
        let concurrency = match &self.concurrency {
            Some((key, max, strategy)) => {
                Some(Concurrency { key: value(key.as_ref(), scope)?, max: *max, strategy: *strategy })
            }
            None => None,
        };
        let rate = match &self.rate {
            Some((key, rate)) => Some((value(key.as_ref(), scope)?, *rate)),
            None => None,
        };
        Ok(Claim { flow, concurrency, rate })
    }

    /// Which of so many partitions the runs of a claim live on: the hash of the key, or, where the limits have different
    /// keys, of the flow alone.
    pub fn home(&self, claim: &Claim, partitions: u16) -> u16 {
        let source = |key: Option<&Expression>| key.map(|key| key.source().to_owned());
        let of_concurrency = self.concurrency.as_ref().map(|(key, ..)| source(key.as_ref()));
        let of_rate = self.rate.as_ref().map(|(key, _)| source(key.as_ref()));
        let agree = of_concurrency.is_none() || of_rate.is_none() || of_concurrency == of_rate;
        let key = claim.concurrency.as_ref().map(|c| &c.key).or(claim.rate.as_ref().map(|(key, _)| key));
        let mut digest = Sha256::new();
        digest.update(claim.flow.0.as_bytes());
        if let Some(key) = key.filter(|_| agree) {
            digest.update(key.as_bytes());
        }
        let hash: [u8; 32] = digest.finalize().into();
        let first = u64::from_be_bytes(hash[..8].try_into().expect("a digest has 32 bytes"));
        (first % u64::from(partitions.max(1))) as u16
    }
}

impl Rate {
    fn of(max: u32, per_seconds: u32, burst: u32) -> Self {
        let window_us = i64::from(per_seconds) * 1_000_000;
        let max = i64::from(max).max(1);
        Self { interval_us: (window_us + max - 1) / max, burst }
    }
}

fn value(key: Option<&Expression>, scope: &Scope) -> Result<Arc<str>, KeyError> {
    let Some(key) = key else { return Ok("".into()) };
    let text = match key.evaluate(scope)? {
        Value::String(text) => text,
        value @ (Value::Number(_) | Value::Bool(_)) => value.to_string(),
        other => {
            let found = match other {
                Value::Null => "null",
                Value::Array(_) => "a list",
                _ => "a map",
            };
            return Err(KeyError::Kind { expression: key.source().to_owned(), found });
        }
    };
    if text.len() > MOST_KEY_BYTES || text.contains('\0') {
        return Err(KeyError::Text(key.source().to_owned()));
    }
    Ok(text.into())
}
