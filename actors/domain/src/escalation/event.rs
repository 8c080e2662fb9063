//! One escalation: the state machine from its trigger to its end.
//!
//! ```text
//!             level ≥ 2               acknowledge
//! triggered ───────────► escalated ──────────────► acknowledged
//!     │                      │                          │
//!     └──────────────────────┴─── resolve, mended ──────┴──► resolved, or failed where nobody ends it
//! ```
//!
//! How someone could get this wrong: to count delays from the last look. Here every time is computed from the trigger and
//! from what was held, so that a late look, or a look after a restart, finds the same levels due.

mod service;
mod tell;

use serde::{Deserialize, Serialize};

use super::clock::{Pause, ServiceClock};
use super::document::{LevelDocument, Until};
use super::rule::{Failure, Rule};
use super::tasks::{Purpose, Task};
use super::{EscalationReason, EscalationStatus, minutes_ms};
use crate::ids::{RowId, UserId};
use crate::words::Urgency;

/// Causes that are remembered: of one that is reported again nothing counts twice.
const MOST_CAUSES: usize = 16;

/// Who did something, and when. `by` is `user:ID` or what did it by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    pub by: String,
    pub at_ms: i64,
}

/// What keeps an event from climbing for a time: a silence, or an open event that it depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub reason: String,
    pub since_ms: i64,
    /// When to look again; absent: when told.
    pub until_ms: Option<i64>,
}

/// People of a level that wait for its remediation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Grace {
    level: u32,
    until_ms: i64,
}

/// A level that tells again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Repeating {
    level: u32,
    /// How often it has told again.
    rounds: u32,
    next_ms: i64,
}

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    format: u32,
    pub status: EscalationStatus,
    pub reason: EscalationReason,
    pub subject: String,
    pub urgency: Urgency,
    /// Whose row had failed.
    pub user: UserId,
    /// The level that was reached; 0: none yet.
    pub level: u32,
    /// How many failures it stands for.
    pub count: u64,
    /// How many the rule has held back before it, and since then: its messages say so.
    pub held_back: u64,
    /// Those among them that its latest message is the first to tell.
    #[serde(default)]
    pub bundled: u64,
    /// How often it has told what was held back, because no other message did.
    #[serde(default)]
    summaries: u32,
    causes: Vec<RowId>,
    pub triggered_ms: i64,
    pub acknowledged: Option<Deed>,
    pub ended: Option<Deed>,
    pub notes: Option<String>,
    pub held: Option<Hold>,
    /// For how long it was held altogether.
    held_ms: i64,
    grace: Option<Grace>,
    repeats: Vec<Repeating>,
    /// Whoever reported it said that nothing is to be tried by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_hands_off: bool,
    pub remediation_attempted: bool,
    pub remediation_successful: Option<bool>,
    pub response: Option<ServiceClock>,
    pub resolution: Option<ServiceClock>,
    /// Clocks that ran out while it was held: what a breach wants done waits for the end of that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    untold_breaches: Vec<u32>,
}

/// What an event is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Time has passed.
    Look,
    /// The same subject has failed again.
    Join {
        cause: RowId,
        urgency: Option<Urgency>,
    },
    Acknowledge {
        by: String,
    },
    Resolve {
        by: String,
        notes: Option<String>,
        failed: bool,
    },
    /// A remediation has ended.
    Remedied {
        purpose: Purpose,
        success: bool,
    },
    SetUrgency {
        urgency: Urgency,
    },
    PauseClocks {
        by: String,
        reason: String,
    },
    ResumeClocks,
}

/// What the event cannot know by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// What holds it now.
    pub hold: Option<Hold>,
    /// When the next hold that is known of begins.
    pub next_hold_ms: Option<i64>,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub event: Event,
    /// In the order in which they are to be done.
    pub tasks: Vec<Task>,
    /// What is in flight is stopped: of levels and repeats, or at the end all of it.
    pub stops: bool,
    pub next_wake_ms: Option<i64>,
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the escalation is {} since it was ended by {}", .0, .1)]
    Ended(EscalationStatus, String),
    #[error("it was acknowledged already, by {0}")]
    Acknowledged(String),
    #[error("none of its service clocks counts")]
    NoClock,
    #[error("its service clocks do not stand still")]
    NotPaused,
    #[error("the cause was counted already")]
    Counted,
}

impl Event {
    /// A new event of a rule, and what it wants done at once.
    pub fn open(
        rule: &Rule,
        failure: &Failure,
        (cause, user, subject): (RowId, UserId, String),
        held_back: u64,
        around: &Surroundings,
        now_ms: i64,
    ) -> Decision {
        let urgency = failure.urgency().unwrap_or(rule.document.urgency);
        let (response, resolution) = rule.document.service_times(urgency);
        let clock = |minutes: Option<f64>| minutes.map(|minutes| ServiceClock::new(now_ms, minutes_ms(minutes)));
        let event = Self {
            format: 1,
            status: EscalationStatus::Triggered,
            reason: failure.reason,
            subject,
            urgency,
            user,
            level: 0,
            count: 1,
            held_back,
            bundled: held_back,
            summaries: 0,
            causes: vec![cause],
            triggered_ms: now_ms,
            acknowledged: None,
            ended: None,
            notes: None,
            held: None,
            held_ms: 0,
            grace: None,
            repeats: Vec::new(),
            is_hands_off: failure.context.get("auto_remediate") == Some(&serde_json::Value::Bool(false)),
            remediation_attempted: false,
            remediation_successful: None,
            response: clock(response),
            resolution: clock(resolution),
            untold_breaches: Vec::new(),
        };
        let mut work = Work { rule, event, tasks: Vec::new(), stops: false, now_ms };
        if rule.document.auto_remediation_enabled && !work.event.is_hands_off {
            work.act(Purpose::Remediation, &rule.document.remediation_actions);
        }
        work.look(around);
        work.decision(around)
    }

    /// Decides what a command makes of it.
    pub fn decide(
        &self,
        rule: &Rule,
        command: &Command,
        around: &Surroundings,
        now_ms: i64,
    ) -> Result<Decision, Refused> {
        if self.status.is_closed() {
            let by = self.ended.as_ref().map_or("nobody", |deed| &deed.by).to_owned();
            return Err(Refused::Ended(self.status, by));
        }
        let mut work = Work { rule, event: self.clone(), tasks: Vec::new(), stops: false, now_ms };
        // What was due before the command came is done first: a clock that had run out is breached, whoever comes late.
        work.clocks(around.hold.is_some());
        match command {
            Command::Look => {}
            Command::Join { cause, urgency } => work.join(*cause, *urgency)?,
            Command::Acknowledge { by } => work.acknowledge(by)?,
            Command::Resolve { by, notes, failed } => {
                let status = if *failed { EscalationStatus::Failed } else { EscalationStatus::Resolved };
                work.end(status, by, notes.clone());
            }
            Command::Remedied { purpose, success } => work.remedied(*purpose, *success),
            Command::SetUrgency { urgency } => work.set_urgency(*urgency),
            Command::PauseClocks { by, reason } => work.pause(by, reason)?,
            Command::ResumeClocks => work.go_on()?,
        }
        work.look(around);
        Ok(work.decision(around))
    }

    /// Whether it counts a failure already.
    pub fn knows(&self, cause: RowId) -> bool {
        self.causes.contains(&cause)
    }

    /// Whether the people of a level still wait for its remediation.
    pub fn waits_for_remedy(&self, level: u32, now_ms: i64) -> bool {
        self.grace.as_ref().is_some_and(|grace| grace.level == level && grace.until_ms > now_ms)
    }

    /// Failures that the rule has held back since its last message: the next one tells them.
    pub fn bundle(&mut self, failures: u64) {
        self.held_back += failures;
        self.bundled = failures;
    }

    /// When its service times end, as they count now: until the response, and until the resolution.
    pub fn deadlines(&self, rule: &Rule) -> (Option<i64>, Option<i64>) {
        let deadline = |clock: &Option<ServiceClock>| clock.as_ref().map(|clock| clock.deadline_ms(&rule.calendar));
        (deadline(&self.response), deadline(&self.resolution))
    }

    /// Why its service clocks stand still, where they do: both do at once.
    pub fn pause(&self) -> Option<&Pause> {
        [&self.response, &self.resolution].into_iter().flatten().find_map(|clock| clock.paused.as_ref())
    }

    /// When a level is due, as far as nothing holds the event.
    fn due_ms(&self, level: &LevelDocument) -> i64 {
        self.triggered_ms + minutes_ms(level.delay_minutes) + self.held_ms
    }

    fn clocks(&mut self) -> [Option<&mut ServiceClock>; 2] {
        [self.response.as_mut(), self.resolution.as_mut()]
    }
}

/// A decision under way.
struct Work<'r> {
    rule: &'r Rule,
    event: Event,
    tasks: Vec<Task>,
    stops: bool,
    now_ms: i64,
}

impl Work<'_> {
    fn decision(self, around: &Surroundings) -> Decision {
        let next_wake_ms = self.next_wake_ms(around);
        Decision { event: self.event, tasks: self.tasks, stops: self.stops, next_wake_ms }
    }

    /// Does all that is due.
    fn look(&mut self, around: &Surroundings) {
        if self.event.status.is_closed() {
            return;
        }
        self.clocks(around.hold.is_some());
        self.hold(around);
        if self.event.held.is_none() {
            self.tell_breaches();
            self.grace();
            self.climb();
            self.repeat();
        }
        if self.now_ms >= self.gives_up_ms() {
            self.end(EscalationStatus::Failed, "nobody", Some("nobody has ended it in time".to_owned()));
        }
    }

    /// Notes the beginning and the end of a hold: what was due moves by as much.
    fn hold(&mut self, around: &Surroundings) {
        match (&around.hold, self.event.held.take()) {
            (Some(hold), None) => {
                let since_ms = hold.since_ms.clamp(self.event.triggered_ms, self.now_ms);
                self.event.held = Some(Hold { since_ms, ..hold.clone() });
            }
            (Some(hold), Some(before)) => {
                self.event.held = Some(Hold { since_ms: before.since_ms, ..hold.clone() });
            }
            (None, Some(held)) => {
                let over_ms = held.until_ms.unwrap_or(self.now_ms).min(self.now_ms);
                let moved_ms = (over_ms - held.since_ms).max(0);
                self.event.held_ms += moved_ms;
                self.event.repeats.iter_mut().for_each(|repeat| repeat.next_ms += moved_ms);
                self.event.grace.iter_mut().for_each(|grace| grace.until_ms += moved_ms);
            }
            (None, None) => {}
        }
    }

    /// Reaches every level that is due, each once.
    fn climb(&mut self) {
        while let Some(level) = self.next_level().filter(|level| self.event.due_ms(level) <= self.now_ms).cloned() {
            self.event.level = level.level;
            if level.level > 1 && self.event.status == EscalationStatus::Triggered {
                self.event.status = EscalationStatus::Escalated;
            }
            match level.remediation.as_ref().filter(|_| !self.event.is_hands_off) {
                Some(remediation) => {
                    self.act(Purpose::FixFirst, std::slice::from_ref(&remediation.action));
                    let until_ms = self.now_ms + minutes_ms(remediation.grace_minutes);
                    self.event.grace = Some(Grace { level: level.level, until_ms });
                    self.grace();
                }
                None => self.tell_level(&level),
            }
        }
    }

    /// The level that comes next: those that an acknowledgement keeps from being reached are passed over.
    fn next_level(&self) -> Option<&LevelDocument> {
        let document = &self.rule.document;
        // People of the level before are told first.
        if self.event.grace.is_some() || document.records_only() {
            return None;
        }
        let is_kept = |level: &&LevelDocument| self.event.acknowledged.is_some() && level.until == Until::Acknowledged;
        document.escalation_levels.iter().skip(self.event.level as usize).find(|level| !is_kept(level))
    }

    /// Tells the people of a level whose remediation has had its time.
    fn grace(&mut self) {
        let is_over = self.event.grace.as_ref().is_some_and(|grace| grace.until_ms <= self.now_ms);
        let Some(grace) = is_over.then(|| self.event.grace.take()).flatten() else { return };
        let level = self.rule.document.escalation_levels.get(grace.level as usize - 1).cloned();
        let Some(level) = level else { return };
        if self.event.acknowledged.is_none() || level.until == Until::Resolved {
            self.tell_level(&level);
        }
    }

    fn join(&mut self, cause: RowId, urgency: Option<Urgency>) -> Result<(), Refused> {
        if self.event.knows(cause) {
            return Err(Refused::Counted);
        }
        self.event.count += 1;
        self.event.causes.push(cause);
        if self.event.causes.len() > MOST_CAUSES {
            self.event.causes.remove(0);
        }
        if let Some(urgency) = urgency.filter(|urgency| *urgency > self.event.urgency) {
            self.set_urgency(urgency);
        }
        Ok(())
    }

    fn acknowledge(&mut self, by: &str) -> Result<(), Refused> {
        if let Some(deed) = &self.event.acknowledged {
            return Err(Refused::Acknowledged(deed.by.clone()));
        }
        self.event.acknowledged = Some(Deed { by: by.to_owned(), at_ms: self.now_ms });
        self.event.status = EscalationStatus::Acknowledged;
        self.event.response.iter_mut().for_each(|clock| clock.meet(self.now_ms));
        self.stops = true;
        Ok(())
    }

    fn end(&mut self, status: EscalationStatus, by: &str, notes: Option<String>) {
        self.event.status = status;
        self.event.ended = Some(Deed { by: by.to_owned(), at_ms: self.now_ms });
        self.event.notes = notes;
        self.tell_breaches();
        self.event.held = None;
        let now_ms = self.now_ms;
        self.event.clocks().into_iter().flatten().for_each(|clock| clock.meet(now_ms));
        self.stops = true;
    }

    fn remedied(&mut self, purpose: Purpose, success: bool) {
        if success {
            self.event.remediation_successful = Some(true);
            let what = match purpose {
                Purpose::FixFirst => "what was tried before people were told",
                Purpose::Level => "what a level tried",
                _ => "the remediation",
            };
            let notes = format!("{what} succeeded");
            return self.end(EscalationStatus::Resolved, "remediation", Some(notes));
        }
        self.event.remediation_successful = Some(false);
        // It is still broken, so nobody has to wait for the end of the grace.
        if let Some(grace) = self.event.grace.as_mut().filter(|_| purpose == Purpose::FixFirst) {
            grace.until_ms = grace.until_ms.min(self.now_ms);
        }
    }

    fn gives_up_ms(&self) -> i64 {
        let document = &self.rule.document;
        let last = document.escalation_levels.last().map_or(self.event.triggered_ms, |level| self.event.due_ms(level));
        last + minutes_ms(document.give_up_after_minutes)
    }

    /// When something is to be done next.
    fn next_wake_ms(&self, around: &Surroundings) -> Option<i64> {
        if self.event.status.is_closed() {
            return None;
        }
        let document = &self.rule.document;
        let warn_ms = document.sla_warning_minutes.map(minutes_ms).filter(|_| self.event.held.is_none());
        let clocks = [&self.event.response, &self.event.resolution];
        let clocks = clocks.map(|clock| clock.as_ref().and_then(|clock| clock.next_ms(&self.rule.calendar, warn_ms)));
        let mut times: Vec<i64> = clocks.into_iter().flatten().collect();
        if let Some(held) = &self.event.held {
            times.extend(held.until_ms);
        } else {
            times.extend(self.next_level().map(|level| self.event.due_ms(level)));
            times.extend(self.event.grace.as_ref().map(|grace| grace.until_ms));
            times.extend(self.event.repeats.iter().map(|repeat| repeat.next_ms));
            times.extend(around.next_hold_ms);
        }
        times.push(self.gives_up_ms());
        times.into_iter().min().map(|at_ms| at_ms.max(self.now_ms + 1))
    }
}
