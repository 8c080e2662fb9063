//! Idempotency keys that steps compute: by which a receiver knows a repetition, also one by another run.
//!
//! Without one an execution sends its id. A computed key is made when the execution first starts, and kept: what it names
//! may be another by the next attempt, and all attempts must send the same, also those after a person took the run up again.
//! Only a digest leaves the runtime, made of the tenant, the flow and the step too: it has one length, and no two flows can
//! have the same.
//!
//! What a rollback has taken back and does again is another work: by the key of before a receiver would answer as it did
//! then, and do nothing. So that key is made of the rollback's number too, also where the step computes none. What was not
//! taken back still stands, and keeps its key.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::decide::Decider;
use super::step::Live;
use super::{Change, Place, Run};
use crate::chain::{Content, GENESIS};
use crate::expr::ExprError;
use crate::ids::StepNo;
use crate::log::Failure;
use crate::words::RollbackThen;

/// What an execution sends in place of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(pub Uuid);

impl IdempotencyKey {
    fn of(content: Content) -> Self {
        let bytes: [u8; 16] = content.after(&GENESIS)[..16].try_into().expect("a digest has 32 bytes");
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Decider<'_> {
    /// The key that the attempts of an execution send; `None`: its id.
    pub(super) fn idempotency_key(&mut self, no: StepNo) -> Result<Option<IdempotencyKey>, Failure> {
        if self.plan(no).idempotency_key.is_none() {
            return Ok(self.key_anew(no));
        }
        let live = self.live(no);
        let key = match live.key.or_else(|| self.state().keys.get(&no).copied()) {
            Some(key) => key,
            None => self.computed_key(no)?,
        };
        if live.key.is_none() {
            let live = Live { key: Some(key), ..live };
            self.emit(Change::StepAdjusted { step: no, live });
        }
        Ok(Some(key))
    }

    fn computed_key(&self, no: StepNo) -> Result<IdempotencyKey, Failure> {
        let (plan, header) = (self.plan(no), &self.draft.header);
        let key = plan.idempotency_key.as_ref().expect("it was looked at just now");
        let scope = self.draft.scope(no, self.live(no).released_at_ms);
        let wrong = |e: ExprError| Failure::fatal("expression_error", format!("idempotency_key: {e}"));
        let text = key.key(&scope).map_err(wrong)?;
        let content = Content::of("idempotency_key").bytes(header.owner.tenant.0.as_bytes());
        let content = content.bytes(header.flow.id.0.as_bytes()).text(Some(&plan.id)).text(Some(&text));
        Ok(match self.draft.taken_back(no) {
            0 => IdempotencyKey::of(content),
            times => IdempotencyKey::of(content.int(Some(times.into()))),
        })
    }

    /// In place of the id of an execution that does again what was taken back. Rounds have new ids by then.
    fn key_anew(&self, no: StepNo) -> Option<IdempotencyKey> {
        let times = match self.draft.place(no) {
            Place::Fixed(_) => self.draft.taken_back(no),
            Place::Round { .. } | Place::Undo { .. } => 0,
        };
        (times > 0).then(|| {
            let execution = self.draft.header.id.execution(no);
            let content = Content::of("execution_again").bytes(execution.0.as_bytes());
            IdempotencyKey::of(content.int(Some(times.into())))
        })
    }
}

impl Run {
    /// The number of the rollback that last took a step back, or what it stands in; 0: none did.
    fn taken_back(&self, no: StepNo) -> u32 {
        let outward = std::iter::successors(Some(no), |at| self.container(*at));
        let times = |no: StepNo| self.state.taken_back.get(&self.state.plan_no(&self.plan, no)?).copied();
        outward.filter_map(times).max().unwrap_or_default()
    }

    /// An undo has taken a step back: whatever does it again, or what stands in it, does so under another key.
    pub(super) fn renew_keys(&mut self, undo: StepNo) {
        if self.plan.rollback.then != RollbackThen::Retry {
            return;
        }
        let Place::Undo { target, .. } = self.place(undo) else { return };
        let Some(plan) = self.state.plan_no(&self.plan, target) else { return };
        let before = self.state.rollback.as_ref().map_or(0, |rollback| rollback.before);
        self.state.taken_back.insert(plan, before + 1);
        self.forget_keys(&(target..target + 1));
    }

    /// Executions are over for good, and with them whatever stood in them. What stands in others has larger numbers.
    pub(super) fn forget_keys(&mut self, gone: &Range<StepNo>) {
        let is_gone =
            |no: &StepNo| std::iter::successors(Some(*no), |at| self.container(*at)).any(|at| gone.contains(&at));
        let known: Vec<StepNo> = self.state.keys.range(gone.start..).map(|(no, _)| *no).filter(is_gone).collect();
        for no in known {
            self.state.keys.remove(&no);
        }
    }
}
