//! Trying rules out: failures, past or made up, replayed against a set of rules in simulated time. Nothing is sent.
//!
//! The events are the very state machine that real ones are; only the clock is made up. A set of rules keeps its cases beside
//! them, so that a change of a rule that breaks what was promised is found before it is saved.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::admit::{HeldBack, Recent, Windows};
use super::event::{Command, Event, Hold, Surroundings};
use super::matching::{Asked, acting, ask};
use super::rule::{Failure, Rule};
use super::silence::{Silence, SilenceDocument};
use super::tasks::{Purpose, Task, What};
use super::{EscalationReason, EscalationStatus, RuleDocument, minutes_ms};
use crate::ids::{Owner, RowId, UserId};
use crate::plan::Problem;

/// Looks of all cases together. A case that needs more than its share fails: its rule never ends.
const MOST_LOOKS: usize = 100_000;
const MOST_CASES: usize = 1_000;
const MOST_RULES: usize = 1_000;
const MOST_FAILURES: usize = 1_000;
/// Whoever owns what fails in a trial.
const PERSON: UserId = UserId(Uuid::from_u128(0x0314));

/// Rules and what is expected of them: a file of `core314 escalation test`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    pub rules: Vec<RuleDocument>,
    #[serde(default)]
    pub silences: Vec<SilenceDocument>,
    pub cases: Vec<Case>,
}

/// One case: what fails, what people do, and what must come of it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    /// RFC 3339; absent: 2026-01-05T09:00:00Z, a Monday.
    #[serde(default)]
    pub at: Option<String>,
    pub failure: FailureDocument,
    /// The failure comes again after so many minutes.
    #[serde(default)]
    pub again_after_minutes: Vec<f64>,
    #[serde(default)]
    pub acknowledge_after_minutes: Option<f64>,
    #[serde(default)]
    pub resolve_after_minutes: Option<f64>,
    /// Whether remediations succeed; absent: they never end.
    #[serde(default)]
    pub remediation_succeeds: Option<bool>,
    /// For how long is looked; absent: 1,440, a day.
    #[serde(default)]
    pub for_minutes: Option<f64>,
    #[serde(default)]
    pub expect: Expected,
}

/// What fails.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailureDocument {
    #[serde(default = "failed")]
    pub reason: EscalationReason,
    #[serde(default)]
    pub context: Map<String, Value>,
}

/// What must come of it. What is not named may be anything.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// The name of the rule that acts; `none` where none must.
    pub rule: Option<String>,
    pub status: Option<EscalationStatus>,
    pub level: Option<u32>,
    /// How many failures the event stands for at last.
    pub count: Option<u64>,
    /// How many were held back.
    pub held_back: Option<u64>,
    /// What is done, in order: `60 2 page_oncall` is minute, level and action or channel.
    pub tasks: Option<Vec<String>>,
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseReport {
    pub name: String,
    /// What was not as expected; empty: it passed.
    pub failures: Vec<String>,
    pub asked: Vec<Asked>,
    /// Why it told nobody, where a matching rule was held back.
    pub held_back_by: Vec<HeldBack>,
    pub status: Option<EscalationStatus>,
    pub level: u32,
    pub count: u64,
    pub tasks: Vec<String>,
}

impl Suite {
    /// Performs every case. Problems are those of the rules, silences and times.
    pub fn perform(&self) -> Result<Vec<CaseReport>, Vec<Problem>> {
        let mut problems = Vec::new();
        if self.cases.len() > MOST_CASES {
            problems.push(Problem::new("/cases", format!("must have at most {MOST_CASES} items")));
        }
        for (place, count) in [("/rules", self.rules.len()), ("/silences", self.silences.len())] {
            if count > MOST_RULES {
                problems.push(Problem::new(place, format!("must have at most {MOST_RULES} items")));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let place = |prefix: String, found: Vec<Problem>| {
            found.into_iter().map(move |p| Problem { pointer: format!("{prefix}{}", p.pointer), ..p })
        };
        let mut rules = Vec::new();
        for (no, document) in self.rules.iter().enumerate() {
            match Rule::compile(RowId(Uuid::from_u128(no as u128 + 1)), document.clone()) {
                Ok(rule) => rules.push(Arc::new(rule)),
                Err(found) => problems.extend(place(format!("/rules/{no}"), found)),
            }
        }
        let mut silences = Vec::new();
        for (no, document) in self.silences.iter().enumerate() {
            match Silence::compile(RowId(Uuid::from_u128(no as u128 + 1)), document.clone(), 0) {
                Ok(silence) => silences.push(silence),
                Err(found) => problems.extend(place(format!("/silences/{no}"), found)),
            }
        }
        let mut starts = Vec::new();
        for (no, case) in self.cases.iter().enumerate() {
            match case.start_ms() {
                Ok(start_ms) => starts.push(start_ms),
                Err(message) => problems.push(Problem::new(format!("/cases/{no}/at"), message)),
            }
            if case.again_after_minutes.len() > MOST_FAILURES {
                let message = format!("must have at most {MOST_FAILURES} items");
                problems.push(Problem::new(format!("/cases/{no}/again_after_minutes"), message));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut left = MOST_LOOKS;
        let cases = self.cases.iter().zip(starts);
        Ok(cases.map(|(case, start_ms)| World::new(case, &rules, &silences, start_ms).live(&mut left)).collect())
    }
}

impl Case {
    fn start_ms(&self) -> Result<i64, String> {
        let text = self.at.as_deref().unwrap_or("2026-01-05T09:00:00Z");
        let time = chrono::DateTime::parse_from_rfc3339(text);
        time.map(|time| time.timestamp_millis()).map_err(|error| format!("is not an RFC 3339 time: {error}"))
    }
}

/// What comes to pass in a case, by itself or by people.
#[derive(Clone, Copy)]
enum Happening {
    Failure,
    Acknowledge,
    Resolve,
}

/// One case under way: the first rule that acts, and its event.
struct World<'c> {
    case: &'c Case,
    rules: &'c [Arc<Rule>],
    silences: &'c [Silence],
    start_ms: i64,
    owner: Owner,
    event: Option<Event>,
    wake_ms: Option<i64>,
    /// The end of a remediation, to be told.
    remedies: BTreeMap<i64, Purpose>,
    recent: Recent,
    report: CaseReport,
}

impl<'c> World<'c> {
    fn new(case: &'c Case, rules: &'c [Arc<Rule>], silences: &'c [Silence], start_ms: i64) -> Self {
        let report = CaseReport {
            name: case.name.clone(),
            failures: Vec::new(),
            asked: Vec::new(),
            held_back_by: Vec::new(),
            status: None,
            level: 0,
            count: 0,
            tasks: Vec::new(),
        };
        let owner = Owner::new(PERSON, None);
        let (event, wake_ms, remedies, recent) = (None, None, BTreeMap::new(), Recent::default());
        Self { case, rules, silences, start_ms, owner, event, wake_ms, remedies, recent, report }
    }

    /// Lives it through. `left` is how many looks are left of all cases.
    fn live(mut self, left: &mut usize) -> CaseReport {
        let minutes = |minutes: f64| self.start_ms + minutes_ms(minutes);
        let mut happenings: Vec<(i64, Happening)> = vec![(self.start_ms, Happening::Failure)];
        happenings.extend(self.case.again_after_minutes.iter().map(|m| (minutes(*m), Happening::Failure)));
        happenings.extend(self.case.acknowledge_after_minutes.map(|m| (minutes(m), Happening::Acknowledge)));
        happenings.extend(self.case.resolve_after_minutes.map(|m| (minutes(m), Happening::Resolve)));
        happenings.sort_by_key(|(at_ms, _)| *at_ms);
        let end_ms = minutes(self.case.for_minutes.unwrap_or(1_440.0));
        let mut happenings = happenings.into_iter().peekable();
        loop {
            let next_ms = happenings.peek().map(|(at_ms, _)| *at_ms);
            let remedy_ms = self.remedies.keys().next().copied();
            let Some(now_ms) = [next_ms, self.wake_ms, remedy_ms].into_iter().flatten().min() else { break };
            if now_ms > end_ms {
                break;
            }
            if *left == 0 {
                self.report
                    .failures
                    .push(format!("all cases together take more than {MOST_LOOKS} looks at their events"));
                break;
            }
            *left -= 1;
            // Of what comes at one time a look comes first: what was due is done, whoever comes.
            if self.wake_ms == Some(now_ms) {
                self.tell(&Command::Look, now_ms);
            } else if let Some(purpose) = self.remedies.remove(&now_ms) {
                let success = self.case.remediation_succeeds.unwrap_or_default();
                self.tell(&Command::Remedied { purpose, success }, now_ms);
            } else if let Some((_, happening)) = happenings.next() {
                self.happen(happening, now_ms);
            }
        }
        self.judge();
        self.report
    }

    fn happen(&mut self, happening: Happening, now_ms: i64) {
        let by = format!("user:{PERSON}");
        match happening {
            Happening::Failure => self.fail(now_ms),
            Happening::Acknowledge => self.tell(&Command::Acknowledge { by }, now_ms),
            Happening::Resolve => self.tell(&Command::Resolve { by, notes: None, failed: false }, now_ms),
        }
    }

    fn fail(&mut self, now_ms: i64) {
        let context = Arc::new(Value::Object(self.case.failure.context.clone()));
        let failure = Failure::described(self.case.failure.reason, context, now_ms);
        self.report.asked = ask(self.rules, &failure, &self.owner);
        let Some(rule) = acting(self.rules, &self.report.asked).first().copied() else { return };
        let cause = RowId::new(now_ms, u128::from(self.report.count) + 1);
        if self.event.as_ref().is_some_and(|event| !event.status.is_closed()) {
            return self.tell(&Command::Join { cause, urgency: failure.urgency() }, now_ms);
        }
        let subject = match rule.subject(&failure, &self.owner) {
            Ok(subject) => subject,
            Err(error) => return self.report.failures.push(format!("dedup_key cannot be evaluated: {error}")),
        };
        let windows = Windows::of(&rule.document);
        self.recent.forget(&windows, now_ms);
        let around = self.around(rule, &failure, now_ms);
        let silent =
            self.silences.iter().find(|s| s.covers(rule.id, &failure, &self.owner) && s.until(now_ms).is_some());
        let held = silent.map(|silence| HeldBack::Silence {
            name: silence.document.name.clone(),
            until_ms: silence.until(now_ms).unwrap_or(now_ms),
        });
        if let Some(held) = held.or_else(|| self.recent.holds_back(&windows, &subject, now_ms)) {
            return self.report.held_back_by.push(held);
        }
        self.recent.add(now_ms, &subject);
        let before = self.report.held_back_by.len() as u64;
        let decision = Event::open(rule, &failure, (cause, PERSON, subject), before, &around, now_ms);
        self.take(decision.event, decision.next_wake_ms, decision.tasks, now_ms);
    }

    fn around(&self, rule: &Rule, failure: &Failure, now_ms: i64) -> Surroundings {
        let covering = self.silences.iter().filter(|silence| silence.covers(rule.id, failure, &self.owner));
        let hold = covering.clone().find_map(|silence| {
            let until_ms = silence.until(now_ms)?;
            Some(Hold { reason: silence.document.name.clone(), since_ms: now_ms, until_ms: Some(until_ms) })
        });
        Surroundings { hold, next_hold_ms: covering.filter_map(|silence| silence.next_start(now_ms + 1)).min() }
    }

    fn tell(&mut self, command: &Command, now_ms: i64) {
        let Some(event) = &self.event else { return };
        let Some(rule) = acting(self.rules, &self.report.asked).first().copied() else { return };
        let context = Arc::new(Value::Object(self.case.failure.context.clone()));
        let failure = Failure::described(self.case.failure.reason, context, event.triggered_ms);
        let around = self.around(rule, &failure, now_ms);
        // A refusal changes nothing: an acknowledgement of what has ended, say.
        if let Ok(decision) = event.decide(rule, command, &around, now_ms) {
            self.take(decision.event, decision.next_wake_ms, decision.tasks, now_ms);
        } else if *command == Command::Look {
            self.wake_ms = None;
        }
    }

    fn take(&mut self, event: Event, wake_ms: Option<i64>, tasks: Vec<Task>, now_ms: i64) {
        (self.event, self.wake_ms) = (Some(event), wake_ms);
        for task in tasks {
            if task.mends() && self.case.remediation_succeeds.is_some() {
                self.remedies.insert(now_ms + 1_000, task.purpose);
            }
            let minute = (now_ms - self.start_ms) / 60_000;
            let name = match &task.what {
                What::Notify { is_page: true, recipients, .. } => format!("page {}", recipients.join(",")),
                What::Notify { channel, recipients, .. } if recipients.is_empty() => channel.channel.clone(),
                What::Notify { channel, recipients, .. } => {
                    let own = format!("user:{PERSON}");
                    let told: Vec<&str> =
                        recipients.iter().map(|r| if *r == own { "owner" } else { r.as_str() }).collect();
                    format!("{} {}", channel.channel, told.join(","))
                }
                What::Act { action } => action.action.clone(),
            };
            self.report.tasks.push(format!("{minute} {} {name}", task.level));
        }
    }

    /// Compares what came with what was expected.
    fn judge(&mut self) {
        let report = &mut self.report;
        if let Some(event) = &self.event {
            (report.status, report.level, report.count) = (Some(event.status), event.level, event.count);
        }
        let acts = acting(self.rules, &report.asked).first().map_or("none", |rule| &rule.document.rule_name).to_owned();
        let expected = &self.case.expect;
        let mut differs = |what: &str, wanted: Option<String>, found: String| {
            if wanted.as_ref().is_some_and(|wanted| *wanted != found) {
                let wanted = wanted.unwrap_or_default();
                report.failures.push(format!("{what}: expected {wanted}, found {found}"));
            }
        };
        differs("rule", expected.rule.clone(), acts);
        let status = report.status.map_or("none", EscalationStatus::as_str).to_owned();
        differs("status", expected.status.map(|status| status.as_str().to_owned()), status);
        differs("level", expected.level.map(|level| level.to_string()), report.level.to_string());
        differs("count", expected.count.map(|count| count.to_string()), report.count.to_string());
        let held = report.held_back_by.len().to_string();
        differs("held_back", expected.held_back.map(|count| count.to_string()), held);
        differs("tasks", expected.tasks.as_ref().map(|tasks| format!("{tasks:?}")), format!("{:?}", report.tasks));
    }
}

fn failed() -> EscalationReason {
    EscalationReason::ExecutionFailed
}
