//! What is checked of every step, whatever its type, and of the document's head.

use serde_json::Value;

use super::layout::{Layout, Slot};
use super::{PlanLimits, Problem, StepKind, StepPlan, inside, seconds_to_ms};
use crate::document::{ActionDocument, FlowDocument, StepConfig, StepDocument};
use crate::expr::{Condition, ExprError, Expression, NamedExecutions, Names, Suspect, Template, Types};
use crate::ids::{MAX_STEPS, StepNo};
use crate::json;
use crate::limits::Limits;
use crate::retry::RetryPolicy;
use crate::suggest::did_you_mean;
use crate::words::{OnError, OnErrorAction, OnUnknownOutcome, Urgency};

/// The roots that a step's expressions may name.
pub(super) const STEP_ROOTS: &[&str] =
    &["trigger", "webhook", "input", "steps", "vars", "flow", "run", "tenant", "now"];
/// The same within a loop.
const LOOP_ROOTS: &[&str] = &["trigger", "webhook", "input", "steps", "vars", "loop", "flow", "run", "tenant", "now"];
/// The same for the match of an event.
const EVENT_ROOTS: &[&str] = &["trigger", "webhook", "input", "steps", "vars", "event", "flow", "run", "tenant", "now"];
const LOOP_EVENT_ROOTS: &[&str] =
    &["trigger", "webhook", "input", "steps", "vars", "loop", "event", "flow", "run", "tenant", "now"];
const DAY_SECONDS: f64 = 86_400.0;
/// The flow that would take over is not named.
const NO_FALLBACK: &str = "fallback needs the flow's fallback_flow_id: the id of the flow that takes over";

/// Collects problems under a growing pointer.
pub(super) struct Checker<'a> {
    pub problems: Vec<Problem>,
    /// What is legal, and surely not meant.
    pub warnings: Vec<Problem>,
    action_types: &'a [&'a str],
    /// What is known of the types of names; none where they are not checked.
    pub types: Option<&'a Types>,
    /// Where it is noted of which steps the execution is named.
    pub named: Option<&'a NamedExecutions>,
    /// The document is not looked at further: what follows is bounded by its limits.
    pub is_too_large: bool,
    /// Whether the flow names one that takes over.
    has_fallback: bool,
}

/// The roots of the place where a step stands.
pub(super) fn roots(in_loop: bool) -> &'static [&'static str] {
    if in_loop { LOOP_ROOTS } else { STEP_ROOTS }
}

/// The same for the match of an event that a step there waits for.
pub(super) fn event_roots(in_loop: bool) -> &'static [&'static str] {
    if in_loop { LOOP_EVENT_ROOTS } else { EVENT_ROOTS }
}

impl<'a> Checker<'a> {
    pub fn new(action_types: &'a [&'a str]) -> Self {
        Self {
            problems: Vec::new(),
            warnings: Vec::new(),
            action_types,
            types: None,
            named: None,
            is_too_large: false,
            has_fallback: false,
        }
    }

    /// The names of a place, with their types.
    pub fn names<'n>(&self, roots: &'n [&'n str], steps: &'n [&'n str]) -> Names<'n>
    where
        'a: 'n,
    {
        Names { types: self.types, named: self.named, ..Names::new(roots, steps) }
    }

    pub fn problem(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::new(pointer, message));
    }

    pub fn expression<T: Suspect>(&mut self, pointer: &str, parse: impl FnOnce() -> Result<T, ExprError>) -> Option<T> {
        let finding = |e: &ExprError| Problem {
            excerpt: e.excerpt(),
            ..Problem::new(format!("{pointer}{}", e.pointer), e.to_string())
        };
        match parse() {
            Ok(parsed) => {
                self.warnings.extend(parsed.warnings().iter().map(finding));
                Some(parsed)
            }
            Err(error) => {
                self.problems.push(finding(&error));
                None
            }
        }
    }

    /// An expression that may be absent.
    pub fn optional(
        &mut self,
        pointer: &str,
        parse: impl FnOnce() -> Result<Option<Expression>, ExprError>,
    ) -> Option<Expression> {
        let parsed = parse().transpose()?;
        self.expression(pointer, || parsed)
    }

    /// `types` are those of one trigger.
    pub fn limits(&mut self, doc: &FlowDocument, types: Option<&Types>) -> Option<Limits> {
        let checked = Limits::check(doc.limits.as_ref()?, types);
        let limits = checked.map_err(|mut found| self.problems.append(&mut found)).ok()?;
        // A flow whose limits say nothing but whose turn it is has runs like any other.
        (!limits.is_empty()).then_some(limits)
    }

    pub fn head(&mut self, doc: &FlowDocument, limits: &PlanLimits) {
        if doc.format != 1 {
            self.problem("/format", format!("this version reads format 1, the document says {}", doc.format));
        }
        if doc.flow_name.trim().is_empty() || doc.flow_name.chars().count() > 200 {
            self.problem("/flow_name", "must have 1 to 200 characters");
        }
        if doc.flow_name.chars().any(char::is_control) {
            self.problem("/flow_name", "must not contain control characters");
        }
        if doc.flow_name.parse::<uuid::Uuid>().is_ok() {
            self.problem("/flow_name", "must not look like an id: flows are also named by theirs");
        }
        let most = limits.max_steps.min(MAX_STEPS as usize);
        if doc.flow_steps.is_empty() || doc.flow_steps.len() > most {
            self.problem("/flow_steps", format!("must have 1 to {most} steps, has {}", doc.flow_steps.len()));
            self.is_too_large = doc.flow_steps.len() > most;
        }
        if doc.max_execution_time_seconds.is_some_and(|s| s == 0 || s > 31_536_000) {
            self.problem("/max_execution_time_seconds", "must be 1 to 31536000 (a year)");
        }
        if doc.approval_threshold.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
            self.problem("/approval_threshold", "must be 0 to 1");
        }
        self.has_fallback = doc.fallback_flow_id.is_some();
        if doc.on_error_action == OnErrorAction::Fallback && !self.has_fallback {
            self.problem("/on_error_action", NO_FALLBACK);
        }
        self.retry("/retry_policy", &doc.retry_policy);
        let value = doc.to_value();
        if json::too_deep(&value) {
            self.problem("", format!("the document nests deeper than {} levels", json::MAX_DEPTH));
            self.is_too_large = true;
        }
        let bytes = value.to_string().len();
        if bytes > limits.max_document_bytes {
            self.problem(
                "",
                format!("the document has {bytes} bytes, at most {} are taken", limits.max_document_bytes),
            );
            self.is_too_large = true;
        }
    }

    pub fn retry(&mut self, pointer: &str, policy: &RetryPolicy) {
        for (field, message) in policy.problems() {
            self.problem(format!("{pointer}/{field}"), message);
        }
    }

    pub fn step(&mut self, doc: &FlowDocument, layout: &Layout, no: usize) -> Option<StepPlan> {
        let slot = &layout.slots[no];
        let at = &slot.at;
        self.step_words(slot);
        let before: Vec<&str> = slot.before.iter().map(String::as_str).collect();
        let names = self.names(roots(slot.in_loop), &before);
        let step = &slot.step;
        let when = self.condition(&format!("{at}/when"), &step.when, &names);
        let retry = step.retry.as_ref().unwrap_or(&doc.retry_policy).clone();
        // A stored document has every field, so that a policy that is as the default counts as none.
        let retry_is_own = step.retry.is_some() || doc.retry_policy != RetryPolicy::default();
        if let Some(own) = &step.retry {
            self.retry(&format!("{at}/retry"), own);
        }
        let needed = self.needed(at, &step.dependency_mode, slot.inputs.len());
        // An undo and a probe may also name what the step itself gave.
        let mut with_own = before.clone();
        with_own.push(&step.id);
        let after = Names { steps: &with_own, ..names };
        let undo = self.undo(&format!("{at}/undo"), step, &after, (&retry, retry_is_own));
        let verify = step.verify.as_ref();
        let verify =
            verify.and_then(|probe| self.side_action(&format!("{at}/verify"), probe, &step.id, &names, &retry));
        let verify = verify.map(|plan| Box::new(StepPlan { retry_is_own, ..plan }));
        let cache = self.cache(slot, &names);
        let idempotency_key = self.idempotency_key(slot, &names);
        let base = match &slot.config {
            StepConfig::Action(action) => self.action(&format!("{at}/config"), action, &step.id, &names, &retry),
            _ => self.other(layout, no, &names, &retry),
        };
        Some(StepPlan {
            when,
            retry,
            retry_is_own,
            timeout_ms: step.timeout_seconds.map(timeout_ms),
            on_error: step.on_error,
            on_unknown_outcome: on_unknown_outcome(step),
            requires_approval: step.requires_approval,
            inputs: slot.inputs.clone(),
            needed,
            dependents: slot.dependents.clone(),
            parent: slot.parent,
            lane: slot.lane,
            children: slot.children.clone(),
            last: slot.last.iter().map(|no| Some(*no).filter(|no| *no != StepNo::MAX)).collect(),
            phase: step.phase,
            cache,
            idempotency_key,
            undo,
            verify,
            ..base?
        })
    }

    /// A condition that may be absent. One that is wrong is a problem, and no plan comes of that.
    pub fn condition(&mut self, at: &str, source: &Value, names: &Names<'_>) -> Option<Condition> {
        if source.is_null() { None } else { self.expression(at, || Condition::parse(source, names)) }
    }

    /// What takes a step back, where it can be: by a policy of its own, or else by the step's.
    fn undo(
        &mut self,
        at: &str,
        step: &StepDocument,
        names: &Names<'_>,
        (retry, retry_is_own): (&RetryPolicy, bool),
    ) -> Option<Box<StepPlan>> {
        let undo = step.undo.as_ref()?;
        if let Some(own) = &undo.retry {
            self.retry(&format!("{at}/retry"), own);
        }
        self.timeout(&format!("{at}/timeout_seconds"), undo.timeout_seconds);
        let base = self.side_action(at, &undo.action(), &step.id, names, undo.retry.as_ref().unwrap_or(retry))?;
        Some(Box::new(StepPlan {
            timeout_ms: undo.timeout_seconds.map(timeout_ms),
            requires_approval: undo.requires_approval,
            retry_is_own: retry_is_own || undo.retry.is_some(),
            ..base
        }))
    }

    /// An action that stands beside a step.
    fn side_action(
        &mut self,
        at: &str,
        action: &ActionDocument,
        id: &str,
        names: &Names<'_>,
        retry: &RetryPolicy,
    ) -> Option<StepPlan> {
        if inside::performs(&action.action_type) {
            let message =
                format!("'{}' is a step of its own: it takes nothing back and finds nothing out", action.action_type);
            self.problem(format!("{at}/action_type"), message);
            return None;
        }
        self.action(at, action, id, names, retry)
    }

    /// An attempt's deadline.
    fn timeout(&mut self, at: &str, seconds: Option<f64>) {
        if seconds.is_some_and(|s| !(s > 0.0 && s <= DAY_SECONDS)) {
            self.problem(at, "must be more than 0 and at most 86400 (a day)");
        }
    }

    /// The plan of an action, as far as its config says it.
    fn action(
        &mut self,
        at: &str,
        action: &ActionDocument,
        id: &str,
        names: &Names<'_>,
        retry: &RetryPolicy,
    ) -> Option<StepPlan> {
        self.action_words(at, action);
        let is_inside = inside::performs(&action.action_type);
        let does = if is_inside { self.inside(at, action, names) } else { self.outside(at, action, names) };
        let scheduled_for = action.scheduled_for.as_ref().map(|text| {
            self.expression(&format!("{at}/scheduled_for"), || Template::parse(&Value::String(text.clone()), names))
        });
        let (kind, payload) = does?;
        // What the runtime does by itself must not wait for an integration that happens to have such a name.
        let target = if is_inside { "" } else { action.action_target.as_str() };
        Some(StepPlan {
            action_type: action.action_type.as_str().into(),
            action_target: target.into(),
            priority: action.priority,
            urgency: action.urgency,
            scheduled_for: scheduled_for.map_or(Some(None), |found| found.map(Some))?,
            expires_in_ms: action.expires_in_seconds.map(seconds_to_ms),
            ..blank(id, kind, payload, retry)
        })
    }

    /// What an executor is given.
    fn outside(&mut self, at: &str, action: &ActionDocument, names: &Names<'_>) -> Option<(StepKind, Template)> {
        let payload_roots: Vec<&str> = names.roots.iter().copied().chain(["secrets"]).collect();
        let in_payload = Names { roots: &payload_roots, ..*names };
        let payload =
            self.expression(&format!("{at}/action_payload"), || Template::parse(&action.action_payload, &in_payload));
        payload.map(|payload| (StepKind::Action, payload))
    }

    pub fn action_type(&mut self, at: &str, word: &str) {
        if !self.action_types.contains(&word) && !inside::performs(word) {
            let all = self.action_types.iter().copied().chain(inside::ACTION_TYPES);
            let known = all.clone().collect::<Vec<_>>().join(", ");
            let guess = did_you_mean(word, all);
            self.problem(at, format!("'{word}' is not one of: {known}{guess}"));
        }
    }

    fn action_words(&mut self, at: &str, action: &ActionDocument) {
        self.action_type(&format!("{at}/action_type"), &action.action_type);
        if action.action_target.chars().count() > 200 {
            self.problem(format!("{at}/action_target"), "must have at most 200 characters");
        }
        if !(1..=10).contains(&action.priority) {
            self.problem(format!("{at}/priority"), "must be 1 (first) to 10");
        }
        if action.expires_in_seconds.is_some_and(|s| s == 0 || s > 31_536_000) {
            self.problem(format!("{at}/expires_in_seconds"), "must be 1 to 31536000 (a year)");
        }
        // A time that is no template can be read now.
        if let Some(text) = &action.scheduled_for
            && !text.contains("{{")
            && chrono::DateTime::parse_from_rfc3339(text).is_err()
        {
            let message = format!("'{text}' is not an RFC 3339 time, such as 2030-01-31T08:00:00Z, nor a template");
            self.problem(format!("{at}/scheduled_for"), message);
        }
    }

    /// The fields of a step that stand for themselves.
    fn step_words(&mut self, slot: &Slot) {
        let (at, step) = (&slot.at, &slot.step);
        let is_action = matches!(slot.config, StepConfig::Action(_));
        self.timeout(&format!("{at}/timeout_seconds"), step.timeout_seconds);
        if !is_action && step.timeout_seconds.is_some() {
            self.problem(format!("{at}/timeout_seconds"), "is one attempt's deadline, and only actions have attempts");
        }
        if !is_action && step.retry.is_some() {
            self.problem(format!("{at}/retry"), "only actions are tried again");
        }
        match (step.on_unknown_outcome, &step.verify) {
            (OnUnknownOutcome::Verify, None) => {
                let message = "nothing finds out whether an attempt that was cut off took effect: without the action \
                               `verify` the step waits for a person then, as with park";
                self.warnings.push(Problem::new(format!("{at}/on_unknown_outcome"), message));
            }
            (OnUnknownOutcome::Retry | OnUnknownOutcome::Park, Some(_)) => {
                self.problem(format!("{at}/verify"), "is asked only with on_unknown_outcome: verify");
            }
            _ => {}
        }
        if !is_action && step.verify.is_some() {
            self.problem(format!("{at}/verify"), "only actions are looked after by another");
        }
        // What was saved when the other words were taken there goes on: they meant nothing.
        let is_refused = |word| match word {
            OnError::Fallback => true,
            OnError::Pause | OnError::Compensate => self.types.is_some(),
            OnError::Fail | OnError::Continue => false,
        };
        if slot.parent.is_some() && is_refused(step.on_error) {
            let message = format!("a step that stands in another fails that one: say {} there", step.on_error);
            self.problem(format!("{at}/on_error"), message);
        } else if step.on_error == OnError::Fallback && !self.has_fallback {
            self.problem(format!("{at}/on_error"), NO_FALLBACK);
        }
    }

    fn needed(&mut self, at: &str, mode: &Value, inputs: usize) -> usize {
        self.count(&format!("{at}/dependency_mode"), mode, inputs)
    }

    /// `all`, `any` or a number, of so many.
    pub fn count(&mut self, at: &str, mode: &Value, all: usize) -> usize {
        let needed = match mode {
            Value::Null => Some(all),
            Value::String(word) if word == "all" => Some(all),
            Value::String(word) if word == "any" => Some(all.min(1)),
            Value::Number(n) => n.as_u64().map(|n| n as usize).filter(|n| (1..=all).contains(n)),
            _ => None,
        };
        needed.unwrap_or_else(|| {
            self.problem(at, format!("must be all, any or a number from 1 to {all}"));
            all
        })
    }
}

/// Where nothing finds out what became of an attempt, a person must.
fn on_unknown_outcome(step: &StepDocument) -> OnUnknownOutcome {
    match step.on_unknown_outcome {
        OnUnknownOutcome::Verify if step.verify.is_none() => OnUnknownOutcome::Park,
        word => word,
    }
}

fn timeout_ms(seconds: f64) -> u64 {
    (seconds * 1_000.0) as u64
}

/// A plan with nothing but what it does.
pub(super) fn blank(id: &str, kind: StepKind, payload: Template, retry: &RetryPolicy) -> StepPlan {
    StepPlan {
        id: id.into(),
        action_type: kind.word().as_str().into(),
        kind,
        action_target: "".into(),
        payload,
        priority: 5,
        urgency: Urgency::Medium,
        scheduled_for: None,
        expires_in_ms: None,
        when: None,
        retry: retry.clone(),
        retry_is_own: false,
        timeout_ms: None,
        on_error: OnError::Fail,
        on_unknown_outcome: OnUnknownOutcome::Retry,
        requires_approval: false,
        inputs: Vec::new(),
        needed: 0,
        dependents: Vec::new(),
        parent: None,
        lane: 0,
        children: Vec::new(),
        last: Vec::new(),
        phase: None,
        cache: None,
        idempotency_key: None,
        undo: None,
        verify: None,
    }
}
