//! Results of earlier runs that a step takes instead of doing its work again.
//!
//! A step with `cache` has a key. Before an attempt starts, whoever drives the run is asked whether there is a result under
//! it that has not expired; as with results that are away, the decision is made anew once that is known. A step that
//! completes by an attempt of its own leaves its result under the key that it was started with, in the commit of its end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::decide::Decider;
use super::step::{Live, StepStatus};
use super::{Change, Run};
use crate::Json;
use crate::chain::{Content, GENESIS};
use crate::expr::size;
use crate::ids::{ExecutionId, StepNo};
use crate::log::{Failure, LogEntry};
use crate::words::ExecutionStatus;

/// The most bytes that a key's value may have.
const MAX_KEY_BYTES: usize = 4 * 1024;

/// Under which a result is found again: made of the step, all that it is configured to do, and its key. Unique in a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CacheKey(pub Uuid);

/// A result of an earlier execution.
#[derive(Debug, Clone, PartialEq)]
pub struct Cached {
    pub result: Json,
    /// Which execution gave it.
    pub execution: ExecutionId,
    pub stored_at_ms: i64,
}

/// What of the cache a run has looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Cache {
    /// Whoever drives the run has one; otherwise no step finds anything.
    is_there: bool,
    looked_up: BTreeMap<CacheKey, Option<Cached>>,
}

impl Run {
    /// There is a cache to look into.
    pub fn use_cache(&mut self) {
        self.cache.is_there = true;
    }

    /// What was found under the keys that a decision wanted.
    pub fn bring_cached(&mut self, found: BTreeMap<CacheKey, Option<Cached>>) {
        self.cache.looked_up.extend(found);
    }

    /// A decision is made: what it looked at may be another by the next one.
    pub fn forget_cached(&mut self) {
        self.cache.looked_up.clear();
    }
}

impl Decider<'_> {
    /// Whether a step that is about to start has to wait for a look into the cache, or has ended by it.
    pub(super) fn is_cached(&mut self, no: StepNo) -> bool {
        if !self.draft.cache.is_there || self.plan(no).cache.is_none() {
            return false;
        }
        let key = match self.cache_key(no) {
            Ok(key) => key,
            Err(failure) => {
                self.fails(no, failure);
                return true;
            }
        };
        match self.draft.cache.looked_up.get(&key).cloned() {
            None => {
                self.decision.looks_up.insert(key);
                true
            }
            Some(Some(cached)) => {
                self.take_cached(no, &cached);
                true
            }
            Some(None) => {
                let live = Live { cache: Some(key), ..self.live(no) };
                self.emit(Change::StepAdjusted { step: no, live });
                false
            }
        }
    }

    fn cache_key(&self, no: StepNo) -> Result<CacheKey, Failure> {
        let plan = self.plan(no).cache.as_ref().expect("it was looked at just now");
        let scope = self.draft.scope(no, self.live(no).released_at_ms);
        let value = plan.key.evaluate(&scope);
        let value = value.map_err(|e| Failure::fatal("expression_error", format!("cache.key: {e}")))?;
        if size(&value) > MAX_KEY_BYTES {
            let message = format!("cache.key gave more than {MAX_KEY_BYTES} bytes");
            return Err(Failure::fatal("expression_error", message));
        }
        let hash = Content::of("step_cache").bytes(&plan.digest).json(Some(&value)).after(&GENESIS);
        let bytes: [u8; 16] = hash[..16].try_into().expect("a digest has 32 bytes");
        Ok(CacheKey(Uuid::from_bytes(bytes)))
    }

    /// The step completes without an attempt. Nothing was sent: its row in the log says where the result comes from.
    fn take_cached(&mut self, no: StepNo, cached: &Cached) {
        let (live, epoch) = (self.live(no), self.grant.epoch);
        self.emit(Change::StepStarted { step: no, attempt: live.attempt, at_ms: self.now_ms, epoch });
        let at = chrono::DateTime::from_timestamp_millis(cached.stored_at_ms).unwrap_or_default();
        let at = at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let payload = json!({"cached": {"execution_id": cached.execution, "stored_at": at}});
        let entry = self.log_entry(no, ExecutionStatus::Completed, payload.into());
        self.emit(Change::AttemptLogged(Box::new(LogEntry { result: Some(cached.result.clone()), ..entry })));
        self.end(no, StepStatus::Completed);
    }

    /// An attempt of the step has completed: its result is kept under the key that it was started with.
    pub(super) fn keep_cached(&mut self, no: StepNo, key: Option<CacheKey>, result: &Json) {
        if let Some(key) = key
            && let Some(cache) = &self.plan(no).cache
        {
            let expires_at_ms = self.now_ms + cache.ttl_ms;
            self.emit(Change::ResultCached { step: no, key, result: result.clone(), expires_at_ms });
        }
    }
}
