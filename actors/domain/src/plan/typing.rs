//! What is known of the names in a document's expressions before there is a run.

use super::layout::Slot;
use crate::document::{FlowDocument, StepConfig};
use crate::expr::{Type, Types};
use crate::run;

/// Actions that make an HTTP request, and so have its answer for an output.
const HTTP_ACTIONS: [&str; 2] = ["api_call", "trigger_webhook"];

/// The types of a flow's names: its input by its schema, its steps' outputs by what the steps do.
pub(super) fn types(doc: &FlowDocument, slots: &[Slot]) -> Types {
    let outputs = slots.iter().filter_map(|slot| Some((slot.step.id.clone(), output(&slot.config)?))).collect();
    Types { input: Type::of_schema(&doc.input_schema), outputs, ..run::known_types() }
}

/// The output of a step that has one of a known shape; null where it was skipped or has failed.
fn output(config: &StepConfig) -> Option<Type> {
    match config {
        StepConfig::Action(action) if HTTP_ACTIONS.contains(&action.action_type.as_str()) => {
            let answer = [("status", Type::Int), ("headers", Type::Dyn), ("body", Type::Dyn)];
            Some(Type::optional(Type::object(answer)))
        }
        StepConfig::Approval(approval) => {
            let form = Type::optional(Type::of_schema(&approval.form));
            let (approved, more) = (("approved", Type::Bool), ("forms", Type::Dyn));
            let fields = [approved, ("approved_by", Type::Dyn), ("notes", Type::Dyn), ("form", form), more];
            Some(Type::optional(Type::object(fields)))
        }
        _ => None,
    }
}
