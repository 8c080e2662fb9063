//! Steps that need nothing but what is known: transform, set, raise, stop.

use serde_json::{Map, Value};

use super::decide::Decider;
use super::{Change, Closing};
use crate::expr::{Expression, Template};
use crate::ids::StepNo;
use crate::log::Failure;
use crate::words::StopStatus;

/// Bytes of all that `set` steps have set.
const MAX_VARS_BYTES: usize = 64 * 1024;

impl Decider<'_> {
    pub(super) fn transform(&mut self, no: StepNo, values: &[(String, Expression)]) {
        match self.computed(no, values) {
            Ok(values) => self.completes(no, Value::Object(values)),
            Err(failure) => self.fails(no, failure),
        }
    }

    /// What it sets is known to every step after it, as `vars.NAME`, and can be set again.
    pub(super) fn set(&mut self, no: StepNo, values: &[(String, Expression)]) {
        match self.computed(no, values) {
            Ok(computed) => self.known_from_now_on(no, computed),
            Err(failure) => self.fails(no, failure),
        }
    }

    /// The same of values that are templates.
    pub(super) fn assign(&mut self, no: StepNo, values: &[(String, Template)]) {
        let scope = self.draft.scope(no, self.live(no).released_at_ms);
        let rendered = values.iter().map(|(name, value)| match value.render(&scope) {
            Ok(value) => Ok((name.clone(), value)),
            Err(e) => Err(Failure::fatal("template_error", format!("{name}: {e}"))),
        });
        match rendered.collect::<Result<Map<_, _>, _>>() {
            Ok(rendered) => self.known_from_now_on(no, rendered),
            Err(failure) => self.fails(no, failure),
        }
    }

    fn known_from_now_on(&mut self, no: StepNo, computed: Map<String, Value>) {
        let mut vars = self.state().vars.as_object().cloned().unwrap_or_default();
        vars.extend(computed.clone());
        let vars = Value::Object(vars);
        let bytes = vars.to_string().len();
        if bytes > MAX_VARS_BYTES {
            let message = format!("the run's values would have {bytes} bytes; at most {MAX_VARS_BYTES} are kept");
            return self.fails(no, Failure::fatal("too_large", message));
        }
        self.emit(Change::VarsSet { values: vars.into() });
        self.completes(no, Value::Object(computed));
    }

    fn computed(&self, no: StepNo, values: &[(String, Expression)]) -> Result<Map<String, Value>, Failure> {
        let scope = self.draft.scope(no, self.live(no).released_at_ms);
        let mut computed = Map::new();
        for (name, expression) in values {
            let value = expression.evaluate(&scope);
            let value = value.map_err(|e| Failure::fatal("expression_error", format!("{name}: {e}")))?;
            computed.insert(name.clone(), value);
        }
        Ok(computed)
    }

    pub(super) fn raise(&mut self, no: StepNo, error: &str, message: &Template) {
        let scope = self.draft.scope(no, self.live(no).released_at_ms);
        let failure = match message.render(&scope) {
            Ok(Value::String(message)) => Failure::fatal(error, message),
            Ok(other) => Failure::fatal(error, other.to_string()),
            Err(e) => Failure::fatal("template_error", e.to_string()),
        };
        self.fails(no, failure);
    }

    pub(super) fn stop(&mut self, no: StepNo, status: StopStatus, output: &Template) {
        let scope = self.draft.scope(no, self.live(no).released_at_ms);
        let output = match output.render(&scope) {
            Ok(output) => output,
            Err(e) => return self.fails(no, Failure::fatal("template_error", e.to_string())),
        };
        if !output.is_null() {
            self.emit(Change::OutputSet { output: output.clone().into() });
        }
        self.completes(no, output);
        let id = self.plan(no).id.clone();
        match status {
            StopStatus::Completed => self.close(Closing::Stopped, ""),
            StopStatus::Failed => self.close(Closing::StoppedFailed, &format!("step '{id}' stopped it as failed")),
            StopStatus::Cancelled => self.close(Closing::StoppedCancelled, &format!("step '{id}' cancelled it")),
        }
    }
}
