//! What is known of the names in a document's expressions before there is a run.

use super::inside;
use super::layout::Slot;
use crate::document::{FlowDocument, StepConfig};
use crate::expr::{Type, Types};
use crate::run;
use crate::words::RunStatus;

/// Actions that make an HTTP request, and so have its answer for an output.
const HTTP_ACTIONS: [&str; 2] = ["api_call", "trigger_webhook"];

/// The types of a flow's names: its input by its schema, its steps' outputs by what the steps do. The first `fixed` slots
/// have one execution in each run.
pub(super) fn types(doc: &FlowDocument, slots: &[Slot], fixed: usize) -> Types {
    let outputs = slots.iter().filter_map(|slot| Some((slot.step.id.clone(), output(&slot.config)?))).collect();
    let input = Type::of_schema(&doc.input_schema);
    let is_batch = doc.limits.as_ref().is_some_and(|limits| limits.batch.is_some());
    let input = if is_batch { batch(input) } else { input };
    let trigger = if is_batch { batch(Type::Dyn) } else { Type::Dyn };
    let executions = slots[..fixed].iter().map(|slot| slot.step.id.clone()).collect();
    Types { trigger, input, outputs, executions, ..run::known_types() }
}

/// The same for what looks at a trigger before there is a run.
pub(super) fn alone(types: &Types) -> Types {
    Types { trigger: Type::Dyn, ..types.clone() }
}

/// What a run has whose triggers were gathered.
fn batch(event: Type) -> Type {
    Type::object([("count", Type::Int), ("events", Type::list(event))])
}

/// The output of a step that has one of a known shape; null where it was skipped or has failed.
fn output(config: &StepConfig) -> Option<Type> {
    let given = match config {
        StepConfig::Action(action) if HTTP_ACTIONS.contains(&action.action_type.as_str()) => {
            Type::object([("status", Type::Int), ("headers", Type::Dyn), ("body", Type::Dyn)])
        }
        StepConfig::Action(action) => inside::output(action)?,
        StepConfig::Approval(approval) => {
            let form = Type::optional(Type::of_schema(&approval.form));
            let (approved, more) = (("approved", Type::Bool), ("forms", Type::Dyn));
            Type::object([approved, ("approved_by", Type::Dyn), ("notes", Type::Dyn), ("form", form), more])
        }
        StepConfig::Branch(_) => Type::object([("case", Type::Dyn), ("output", Type::Dyn)]),
        StepConfig::ForEach(_) => {
            Type::object([("count", Type::Int), ("failed", Type::Int), ("results", Type::list(Type::Dyn))])
        }
        StepConfig::While(_) => Type::object([("iterations", Type::Int), ("output", Type::Dyn)]),
        // A branch that did not complete is not among them.
        StepConfig::Parallel(parallel) => named(parallel.branches.iter().map(|lane| lane.id.as_str())),
        StepConfig::SubFlow(sub) if sub.wait => {
            let status = Type::Word(RunStatus::WORDS);
            Type::object([("run_id", Type::Text), ("run_status", status), ("output", Type::Dyn)])
        }
        StepConfig::SubFlow(_) => Type::object([("run_id", Type::Text)]),
        StepConfig::Wait(_) => waited(),
        StepConfig::Transform(values) | StepConfig::Set(values) => named(values.values.keys().map(String::as_str)),
        StepConfig::Raise(_) | StepConfig::Stop(_) => return None,
    };
    Some(Type::optional(given))
}

/// What a wait gives.
pub(super) fn waited() -> Type {
    Type::object([("timed_out", Type::Bool), ("payload", Type::Dyn)])
}

/// An object of these names, whose values nobody knows.
pub(super) fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Type {
    Type::closed(names.into_iter().map(|name| (name, Type::Dyn)))
}
