//! What is checked of a step that computes its idempotency key.

use super::check::Checker;
use super::layout::Slot;
use super::{Problem, inside};
use crate::document::StepConfig;
use crate::expr::{Expression, Names};

impl Checker<'_> {
    /// By what a receiver knows a repetition of the step; absent: by the execution.
    pub(super) fn idempotency_key(&mut self, slot: &Slot, names: &Names<'_>) -> Option<Expression> {
        let (at, source) = (format!("{}/idempotency_key", slot.at), slot.step.idempotency_key.as_ref()?);
        // What the runtime performs by itself is asked of nobody.
        if !matches!(&slot.config, StepConfig::Action(action) if !inside::performs(&action.action_type)) {
            self.problem(at, "only actions send one");
            return None;
        }
        let key = self.expression(&at, || Expression::parse_key(source, names))?;
        if slot.in_loop && !source.contains("loop") {
            let message =
                "all rounds send the same key, so a receiver does the work of one: name loop.item or loop.index";
            self.warnings.push(Problem::new(at, message));
        }
        Some(key)
    }
}
