//! Phases of a flow, and how far it rolls back.

use std::sync::Arc;

use super::check::Checker;
use super::layout::Layout;
use crate::document::{FlowDocument, RollbackDocument, channels};
use crate::words::{OnError, OnErrorAction, RollbackThen};

/// Thresholds of a pipeline of seven phases, in seconds, where the flow names none.
const DEFAULT_SLA_SECONDS: [f64; 7] = [30.0, 60.0, 120.0, 90.0, 10.0, 15.0, 60.0];
const MAX_PHASES: u32 = 100;

/// One phase.
#[derive(Debug, Clone, PartialEq)]
pub struct PhasePlan {
    pub name: Arc<str>,
    /// A transition that took longer violates the phase's service level.
    pub sla_ms: Option<i64>,
    /// Whether anybody is told of its transitions.
    pub is_told: bool,
}

/// What happens when a phase, or a flow that asks for it, has failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollbackPlan {
    pub to: RollbackTo,
    pub then: RollbackThen,
    pub retries: u32,
}

/// How far a failed phase is rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollbackTo {
    Off,
    /// To the end of the phase before.
    Previous,
    /// To the end of this phase; 0: the start.
    Phase(u32),
}

impl Checker<'_> {
    /// The phases by their numbers. A step must not wait for one of a later phase.
    pub(super) fn phases(&mut self, doc: &FlowDocument, layout: &Layout) -> Vec<PhasePlan> {
        let count = doc.flow_steps.iter().filter_map(|step| step.phase).max().unwrap_or(0);
        for slot in &layout.slots {
            let pointer = format!("{}/phase", slot.at);
            match (slot.step.phase, slot.parent) {
                (Some(_), Some(_)) => {
                    self.problem(pointer, "only the steps of the flow itself belong to phases: those in steps follow");
                }
                (Some(phase), None) if phase == 0 || phase > MAX_PHASES => {
                    self.problem(pointer, format!("must be 1 to {MAX_PHASES}"));
                }
                (Some(phase), None) => {
                    let later = slot.before.iter().find(|id| {
                        doc.flow_steps.iter().any(|step| step.id == **id && step.phase.is_some_and(|p| p > phase))
                    });
                    if let Some(later) = later {
                        self.problem(pointer, format!("it waits for step '{later}', which belongs to a later phase"));
                    }
                }
                (None, _) => {}
            }
        }
        if count > MAX_PHASES {
            return Vec::new();
        }
        for number in 1..=count {
            if !doc.flow_steps.iter().any(|step| step.phase == Some(number)) {
                self.problem("/flow_steps", format!("no step belongs to phase {number}, and one to phase {count}"));
            }
        }
        for (no, phase) in doc.phases.iter().enumerate() {
            let at = format!("/phases/{no}");
            if phase.number == 0 || phase.number > count {
                self.problem(format!("{at}/number"), format!("no step belongs to phase {}", phase.number));
            }
            if doc.phases[..no].iter().any(|earlier| earlier.number == phase.number) {
                self.problem(format!("{at}/number"), format!("phase {} stands here twice", phase.number));
            }
            if phase.name.chars().count() > 200 {
                self.problem(format!("{at}/name"), "must have at most 200 characters");
            }
            if phase.sla_seconds.is_some_and(|s| !(s > 0.0 && s <= 31_536_000.0)) {
                self.problem(format!("{at}/sla_seconds"), "must be more than 0 and at most 31536000 (a year)");
            }
        }
        (1..=count).map(|number| phase(doc, number, count)).collect()
    }

    pub(super) fn rollback(&mut self, doc: &FlowDocument, phases: usize) -> RollbackPlan {
        let default = RollbackDocument::default();
        let rollback = doc.rollback.as_ref().unwrap_or(&default);
        let to = match (rollback.to.as_str(), rollback.to.as_u64()) {
            (Some("previous"), _) => Some(RollbackTo::Previous),
            (Some("start"), _) => Some(RollbackTo::Phase(0)),
            (Some("off"), _) => Some(RollbackTo::Off),
            (_, Some(phase)) if phase >= 1 && phase <= phases as u64 => Some(RollbackTo::Phase(phase as u32)),
            _ => None,
        };
        if to.is_none() {
            let message = format!("must be previous, start, off or the number of a phase (1 to {phases})");
            self.problem("/rollback/to", message);
        }
        if !(1..=100).contains(&rollback.retries) {
            self.problem("/rollback/retries", "must be 1 to 100");
        }
        let undoes = doc.on_error_action == OnErrorAction::Rollback
            || doc.flow_steps.iter().any(|step| step.on_error == OnError::Compensate);
        if doc.rollback.is_some() && phases == 0 && !undoes && to != Some(RollbackTo::Off) {
            let message = "a flow without phases rolls back only with on_error_action: rollback, or with a step's \
                           on_error: compensate";
            self.problem("/rollback", message);
        }
        RollbackPlan { to: to.unwrap_or(RollbackTo::Off), then: rollback.then, retries: rollback.retries }
    }
}

fn phase(doc: &FlowDocument, number: u32, count: u32) -> PhasePlan {
    let found = doc.phases.iter().find(|phase| phase.number == number);
    let name = found.map(|phase| phase.name.as_str()).filter(|name| !name.is_empty());
    let default = (count == 7).then(|| DEFAULT_SLA_SECONDS[number as usize - 1]);
    let sla_seconds = found.and_then(|phase| phase.sla_seconds).or(default);
    PhasePlan {
        name: name.map_or_else(|| format!("phase {number}").into(), Into::into),
        sla_ms: sla_seconds.map(|s| (s * 1_000.0) as i64),
        is_told: found.is_some_and(|phase| channels::tell(&phase.alert_channels)),
    }
}
