//! Trying a flow out: a run of it in simulated time, in which actions answer what a test case says.
//!
//! The run is the very state machine that real runs are; only the world is made up. Nothing is sent, nothing waits: where a
//! run waits for a time, the time comes; where it waits for a person, an admin agrees; where a step of it waits for what
//! comes from outside, its mock has come. A document declares its cases in `metadata.tests`, so that they travel with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::Json;
use crate::dispatch::Credits;
use crate::document::{FlowDocument, ShapeError, read};
use crate::ids::{FlowId, Owner, RunId};
use crate::log::Failure;
use crate::plan::{FlowPlan, PlanLimits, Problem, StepKind};
use crate::run::step::StepStatus;
use crate::run::{Command, Effect, Ending, FlowRef, Outcome, PlanRef, Run, RunHeader, SubRunNews, matching_scope};
use crate::stage::{Move, PERSON, Stage, World, asked, ended, stopped, transformed, verdict};
use crate::suggest::did_you_mean;
use crate::words::{ExecutionStatus, RunStatus};

/// Where a document declares its test cases.
pub const TESTS: &str = "tests";
/// More cases are a mistake.
const MOST_CASES: usize = 1_000;

/// One test case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    pub name: String,
    /// What the flow sees as `trigger`.
    #[serde(default)]
    pub trigger: Map<String, Value>,
    /// RFC 3339: what `now` is at the beginning; absent: 2026-01-01T00:00:00Z.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// What steps answer, by their ids.
    #[serde(default)]
    pub mocks: BTreeMap<String, Mock>,
    /// Signals that are there when the run begins, by name.
    #[serde(default)]
    pub signals: BTreeMap<String, Value>,
    #[serde(default)]
    pub expect: Expected,
}

/// What a step answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mock {
    /// What the step gives. A wait gives `{timed_out, payload}`, of which one that is not named is false, or null.
    pub output: Value,
    /// It fails with this message, and no attempt would mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Where a person is asked: whether they agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approve: Option<bool>,
}

/// What must come of it. What is not named may be anything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// Whether the flow's conditions hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<RunStatus>,
    /// What each step has come to, by its id.
    pub steps: BTreeMap<String, ExecutionStatus>,
    /// What each step is given at last: members that are named must be so.
    pub payloads: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub output: Value,
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub name: String,
    /// What was not as expected; empty: it passed.
    pub failures: Vec<String>,
    /// Absent where the conditions did not hold.
    pub status: Option<RunStatus>,
    pub error: Option<String>,
    pub steps: Vec<TriedStep>,
    pub output: Value,
}

/// A step of a trial.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TriedStep {
    pub id: String,
    pub status: ExecutionStatus,
    /// What it was given at last; null where it never started.
    pub payload: Value,
}

/// The cases that a document declares. An error's pointer begins at the document.
pub fn declared(document: &FlowDocument) -> Result<Vec<Trial>, ShapeError> {
    let Some(tests) = document.metadata.get(TESTS) else { return Ok(Vec::new()) };
    let trials: Vec<Trial> = read(tests.clone())
        .map_err(|e| ShapeError { pointer: format!("/metadata/{TESTS}{}", e.pointer), message: e.message })?;
    if trials.len() > MOST_CASES {
        let message = format!("must have at most {MOST_CASES} items");
        return Err(ShapeError { pointer: format!("/metadata/{TESTS}"), message });
    }
    Ok(trials)
}

/// Performs a trial. Problems are those of the document.
pub fn perform(document: &FlowDocument, trial: &Trial) -> Result<Report, Vec<Problem>> {
    let actions = document.actions();
    let types: Vec<&str> = actions.iter().map(|(_, action)| action.action_type.as_str()).collect();
    let plan = Arc::new(FlowPlan::compile(document, &types, &PlanLimits::default())?);
    let now_ms = match trial.now.as_deref().map(chrono::DateTime::parse_from_rfc3339) {
        None => 1_767_225_600_000,
        Some(Ok(now)) => now.timestamp_millis(),
        Some(Err(error)) => {
            let message = format!("'now' of the case '{}' is not an RFC 3339 time: {error}", trial.name);
            return Err(vec![Problem::new(format!("/metadata/{TESTS}"), message)]);
        }
    };
    let trigger: Json = Arc::new(Value::Object(trial.trigger.clone()));
    let owner = Owner::new(PERSON, None);
    let scope = matching_scope(trigger.clone(), Arc::default(), &owner, now_ms);
    let mut failures = mocks_of_nothing(trial, &plan);
    let starts = plan.condition.holds(&scope).unwrap_or_else(|error| {
        failures.push(format!("the conditions cannot be evaluated: {error}"));
        false
    });
    let expected = trial.expect.starts.unwrap_or(true);
    if failures.is_empty() && starts != expected {
        let why = plan.condition.failing_clause(&scope).ok().flatten();
        let words =
            why.map_or_else(|| "the conditions hold".to_owned(), |clause| format!("this does not hold: {clause}"));
        failures.push(words);
    }
    if !starts || !failures.is_empty() || !expected {
        let (name, steps) = (trial.name.clone(), Vec::new());
        return Ok(Report { name, failures, status: None, error: None, steps, output: Value::Null });
    }
    let header = header(document, &plan, trigger, owner, now_ms);
    let signals = trial.signals.iter().map(|(name, payload)| Command::Signal {
        name: name.as_str().into(),
        payload: Arc::new(payload.clone()),
        request: None,
    });
    let mut stage = Stage::new(Run::new(Arc::new(header), plan), now_ms, signals);
    let mut mocked = Mocked { trial, payloads: BTreeMap::new() };
    stage.play(&mut mocked);
    Ok(mocked.report(stage))
}

/// A mock of no step would be asked by nobody, and the case would say less than it seems to.
fn mocks_of_nothing(trial: &Trial, plan: &FlowPlan) -> Vec<String> {
    let ids = || plan.steps.iter().map(|step| &*step.id);
    let unknown = trial.mocks.keys().filter(|id| !ids().any(|known| known == id.as_str()));
    unknown
        .map(|id| format!("there is no step '{id}', of which the case has a mock{}", did_you_mean(id, ids())))
        .collect()
}

fn header(document: &FlowDocument, plan: &FlowPlan, trigger: Json, owner: Owner, now_ms: i64) -> RunHeader {
    RunHeader {
        id: RunId::new(now_ms, 314),
        owner,
        partition: 0,
        flow: FlowRef { id: FlowId(Uuid::nil()), version: 1, name: document.flow_name.as_str().into() },
        trigger_type: document.trigger_type,
        trigger_source: "test".into(),
        trigger_context: trigger.clone(),
        webhook: Arc::default(),
        input: trigger,
        triggered_by: "test".into(),
        environment: "test".into(),
        decision_event_id: None,
        recommendation_id: None,
        parent_run_id: None,
        idempotency_key: None,
        run_key: None,
        accepted_at_ms: now_ms,
        deadline_at_ms: plan.deadline_ms.map(|ms| now_ms + ms),
    }
}

/// The world as a case makes it up.
struct Mocked<'t> {
    trial: &'t Trial,
    payloads: BTreeMap<String, Value>,
}

impl World for Mocked<'_> {
    fn answer(&mut self, run: &Run, effect: Effect, now_ms: i64) -> Vec<Move> {
        match effect {
            Effect::StartAttempt { step, attempt, payload, part, .. } => {
                let plan = run.plan.part(part);
                let outcome = outcome(self.trial.mocks.get(&*plan.id), &plan.action_type, &payload);
                if matches!(part, PlanRef::Step(_)) {
                    self.payloads.insert(plan.id.to_string(), (*payload).clone());
                }
                vec![ended(step, attempt, payload, outcome, now_ms)]
            }
            Effect::StartRun { step, attempt, input, part, .. } => {
                let plan = run.plan.part(part);
                let mock = self.trial.mocks.get(&*plan.id).cloned().unwrap_or_default();
                self.payloads.insert(plan.id.to_string(), (*input).clone());
                let status = if mock.error.is_some() { RunStatus::Failed } else { RunStatus::Completed };
                let run = RunId::new(now_ms, u128::from(step) + 1);
                let news = SubRunNews::Ended { run, status, output: Arc::new(mock.output), error: mock.error };
                [SubRunNews::Accepted { run, attempt }, news]
                    .map(|news| Move::Tell(Command::SubRun { step, news }))
                    .into()
            }
            Effect::Enqueue { step, .. } => vec![Move::Tell(Command::Start { steps: vec![step] })],
            // It has ended already, as far as this world goes.
            Effect::CancelAttempt { .. } => Vec::new(),
            Effect::StopRun { step, attempt, .. } => vec![stopped(step, attempt)],
        }
    }

    /// A person's word first, then what a mock says has come, then time.
    fn next(&mut self, run: &Run, now_ms: i64) -> Result<Move, String> {
        if run.state.status == RunStatus::AwaitingApproval {
            return Ok(verdict(run, None, true));
        }
        if let Some(step) = asked(run).next() {
            let mock = self.trial.mocks.get(&*run.step_plan(step).id);
            return Ok(verdict(run, Some(step), mock.and_then(|mock| mock.approve).unwrap_or(true)));
        }
        if let Some(end) = self.end_of_a_wait(run) {
            return Ok(end);
        }
        run.timing(&Credits::default(), None, now_ms).wake_at_ms.map(Move::Until).ok_or_else(|| {
            let why: Vec<String> = run.why(now_ms).into_iter().map(|reason| reason.message).collect();
            format!("the run stands still: {}", why.join("; "))
        })
    }
}

impl Mocked<'_> {
    /// The end of a step that waits, whatever for, and has a mock.
    fn end_of_a_wait(&self, run: &Run) -> Option<Move> {
        let mut waiting = run.state.all().filter(|(_, step)| step.status == StepStatus::Waiting);
        waiting.find_map(|(no, _)| {
            let plan = run.step_plan(no);
            let mock = self.trial.mocks.get(&*plan.id).filter(|_| matches!(plan.kind, StepKind::Wait(_)))?;
            Some(Move::End(no, end_of_wait(mock)))
        })
    }

    fn report(self, played: Stage) -> Report {
        let trial = self.trial;
        let mut failures: Vec<String> = played.stuck.into_iter().collect();
        let run = played.run;
        let (state, plan) = (&run.state, &run.plan);
        let steps: Vec<TriedStep> = plan
            .steps
            .iter()
            .enumerate()
            .filter_map(|(no, step)| Some((step, state.steps.get(no)?)))
            .map(|(step, found)| TriedStep {
                id: step.id.to_string(),
                status: found.status.execution_status(),
                payload: self.payloads.get(&*step.id).cloned().unwrap_or_default(),
            })
            .collect();
        let wanted = trial.expect.status.unwrap_or(RunStatus::Completed);
        if state.status != wanted {
            let why = state.error.as_deref().map_or_else(String::new, |error| format!(": {error}"));
            failures.push(format!("the run is {}{why}, and should be {wanted}", state.status));
        }
        for (id, wanted) in &trial.expect.steps {
            match steps.iter().find(|step| step.id == *id) {
                None => failures.push(format!("there is no step '{id}'")),
                Some(step) if step.status != *wanted => {
                    failures.push(format!("step '{id}' is {}, and should be {wanted}", step.status));
                }
                Some(_) => {}
            }
        }
        for (id, wanted) in &trial.expect.payloads {
            let given = self.payloads.get(id).unwrap_or(&Value::Null);
            if !holds(given, wanted) {
                failures.push(format!("step '{id}' was given {given}, and should be given {wanted}"));
            }
        }
        let output = run.output().get().map(|output| Value::clone(output)).unwrap_or_default();
        if !trial.expect.output.is_null() && !holds(&output, &trial.expect.output) {
            failures.push(format!("the output is {output}, and should be {}", trial.expect.output));
        }
        let (status, error) = (Some(state.status), state.error.clone());
        Report { name: trial.name.clone(), failures, status, error, steps, output }
    }
}

/// How an attempt ends: as its mock says; without one `transform` computes, and all else succeeds with nothing to say.
fn outcome(mock: Option<&Mock>, action_type: &str, payload: &Json) -> Outcome {
    match mock {
        Some(Mock { error: Some(message), .. }) => Outcome::Failed(Failure::fatal("mocked", message.clone())),
        Some(Mock { output, .. }) if !output.is_null() => Outcome::Completed(Arc::new(output.clone())),
        _ if action_type == "transform" => Outcome::Completed(transformed(payload)),
        _ => Outcome::Completed(Arc::new(json!({"status": 200, "headers": {}, "body": null}))),
    }
}

/// How a wait ends: as its mock says, with what came.
fn end_of_wait(mock: &Mock) -> Ending {
    if let Some(message) = &mock.error {
        return Ending::Failed(Failure::fatal("mocked", message.clone()));
    }
    let mut given = json!({"timed_out": false, "payload": null});
    match (&mut given, &mock.output) {
        (_, Value::Null) => {}
        (Value::Object(given), Value::Object(output)) => given.extend(output.clone()),
        (given, output) => *given = output.clone(),
    }
    Ending::Completed(Arc::new(given))
}

/// Whether a value is what is wanted: of objects, the members that are named.
fn holds(given: &Value, wanted: &Value) -> bool {
    match (given, wanted) {
        (Value::Object(given), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| given.get(key).is_some_and(|given| holds(given, wanted)))
        }
        _ => given == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: &str = r#"
flow_name: deploy
trigger: manual
when: trigger.version != ""
max_execution_time_seconds: 86400
flow_steps:
  - build: {post: "ci/build", json: {version: "{{ trigger.version }}"}}
  - pause: {type: wait, seconds: 3600}
  - deploy: {post: "cd/deploy", json: {build: "{{ steps.build.output.body.id }}"}, requires_approval: true}
  - tell: {action_type: transform, text: "{{ trigger.version }} is out", when: steps.deploy.status == "completed"}
metadata:
  tests:
    - name: it deploys what was built
      trigger: {version: "1.2"}
      mocks: {build: {output: {body: {id: b-1}}}}
      expect: {steps: {tell: completed}, payloads: {deploy: {json: {build: b-1}}}, output: {text: 1.2 is out}}
    - name: nobody agrees
      trigger: {version: "1.2"}
      mocks: {build: {output: {body: {id: b-1}}}, deploy: {approve: false}}
      expect: {status: failed, steps: {tell: cancelled}}
    - name: a build that fails ends it
      trigger: {version: "1.2"}
      mocks: {build: {error: no compiler}}
      expect: {status: failed, steps: {build: failed, deploy: cancelled}}
    - {name: without a version it does not start, trigger: {version: ""}, expect: {starts: false}}
"#;

    fn flow() -> FlowDocument {
        FlowDocument::from_text(FLOW).unwrap()
    }

    #[test]
    fn declared_cases_pass_in_simulated_time() {
        let flow = flow();
        let trials = declared(&flow).unwrap();
        assert_eq!(trials.len(), 4);
        for trial in &trials {
            let report = perform(&flow, trial).unwrap();
            assert_eq!(report.failures, [""; 0], "{}: {report:#?}", trial.name);
        }
    }

    #[test]
    fn what_is_not_as_expected_is_said() {
        let flow = flow();
        let mut trial = declared(&flow).unwrap().remove(0);
        trial.expect.status = Some(RunStatus::Failed);
        trial.expect.steps.insert("tell".to_owned(), ExecutionStatus::Skipped);
        trial.expect.steps.insert("nobody".to_owned(), ExecutionStatus::Skipped);
        trial.expect.payloads.insert("deploy".to_owned(), json!({"json": {"build": "b-2"}}));
        trial.expect.output = json!(3);
        let failures = perform(&flow, &trial).unwrap().failures;
        assert_eq!(failures.len(), 5, "{failures:#?}");
        assert_eq!(failures[0], "the run is completed, and should be failed");
        let not_starting = Trial { trigger: Map::from_iter([("version".to_owned(), "".into())]), ..trial };
        let failures = perform(&flow, &not_starting).unwrap().failures;
        assert_eq!(failures, ["this does not hold: trigger.version != \"\""]);
    }

    #[test]
    fn a_wait_that_nobody_ends_is_said_and_a_signal_ends_it() {
        let text = "flow_name: w\ntrigger: manual\nflow_steps:\n  - hold: {type: wait, signal: go}\n";
        let flow = FlowDocument::from_text(text).unwrap();
        let mut trial: Trial = serde_json::from_value(json!({"name": "w"})).unwrap();
        let report = perform(&flow, &trial).unwrap();
        assert!(report.failures[0].starts_with("the run stands still: "), "{report:#?}");
        trial.signals.insert("go".to_owned(), json!(1));
        assert_eq!(perform(&flow, &trial).unwrap().failures, [""; 0]);
    }

    #[test]
    fn a_mock_is_what_a_wait_waits_for_and_one_of_no_step_is_said() {
        let text = "flow_name: w\ntrigger: manual\nflow_steps:\n  \
            - paid: {type: wait, event: {type: a.b, key: trigger.order}}\n  \
            - each: {type: for_each, collection: '[1, 2]', steps: [{told: {type: wait, signal: go}}]}\n  \
            - {id: last, type: transform, config: {values: {by: steps.paid.output.payload.by, n: steps.each.output.count}}}\n";
        let flow = FlowDocument::from_text(text).unwrap();
        let case = |mocks: Value, expect: Value| {
            let case = json!({"name": "w", "trigger": {"order": "7"}, "mocks": mocks, "expect": expect});
            perform(&flow, &serde_json::from_value(case).unwrap()).unwrap().failures
        };
        let paid = json!({"output": {"payload": {"by": "card"}}});
        let given = json!({"output": {"by": "card", "n": 2}});
        assert_eq!(case(json!({"paid": paid, "told": {}}), given), [""; 0]);
        let failed = json!({"status": "failed", "steps": {"paid": "failed", "last": "cancelled"}});
        assert_eq!(case(json!({"paid": {"error": "nobody paid"}}), failed), [""; 0]);
        assert!(case(json!({"paid": paid}), json!({}))[0].starts_with("the run stands still: "));
        let unknown = case(json!({"piad": paid}), json!({}));
        assert_eq!(unknown, ["there is no step 'piad', of which the case has a mock; did you mean `paid`?"]);
    }

    #[test]
    fn a_case_that_is_misspelt_names_its_place() {
        let mut flow = flow();
        flow.metadata["tests"][1]["expect"]["state"] = "x".into();
        assert_eq!(declared(&flow).unwrap_err().pointer, "/metadata/tests/1/expect/state");
    }
}
