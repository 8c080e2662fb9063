//! What is checked of a step whose result is used again.

use serde_json::json;

use super::check::Checker;
use super::layout::Slot;
use super::{CachePlan, inside, seconds_to_ms};
use crate::chain::{Content, GENESIS};
use crate::document::StepConfig;
use crate::expr::{Expression, Names};

/// The longest time for which a result may be used again: 30 days.
const MOST_SECONDS: u64 = 2_592_000;

impl Checker<'_> {
    /// When a step's result is used again.
    pub(super) fn cache(&mut self, slot: &Slot, names: &Names<'_>) -> Option<CachePlan> {
        let (at, cache) = (format!("{}/cache", slot.at), slot.step.cache.as_ref()?);
        let action = match &slot.config {
            StepConfig::Action(action) if !inside::performs(&action.action_type) => action,
            _ => {
                self.problem(at, "only what an action gives is used again");
                return None;
            }
        };
        if slot.step.undo.is_some() {
            let message = "a result that is used again was not made by this run, and `undo` would take it back: leave one \
                           of them out";
            self.problem(at, message);
            return None;
        }
        if !(1..=MOST_SECONDS).contains(&cache.seconds) {
            self.problem(format!("{at}/seconds"), format!("must be 1 to {MOST_SECONDS} (30 days)"));
        }
        let key = self.expression(&format!("{at}/key"), || Expression::parse(&cache.key, names))?;
        let does = json!({"id": slot.step.id, "action_type": action.action_type, "action_target": action.action_target,
            "action_payload": action.action_payload});
        let digest = Content::of("cached_step").json(Some(&does)).after(&GENESIS);
        Some(CachePlan { key, ttl_ms: seconds_to_ms(cache.seconds), digest })
    }
}
