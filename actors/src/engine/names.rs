//! Callers' own names for requests whose work has no write of its own to carry them.
//!
//! The name is taken first, with what the work is made from: told again, the same work is asked for, and its parts are done
//! once each by names of their own. What was answered is kept when it is done.

use core314_domain::ids::TenantId;
use serde_json::Value;

use super::{Engine, SignalError, unexpected};
use crate::ingress::IdempotencyRequest;
use crate::ports::StoreError;
use crate::ports::signal::{NewName, SignalWrite};
use crate::ports::store::{Idempotency, Outcome, Write};

impl Engine {
    /// Takes a request's own name, and keeps this with it. What was kept with it before, where it is a repetition.
    pub async fn take_name(
        &self,
        tenant: TenantId,
        request: &IdempotencyRequest,
        kept: Value,
    ) -> Result<Option<Value>, SignalError> {
        let name = self.name(request, kept);
        let write = SignalWrite::Name(NewName { tenant, name, at_ms: self.now_ms() });
        match self.commit(Write::Signal(Box::new(write))).await? {
            Outcome::Committed { .. } => Ok(None),
            Outcome::Duplicate { same_request: false, .. } => Err(SignalError::KeyReused),
            Outcome::Duplicate { answer, .. } => Ok(Some(answer)),
            other => Err(unexpected(other).into()),
        }
    }

    /// Replaces what is kept with a name that was taken.
    pub async fn keep_with_name(
        &self,
        tenant: TenantId,
        request: &IdempotencyRequest,
        kept: Value,
    ) -> Result<(), StoreError> {
        let name = self.name(request, kept);
        let write = SignalWrite::Named(NewName { tenant, name, at_ms: self.now_ms() });
        match self.commit(Write::Signal(Box::new(write))).await? {
            Outcome::Committed { .. } => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// A request's own name, with what a repetition is answered with.
    pub(crate) fn name(&self, request: &IdempotencyRequest, answer: Value) -> Idempotency {
        Idempotency {
            key: request.key.clone(),
            body_hash: request.body_hash,
            answer,
            expires_at_ms: self.now_ms() + self.inner.runtime.settings.idempotency_ttl_ms,
        }
    }
}
