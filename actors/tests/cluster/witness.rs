//! Who sees every commit, every effect and every answer, whichever node it is of, and keeps an account of its own.
//!
//! What it knows it has from what was done, never from a node's memory: a violation that it finds is one that the outside
//! could see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use core314_actors::ports::executor::Attempt;
use core314_actors::ports::store::{Outcome, StoredRun, Write};
use core314_domain::ids::{FlowId, RunId, StepNo};
use core314_domain::invariants;
use core314_domain::log::LogEntry;
use core314_domain::plan::FlowPlan;
use core314_domain::run::step::StepStatus;
use core314_domain::run::{Run, RunState, Timing};
use core314_domain::words::{ExecutionStatus, RunStatus};

use super::people::Wish;
use super::workshop::ACTION;

/// What was found, in words.
pub type Check = Result<(), String>;

pub fn ensure(holds: bool, message: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(message()) }
}

/// Which node did something, and when: by the world's time, and by the node's own clock.
#[derive(Debug, Clone, Copy)]
pub struct By {
    pub node: usize,
    pub at_ms: i64,
    pub told_ms: i64,
}

/// No actor dies of anything but its node's end, and no run is set aside.
fn nothing_has_panicked(write: &Write) -> Check {
    match write {
        Write::DeadLetter(letter) => Err(format!("a run was set aside: {}", letter.failure)),
        Write::Audit(entry) if entry.details.to_string().contains("panicked") => {
            Err(format!("{}: {}", entry.summary, entry.details))
        }
        _ => Ok(()),
    }
}

/// What is known of one run.
#[derive(Default)]
struct Known {
    /// The place in the order in which runs came.
    no: usize,
    version: i64,
    log: Vec<LogEntry>,
    state: Option<RunState>,
}

/// The account.
#[derive(Default)]
pub struct Witness {
    plans: BTreeMap<FlowId, Arc<FlowPlan>>,
    /// The last that was given, and whom.
    owner: Option<(i64, usize)>,
    runs: BTreeMap<RunId, Known>,
    /// Effects that were begun: what no two nodes may do, nor one of them twice.
    begun: BTreeSet<(RunId, StepNo, u32)>,
    /// The idempotency keys under which they were.
    keys: BTreeMap<(RunId, StepNo), String>,
    /// The runs that clients were told of.
    promised: BTreeMap<usize, RunId>,
    latest_ms: i64,
    start_ms: i64,
    violation: Option<String>,
    /// Commits, effects and answers, in their order.
    pub history: Vec<String>,
}

impl Witness {
    pub fn new(start_ms: i64, plans: impl IntoIterator<Item = (FlowId, Arc<FlowPlan>)>) -> Self {
        Self { plans: plans.into_iter().collect(), start_ms, latest_ms: start_ms, ..Self::default() }
    }

    /// The epoch that commits must have.
    pub fn epoch(&self) -> i64 {
        self.owner.map_or(0, |(epoch, _)| epoch)
    }

    pub fn version(&self, run: RunId) -> i64 {
        self.runs.get(&run).map_or(0, |known| known.version)
    }

    /// The first thing that must not be.
    pub fn violation(&self) -> Check {
        self.violation.clone().map_or(Ok(()), Err)
    }

    /// Somebody asks again and again.
    pub fn goes_round(&mut self) {
        self.judge(Err("the database is asked again and again without a pause".to_owned()));
    }

    fn judge(&mut self, check: Check) {
        if let (Err(violation), None) = (check, &self.violation) {
            self.history.push(format!("VIOLATION: {violation}"));
            self.violation = Some(violation);
        }
    }

    pub fn note(&mut self, at_ms: i64, who: &str, what: &str) {
        self.history.push(format!("{:>7} {who}: {what}", at_ms - self.start_ms));
    }

    pub fn note_by(&mut self, by: By, what: &str) {
        self.note(by.at_ms, &format!("node {}", by.node), what);
    }

    /// What a run is called in the history.
    fn name(&self, run: RunId) -> String {
        self.runs.get(&run).map_or_else(|| run.to_string(), |known| format!("run {}", known.no))
    }

    /// A node has taken the partitions.
    pub fn taken(&mut self, by: By, epoch: i64) {
        let before = self.owner.replace((epoch, by.node));
        self.note_by(by, &format!("has the partitions as of epoch {epoch}"));
        let follows = before.is_none_or(|before| epoch > before.0 || before == (epoch, by.node));
        self.judge(ensure(follows, || format!("epoch {epoch} was given after {before:?}")));
    }

    /// The database has answered a write.
    pub fn committed(&mut self, by: By, write: &Write, outcome: &Outcome, stored: Option<StoredRun>) {
        self.latest_ms = self.latest_ms.max(by.told_ms);
        let is_committed = matches!(outcome, Outcome::Committed { .. });
        let epoch = match write {
            Write::Run(run) => Some(run.epoch),
            Write::Statistics(statistics) => Some(statistics.epoch),
            _ => None,
        };
        let own = self.epoch();
        self.judge(ensure(!is_committed || epoch.is_none_or(|epoch| epoch == own), || {
            format!("node {} commits in epoch {epoch:?}, and {own} has begun", by.node)
        }));
        let Write::Run(run) = write else { return self.judge(nothing_has_panicked(write)) };
        let (id, expected) = (run.id, run.expected_version);
        let came = self.runs.len();
        let known = self.runs.entry(id).or_insert_with(|| Known { no: came, ..Known::default() });
        let (no, version) = (known.no, known.version);
        let code = |row: &LogEntry| {
            row.failure.as_ref().map_or_else(|| row.status.to_string(), |failure| failure.code.clone())
        };
        let rows: Vec<_> = run.log.iter().map(|row| (row.step, row.attempt, code(row))).collect();
        let to = run.state.status;
        self.note_by(by, &format!("epoch {}, run {no} on version {expected}, {to}, {rows:?}: {outcome:?}", run.epoch));
        if !is_committed {
            return;
        }
        let follows = ensure(version == expected, || {
            format!("run {no} has version {version}, and a commit on version {expected} was taken")
        });
        self.judge(follows);
        let Some(known) = self.runs.get_mut(&id) else { return };
        known.version += 1;
        known.log.extend(run.log.iter().cloned());
        let check = stored.map_or_else(|| Err(format!("run {no} is not stored")), |stored| self.look_at(&stored));
        self.judge(check);
    }

    /// The numbered promises, of a run as it is stored.
    fn look_at(&mut self, stored: &StoredRun) -> Check {
        let id = stored.header.id;
        let plan = self.plans.get(&stored.header.flow.id).ok_or("its flow is not known")?.clone();
        let state = RunState::load(&stored.state).map_err(|error| error.to_string())?;
        let known = self.runs.get_mut(&id).ok_or("it was never committed")?;
        let (no, version) = (known.no, known.version);
        ensure(stored.version == version, || {
            format!("run {no} has version {} after {version} commits", stored.version)
        })?;
        let was_over = known.state.as_ref().is_some_and(|before| before.status.is_terminal());
        ensure(!was_over || known.state.as_ref() == Some(&state), || format!("run {no} has ended and has changed"))?;
        known.state = Some(state.clone());
        let run = Run::rehydrate(Arc::new(stored.header.clone()), plan, state, &stored.attempts);
        let (timing, log, now_ms) = (stored.timing, &known.log, self.latest_ms);
        invariants::attempts_are_logged_once(&run, log)
            .and_then(|()| invariants::steps_wait_for_their_inputs(&run, now_ms))
            .and_then(|()| invariants::steps_wait_for_their_place(&run))
            .and_then(|()| invariants::ends_with_its_steps(&run))
            .and_then(|()| invariants::nothing_waits_in_vain(&run, timing, false))
            .and_then(|()| invariants::every_step_names_its_reason(&run, now_ms))
            .map_err(|violation| format!("run {no}: {violation}"))?;
        let ended = run.state.status.is_terminal();
        ensure(!ended || timing == Timing::default(), || format!("run {no} has ended and is still in an index"))
    }

    /// An effect begins in the outside world.
    pub fn began(&mut self, by: By, attempt: &Attempt) {
        let (run, step, number) = (attempt.run, attempt.step, attempt.attempt);
        let name = self.name(run);
        self.note_by(by, &format!("{name}, step {step}, attempt {number} begins"));
        let check = self.may_begin(by, attempt, &name);
        self.judge(check);
        self.begun.insert((run, step, number));
        self.keys.entry((run, step)).or_insert_with(|| attempt.idempotency_key());
    }

    fn may_begin(&self, by: By, attempt: &Attempt, name: &str) -> Check {
        let (run, step, number) = (attempt.run, attempt.step, attempt.attempt);
        let what = || format!("{name}, step {step}, attempt {number}");
        let owner = self.owner.map(|(_, node)| node);
        ensure(owner == Some(by.node), || {
            format!("{}: begun by node {}, and {owner:?} has taken over", what(), by.node)
        })?;
        ensure(!self.begun.contains(&(run, step, number)), || format!("{}: begun twice", what()))?;
        let (key, before) = (attempt.idempotency_key(), self.keys.get(&(run, step)));
        ensure(before.is_none_or(|before| *before == key), || format!("{}: another key than before", what()))?;
        let known = self.runs.get(&run).ok_or_else(|| format!("{}: the run is not stored", what()))?;
        let is_over = |row: &LogEntry| row.step == step && (row.attempt >= number || row.is_final);
        ensure(!known.log.iter().any(is_over), || format!("{}: begun after it was over", what()))?;
        let stored = known.state.as_ref().and_then(|state| state.get(step));
        let at = stored.and_then(|step| step.live.as_deref()).map(|live| live.attempt);
        let is_stored = stored.is_some_and(|step| step.status == StepStatus::InProgress) && at == Some(number);
        ensure(is_stored, || format!("{}: begun, and stored is {:?} at {at:?}", what(), stored.map(|s| s.status)))
    }

    /// A client was told that its trigger has this run.
    pub fn promised(&mut self, by: By, client: usize, run: RunId) {
        let name = self.name(run);
        self.note_by(by, &format!("client {client} is told of {name}"));
        let before = *self.promised.entry(client).or_insert(run);
        let is_stored = self.version(run) > 0;
        self.judge(ensure(is_stored, || format!("client {client} is told of {run}, which is not stored")));
        self.judge(ensure(before == run, || format!("client {client} has two runs")));
    }

    /// Whether every run that was ever stored has ended.
    pub fn has_all_ended(&self) -> bool {
        let has_ended = |known: &Known| known.state.as_ref().is_some_and(|state| state.status.is_terminal());
        self.runs.values().filter(|known| known.version > 0).all(has_ended)
    }

    /// What runs ask people.
    pub fn wishes(&self) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for (id, known) in &self.runs {
            let Some(state) = known.state.as_ref().filter(|state| !state.status.is_terminal()) else { continue };
            if state.status == RunStatus::AwaitingApproval {
                wishes.push((*id, None));
            }
            let waits = state.all().filter(|(_, step)| step.status == StepStatus::AwaitingApproval);
            wishes.extend(waits.map(|(no, _)| (*id, Some(no))));
        }
        wishes
    }

    /// What must hold when everything is over.
    pub fn at_the_end(&self, runs: &BTreeMap<RunId, StoredRun>) -> Check {
        for (client, run) in &self.promised {
            ensure(runs.contains_key(run), || format!("the run of client {client} is gone"))?;
        }
        let mut names = BTreeSet::new();
        for (id, stored) in runs {
            let name = self.name(*id);
            ensure(stored.state.status.is_terminal(), || format!("{name} is {}", stored.state.status))?;
            let key = stored.header.idempotency_key.clone();
            let is_new = key.clone().is_none_or(|key| names.insert(key));
            ensure(is_new, || format!("{key:?} has started two runs"))?;
            let known = self.runs.get(id).ok_or_else(|| format!("{name} was never committed"))?;
            let done = |row: &&LogEntry| row.status == ExecutionStatus::Completed && *row.action_type == *ACTION;
            for row in known.log.iter().filter(done) {
                let (step, number) = (row.step, row.attempt);
                ensure(self.begun.contains(&(*id, step, number)), || {
                    format!("{name}, step {step}, attempt {number} is logged and never took place")
                })?;
            }
        }
        let stored = self.runs.values().filter(|known| known.version > 0).count();
        ensure(runs.len() == stored, || format!("{} of {stored} runs are left", runs.len()))
    }
}
