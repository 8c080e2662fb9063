//! What a trigger is to a flow that gathers.

use std::sync::Arc;

use core314_domain::Json;
use core314_domain::ids::{ExecutionId, RunId, StepNo};
use core314_domain::limits::{Limits, batch_of, events_of};
use core314_domain::run::RunHeader;

use super::{Accepted, Target, Trigger, TriggerError, json_bytes};
use crate::plans::ReadyFlow;
use crate::sub_runs::SubRuns;

/// Gives the header of a new run the form that its flow wants, and says how much it brings where it joins others. `None`: it
/// is a run of its own.
pub(super) fn shape(
    header: &mut RunHeader,
    flow: &ReadyFlow,
    trigger: &Trigger,
) -> Result<Option<usize>, TriggerError> {
    let Some(terms) = flow.plan.limits.as_ref().and_then(Limits::terms) else { return Ok(None) };
    let is_again = matches!(trigger.target, Target::Again { .. } | Target::Restart(_));
    let bytes = json_bytes(&header.trigger_context);
    let has_own_input = !Arc::ptr_eq(&header.trigger_context, &header.input);
    let bytes = bytes + if has_own_input { json_bytes(&header.input) } else { 0 };
    // What is done again was gathered before.
    if terms.is_batch() && !(is_again && events_of(&header.trigger_context).is_some()) {
        header.trigger_context = alone(&header.trigger_context);
        header.input = if has_own_input { alone(&header.input) } else { header.trigger_context.clone() };
    }
    // A step waits for the run that it starts, and for no other.
    if is_again || SubRuns::is_sub_run(header) {
        return Ok(None);
    }
    if matches!(trigger.target, Target::Scheduled(_)) {
        // What the schedule says of overlaps is for runs that begin at once.
        header.run_key = None;
    } else if header.run_key.is_some() {
        let message = format!(
            "several triggers become one run here (limits.{}), which cannot have the run_key of one of them: leave it out",
            terms.word()
        );
        return Err(TriggerError::LimitKey { flow: flow.flow.name.to_string(), message });
    }
    // Its time begins with its run.
    header.deadline_at_ms = None;
    Ok(Some(bytes))
}

/// A batch of one.
pub(super) fn alone(event: &Json) -> Json {
    Arc::new(batch_of(vec![event.as_ref().clone()]))
}

impl Accepted {
    /// The same of a trigger that has joined this run of its flow's version.
    #[must_use]
    pub fn joining(self, run: RunId) -> Self {
        let executions: Vec<ExecutionId> = (0..self.executions.len() as StepNo).map(|no| run.execution(no)).collect();
        Self { run, executions, ..self }
    }
}
