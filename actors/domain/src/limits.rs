//! What a flow's limits mean: their keys, computed for each trigger, who may start, and which triggers become one run.
//!
//! A run that is subject to limits carries a [`Claim`]: the keys and bounds that its flow's version gave it. The [`Book`]
//! of a partition says of each claim whether its run may start, waits, or is not taken. Placement is part of the meaning:
//! all runs that share a key live on one partition ([`Limits::home`]), so that one writer, fenced by the partition's epoch,
//! decides about a key and nothing has to be agreed upon (ADR 009).

mod book;
mod bucket;
mod gather;
mod gatherings;
mod turns;

#[cfg(test)]
mod gathering_tests;
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
use crate::run::{RunHeader, matching_scope};

pub use book::{Admission, Arrival, Book, Hold};
pub use bucket::Bucket;
pub use gather::{Brought, Gathers, Terms, batch_of, events_of};
pub use gatherings::{Gatherings, Joining, Progress};
pub(crate) use turns::key as turn_key;

/// What keys may name: what is known of a trigger before there is a run, and does not change with the time.
const KEY_ROOTS: &[&str] = &["trigger", "webhook", "tenant"];
/// A longer key is refused: it stands in rows and indexes.
const MOST_KEY_BYTES: usize = 512;

/// The checked limits of a flow.
#[derive(Debug)]
pub struct Limits {
    concurrency: Option<(Option<Expression>, u32, LimitStrategy)>,
    rate: Option<(Option<Expression>, Rate)>,
    gathers: Option<(Option<Expression>, Terms)>,
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
    /// The triggers that become one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gathers: Option<Gathers>,
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
        problems.extend(gathering_problems(document));
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
        let debounce = document.debounce.as_ref().map(|d| key("debounce", &d.key));
        let batch = document.batch.as_ref().map(|b| key("batch", &b.key));
        let gathers = debounce.or(batch).zip(Terms::of(document));
        if problems.is_empty() { Ok(Self { concurrency, rate, gathers }) } else { Err(problems) }
    }

    /// Whether nothing is limited, and nothing gathered.
    pub const fn is_empty(&self) -> bool {
        self.concurrency.is_none() && self.rate.is_none() && self.gathers.is_none()
    }

    /// When runs of this flow begin that gather triggers. `None`: each trigger makes a run of its own.
    pub fn terms(&self) -> Option<Terms> {
        self.gathers.as_ref().map(|(_, terms)| *terms)
    }

    /// What a run asks for, as its header says.
    pub fn claim_of(&self, header: &RunHeader) -> Result<Claim, KeyError> {
        let scope = scope_of(header, self.terms().is_some_and(Terms::is_batch));
        let claim = self.claim(header.flow.id, &scope)?;
        let gathers = match &self.gathers {
            Some((key, terms)) => {
                Some(Gathers { key: value(key.as_ref(), &scope)?, version: header.flow.version, terms: *terms })
            }
            None => None,
        };
        Ok(Claim { gathers, ..claim })
    }

    /// What a run of this trigger asks for, gathering apart.
    fn claim(&self, flow: FlowId, scope: &Scope) -> Result<Claim, KeyError> {
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
        Ok(Claim { flow, concurrency, rate, gathers: None })
    }

    /// Which of so many partitions the runs of a claim live on: the hash of the key, or, where the limits have different
    /// keys, of the flow alone.
    pub fn home(&self, claim: &Claim, partitions: u16) -> u16 {
        let source = |key: Option<&Expression>| key.map(|key| key.source().to_owned());
        let of_concurrency = self.concurrency.as_ref().map(|(key, ..)| source(key.as_ref()));
        let of_rate = self.rate.as_ref().map(|(key, _)| source(key.as_ref()));
        let of_gathering = self.gathers.as_ref().map(|(key, _)| source(key.as_ref()));
        let mut sources = [of_concurrency, of_rate, of_gathering].into_iter().flatten();
        let first = sources.next();
        let agree = sources.all(|source| Some(source) == first);
        let key = claim.concurrency.as_ref().map(|c| &c.key).or(claim.rate.as_ref().map(|(key, _)| key));
        let key = key.or(claim.gathers.as_ref().map(|gathers| &gathers.key));
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

/// What the keys of a run may name, as its header says.
fn scope_of(header: &RunHeader, is_batch: bool) -> Scope {
    let context = match events_of(&header.trigger_context).and_then(|events| events.first()) {
        // They all have the same key.
        Some(event) if is_batch => Arc::new(event.clone()),
        _ => header.trigger_context.clone(),
    };
    matching_scope(context, header.webhook.clone(), &header.owner, header.accepted_at_ms)
}

/// What is wrong with what a document says of gathering.
fn gathering_problems(document: &LimitsDocument) -> Vec<Problem> {
    const MOST_SECONDS: u32 = 604_800;
    let mut problems = Vec::new();
    let mut within = |pointer: &str, found: u32, least: u32, most: u32| {
        if !(least..=most).contains(&found) {
            problems.push(Problem::new(format!("/limits/{pointer}"), format!("must be {least} to {most}")));
        }
    };
    if let Some(debounce) = &document.debounce {
        within("debounce/period_seconds", debounce.period_seconds, 1, MOST_SECONDS);
        if let Some(most) = debounce.max_seconds {
            within("debounce/max_seconds", most, debounce.period_seconds.clamp(1, MOST_SECONDS), MOST_SECONDS);
        }
    }
    let Some(batch) = &document.batch else { return problems };
    within("batch/max", batch.max, 2, 10_000);
    within("batch/timeout_seconds", batch.timeout_seconds, 1, MOST_SECONDS);
    if document.debounce.is_some() {
        let message = "comes without debounce: triggers are gathered, or all but the last are dropped";
        problems.push(Problem::new("/limits/batch", message));
    }
    let concurrency = document.concurrency.as_ref().and_then(|c| c.key.as_ref());
    let rate = document.rate.as_ref().and_then(|r| r.key.as_ref());
    for (part, key) in [("concurrency", concurrency), ("rate", rate)] {
        if key.is_some() && key != batch.key.as_ref() {
            let message = "must be the key of limits.batch, or absent: the triggers of a batch have no other in common";
            problems.push(Problem::new(format!("/limits/{part}/key"), message));
        }
    }
    problems
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
