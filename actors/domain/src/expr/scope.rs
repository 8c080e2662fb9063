//! What expressions may name, and where an expression stands.
//!
//! A scope is built for every step of every run, so it shares everything: making or cloning one
//! counts references and copies nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::output::Output;
use super::types::Types;
use crate::suggest::{closest, did_you_mean, meant_or_known};

/// Every root that a scope can supply, in the order in which messages list them. `loop` stands only in the bodies of
/// loops, `event` only where one is matched, `secrets` only where a place says so.
pub const ROOTS: &[&str] =
    &["trigger", "webhook", "input", "steps", "vars", "loop", "event", "flow", "run", "tenant", "now", "secrets"];

/// What expressions may name. Cheap to build: everything is shared.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The event that started the run.
    pub trigger: Arc<Value>,
    /// The request that brought it, where there was one: headers, query, method.
    pub webhook: Arc<Value>,
    /// The run's input, checked by the flow's schema.
    pub input: Arc<Value>,
    /// What the steps before have come to, by their id.
    pub steps: StepViews,
    /// What `set` steps have set so far.
    pub vars: Arc<Value>,
    /// Of the loop that the step stands in: `item` and `index`; null outside of loops.
    pub round: Arc<Value>,
    /// The event that a wait looks at; null elsewhere.
    pub event: Arc<Value>,
    /// The flow: its name, version and parameters.
    pub flow: Arc<Value>,
    /// The run: its id, attempt and times.
    pub run: Arc<Value>,
    /// The tenant: its id, name and settings.
    pub tenant: Arc<Value>,
    /// The time of the evaluation; given, so that it can be repeated.
    pub now: DateTime<Utc>,
    /// Secrets by name; null where none may be named.
    pub secrets: Arc<Value>,
}

/// The steps before, by their id: those of the flow, and those of each round of a loop that the place stands in.
#[derive(Clone, Debug, Default)]
pub struct StepViews {
    layers: Vec<Arc<BTreeMap<Arc<str>, StepView>>>,
    /// The ids of executions that are named, by their steps: known from the beginning of the run.
    executions: Option<Arc<BTreeMap<Arc<str>, Box<str>>>>,
}

impl StepViews {
    /// The steps of the flow itself.
    pub fn of_flow(steps: Arc<BTreeMap<Arc<str>, StepView>>) -> Self {
        Self { layers: vec![steps], executions: None }
    }

    /// With the executions of these steps, whether they have ended or not.
    #[must_use]
    pub fn with_executions(self, executions: Arc<BTreeMap<Arc<str>, Box<str>>>) -> Self {
        Self { executions: Some(executions), ..self }
    }

    /// The execution of a step.
    pub(super) fn execution(&self, id: &str) -> Option<&str> {
        self.executions.as_ref()?.get(id).map(|execution| &**execution)
    }

    /// With those of a round inside of what there is.
    #[must_use]
    pub fn with_round(mut self, steps: Arc<BTreeMap<Arc<str>, StepView>>) -> Self {
        self.layers.push(steps);
        self
    }

    /// The step of this id; ids are unique in a flow.
    pub fn get(&self, id: &str) -> Option<&StepView> {
        self.layers.iter().rev().find_map(|steps| steps.get(id))
    }
}

/// One step as expressions see it: `steps.ID.status`, `.output` and `.error`.
#[derive(Clone, Debug)]
pub struct StepView {
    /// The status by its persisted name.
    pub status: &'static str,
    /// The result; null until there is one.
    pub output: Output,
    /// The message of the failure; null in expressions when there was none.
    pub error: Option<Arc<str>>,
}

/// What can also follow the id of a step that has not ended: it is known from the beginning.
pub(super) const EXECUTION: &str = "execution_id";

/// What can follow `steps.ID`.
pub(super) const STEP_MEMBERS: &[&str] = &["output", "status", "error"];

/// Where an expression stands, for the checker: which roots it may use and which step ids exist
/// before it. A root that is not one of [`ROOTS`] is never known, whatever this says.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Roots that exist at this place, a subset of [`ROOTS`].
    pub roots: &'a [&'a str],
    /// Ids of the steps that end before this place is reached.
    pub steps: &'a [&'a str],
    /// What is known of their types. None: types and costs are not checked, because they were when it was saved, and
    /// what a later version of the checker finds is no reason to stop what runs.
    pub types: Option<&'a Types>,
    /// Where it is noted of which steps the execution is named; None: nobody asks.
    pub named: Option<&'a NamedExecutions>,
}

/// The steps of which expressions name the execution, as `steps.ID.execution_id`.
#[derive(Debug, Default)]
pub struct NamedExecutions(RefCell<BTreeSet<String>>);

impl NamedExecutions {
    /// Whether one of the expressions names that of this step.
    pub fn has(&self, id: &str) -> bool {
        self.0.borrow().contains(id)
    }
}

impl<'a> Names<'a> {
    /// These roots and steps, of unchecked types.
    pub const fn new(roots: &'a [&'a str], steps: &'a [&'a str]) -> Self {
        Self { roots, steps, types: None, named: None }
    }

    /// The same, with types to be checked by.
    #[must_use]
    pub const fn typed(self, types: &'a Types) -> Self {
        Self { types: Some(types), ..self }
    }
}

const NO_SECRETS: &str = "a secret can be named in the payload of an action alone, as `{{ secrets.NAME }}`";

impl Names<'_> {
    /// Refuses a root that does not exist here, with the list of those that do.
    pub(super) fn check_root(&self, name: &str) -> Result<(), String> {
        if ROOTS.contains(&name) && self.roots.contains(&name) {
            return Ok(());
        }
        if name == "secrets" {
            return Err(NO_SECRETS.to_owned());
        }
        if name == "loop" {
            return Err("`loop` can be named only in the body of a loop".to_owned());
        }
        let known: Vec<&str> = ROOTS.iter().copied().filter(|root| self.roots.contains(root)).collect();
        let known = if known.is_empty() { vec!["nothing"] } else { known };
        Err(format!("unknown name `{name}`{}", meant_or_known(name, &known, "known here:")))
    }

    /// Refuses a step that does not end before this place.
    pub(super) fn check_step(&self, id: &str) -> Result<(), String> {
        if self.steps.contains(&id) {
            return Ok(());
        }
        let steps: &[&str] = if self.steps.is_empty() { &["none"] } else { nearest(self.steps) };
        let rest = match closest(id, self.steps.iter().copied()) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None => format!("; steps before it: {}", steps.join(", ")),
        };
        Err(format!("no step `{id}` before this place{rest}"))
    }
}

impl Names<'_> {
    /// Notes a step whose execution is named, and refuses one that has no execution of its own in each run. A document that
    /// was checked names none.
    pub(super) fn check_execution(&self, id: &str) -> Result<(), String> {
        if let Some(named) = self.named {
            named.0.borrow_mut().insert(id.to_owned());
        }
        let Some(types) = self.types.filter(|types| !types.executions.contains(id)) else { return Ok(()) };
        let guess = did_you_mean(id, types.executions.iter().map(String::as_str));
        Err(format!("no step `{id}` outside of the bodies of loops{guess}"))
    }
}

/// The steps next to the place, which are last; a list of a thousand helps nobody.
fn nearest<'s, 'n>(steps: &'s [&'n str]) -> &'s [&'n str] {
    const SHOWN: usize = 12;
    &steps[steps.len().saturating_sub(SHOWN)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_list_the_known_ones() {
        let names = Names::new(&["now", "trigger"], &["a"]);
        assert_eq!(names.check_root("trigger"), Ok(()));
        assert_eq!(names.check_root("x").unwrap_err(), "unknown name `x`; known here: trigger, now");
        assert!(names.check_root("triger").unwrap_err().ends_with("did you mean `trigger`?"));
        assert!(names.check_root("loop").unwrap_err().contains("body of a loop"));
        assert_eq!(Names::new(&["loop"], &[]).check_root("loop"), Ok(()));
        assert!(names.check_root("secrets").unwrap_err().contains("payload of an action"));
        assert_eq!(names.check_step("a"), Ok(()));
        assert_eq!(names.check_step("b").unwrap_err(), "no step `b` before this place; steps before it: a");
    }
}
