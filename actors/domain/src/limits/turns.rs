//! Whose turn it is in the queue among the executions of one flow.
//!
//! The key is not stored: it is computed from what a run's header says, so that it is the same whenever it is asked for. A
//! trigger whose key cannot be computed is refused before there is a run.

use std::sync::Arc;

use super::{KEY_ROOTS, Limits, Terms, scope_of};
use crate::document::FlowDocument;
use crate::expr::{ExprError, Expression, Names, Types};
use crate::plan::FlowPlan;
use crate::run::RunHeader;

/// The key of a document, where it has one; also by what is known of the types of one trigger.
pub(crate) fn key(document: &FlowDocument, types: Option<&Types>) -> Result<Option<Expression>, ExprError> {
    let fairness = document.limits.as_ref().and_then(|limits| limits.fairness.as_ref());
    let names = Names { types, ..Names::new(KEY_ROOTS, &[]) };
    fairness.map(|fairness| Expression::parse_key(&fairness.key, &names)).transpose()
}

impl FlowPlan {
    /// By which key the executions of a run take turns with those of its flow's other runs; `None`: they keep their order.
    pub fn turn_of(&self, header: &RunHeader) -> Result<Option<Arc<str>>, ExprError> {
        let Some(key) = &self.fairness else { return Ok(None) };
        let is_batch = self.limits.as_ref().and_then(Limits::terms).is_some_and(Terms::is_batch);
        key.key(&scope_of(header, is_batch)).map(|text| Some(text.into()))
    }
}
