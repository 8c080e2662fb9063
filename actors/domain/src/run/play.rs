//! How a step ends in a run that is played: as somebody says, whatever it waits for.

use serde_json::Value;

use super::decide::{Decider, Grant};
use super::step::StepStatus;
use super::{Decision, Run};
use crate::Json;
use crate::ids::StepNo;
use crate::log::Failure;

/// The end of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    Completed(Json),
    Failed(Failure),
    /// Without a result or an error: rejected, expired, or cancelled.
    Without(StepStatus),
}

impl Run {
    /// The step ends so. For runs that are played alone: those that happen end their steps by what happens.
    pub(crate) fn end_as(&self, no: StepNo, ending: &Ending, grant: Grant<'_>, now_ms: i64) -> Decision {
        let mut decider = Decider::new(self, grant, now_ms);
        let is_live = self.state.get(no).is_some_and(|step| step.live.is_some());
        match ending {
            _ if !is_live => {}
            Ending::Completed(result) => decider.completes(no, Value::clone(result)),
            Ending::Failed(failure) => decider.fails(no, failure.clone()),
            Ending::Without(status) => decider.end_badly(no, *status, "it ended so before"),
        }
        decider.decided(self)
    }
}
