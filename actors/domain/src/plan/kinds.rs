//! Steps that are no actions: what their configs must hold.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::check::{Checker, blank, event_roots};
use super::kind::{
    ApprovalPlan, Approver, ComputedPlan, ForEachPlan, ParallelPlan, StepKind, SubFlowPlan, SubFlowRef, WaitFor,
    WaitPlan, WhilePlan,
};
use super::layout::{Layout, Slot};
use super::{Problem, StepPlan};
use crate::document::{
    ApprovalDocument, ComputedDocument, ForEachDocument, ParallelDocument, StepConfig, SubFlowDocument, ValuesDocument,
    WaitDocument, WhileDocument,
};
use crate::expr::{Condition, Expression, Names, Template};
use crate::form::Form;
use crate::retry::RetryPolicy;
use crate::words::{OnApprovalTimeout, OnLoopError};

/// Values that one step computes or sets.
pub(super) const MAX_VALUES: usize = 100;
const YEAR_SECONDS: f64 = 31_536_000.0;

impl Checker<'_> {
    /// The plan of a step that is no action, as far as its config says it.
    pub(super) fn other(
        &mut self,
        layout: &Layout,
        no: usize,
        names: &Names<'_>,
        retry: &RetryPolicy,
    ) -> Option<StepPlan> {
        let slot = &layout.slots[no];
        let at = format!("{}/config", slot.at);
        let kind = match &slot.config {
            StepConfig::Action(_) => return None,
            StepConfig::Approval(approval) => Some(self.approval(&at, approval)),
            StepConfig::Branch(branch) => {
                let conditions = branch.cases.iter().enumerate().map(|(no, case)| {
                    self.expression(&format!("{at}/cases/{no}/when"), || Condition::parse(&case.when, names))
                });
                let conditions: Vec<Option<Condition>> = conditions.collect();
                if conditions.is_empty() {
                    self.problem(format!("{at}/cases"), "must have at least one case");
                }
                conditions.into_iter().collect::<Option<Vec<_>>>().map(StepKind::Branch)
            }
            StepConfig::ForEach(each) => self.for_each(&at, slot, each, names),
            StepConfig::While(each) => self.while_loop(layout, &at, slot, each, names),
            StepConfig::Parallel(parallel) => Some(self.parallel(&at, parallel)),
            StepConfig::SubFlow(sub) => self.sub_flow(&at, sub),
            StepConfig::Wait(wait) => self.wait(&at, wait, names),
            StepConfig::Transform(values) => self.values(&at, values, names).map(StepKind::Transform),
            StepConfig::Set(values) => self.values(&at, values, names).map(StepKind::Set),
            StepConfig::Raise(raise) => {
                let error = raise.error.clone();
                self.length(&format!("{at}/error"), &error, 100);
                let message = self.text(&format!("{at}/message"), &raise.message, names);
                message.map(|message| StepKind::Raise { error, message })
            }
            StepConfig::Stop(stop) => {
                let output = self.expression(&format!("{at}/output"), || Template::parse(&stop.output, names));
                output.map(|output| StepKind::Stop { status: stop.status, output })
            }
        };
        let payload = match &slot.config {
            StepConfig::SubFlow(sub) => match &sub.steps {
                None => self.expression(&format!("{at}/input"), || Template::parse(&sub.input, names)),
                Some(computed) => {
                    let both = serde_json::json!({"steps": computed.from, "input": sub.input});
                    self.expression(&at, || Template::parse(&both, names))
                }
            },
            _ => Some(Template::constant(shown(&slot.step.config))),
        };
        Some(blank(&slot.step.id, kind?, payload?, retry))
    }

    fn text(&mut self, at: &str, text: &str, names: &Names<'_>) -> Option<Template> {
        self.expression(at, || Template::parse(&Value::String(text.to_owned()), names))
    }

    pub(super) fn length(&mut self, at: &str, text: &str, most: usize) {
        if text.trim().is_empty() || text.chars().count() > most {
            self.problem(at, format!("must have 1 to {most} characters"));
        }
    }

    fn seconds(&mut self, at: &str, seconds: Option<f64>) -> Option<i64> {
        if seconds.is_some_and(|s| !(s > 0.0 && s <= YEAR_SECONDS)) {
            self.problem(at, "must be more than 0 and at most 31536000 (a year)");
        }
        seconds.map(|s| (s * 1_000.0) as i64)
    }

    fn approval(&mut self, at: &str, approval: &ApprovalDocument) -> StepKind {
        let mut approvers = Vec::new();
        for (no, text) in approval.approvers.iter().enumerate() {
            match approver(text) {
                Ok(approver) => approvers.push(approver),
                Err(message) => self.problem(format!("{at}/approvers/{no}"), message),
            }
        }
        if approval.approvers.len() > 100 {
            self.problem(format!("{at}/approvers"), "must name at most 100");
        }
        if !(1..=100).contains(&approval.required) {
            self.problem(format!("{at}/required"), "must be 1 to 100");
        }
        let people = approvers.iter().filter(|a| matches!(a, Approver::User(_))).count();
        if !approvers.is_empty() && people == approvers.len() && approval.required as usize > people {
            self.problem(format!("{at}/required"), format!("only {people} can decide: it could never be approved"));
        }
        if approval.on_timeout == OnApprovalTimeout::Escalate && approval.timeout_seconds.is_none() {
            self.problem(format!("{at}/on_timeout"), "needs timeout_seconds: without a time nothing is overdue");
        }
        let timeout_ms = self.seconds(&format!("{at}/timeout_seconds"), approval.timeout_seconds);
        StepKind::Approval(ApprovalPlan {
            approvers,
            required: approval.required as usize,
            allow_self: approval.allow_self,
            form: self.form(&format!("{at}/form"), &approval.form),
            timeout_ms,
            on_timeout: approval.on_timeout,
        })
    }

    /// A JSON Schema that says what people fill in; null: nothing.
    fn form(&mut self, at: &str, schema: &Value) -> Option<Box<Form>> {
        if schema.is_null() {
            return None;
        }
        let compiled = Form::compile(schema).map(Box::new);
        if self.types.is_none() {
            // It was saved when forms were not looked at: whatever is filled in is taken, as then.
            return compiled.ok();
        }
        compiled.map_err(|found| self.problems.extend(found.into_iter().map(|problem| problem.within(at)))).ok()
    }

    fn for_each(&mut self, at: &str, slot: &Slot, each: &ForEachDocument, names: &Names<'_>) -> Option<StepKind> {
        if each.steps.is_empty() {
            self.problem(format!("{at}/steps"), "must have at least one step");
        }
        if !(1..=1_000).contains(&each.concurrency) {
            self.problem(format!("{at}/concurrency"), "must be 1 to 1000");
        }
        if each.batch_size.is_some_and(|size| !(1..=100_000).contains(&size)) {
            self.problem(format!("{at}/batch_size"), "must be 1 to 100000");
        }
        let collection =
            self.expression(&format!("{at}/collection"), || Expression::parse_list(&each.collection, names))?;
        Some(StepKind::ForEach(ForEachPlan {
            collection,
            concurrency: each.concurrency,
            batch_size: each.batch_size,
            stops_on_error: each.on_error == OnLoopError::Stop,
            body: slot.body.clone(),
        }))
    }

    /// The condition may also name the steps of the body: what the round before gave.
    fn while_loop(
        &mut self,
        layout: &Layout,
        at: &str,
        slot: &Slot,
        each: &WhileDocument,
        names: &Names<'_>,
    ) -> Option<StepKind> {
        if each.steps.is_empty() {
            self.problem(format!("{at}/steps"), "must have at least one step");
        }
        if !(1..=100_000).contains(&each.max_iterations) {
            self.problem(format!("{at}/max_iterations"), "must be 1 to 100000");
        }
        let body = &layout.slots[slot.body.start as usize..slot.body.end as usize];
        let mut steps: Vec<&str> = names.steps.to_vec();
        steps.extend(body.iter().map(|slot| slot.step.id.as_str()));
        let names = self.names(super::check::roots(true), &steps);
        let condition = self.expression(&format!("{at}/condition"), || Condition::parse(&each.condition, &names))?;
        let max_iterations = each.max_iterations;
        Some(StepKind::While(WhilePlan { condition, max_iterations, body: slot.body.clone() }))
    }

    fn parallel(&mut self, at: &str, parallel: &ParallelDocument) -> StepKind {
        if parallel.branches.is_empty() {
            self.problem(format!("{at}/branches"), "must have at least one branch");
        }
        for (no, lane) in parallel.branches.iter().enumerate() {
            let at = format!("{at}/branches/{no}");
            self.length(&format!("{at}/id"), &lane.id, 64);
            if parallel.branches[..no].iter().any(|earlier| earlier.id == lane.id) {
                self.problem(format!("{at}/id"), format!("'{}' is the id of another branch too", lane.id));
            }
            if lane.steps.is_empty() {
                self.problem(format!("{at}/steps"), "must have at least one step");
            }
        }
        let needed = self.count(&format!("{at}/join"), &parallel.join, parallel.branches.len());
        let lanes = parallel.branches.iter().map(|lane| lane.id.as_str().into()).collect();
        StepKind::Parallel(ParallelPlan { lanes, needed })
    }

    fn sub_flow(&mut self, at: &str, sub: &SubFlowDocument) -> Option<StepKind> {
        let flow = match (&sub.flow_name, sub.flow_id, &sub.steps) {
            (Some(name), None, None) => SubFlowRef::Name(name.clone()),
            (None, Some(id), None) => SubFlowRef::Id(id),
            (None, None, Some(computed)) => self.computed(at, sub, computed),
            _ => {
                self.problem(at, "must name the flow, by flow_name or by flow_id, or have steps");
                return None;
            }
        };
        if sub.version.is_some_and(|version| version < 1) {
            self.problem(format!("{at}/version"), "versions count from 1");
        }
        Some(StepKind::SubFlow(SubFlowPlan { flow, version: sub.version, waits: sub.wait }))
    }

    fn computed(&mut self, at: &str, sub: &SubFlowDocument, computed: &ComputedDocument) -> SubFlowRef {
        if sub.version.is_some() {
            self.problem(format!("{at}/version"), "computed steps have no version");
        }
        if !(1..=1_000).contains(&computed.max) {
            self.problem(format!("{at}/steps/max"), "must be 1 to 1000");
        }
        if computed.action_types.is_empty() {
            self.problem(format!("{at}/steps/action_types"), "must name the types of action that the steps may have");
        }
        for (no, word) in computed.action_types.iter().enumerate() {
            self.action_type(&format!("{at}/steps/action_types/{no}"), word);
        }
        let (action_types, max) = (computed.action_types.clone(), computed.max as usize);
        SubFlowRef::Computed(Arc::new(ComputedPlan { action_types, max }))
    }

    pub(super) fn wait(&mut self, at: &str, wait: &WaitDocument, names: &Names<'_>) -> Option<StepKind> {
        let given = [!wait.seconds.is_null(), wait.until.is_some(), wait.signal.is_some(), wait.event.is_some()];
        if given.iter().filter(|is_given| **is_given).count() != 1 {
            self.problem(at, "must have exactly one of seconds, until, signal and event");
            return None;
        }
        let timeout_ms = self.seconds(&format!("{at}/timeout_seconds"), wait.timeout_seconds);
        let is_time = given[0] || given[1];
        if is_time && timeout_ms.is_some() {
            self.problem(format!("{at}/timeout_seconds"), "a wait for a time ends by itself");
        }
        let what = if given[0] {
            self.wait_seconds(at, &wait.seconds, names)?
        } else if let Some(until) = &wait.until {
            self.wait_until(at, until, names)?
        } else if let Some(signal) = &wait.signal {
            self.length(&format!("{at}/signal"), signal, 100);
            WaitFor::Signal(signal.as_str().into())
        } else {
            let event = wait.event.as_ref()?;
            self.length(&format!("{at}/event/type"), &event.kind, 200);
            let key = self.expression(&format!("{at}/event/key"), || Expression::parse(&event.key, names));
            let names = Names { roots: event_roots(names.roots.contains(&"loop")), ..*names };
            let matches = event.matches.as_ref().map(|text| {
                self.expression(&format!("{at}/event/match"), || Condition::parse(&text.as_str().into(), &names))
            });
            let matches = matches.map_or(Some(None), |found| found.map(Some))?;
            WaitFor::Event { kind: event.kind.as_str().into(), key: key?, matches }
        };
        Some(StepKind::Wait(WaitPlan { what, timeout_ms, on_timeout: wait.on_timeout }))
    }

    /// A time that is no template can be read now. One that was saved when nobody looked fails its step, as then.
    fn wait_until(&mut self, at: &str, until: &str, names: &Names<'_>) -> Option<WaitFor> {
        let pointer = format!("{at}/until");
        let is_template = until.contains("{{") || until.contains("{%");
        if self.types.is_some() && !is_template && chrono::DateTime::parse_from_rfc3339(until).is_err() {
            let message = format!("'{until}' is not an RFC 3339 time, such as 2030-01-31T08:00:00Z, nor a template");
            self.problem(pointer, message);
            return None;
        }
        self.text(&pointer, until, names).map(WaitFor::Until)
    }

    fn wait_seconds(&mut self, at: &str, seconds: &Value, names: &Names<'_>) -> Option<WaitFor> {
        let pointer = format!("{at}/seconds");
        let is_wrong = match seconds {
            Value::Number(number) => !number.as_f64().is_some_and(|s| (0.0..=YEAR_SECONDS).contains(&s)),
            Value::String(text) => !text.contains("{{"),
            _ => true,
        };
        if is_wrong {
            self.problem(pointer, "must be a number from 0 to 31536000 (a year), or a template that gives one");
            return None;
        }
        self.expression(&pointer, || Template::parse(seconds, names)).map(WaitFor::Seconds)
    }

    fn values(&mut self, at: &str, values: &ValuesDocument, names: &Names<'_>) -> Option<Vec<(String, Expression)>> {
        if values.values.is_empty() || values.values.len() > MAX_VALUES {
            self.problem(format!("{at}/values"), format!("must name 1 to {MAX_VALUES} values"));
        }
        let mut found = Vec::new();
        let before = self.problems.len();
        for (name, source) in &values.values {
            let pointer = format!("{at}/values/{}", name.replace('~', "~0").replace('/', "~1"));
            let Some(source) = source.as_str() else {
                let message = "must be a CEL text; a text in CEL stands in quotes of its own: \"'like this'\"";
                self.problems.push(Problem::new(pointer, message));
                continue;
            };
            if let Some(expression) = self.expression(&pointer, || Expression::parse(source, names)) {
                found.push((name.clone(), expression));
            }
        }
        (self.problems.len() == before).then_some(found)
    }
}

/// A config as the log shows it: without the steps that stand in it, which have rows of their own.
fn shown(config: &Map<String, Value>) -> Value {
    let inner = ["steps", "default", "cases", "branches"];
    config.iter().filter(|(key, _)| !inner.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn approver(text: &str) -> Result<Approver, String> {
    match text.split_once(':') {
        Some(("user", id)) => id.parse().map(Approver::User).map_err(|_| format!("'{id}' is not the id of a user")),
        Some(("role", role)) => role.parse().map(Approver::Role).map_err(|e: crate::words::UnknownWord| e.to_string()),
        Some(("on_call", name)) if !name.trim().is_empty() => Ok(Approver::OnCall(name.to_owned())),
        _ => Err(format!("'{text}' is not user:ID, role:NAME or on_call:NAME")),
    }
}
