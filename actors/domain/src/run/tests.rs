//! Each command and each transition, one at a time. Histories are the simulation's business (`tests/simulation.rs`).

use std::borrow::Borrow;
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::step::{Step, StepStatus};
use super::*;
use crate::dispatch::Credits;
use crate::document::FlowDocument;
use crate::ids::{FlowId, Owner, RunId};
use crate::invariants;
use crate::json::merge_patch;
use crate::log::{Failure, LogEntry};
use crate::plan::PlanLimits;
use crate::words::{ApprovalStatus, ExecutionStatus, Role, TriggerType};

mod again;
mod cache;
mod cut_phases;
mod events;
mod fallback;
mod gates;
mod inside;
mod intervening;
mod keys;
mod kinds;
mod loops;
mod outputs;
mod phases;
mod reasons;
mod recovery;
mod results;
mod sub_flows;
mod unphased;
mod waiting;

const BY: UserId = UserId(Uuid::from_u128(9));

/// An operator who decides.
fn person() -> Voter {
    Voter { user: BY, role: Role::Operator, notes: None, form: Json::default(), on_duty: Arc::default() }
}

/// A step that takes a payload from the trigger, with more fields.
fn step(id: &str, more: impl Borrow<Value>) -> Value {
    let mut step =
        json!({"id": id, "config": {"action_type": "noop", "action_payload": {"host": "{{ trigger.host }}"}}});
    merge_patch(&mut step, more.borrow());
    step
}

/// The same in a `mixed` flow.
fn after(id: &str, inputs: &[&str], more: impl Borrow<Value>) -> Value {
    let mut step = step(id, more);
    merge_patch(&mut step, &json!({"connections": {"inputs": inputs}}));
    step
}

fn flow(mode: &str, steps: &[Value], extra: impl Borrow<Value>) -> Value {
    let retry = json!({"max_attempts": 3, "backoff_seconds": 2.0, "jitter": "none"});
    let mut document = json!({"flow_name": "f", "trigger_type": "manual", "execution_mode": mode, "flow_steps": steps, "retry_policy": retry});
    merge_patch(&mut document, extra.borrow());
    document
}

/// A run at time 0 with ten slots, a driver that commits at once, and the log.
struct Bench {
    run: Run,
    slots: usize,
    now_ms: i64,
    log: Vec<LogEntry>,
    /// The integrations of the tenant.
    gates: Option<GatedNames>,
}

impl Bench {
    fn new(document: Value) -> Self {
        let document = FlowDocument::from_value(document).unwrap();
        let plan = Arc::new(FlowPlan::compile(&document, &["noop"], &PlanLimits::default()).unwrap());
        let nothing = Arc::new(Value::Null);
        let header = RunHeader {
            id: RunId::new(0, 7 << 24),
            owner: Owner::new(BY, None),
            partition: 0,
            flow: FlowRef { id: FlowId(Uuid::nil()), version: 1, name: "f".into() },
            trigger_type: TriggerType::Manual,
            trigger_source: "manual".into(),
            trigger_context: Arc::new(json!({"host": "web-1", "later": "1970-01-01T00:01:00Z"})),
            webhook: nothing.clone(),
            input: nothing,
            triggered_by: "user:9".into(),
            environment: "test".into(),
            decision_event_id: None,
            recommendation_id: None,
            parent_run_id: None,
            idempotency_key: None,
            run_key: None,
            accepted_at_ms: 0,
            deadline_at_ms: plan.deadline_ms,
        };
        Self { run: Run::new(Arc::new(header), plan), slots: 10, now_ms: 0, log: Vec::new(), gates: None }
    }

    /// A run that has begun.
    fn begun(document: Value) -> Self {
        let mut bench = Self::new(document);
        bench.tell(&Command::Begin);
        bench
    }

    fn decide(&self, command: &Command) -> Result<Decision, Refusal> {
        let credits = Credits::default();
        self.run.decide(
            command,
            Grant { slots: self.slots, epoch: 4, credits: &credits, gates: self.gates.as_ref() },
            self.now_ms,
        )
    }

    fn tell(&mut self, command: &Command) -> Decision {
        let decision = self.decide(command).unwrap();
        self.run.apply(&decision);
        for change in &decision.changes {
            if let Change::AttemptLogged(entry) = change {
                self.log.push(LogEntry::clone(entry));
            }
        }
        invariants::attempts_are_logged_once(&self.run, &self.log).unwrap();
        invariants::steps_wait_for_their_inputs(&self.run, self.now_ms).unwrap();
        invariants::ends_with_its_steps(&self.run).unwrap();
        invariants::steps_wait_for_their_place(&self.run).unwrap();
        invariants::nothing_waits_in_vain(&self.run, self.timing(None), false).unwrap();
        invariants::every_step_names_its_reason(&self.run, self.now_ms).unwrap();
        decision
    }

    fn at(&mut self, now_ms: i64, command: &Command) -> Decision {
        self.now_ms = now_ms;
        self.tell(command)
    }

    /// The present attempt of a step ends.
    fn ends(&mut self, step: StepNo, outcome: Outcome) -> Decision {
        let attempt = self.run.state.get(step).and_then(|s| s.live.as_ref()).map_or(0, |l| l.attempt);
        let report = report(outcome, self.now_ms);
        self.tell(&Command::AttemptEnded { step, attempt, report })
    }

    fn completes(&mut self, step: StepNo) -> Decision {
        self.ends(step, Outcome::Completed(Arc::new(json!({"n": step}))))
    }

    fn fails(&mut self, step: StepNo) -> Decision {
        self.ends(step, Outcome::Failed(Failure::fatal("broken", "no")))
    }

    fn fails_for_now(&mut self, step: StepNo, retry_after_ms: Option<i64>) -> Decision {
        self.ends(step, Outcome::Failed(Failure { retry_after_ms, ..Failure::retryable("busy", "later") }))
    }

    /// A letter for each step, as stored.
    fn letters(&self) -> String {
        self.run.state.steps.iter().map(|s| s.status.letter()).collect()
    }

    fn timing(&self, previous_key: Option<i64>) -> Timing {
        self.run.timing(&Credits::default(), previous_key, self.now_ms)
    }

    fn error(&self) -> &str {
        self.run.state.error.as_deref().unwrap_or_default()
    }
}

fn report(outcome: Outcome, now_ms: i64) -> AttemptReport {
    let payload = Arc::new(json!({"sent": true}));
    AttemptReport { outcome, payload, started_at_ms: now_ms, completed_at_ms: now_ms, duration_ms: 0, http: None }
}

fn started(decision: &Decision) -> Vec<(StepNo, u32)> {
    let start =
        |e: &Effect| if let Effect::StartAttempt { step, attempt, .. } = e { Some((*step, *attempt)) } else { None };
    decision.effects.iter().filter_map(start).collect()
}

fn queued(decision: &Decision) -> Vec<StepNo> {
    let entry = |e: &Effect| if let Effect::Enqueue { step, order, .. } = e { Some((*order, *step)) } else { None };
    let mut entries: Vec<(i64, StepNo)> = decision.effects.iter().filter_map(entry).collect();
    entries.sort_unstable();
    entries.into_iter().map(|(_, step)| step).collect()
}

fn told_to_end(decision: &Decision) -> Vec<(StepNo, u32)> {
    let cut = |e: &Effect| if let Effect::CancelAttempt { step, attempt } = e { Some((*step, *attempt)) } else { None };
    decision.effects.iter().filter_map(cut).collect()
}

fn two() -> [Value; 2] {
    [step("a", json!({})), step("b", json!({}))]
}

#[test]
fn sequential_steps_follow_each_other_in_one_decision() {
    let mut bench = Bench::new(flow("sequential", &two(), json!({})));
    let begin = bench.tell(&Command::Begin);
    assert_eq!((started(&begin), begin.unused_slots, bench.letters()), (vec![(0, 0)], 9, "IB".to_owned()));
    let Effect::StartAttempt { payload, .. } = &begin.effects[0] else { panic!("{begin:?}") };
    assert_eq!(**payload, json!({"host": "web-1"}));
    let next = bench.completes(0);
    assert_eq!((started(&next), bench.letters()), (vec![(1, 0)], "CI".to_owned()));
    bench.now_ms = 70;
    let end = bench.completes(1);
    assert_eq!(end.changes.last(), Some(&Change::RunEnded { status: RunStatus::Completed, error: None, at_ms: 70 }));
    assert_eq!((bench.run.state.started_at_ms, bench.run.state.completed_at_ms), (Some(0), Some(70)));
    assert_eq!(bench.run.results["a"].output, json!({"n": 0}).into());
    assert_eq!(
        (bench.log[0].status, bench.log[0].payload.as_ref()),
        (ExecutionStatus::Completed, &json!({"sent": true}))
    );
}

#[test]
fn without_slots_steps_are_queued_in_the_order_of_dispatch() {
    let urgency = |id, urgency, priority| step(id, json!({"config": {"urgency": urgency, "priority": priority}}));
    let steps =
        [urgency("a", "low", 1), urgency("b", "high", 9), urgency("c", "high", 2), urgency("d", "critical", 10)];
    let mut bench = Bench::new(flow("parallel", &steps, json!({})));
    bench.slots = 1;
    let begin = bench.tell(&Command::Begin);
    assert_eq!((started(&begin), queued(&begin), begin.unused_slots), (vec![(0, 0)], vec![3, 2, 1], 0));
    assert!(queued(&bench.tell(&Command::Wake)).is_empty(), "an entry is queued once");
    bench.slots = 2;
    let start = bench.tell(&Command::Start { steps: vec![3, 0] });
    assert_eq!((started(&start), start.unused_slots), (vec![(3, 0)], 1), "a slot for what runs already comes back");
    assert_eq!(bench.log.len(), 0);
    bench.slots = 0;
    assert_eq!(queued(&bench.tell(&Command::Start { steps: vec![2] })), [2], "a slot that was taken meanwhile");
}

#[test]
fn a_join_waits_for_as_many_inputs_as_it_needs() {
    // Ends of a, b, c in turn: completed or failed; the step joined is released, or skipped, with the last of them.
    let cases = [
        (json!("all"), "CCC", 'I'),
        (json!("all"), "CCF", 'U'),
        (json!("all"), "F", 'U'),
        (json!("any"), "C", 'I'),
        (json!("any"), "FFC", 'I'),
        (json!("any"), "FFF", 'U'),
        (json!(2), "CC", 'I'),
        (json!(2), "CFC", 'I'),
        (json!(2), "FF", 'U'),
        (json!(2), "C", 'B'),
    ];
    for (mode, ends, expected) in cases {
        let roots = ["a", "b", "c"].map(|id| after(id, &[], json!({})));
        let join = after("j", &["a", "b", "c"], json!({"dependency_mode": mode}));
        let steps: Vec<Value> = roots.into_iter().chain([join, after("k", &["j"], json!({}))]).collect();
        let mut bench = Bench::begun(flow("mixed", &steps, json!({"on_error_action": "continue"})));
        for (no, end) in (0..).zip(ends.chars()) {
            match end {
                'C' => bench.completes(no),
                _ => bench.fails(no),
            };
        }
        let letters = bench.letters();
        assert_eq!(letters.chars().nth(3), Some(expected), "{mode} {ends}: {letters}");
        assert_eq!(letters.ends_with('U'), expected == 'U', "what comes after a skipped join is skipped: {letters}");
    }
}

#[test]
fn a_condition_decides_whether_a_step_runs() {
    let cases = [
        (json!("trigger.host == 'web-1'"), "CI", None),
        (json!({"host": "web-1"}), "CI", None),
        (json!("trigger.host == 'db-1'"), "CS", None),
        (json!("steps.a.output.n == 1"), "CS", None),
        (json!("steps.a.status == 'completed'"), "CI", None),
        (json!("trigger.port == 80"), "CF", Some("step 'b': `trigger` has no member `port`, in `trigger.port == 80`")),
    ];
    for (when, letters, error) in cases {
        let mut bench =
            Bench::begun(flow("sequential", &[step("a", json!({})), step("b", json!({"when": when}))], json!({})));
        bench.completes(0);
        assert_eq!((bench.letters().as_str(), bench.run.state.error.as_deref()), (letters, error), "{when}");
    }
}

#[test]
fn what_fails_before_it_starts_is_one_attempt_in_the_log() {
    let cases = [
        (json!({"when": "trigger.port == 80"}), "expression_error"),
        (json!({"config": {"scheduled_for": "{{ 'tomorrow' }}"}}), "invalid_schedule"),
        (json!({"config": {"scheduled_for": "{{ trigger.port }}"}}), "invalid_schedule"),
        (json!({"config": {"action_payload": "{{ trigger.port }}"}}), "template_error"),
    ];
    for (more, code) in cases {
        let mut bench = Bench::new(flow("parallel", &[step("a", more)], json!({})));
        let begin = bench.tell(&Command::Begin);
        assert_eq!(
            (bench.run.state.status, begin.unused_slots, begin.effects.len()),
            (RunStatus::Failed, 10, 0),
            "{code}"
        );
        let [entry] = &bench.log[..] else { panic!("{:?}", bench.log) };
        assert_eq!(
            (entry.failure.as_ref().map(|f| f.code.as_str()), entry.is_final, entry.attempt),
            (Some(code), true, 0)
        );
        assert!(bench.error().starts_with("step 'a': "), "{}", bench.error());
    }
}

#[test]
fn a_root_that_fails_at_once_stops_the_roots_after_it() {
    let broken = || step("b", json!({"when": "trigger.port == 80"}));
    let skipped = || step("d", json!({"when": "trigger.host == 'x'"}));
    let steps = [step("a", json!({})), broken(), step("c", json!({})), skipped()];
    let mut bench = Bench::begun(flow("parallel", &steps, json!({})));
    assert_eq!(bench.letters(), "IFXX", "an attempt under way may end");
    assert_eq!(bench.run.state.closing, Some(Closing::Failed));
    bench.completes(0);
    assert_eq!((bench.run.state.status, bench.letters()), (RunStatus::Failed, "CFXX".to_owned()));
}

#[test]
fn a_final_failure_stops_the_run_unless_it_is_tolerated() {
    // (on_error of the step, on_error_action of the flow) -> letters, run.
    let cases = [
        ("fail", "stop", "FXX", RunStatus::Failed),
        ("continue", "stop", "FII", RunStatus::Running),
        ("fail", "continue", "FUI", RunStatus::Running),
        ("continue", "continue", "FII", RunStatus::Running),
    ];
    for (step_says, flow_says, letters, status) in cases {
        let b = after("b", &["a"], json!({"when": "steps.a.error == 'no' && steps.a.output == null"}));
        let c = after("c", &[], json!({"requires_approval": true}));
        let steps = [after("a", &[], json!({"on_error": step_says})), b, c];
        let mut bench = Bench::begun(flow("mixed", &steps, json!({"on_error_action": flow_says})));
        bench.fails(0);
        if status == RunStatus::Running {
            bench.tell(&Command::Approve { step: Some(2), by: person() });
        }
        assert_eq!((bench.letters().as_str(), bench.run.state.status), (letters, status), "{step_says} {flow_says}");
        if status == RunStatus::Failed {
            continue;
        }
        bench.completes(2);
        if step_says == "continue" {
            bench.completes(1);
        }
        let expected =
            if step_says == "continue" { (RunStatus::Completed, "") } else { (RunStatus::Failed, "step 'a': no") };
        assert_eq!((bench.run.state.status, bench.error()), expected, "{step_says} {flow_says}");
    }
}

#[test]
fn an_end_that_nobody_asked_for_is_a_failure() {
    let mut bench = Bench::begun(flow("sequential", &two(), json!({})));
    bench.ends(0, Outcome::Cancelled);
    assert_eq!(bench.letters(), "RB");
    assert_eq!(bench.log[0].failure.as_ref().map(|f| f.code.as_str()), Some("cancelled"));
}

#[test]
fn old_news_change_nothing() {
    let mut bench = Bench::begun(flow("sequential", &two(), json!({})));
    let done = || report(Outcome::Completed(Arc::new(json!(1))), 0);
    bench.fails_for_now(0, Some(0));
    bench.at(2_000, &Command::Wake);
    bench.completes(0);
    let before = bench.run.state.clone();
    for command in [
        Command::AttemptEnded { step: 0, attempt: 0, report: done() },
        Command::AttemptEnded { step: 0, attempt: 1, report: done() },
        Command::AttemptEnded { step: 1, attempt: 1, report: done() },
        Command::AttemptEnded { step: 99, attempt: 0, report: done() },
        Command::Start { steps: vec![0, 1, 99] },
        Command::Begin,
        Command::Wake,
        Command::Recover { under_way: vec![1, 99] },
    ] {
        assert_eq!(bench.tell(&command), Decision { unused_slots: 10, ..Decision::default() }, "{command:?}");
        assert_eq!(bench.run.state, before);
    }
    bench.completes(1);
    for command in
        [Command::Begin, Command::Wake, Command::Start { steps: vec![1] }, Command::Recover { under_way: vec![] }]
    {
        assert_eq!(bench.tell(&command), Decision { unused_slots: 10, ..Decision::default() }, "{command:?}");
    }
    let cancel = bench.decide(&Command::Cancel { reason: "late".into() }).unwrap_err();
    assert_eq!(cancel.to_string(), "the run has ended (completed): nothing about it can change any more");
}

#[test]
fn what_approvals_show_follows_from_the_step() {
    let shows = |required, status| Step { status, live: None }.approval(required);
    for (status, required, otherwise) in [
        (StepStatus::Blocked, ApprovalStatus::Pending, ApprovalStatus::NotRequired),
        (StepStatus::AwaitingApproval, ApprovalStatus::Pending, ApprovalStatus::Pending),
        (StepStatus::InProgress, ApprovalStatus::Approved, ApprovalStatus::NotRequired),
        (StepStatus::Rejected, ApprovalStatus::Rejected, ApprovalStatus::NotRequired),
        (StepStatus::Expired, ApprovalStatus::Expired, ApprovalStatus::NotRequired),
        (StepStatus::SkippedByWhen, ApprovalStatus::NotRequired, ApprovalStatus::NotRequired),
        (StepStatus::SkippedUpstream, ApprovalStatus::NotRequired, ApprovalStatus::NotRequired),
    ] {
        assert_eq!((shows(true, status), shows(false, status)), (required, otherwise), "{status:?}");
    }
}
