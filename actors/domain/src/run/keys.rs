//! Idempotency keys that steps compute: by which a receiver knows a repetition, also one by another run.
//!
//! Without one an execution sends its id. A computed key is made when the execution first starts, and kept: what it names
//! may be another by the next attempt, and all attempts must send the same. Only a digest leaves the runtime, made of the
//! tenant, the flow and the step too: it has one length, and no two flows can have the same.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Change;
use super::decide::Decider;
use super::step::Live;
use crate::chain::{Content, GENESIS};
use crate::expr::ExprError;
use crate::ids::StepNo;
use crate::log::Failure;

/// What an execution sends in place of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(pub Uuid);

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Decider<'_> {
    /// The key that the attempts of an execution send; `None`: its id.
    pub(super) fn idempotency_key(&mut self, no: StepNo) -> Result<Option<IdempotencyKey>, Failure> {
        if self.plan(no).idempotency_key.is_none() {
            return Ok(None);
        }
        let live = self.live(no);
        if live.key.is_none() {
            let live = Live { key: Some(self.computed_key(no)?), ..live };
            self.emit(Change::StepAdjusted { step: no, live });
        }
        Ok(self.live(no).key)
    }

    fn computed_key(&self, no: StepNo) -> Result<IdempotencyKey, Failure> {
        let (plan, header) = (self.plan(no), &self.draft.header);
        let key = plan.idempotency_key.as_ref().expect("it was looked at just now");
        let scope = self.draft.scope(no, self.live(no).released_at_ms);
        let wrong = |e: ExprError| Failure::fatal("expression_error", format!("idempotency_key: {e}"));
        let text = key.key(&scope).map_err(wrong)?;
        let content = Content::of("idempotency_key").bytes(header.owner.tenant.0.as_bytes());
        let content = content.bytes(header.flow.id.0.as_bytes()).text(Some(&plan.id)).text(Some(&text));
        let bytes: [u8; 16] = content.after(&GENESIS)[..16].try_into().expect("a digest has 32 bytes");
        Ok(IdempotencyKey(Uuid::from_bytes(bytes)))
    }
}
