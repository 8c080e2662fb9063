//! An old run against another version of its flow: where would it have gone otherwise?
//!
//! The run is played with what is on record of it: its trigger, and what each of its steps came to, by the ids of steps and
//! the numbers of rounds. Nothing is executed. A step that the record does not know, because the version has added it or
//! leads to it for the first time, is unknown, and so is what comes after it. What can be computed is: conditions, loops,
//! values. For the payloads of before, the run is played on its own version too: the log's have no secrets.
//!
//! What a replay does not know of: time that attempts took, retries, pauses, deadlines, and people who cancelled. A run
//! that its own version does not lead to the same end says so (`is_faithful`).

mod compare;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::Json;
use crate::ids::StepNo;
use crate::log::Failure;
use crate::plan::{FlowPlan, StepKind};
use crate::run::step::StepStatus;
use crate::run::{Command, Effect, Ending, Kept, LastAttempt, Outcome, Place, PlanRef, Run, RunHeader, matching_scope};
use crate::stage::{Move, Stage, World, asked, ended, stopped, transformed, verdict};
use crate::words::{ExecutionStatus, RunStatus, TriggerType, words};

words! {
    /// How a step would go otherwise.
    StepChange {
        // The version has it, and the run did not; and the other way round.
        Added = "added", Gone = "gone",
        // It ran, and would be skipped; and the other way round.
        Skipped = "skipped", Runs = "runs",
        // It would end otherwise; a branch would take another way; it would be given something else.
        Status = "status", Way = "way", Payload = "payload",
        // What the run itself computes there, or what a loop gathers, would be something else.
        Value = "value",
        // Nothing is on record of what it would come to, or of what comes before.
        Unknown = "unknown",
    }
}

/// Where a run would go otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// Why the version would not start at all for its trigger.
    pub refused: Option<String>,
    pub before: RunStatus,
    /// Absent where it is unknown, or the version does not start.
    pub after: Option<RunStatus>,
    /// What its end would say.
    pub error: Option<String>,
    pub steps: Vec<ReplayedStep>,
    /// What the run gave and would give, where that differs.
    pub outputs: Option<(Json, Json)>,
    /// Whether its own version, played with what is on record, ends as the run did.
    pub is_faithful: bool,
}

impl Replayed {
    /// Whether nothing would be otherwise.
    pub fn is_same(&self) -> bool {
        let goes_alike = self.steps.is_empty() && self.outputs.is_none();
        self.refused.is_none() && goes_alike && self.after == Some(self.before)
    }
}

/// A step that would go otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayedStep {
    /// Its id; of a round `loop[3].step`.
    pub step: String,
    pub change: StepChange,
    /// Absent where the run did not have it.
    pub before: Option<ExecutionStatus>,
    /// Absent where the version does not have it, or nobody knows.
    pub after: Option<ExecutionStatus>,
    /// Of a branch: which way it took, and which it would.
    pub ways: Option<(Value, Value)>,
    /// What it was given, and what it would be.
    pub payloads: Option<(Given, Given)>,
    /// What the run computed there, and what it would.
    pub values: Option<(Json, Json)>,
}

/// What an action is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    pub action_type: Arc<str>,
    pub action_target: Arc<str>,
    pub payload: Json,
}

/// Plays a run that has ended on another version. `log` is what the store holds of it.
pub fn replay(old: &Run, log: &[LastAttempt], plan: &Arc<FlowPlan>) -> Replayed {
    let record = Record::of(old, log);
    let own = record.play(&old.header, &old.plan);
    let is_faithful = own.run.state.status == old.state.status;
    let (before, nothing) = (old.state.status, Vec::new());
    let header = match started(&old.header, plan) {
        Ok(header) => header,
        Err(refused) => {
            let refused = Some(refused);
            let (steps, outputs) = (nothing, None);
            return Replayed { refused, before, after: None, error: None, steps, outputs, is_faithful };
        }
    };
    let new = record.play(&header, plan);
    let steps = compare::steps(old, &own, &new);
    let outputs = compare::outputs(&own.run, &new.run);
    let state = &new.run.state;
    let after = Some(state.status).filter(|status| status.is_terminal());
    Replayed { refused: None, before, after, error: state.error.clone(), steps, outputs, is_faithful }
}

/// The run's header as the version would have begun it.
fn started(old: &RunHeader, plan: &FlowPlan) -> Result<RunHeader, String> {
    let input = match &plan.form {
        Some(form) if old.trigger_type == TriggerType::Manual => {
            let filled = form.fill(&old.trigger_context);
            filled.map(Arc::new).map_err(|problems| {
                let first = &problems[0];
                format!(
                    "its input_schema refuses the input: {} problem(s), the first at '{}': {}",
                    problems.len(),
                    first.pointer,
                    first.message
                )
            })?
        }
        _ => old.trigger_context.clone(),
    };
    // Whoever starts a flow by hand starts it whatever its conditions say.
    if old.trigger_type != TriggerType::Manual {
        let scope = matching_scope(old.trigger_context.clone(), old.webhook.clone(), &old.owner, old.accepted_at_ms);
        match plan.condition.failing_clause(&scope) {
            Ok(None) => {}
            Ok(Some(clause)) => return Err(format!("its conditions do not hold: {clause}")),
            Err(error) => return Err(format!("its conditions cannot be evaluated: {error}")),
        }
    }
    Ok(RunHeader { input, ..old.clone() })
}

/// What is on record of a run, by the names of its executions.
struct Record {
    ends: BTreeMap<String, Ending>,
    /// Whether a person agreed to it, where that was asked.
    is_begun: bool,
}

/// An execution by the ids of steps: what it is called in every version.
fn name_of(run: &Run, no: StepNo) -> Option<String> {
    let id = |plan: StepNo| run.plan.steps[plan as usize].id.to_string();
    match run.state.place(&run.plan, no)? {
        Place::Fixed(no) => Some(id(no)),
        Place::Round { base, round, plan } => {
            let frame = run.state.frames.get(&base).filter(|frame| !frame.is_dropped)?;
            Some(format!("{}[{round}].{}", name_of(run, frame.owner?)?, id(plan)))
        }
        Place::Undo { .. } => None,
    }
}

impl Record {
    fn of(old: &Run, log: &[LastAttempt]) -> Self {
        let mut ends = BTreeMap::new();
        let is_own = |last: &&LastAttempt| last.reused_from.is_some() == old.state.reused.contains(last.step);
        for last in log.iter().filter(is_own).filter(|last| last.is_final) {
            let Some(name) = name_of(old, last.step) else { continue };
            let ending = match &last.error {
                Some(error) => Ending::Failed(Failure::fatal("recorded", error.clone())),
                None => Ending::Completed(last.result.as_ref().and_then(Kept::here).cloned().unwrap_or_default()),
            };
            ends.insert(name, ending);
        }
        for (no, step) in (0..).zip(&old.state.steps) {
            let Some(name) = name_of(old, no).filter(|_| !step.status.has_outcome()) else { continue };
            // An attempt from before it was taken up again says nothing of how it ended.
            ends.remove(&name);
            if matches!(step.status, StepStatus::Rejected | StepStatus::Expired) {
                ends.insert(name, Ending::Without(step.status));
            }
        }
        Self { ends, is_begun: old.state.started_at_ms.is_some() }
    }

    fn play(&self, header: &RunHeader, plan: &Arc<FlowPlan>) -> Played {
        // Time does not pass as it did: a deadline would mean nothing.
        let header = RunHeader { deadline_at_ms: None, ..header.clone() };
        let now_ms = header.accepted_at_ms;
        let mut stage = Stage::new(Run::new(Arc::new(header), plan.clone()), now_ms, []);
        let mut world = Recorded { record: self, given: BTreeMap::new(), unknown: BTreeSet::new() };
        stage.play(&mut world);
        Played { run: stage.run, given: world.given, unknown: world.unknown }
    }
}

/// A run that was played.
struct Played {
    run: Run,
    given: BTreeMap<String, Given>,
    unknown: BTreeSet<String>,
}

/// The world as it is on record.
struct Recorded<'r> {
    record: &'r Record,
    given: BTreeMap<String, Given>,
    unknown: BTreeSet<String>,
}

impl Recorded<'_> {
    fn note(&mut self, name: &str, run: &Run, part: PlanRef, payload: Json) {
        let plan = run.plan.part(part);
        let (action_type, action_target) = (plan.action_type.clone(), plan.action_target.clone());
        self.given.insert(name.to_owned(), Given { action_type, action_target, payload });
    }
}

impl World for Recorded<'_> {
    fn answer(&mut self, run: &Run, effect: Effect, now_ms: i64) -> Vec<Move> {
        match effect {
            // What it did is taken back, as far as a replay goes.
            Effect::StartAttempt { step, attempt, payload, part: PlanRef::Undo(_), .. } => {
                vec![ended(step, attempt, payload, Outcome::Completed(Json::default()), now_ms)]
            }
            Effect::StartAttempt { step, attempt, payload, part, .. } => {
                let Some(name) = name_of(run, step) else { return Vec::new() };
                self.note(&name, run, part, payload.clone());
                let is_computed = &*run.plan.part(part).action_type == "transform";
                let outcome = match self.record.ends.get(&name) {
                    Some(Ending::Failed(failure)) => Outcome::Failed(failure.clone()),
                    _ if is_computed => Outcome::Completed(transformed(&payload)),
                    Some(Ending::Completed(result)) => Outcome::Completed(result.clone()),
                    Some(Ending::Without(_)) | None => {
                        self.unknown.insert(name);
                        return Vec::new();
                    }
                };
                vec![ended(step, attempt, payload, outcome, now_ms)]
            }
            Effect::StartRun { step, input, part, .. } => {
                let Some(name) = name_of(run, step) else { return Vec::new() };
                self.note(&name, run, part, input);
                Vec::new()
            }
            Effect::Enqueue { step, .. } => vec![Move::Tell(Command::Start { steps: vec![step] })],
            Effect::CancelAttempt { step, attempt } => {
                vec![ended(step, attempt, Json::default(), Outcome::Cancelled, now_ms)]
            }
            Effect::StopRun { step, attempt, .. } => vec![stopped(step, attempt)],
        }
    }

    fn next(&mut self, run: &Run, now_ms: i64) -> Result<Move, String> {
        let state = &run.state;
        match state.status {
            RunStatus::Paused => return Err("a failure has paused it".to_owned()),
            RunStatus::AwaitingApproval if self.record.is_begun => return Ok(verdict(run, None, true)),
            RunStatus::AwaitingApproval => return Err("nobody agreed to it".to_owned()),
            // As undos are taken to succeed, somebody is taken to agree to them.
            RunStatus::Compensating if asked(run).next().is_some() => return Ok(verdict(run, asked(run).next(), true)),
            _ => {}
        }
        let waiting = state.all().filter(|(_, step)| step.status == StepStatus::Waiting).map(|(no, _)| no);
        for no in asked(run).chain(waiting) {
            let Some(name) = name_of(run, no).filter(|name| !self.unknown.contains(name)) else { continue };
            let kind = &run.step_plan(no).kind;
            match (self.record.ends.get(&name), kind) {
                (_, StepKind::Branch(_) | StepKind::Parallel(_) | StepKind::ForEach(_) | StepKind::While(_)) => {}
                (Some(Ending::Completed(_) | Ending::Failed(_)), StepKind::Action) => {
                    return Ok(verdict(run, Some(no), true));
                }
                (Some(ending), _) => return Ok(Move::End(no, ending.clone())),
                // A time comes by itself.
                (None, StepKind::Wait(wait)) if wait.is_for_a_time() => {}
                (None, _) => {
                    self.unknown.insert(name);
                }
            }
        }
        let due = state.all().filter_map(|(no, step)| {
            let due_at_ms = step.live.as_deref()?.due_at_ms;
            let comes = match (step.status, &run.step_plan(no).kind) {
                (StepStatus::Pending | StepStatus::Retrying, _) => true,
                (StepStatus::Waiting, kind) => {
                    matches!(kind, StepKind::Wait(_) | StepKind::ForEach(_) | StepKind::While(_))
                }
                _ => false,
            };
            due_at_ms.filter(|_| comes)
        });
        due.min().map(|at_ms| Move::Until(at_ms.max(now_ms))).ok_or_else(|| "nothing more is on record".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dispatch::Credits;
    use crate::document::FlowDocument;
    use crate::ids::{FlowId, Owner, RunId, UserId};
    use crate::plan::PlanLimits;
    use crate::run::{FlowRef, Grant};
    use uuid::Uuid;

    fn plan(text: &str) -> Arc<FlowPlan> {
        let document = FlowDocument::from_text(text).unwrap();
        Arc::new(FlowPlan::compile(&document, &["api_call", "transform"], &PlanLimits::default()).unwrap())
    }

    /// A run of a flow, whose calls answer with status 1 and what else is said, and its log.
    fn ran(text: &str, trigger: Value, answers: &[(&str, Result<Value, &str>)]) -> (Run, Vec<LastAttempt>) {
        let plan = plan(text);
        let owner = Owner::new(UserId(Uuid::from_u128(9)), None);
        let trigger = Arc::new(trigger);
        let header = RunHeader {
            id: RunId::new(5, 7 << 24),
            owner,
            partition: 0,
            flow: FlowRef { id: FlowId(Uuid::nil()), version: 1, name: "f".into() },
            trigger_type: TriggerType::Webhook,
            trigger_source: "webhook".into(),
            trigger_context: trigger.clone(),
            webhook: Arc::default(),
            input: trigger,
            triggered_by: "user:9".into(),
            environment: "test".into(),
            decision_event_id: None,
            recommendation_id: None,
            parent_run_id: None,
            idempotency_key: None,
            run_key: None,
            accepted_at_ms: 1_000,
            deadline_at_ms: None,
        };
        let mut run = Run::new(Arc::new(header), plan);
        let credits = Credits::default();
        let (mut told, mut log) = (std::collections::VecDeque::from([Command::Begin]), BTreeMap::new());
        while let Some(command) = told.pop_front() {
            let grant = Grant { slots: 100, epoch: 1, credits: &credits, gates: None };
            let decision = run.decide(&command, grant, 1_000).unwrap();
            run.apply(&decision);
            for change in &decision.changes {
                if let crate::run::Change::AttemptLogged(entry) = change {
                    let error = entry.failure.as_ref().map(|failure| failure.message.clone());
                    let (step, attempt, is_final) = (entry.step, entry.attempt, entry.is_final);
                    let result = entry.result.clone().map(Kept::Here);
                    log.insert(step, LastAttempt { step, attempt, is_final, result, error, reused_from: None });
                }
            }
            for effect in decision.effects {
                let Effect::StartAttempt { step, attempt, payload, part, .. } = effect else { continue };
                let answer = answers.iter().find(|(id, _)| *id == &*run.plan.part(part).id);
                let outcome = match answer
                    .map_or_else(|| Ok(json!({"status": 1, "headers": {}, "body": null})), |(_, answer)| answer.clone())
                {
                    Ok(result) => Outcome::Completed(result.into()),
                    Err(message) => Outcome::Failed(Failure::fatal("broken", message)),
                };
                let Move::Tell(end) = ended(step, attempt, payload, outcome, 1_000) else { unreachable!() };
                told.push_back(end);
            }
        }
        (run, log.into_values().collect())
    }

    /// Each step that goes otherwise, and how the run ends.
    fn told(replayed: &Replayed) -> (Vec<(&str, StepChange)>, Option<RunStatus>) {
        (replayed.steps.iter().map(|step| (&*step.step, step.change)).collect(), replayed.after)
    }

    const FLOW: &str = r#"
flow_name: f
trigger: {webhook: alerts}
when: trigger.severity > 2
flow_steps:
  - look: {get: "cmdb/hosts/{{ trigger.host }}"}
  - way: {type: branch, cases: [{when: "steps.look.output.status == 1", steps: [{one: {post: "lb/one"}}]}], default: [{other: {post: "lb/other"}}]}
  - tell: {post: "chat/say", json: {text: "{{ trigger.host }} is down"}}
"#;

    fn trigger() -> Value {
        json!({"host": "web-1", "severity": 3})
    }

    #[test]
    fn the_same_version_leads_to_the_same() {
        let (run, log) = ran(FLOW, trigger(), &[]);
        assert_eq!(run.state.status, RunStatus::Completed);
        let replayed = replay(&run, &log, &plan(FLOW));
        assert!(replayed.is_same() && replayed.is_faithful, "{replayed:#?}");
        let (failed, log) = ran(FLOW, trigger(), &[("tell", Err("no chat"))]);
        let replayed = replay(&failed, &log, &plan(FLOW));
        assert!(replayed.is_same() && replayed.before == RunStatus::Failed, "{replayed:#?}");
    }

    #[test]
    fn an_undo_that_asks_is_agreed_to() {
        let back = "flow_name: f\ntrigger: manual\non_error_action: rollback\nflow_steps: [{drain: {post: lb/drain, \
            undo: {post: lb/undrain}}}, {tell: {post: chat/say}}]";
        let (run, log) = ran(back, trigger(), &[("tell", Err("no chat"))]);
        let asks = plan(&back.replace("lb/undrain", "lb/undrain, requires_approval: true"));
        assert_eq!(told(&replay(&run, &log, &asks)), (vec![], Some(RunStatus::RolledBack)));
    }

    /// What nobody else answers: values, loops, and the run's output.
    const COMPUTED: &str = r#"
flow_name: f
trigger: {webhook: alerts}
flow_steps:
  - ask: {get: "cmdb/count"}
  - {id: more, type: transform, config: {values: {n: "steps.ask.output.status + 1"}}}
  - {id: each, type: for_each, config: {collection: "[1, 2, 3]", steps: [{id: twice, type: transform, config: {values: {n: "loop.item * 2"}}}]}}
output_schema: {type: integer, x-value: "steps.ask.output.status"}
"#;

    #[test]
    fn what_would_be_computed_otherwise_is_named() {
        let (run, log) = ran(COMPUTED, trigger(), &[]);
        assert_eq!(run.state.status, RunStatus::Completed, "{:?}", run.state.error);
        let against = |from: &str, to: &str| replay(&run, &log, &plan(&COMPUTED.replace(from, to)));
        assert!(against("", "").is_same(), "{:#?}", against("", ""));
        let added = against("+ 1\"", "+ 1000\"");
        assert_eq!(told(&added), (vec![("more", StepChange::Value)], Some(RunStatus::Completed)));
        let (before, after) = added.steps[0].values.clone().unwrap();
        assert_eq!((&*before, &*after), (&json!({"n": 2}), &json!({"n": 1001})));
        for (from, to) in [("[1, 2, 3]", "[1, 2, 3, 4]"), ("loop.item * 2", "loop.item * 3")] {
            let replayed = against(from, to);
            assert!(!replayed.is_same());
            assert_eq!(told(&replayed).0, [("each", StepChange::Value)], "{to}");
        }
        let given = against("x-value: \"steps.ask.output.status\"", "x-value: \"steps.more.output.n\"");
        assert_eq!((given.steps.len(), given.is_same()), (0, false), "the run gives something else");
        let (before, after) = given.outputs.unwrap();
        assert_eq!((&*before, &*after), (&json!(1), &json!(2)));
    }

    #[test]
    fn what_would_be_otherwise_is_named() {
        let (run, log) = ran(FLOW, trigger(), &[]);
        let worded = replay(&run, &log, &plan(&FLOW.replace("is down", "is gone")));
        assert_eq!(told(&worded), (vec![("tell", StepChange::Payload)], Some(RunStatus::Completed)));
        let (before, after) = worded.steps[0].payloads.clone().unwrap();
        assert_eq!(
            [&before.payload["json"]["text"], &after.payload["json"]["text"]],
            ["web-1 is down", "web-1 is gone"]
        );

        let turned = replay(&run, &log, &plan(&FLOW.replace("status == 1", "status == 2")));
        let (steps, after) = told(&turned);
        assert_eq!(after, None, "nobody knows what the other way would come to");
        assert_eq!(steps[0], ("way", StepChange::Unknown));
        assert!(
            steps.contains(&("one", StepChange::Skipped)) && steps.contains(&("other", StepChange::Unknown)),
            "{steps:?}"
        );
        assert!(steps.contains(&("tell", StepChange::Unknown)), "and what comes after");

        let shorter = FLOW.replace("  - tell:", "  - {id: last, type: transform, config: {values: {host: trigger.host}}}\n  - more: {post: \"x/y\"}\n  - tells:");
        let replayed = replay(&run, &log, &plan(&shorter));
        let (steps, after) = told(&replayed);
        assert_eq!(
            steps,
            [
                ("last", StepChange::Added),
                ("more", StepChange::Added),
                ("tells", StepChange::Added),
                ("tell", StepChange::Gone)
            ]
        );
        assert_eq!(after, None);
    }
}
