//! A flow document, checked and compiled: what runs are driven by.
//!
//! Whatever can be wrong with a document is found here, when it is saved, with a JSON pointer to the place: ids, edges,
//! cycles, expressions, templates, policies. A plan that exists can run.

mod caching;
mod check;
mod graph;
mod inside;
mod keys;
mod kind;
mod kinds;
mod layout;
mod output;
mod phases;
mod typing;

use std::sync::Arc;

use crate::document::{FlowDocument, Lines, channels, reserved};
use crate::expr::{Condition, Expression, NamedExecutions, Names, Template};
use crate::form::Form;
use crate::ids::{FlowId, StepNo};
use crate::limits::{Limits, turn_key};
use crate::retry::RetryPolicy;
use crate::trigger::{self, TriggerPlan};
use crate::words::{OnError, OnErrorAction, OnUnknownOutcome, Urgency};

use check::Checker;
pub use kind::{
    ApprovalPlan, Approver, CachePlan, ComputedPlan, ForEachPlan, ParallelPlan, StepKind, SubFlowPlan, SubFlowRef,
    WaitFor, WaitPlan, WhilePlan,
};
pub use output::OutputPlan;
pub use phases::{PhasePlan, RollbackPlan, RollbackTo};

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// RFC 6901, into the document.
    pub pointer: String,
    pub message: String,
    /// Of an expression: its line, and below it a mark at the character that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// Where it stands in the text that the document came as, where it came as text. Both count from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What it lacks can be made without a change of the document: the integration that an action names.
    #[serde(skip)]
    pub is_absence: bool,
}

impl Problem {
    /// What is wrong at a place of the document.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let (pointer, message) = (pointer.into(), message.into());
        Self { pointer, message, excerpt: None, line: None, column: None, is_absence: false }
    }

    /// The same, where the document would be right if what it names existed.
    #[must_use]
    pub fn of_absence(self) -> Self {
        Self { is_absence: true, ..self }
    }

    /// The same, where the document is a part of another.
    #[must_use]
    pub fn within(self, at: &str) -> Self {
        Self { pointer: format!("{at}{}", self.pointer), ..self }
    }

    /// Fills in lines and columns from the document's text.
    pub fn locate(problems: &mut [Self], text: &str) {
        let Some(lines) = Lines::of(text) else { return };
        let places = lines.places(problems.iter().map(|problem| problem.pointer.as_str()));
        for (problem, place) in problems.iter_mut().zip(places) {
            (problem.line, problem.column) = (place.map(|place| place.line), place.map(|place| place.column));
        }
    }
}

/// A checked flow.
#[derive(Debug)]
pub struct FlowPlan {
    pub name: String,
    /// The steps of every run, each followed by those in it, and then the bodies of loops.
    pub steps: Vec<StepPlan>,
    /// How many of the steps have one number in every run; the bodies of loops follow.
    pub fixed: usize,
    /// Steps of which expressions name the execution.
    pub executions: Vec<(Arc<str>, StepNo)>,
    /// What its `trigger_config` says.
    pub trigger: TriggerPlan,
    pub condition: Condition,
    /// What a person fills in who starts it by hand.
    pub form: Option<Form>,
    /// What its runs give; absent: what their last steps gave.
    pub output: Option<OutputPlan>,
    pub deadline_ms: Option<i64>,
    pub requires_approval: bool,
    /// A run of a decision with less confidence waits for a person.
    pub approval_threshold: Option<f64>,
    pub on_error_action: OnErrorAction,
    /// The flow that takes over where a failure asks for that.
    pub fallback: Option<FlowId>,
    /// What bounds how many of its runs go at once, and how fast they start.
    pub limits: Option<Limits>,
    /// By what its executions take turns in the queue ([`Self::turn_of`]).
    pub fairness: Option<Expression>,
    /// By their numbers; empty where no step belongs to one.
    pub phases: Vec<PhasePlan>,
    pub rollback: RollbackPlan,
    pub(crate) ranks: Vec<u32>,
    /// What is legal, and surely not meant; looked for when it is saved.
    pub warnings: Vec<Problem>,
    /// Whether anybody is told when a run of it ends badly.
    pub tells_of_bad_ends: bool,
    /// Whether any of its steps waits for an event.
    pub waits_for_events: bool,
    /// The most steps that one event can release: its roots, or the dependents of one step.
    pub width: usize,
}

/// A checked step.
#[derive(Debug)]
pub struct StepPlan {
    pub id: Arc<str>,
    pub kind: StepKind,
    /// Of an action: its type, by which its executor is called. Of any other step: its type.
    pub action_type: Arc<str>,
    pub action_target: Arc<str>,
    /// Of an action: what it is given. Of a sub-flow: its input. Of any other step: its config, for the log.
    pub payload: Template,
    pub priority: u8,
    pub urgency: Urgency,
    pub scheduled_for: Option<Template>,
    pub expires_in_ms: Option<i64>,
    pub when: Option<Condition>,
    pub retry: RetryPolicy,
    /// Whether the document says how it is tried again: where it does not, its integration may.
    pub retry_is_own: bool,
    /// One attempt's deadline; absent: the executor's own default.
    pub timeout_ms: Option<u64>,
    pub on_error: OnError,
    pub on_unknown_outcome: OnUnknownOutcome,
    pub requires_approval: bool,
    pub inputs: Vec<StepNo>,
    /// How many of the inputs must be satisfied.
    pub needed: usize,
    /// The steps that have this one among their inputs.
    pub dependents: Vec<StepNo>,
    /// The step that it stands in, and in which of its lists of steps.
    pub parent: Option<StepNo>,
    pub lane: u32,
    /// The steps that stand in it directly; a loop's are its body.
    pub children: Vec<StepNo>,
    /// The last step of each of its lists of steps, where that has any: what it gives is what they gave.
    pub last: Vec<Option<StepNo>>,
    pub phase: Option<u32>,
    /// Whether its result may be used again.
    pub cache: Option<CachePlan>,
    /// By what a receiver knows a repetition; absent: by the execution.
    pub idempotency_key: Option<Expression>,
    /// The action that takes it back.
    pub undo: Option<Box<StepPlan>>,
    /// The action that finds out whether a cut-off attempt took effect.
    pub verify: Option<Box<StepPlan>>,
}

/// What a document may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanLimits {
    pub max_steps: usize,
    pub max_document_bytes: usize,
}

impl Default for PlanLimits {
    fn default() -> Self {
        Self { max_steps: 1_000, max_document_bytes: 1 << 20 }
    }
}

/// The roots that a flow's conditions may name: there is no run yet.
const CONDITION_ROOTS: &[&str] = &["trigger", "webhook", "tenant", "now"];

/// What [`FlowPlan::compile`] passes over, because flows of earlier releases, which did not look at it, go on: the
/// `trigger_config`, the `input_schema` and names in the metadata. For a flow that is saved.
pub fn problems_at_the_door(doc: &FlowDocument) -> Vec<Problem> {
    let mut problems = trigger::problems(doc);
    problems.extend(form(doc).err().into_iter().flatten());
    problems.extend(reserved::problems(doc));
    problems.extend(channels::problems(doc));
    problems
}

fn form(doc: &FlowDocument) -> Result<Option<Form>, Vec<Problem>> {
    if doc.input_schema.is_null() {
        return Ok(None);
    }
    let placed = |problem: Problem| problem.within("/input_schema");
    Form::compile(&doc.input_schema).map(Some).map_err(|problems| problems.into_iter().map(placed).collect())
}

impl FlowPlan {
    /// Checks and compiles. `action_types` are those that have an executor here; an unknown one is refused by name.
    pub fn compile(doc: &FlowDocument, action_types: &[&str], limits: &PlanLimits) -> Result<Self, Vec<Problem>> {
        Self::check(doc, action_types, limits, true)
    }

    /// Compiles a document that was checked when it was saved: what a later version of the checker finds in its
    /// expressions is no reason to stop what runs.
    pub fn load(doc: &FlowDocument, action_types: &[&str], limits: &PlanLimits) -> Result<Self, Vec<Problem>> {
        Self::check(doc, action_types, limits, false)
    }

    fn check(
        doc: &FlowDocument,
        action_types: &[&str],
        limits: &PlanLimits,
        is_new: bool,
    ) -> Result<Self, Vec<Problem>> {
        let mut check = Checker::new(action_types);
        check.head(doc, limits);
        if check.is_too_large {
            return Err(check.problems);
        }
        let Some(layout) = layout::lay_out(doc, limits.max_steps, &mut check.problems) else {
            return Err(check.problems);
        };
        let types = is_new.then(|| typing::types(doc, &layout.slots, layout.fixed));
        check.types = types.as_ref();
        let named = NamedExecutions::default();
        check.named = Some(&named);
        // Before there is a run, each trigger stands alone.
        let alone = types.as_ref().map(typing::alone);
        let condition = check.expression("/conditions", || {
            Condition::parse(&doc.conditions, &Names { types: alone.as_ref(), ..Names::new(CONDITION_ROOTS, &[]) })
        });
        let limits = check.limits(doc, alone.as_ref());
        let fairness = check.optional("/limits/fairness/key", || turn_key(doc, alone.as_ref()));
        let phases = check.phases(doc, &layout);
        let rollback = check.rollback(doc, phases.len());
        let outer = layout.slots.iter().filter(|slot| !slot.in_loop).map(|slot| slot.step.id.as_str());
        let output = check.output(&doc.output_schema, &outer.collect::<Vec<_>>());
        let steps: Vec<Option<StepPlan>> = (0..layout.slots.len()).map(|no| check.step(doc, &layout, no)).collect();
        if !check.problems.is_empty() {
            return Err(check.problems);
        }
        let steps: Vec<StepPlan> = steps.into_iter().flatten().collect();
        let roots = steps.iter().filter(|s| s.inputs.is_empty() && s.parent.is_none()).count();
        let waits_for_events = steps.iter().any(StepPlan::waits_for_event);
        let width = steps.iter().map(|s| s.dependents.len().max(s.children.len())).max().unwrap_or(0).max(roots);
        Ok(Self {
            name: doc.flow_name.clone(),
            ranks: ranks(&steps),
            executions: executions(&named, &steps[..layout.fixed]),
            steps,
            fixed: layout.fixed,
            width,
            trigger: TriggerPlan::compile(doc),
            condition: condition.expect("no problems were found"),
            form: form(doc).ok().flatten(),
            output,
            deadline_ms: doc.max_execution_time_seconds.map(seconds_to_ms),
            requires_approval: doc.requires_approval,
            approval_threshold: doc.approval_threshold,
            on_error_action: doc.on_error_action,
            fallback: doc.fallback_flow_id,
            limits,
            fairness,
            phases,
            rollback,
            warnings: check.warnings,
            waits_for_events,
            tells_of_bad_ends: channels::tell(&doc.error_notification_channels),
        })
    }
}

/// The steps of which expressions name the execution, with their numbers.
fn executions(named: &NamedExecutions, steps: &[StepPlan]) -> Vec<(Arc<str>, StepNo)> {
    let numbered = (0..).zip(steps).filter(|(_, step)| named.has(&step.id));
    numbered.map(|(no, step)| (step.id.clone(), no)).collect()
}

impl StepPlan {
    /// Whether it waits for an event.
    pub fn waits_for_event(&self) -> bool {
        matches!(self.kind, StepKind::Wait(WaitPlan { what: WaitFor::Event { .. }, .. }))
    }
}

impl FlowPlan {
    /// Where a step comes in the order of its graph, among those that stand where it stands: later than all that it waits
    /// for.
    pub fn rank(&self, no: StepNo) -> u32 {
        self.ranks[no as usize]
    }
}

/// How many steps, at most, come one after the other before each. A step comes after its inputs, and after all steps of
/// the phases before its own.
fn ranks(steps: &[StepPlan]) -> Vec<u32> {
    // Between two phases stands a node of its own: an edge from each step of the one, and to each of the other.
    let phase_of = |step: &StepPlan| step.phase.filter(|_| step.parent.is_none()).map(|phase| phase as usize);
    let phases = steps.iter().filter_map(phase_of).max().unwrap_or(0);
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); steps.len() + phases];
    for (no, step) in steps.iter().enumerate() {
        after[no].extend(step.dependents.iter().map(|next| *next as usize));
        if let Some(phase) = phase_of(step) {
            after[no].push(steps.len() + phase - 1);
            if phase > 1 {
                after[steps.len() + phase - 2].push(no);
            }
        }
    }
    let mut missing = vec![0_usize; after.len()];
    after.iter().flatten().for_each(|next| missing[*next] += 1);
    let mut ranks = vec![0; after.len()];
    let mut ready: Vec<usize> = (0..after.len()).filter(|no| missing[*no] == 0).collect();
    while let Some(no) = ready.pop() {
        for next in &after[no] {
            ranks[*next] = ranks[*next].max(ranks[no] + 1);
            missing[*next] -= 1;
            if missing[*next] == 0 {
                ready.push(*next);
            }
        }
    }
    ranks.truncate(steps.len());
    ranks
}

/// The steps of a document that has some in others, one after the other, as runs number them: what readers of the tables
/// need. Each names all its inputs, its type, and the step that it stands in by its number, from 1. `None` for a document
/// whose own list says as much.
pub fn listed(doc: &FlowDocument) -> Option<Vec<serde_json::Value>> {
    let layout = layout::lay_out(doc, usize::MAX, &mut Vec::new())?;
    (layout.slots.len() > doc.flow_steps.len()).then(|| layout.listed())
}

/// Total: a number that is too large is a problem that is noted elsewhere, not a panic.
fn seconds_to_ms(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
