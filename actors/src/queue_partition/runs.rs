//! The runs in memory: telling them things, hearing their decisions, surviving their deaths.

use std::collections::VecDeque;
use std::sync::Arc;

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::ids::{Owner, RunId, StepNo};
use core314_domain::limits::{Bucket, Claim, Limits};
use core314_domain::plan::FlowPlan;
use core314_domain::run::{Change, Command, Effect, Run, RunHeader, Timing};
use serde_json::json;

use super::outbox::Pending;
use super::ready::Turn;
use super::{Answer, AnswerTo, NewRun, News, PartitionMsg, QueuePartition};
use crate::flow_run::{Accepting, Decide, Decided, FlowRun, FlowRunArgs, Remark, RunMsg};
use crate::gates::Passes;
use crate::ports::store::{DeadLetter, Write};
use crate::runtime::{Counters, run_name};
use crate::supervision::{ChildExit, ChildSpec, Ctx, Ref};

/// A run that the partition knows.
#[derive(Default)]
pub struct Resident {
    /// Absent until it is loaded.
    pub actor: Option<(Ref<FlowRun>, u64)>,
    pub header: Option<Arc<RunHeader>>,
    pub plan: Option<Arc<FlowPlan>>,
    /// What it claims of its flow's limits.
    pub claim: Option<Arc<Claim>>,
    /// As stored.
    pub version: i64,
    /// Told to the actor and not yet decided.
    pub asked: VecDeque<Ask>,
    /// To be told once it is loaded.
    pub waiting: VecDeque<Ask>,
    /// A load is wanted or under way.
    pub loading: bool,
    /// Writes that are not committed yet.
    pub writes: u32,
    /// Present when a write's outcome was unknown: once the run is loaded, the feed is told how it stands, and these
    /// starts are made up for if they turn out to be stored.
    pub held: Option<Vec<Effect>>,
    /// What a run starts with that is read again, where its starts turn out to be stored or are told once more.
    pub held_passes: Vec<(StepNo, Passes)>,
    pub deaths: u32,
    /// How many actors it has had.
    pub generation: u32,
    pub ended: bool,
    pub idle: bool,
    /// How many of its steps are queued; counted where its tenant has integrations, or limits.
    pub queued: u32,
    /// Whose turn its queued steps wait for, once one was queued.
    pub turn: Option<Turn>,
}

/// A command on its way.
pub struct Ask {
    pub command: Arc<Command>,
    pub granted: usize,
    pub remark: Remark,
    /// What the bucket of its rate holds once it starts by this.
    pub bucket: Option<Bucket>,
    /// What the steps start with that it starts.
    pub passes: Vec<(StepNo, Passes)>,
    pub answer: Option<AnswerTo>,
}

impl Ask {
    /// A command that nobody waits for.
    pub fn quiet(command: Command) -> Self {
        Self {
            command: Arc::new(command),
            granted: 0,
            remark: Remark::default(),
            bucket: None,
            passes: Vec::new(),
            answer: None,
        }
    }

    /// Tells whoever waits.
    pub fn answer(self, answer: Answer) {
        if let Some(to) = self.answer {
            // A caller that has gone away does not want to know.
            drop(to.send(answer));
        }
    }
}

/// What a run is that has decided to gather no more.
fn gathered(news: &News) -> Option<Arc<RunHeader>> {
    let gathers = news.plan.limits.as_ref().and_then(Limits::terms).is_some();
    let is_gathered = |change: &Change| matches!(change, Change::RunGathered { .. });
    (gathers && news.changes.iter().any(is_gathered)).then(|| news.header.clone())
}

impl Resident {
    /// Whether nothing about it is on its way.
    pub fn is_settled(&self) -> bool {
        self.asked.is_empty() && self.waiting.is_empty() && self.writes == 0 && !self.loading
    }

    fn width(&self) -> usize {
        self.plan.as_ref().map_or(1, |p| p.width.max(1))
    }
}

impl QueuePartition {
    /// A new run: its actor decides to begin, and the first commit accepts it.
    pub(super) fn accept(&mut self, new: NewRun, ctx: &mut Ctx<'_, Self>) {
        let run = new.header.id;
        if self.draining {
            drop(new.answer.send(Answer::Failed("the node is stopping".to_owned())));
            return;
        }
        if self.is_too_early(std::slice::from_ref(&new)) {
            return self.keep_for_later(PartitionMsg::Accept(Box::new(new)));
        }
        let Some(new) = self.join(new) else { return };
        let first = match self.first_command(&new) {
            Ok(first) => first,
            // A caller that has gone away does not want to know.
            Err(answer) => return drop(new.answer.send(answer)),
        };
        let resident = Resident {
            header: Some(new.header.clone()),
            plan: Some(new.plan.clone()),
            claim: new.claim.clone(),
            ..Resident::default()
        };
        self.runs.insert(run, resident);
        let state = match &new.accepting.reuse {
            Some(reuse) => Run::taking_over(new.header, new.plan, reuse),
            None => Run::new(new.header, new.plan),
        };
        if self.start_actor(run, state, Timing::default(), Some(new.accepting), ctx) {
            self.ask(run, Ask { answer: Some(new.answer), ..first });
        } else {
            self.runs.remove(&run);
            self.give_place_back(run);
            drop(new.answer.send(Answer::Failed("the run's actor could not be started".to_owned())));
        }
    }

    /// New runs of one caller: they are stored together, or none of them where the database is away.
    pub(super) fn accept_all(&mut self, all: Vec<NewRun>, ctx: &mut Ctx<'_, Self>) {
        if self.is_too_early(&all) {
            return self.keep_for_later(PartitionMsg::AcceptAll(all));
        }
        for new in all {
            let run = new.header.id;
            self.accept(new, ctx);
            if self.runs.contains_key(&run) {
                self.gathering.insert(run);
            }
        }
    }

    /// A command from outside; the run is loaded if it is not here.
    pub(super) fn tell(&mut self, run: RunId, command: Box<Command>, remark: Remark, answer: Option<AnswerTo>) {
        self.deliver(run, Ask { remark, answer, ..Ask::quiet(*command) });
    }

    /// Gives a run a command, now or when it is loaded.
    pub(super) fn deliver(&mut self, run: RunId, ask: Ask) {
        let resident = self.runs.entry(run).or_default();
        if resident.actor.is_some() {
            self.ask(run, ask);
            return;
        }
        resident.waiting.push_back(ask);
        self.want(run);
    }

    /// Asks the run's actor, with the slots that its decision may use.
    pub(super) fn ask(&mut self, run: RunId, ask: Ask) {
        let mut ask = match self.retried(run, ask) {
            Ok(ask) => ask,
            Err(refused) => return refused.0.answer(refused.1),
        };
        let is_heavy = self.outbox.is_heavy(self.runtime.settings.decision_bytes);
        let (free, backlog, draining) = (self.free(), !self.ready.is_empty() || is_heavy, self.draining);
        let Some(resident) = self.runs.get_mut(&run) else { return };
        let Some((actor, _)) = &resident.actor else { return };
        ask.granted = match &*ask.command {
            _ if draining => 0,
            Command::Start { steps } => steps.len().min(free),
            // Behind a backlog a released step takes its place in the queue.
            _ if backlog => 0,
            _ => free.min(resident.width()),
        };
        self.granted += ask.granted;
        let decide = Decide { command: ask.command.clone(), slots: ask.granted, remark: ask.remark.clone() };
        let decide = RunMsg::Decide(decide);
        // An actor that is gone is heard of as an exit; the command is asked again then.
        let _ = actor.tell_urgent(decide);
        resident.asked.push_back(ask);
    }

    /// Starts the actor of a run. False if its path is taken.
    pub(super) fn start_actor(
        &mut self,
        run: RunId,
        state: Run,
        timing: Timing,
        accept: Option<Accepting>,
        ctx: &mut Ctx<'_, Self>,
    ) -> bool {
        let Some(resident) = self.runs.get_mut(&run) else { return false };
        // Its own name each time: the actor before may still be on its way out.
        self.actors += 1;
        resident.generation = self.actors;
        let name = format!("{}.{}", run_name(run), self.actors);
        let args = FlowRunArgs {
            runtime: self.runtime.clone(),
            partition: ctx.me(),
            generation: resident.generation,
            run: Arc::new(state),
            timing,
            accept: accept.map(Arc::new),
        };
        match ctx.spawn_child::<FlowRun>(&ChildSpec::new(name), args) {
            Ok(actor) => {
                self.children.insert(actor.id(), run);
                resident.actor = Some((actor.clone(), actor.id()));
                true
            }
            Err(error) => {
                tracing::error!(%run, %error, "a run's actor could not be started");
                false
            }
        }
    }

    /// A run has decided: its write goes into the next commit, and its effects ride on it.
    pub(super) fn decided(&mut self, run: RunId, decided: Decided, ctx: &mut Ctx<'_, Self>) {
        self.gathering.remove(&run);
        let Some(resident) = self.runs.get_mut(&run) else { return };
        if resident.generation != decided.generation {
            return;
        }
        let Some(mut ask) = resident.asked.pop_front() else { return };
        self.granted -= ask.granted;
        ask.granted = 0;
        let passes = std::mem::take(&mut ask.passes);
        resident.ended = decided.ended;
        resident.idle = decided.idle;
        resident.queued = decided.queued.unwrap_or(resident.queued);
        if !passes.is_empty() {
            self.keep_passes(run, passes, &decided.effects);
        }
        if let Some(refusal) = decided.refusal {
            ask.answer(Answer::Refused(refusal));
        } else if let Some(mut write) = decided.write {
            let gathered = gathered(&decided.news);
            let is_aside = decided.news.changes.contains(&Change::RunStepsAside);
            if let Some(header) = &gathered {
                self.has_gathered(run, header, is_aside);
            }
            if is_aside {
                self.step_aside(run);
            } else if decided.news.changes.contains(&Change::RunLinesUp) {
                self.line_up(run);
            }
            self.note_claim(&mut write, &ask.command, ask.bucket.take(), gathered);
            let pending = Pending {
                write: write.into(),
                effects: decided.effects,
                ends: decided.ends,
                asks: vec![ask],
                news: decided.news,
            };
            self.starting += pending.starts();
            let is_first = self.outbox.push(pending);
            if let Some(resident) = self.runs.get_mut(&run) {
                resident.writes += u32::from(is_first);
            }
            return;
        } else {
            ask.answer(Answer::Committed);
            // Nothing to store: what is queued is queued at once.
            self.act(run, decided.effects, ctx);
        }
        self.leave_if_done(run, ctx);
    }

    /// Lets a run go that has ended, or waits for something that the store or a person will tell.
    pub(super) fn leave_if_done(&mut self, run: RunId, ctx: &mut Ctx<'_, Self>) {
        let Some(resident) = self.runs.get(&run) else { return };
        let most = self.runtime.settings.resident_runs_per_partition;
        // Whoever is next of its key stays, within reason: read again after all that are older, it would lose its turn.
        let crowded = self.runs.len() > 2 * most || (self.runs.len() > most && !self.is_first_of_its_key(run));
        let done = resident.ended || resident.idle;
        // Runs that wait at gates leave the room in which the queue is read to others.
        let parks = !done && self.runs.len() > most / 4 && self.held.holds_all_of(run, resident.queued);
        if !resident.is_settled() || !(done || crowded || parks) {
            return;
        }
        let runs_something = !done && self.runs_something(run);
        if runs_something {
            return;
        }
        self.held.leaves(run, parks);
        if !done && !parks {
            // It is only queued, and memory is full: its row brings it back.
            self.paging.again_from_start();
        }
        let has_ended = resident.ended;
        self.drop_actor(run, ctx);
        drop(self.take_passes(run));
        self.runs.remove(&run);
        if has_ended {
            self.give_place_back(run);
        }
    }

    fn is_first_of_its_key(&self, run: RunId) -> bool {
        let Some(Resident { header: Some(header), turn: Some(turn), .. }) = self.runs.get(&run) else { return false };
        self.ready.is_first_of_its_key(header.owner.tenant, turn, run)
    }

    fn runs_something(&self, run: RunId) -> bool {
        self.running.range((run, 0)..=(run, StepNo::MAX)).next().is_some()
    }

    pub(super) fn drop_actor(&mut self, run: RunId, ctx: &mut Ctx<'_, Self>) {
        let Some(resident) = self.runs.get_mut(&run) else { return };
        if let Some((_, child)) = resident.actor.take() {
            self.children.remove(&child);
            ctx.stop_child(child);
        }
        for ask in &mut resident.asked {
            self.granted -= ask.granted;
            ask.granted = 0;
        }
    }

    /// Forgets what is in memory of a run and loads it again: what it was told is told again.
    pub(super) fn reload(&mut self, run: RunId, mut first: Vec<Ask>, ctx: &mut Ctx<'_, Self>) {
        self.drop_actor(run, ctx);
        let passes = self.take_passes(run);
        if let Some(pending) = self.outbox.take(run) {
            self.starting -= pending.starts();
            first.extend(pending.asks);
            // These were decided upon a state that was not stored.
            if let Some(resident) = self.runs.get_mut(&run) {
                resident.writes -= 1;
            }
        }
        let Some(resident) = self.runs.get_mut(&run) else { return };
        // What an actor of before still says is not heard.
        resident.generation = 0;
        resident.held_passes.extend(passes);
        first.extend(resident.asked.drain(..));
        first.extend(resident.waiting.drain(..));
        resident.waiting = first.into();
        self.want(run);
    }

    /// A run's actor has ended without being told to.
    pub(super) fn run_exited(&mut self, exit: &ChildExit, ctx: &mut Ctx<'_, Self>) {
        let Some(run) = self.children.remove(&exit.id) else { return };
        self.gathering.remove(&run);
        let failure = exit.reason.to_string();
        let Some(resident) = self.runs.get_mut(&run) else { return };
        resident.actor = None;
        resident.deaths += 1;
        let deaths = resident.deaths;
        for ask in &mut resident.asked {
            self.granted -= ask.granted;
            ask.granted = 0;
        }
        let asked: Vec<Ask> = resident.asked.drain(..).collect();
        let accepting = resident.version == 0 && resident.writes == 0;
        tracing::error!(%run, deaths, %failure, "a run's actor died");
        self.remember_restart(&exit.path, run, &failure);
        if accepting {
            // It was never stored: its trigger is told, and nothing is left of it.
            self.runs.remove(&run);
            self.give_place_back(run);
            let text = format!("the run could not begin: {failure}");
            asked.into_iter().for_each(|ask| ask.answer(Answer::Failed(text.clone())));
        } else if deaths >= self.runtime.settings.poison_limit {
            asked.into_iter().for_each(|ask| ask.answer(Answer::Failed(failure.clone())));
            self.quarantine(run, &failure, ctx);
        } else {
            self.reload_after_death(run, asked);
        }
    }

    /// What the dead actor had decided stays valid; what it was asked is asked again.
    fn reload_after_death(&mut self, run: RunId, asked: Vec<Ask>) {
        let Some(resident) = self.runs.get_mut(&run) else { return };
        for ask in asked.into_iter().rev() {
            resident.waiting.push_front(ask);
        }
        self.want(run);
    }

    /// Whether the run's end by quarantine is on its way already.
    pub(super) fn is_being_set_aside(&self, run: RunId) -> bool {
        let is_quarantine = |ask: &Ask| matches!(&*ask.command, Command::Quarantine { .. });
        let resident = self.runs.get(&run);
        resident.is_some_and(|r| r.waiting.iter().chain(&r.asked).any(is_quarantine) || (r.writes > 0 && r.ended))
    }

    /// Sets a run aside that kills whoever handles it: a dead letter, and a failed run.
    pub(super) fn quarantine(&mut self, run: RunId, failure: &str, ctx: &mut Ctx<'_, Self>) {
        let resident = self.runs.entry(run).or_default();
        if resident.deaths > self.runtime.settings.poison_limit {
            tracing::error!(%run, failure, "a run cannot even be set aside; it stays as it is until it is looked at");
            let writes = resident.writes;
            resident.ended = true;
            self.drop_actor(run, ctx);
            if writes == 0 {
                self.runs.remove(&run);
            }
            return;
        }
        resident.deaths = resident.deaths.max(self.runtime.settings.poison_limit);
        let owner = resident.header.as_ref().map_or(Owner::platform(), |h| h.owner);
        let letter = DeadLetter {
            id: self.runtime.row_id(),
            owner,
            run: Some(run),
            actor_path: format!("{}/{}", ctx.path(), run_name(run)),
            message: "the run's actor died again and again".to_owned(),
            failure: failure.chars().take(2_000).collect(),
            at_ms: self.runtime.now_ms(),
        };
        self.outbox.push_other(Write::DeadLetter(Box::new(letter)));
        self.audit(AuditEvent::RunQuarantined, owner, run, failure);
        self.reload(run, vec![Ask::quiet(Command::Quarantine { failure: failure.to_owned() })], ctx);
    }

    fn remember_restart(&mut self, path: &str, run: RunId, failure: &str) {
        Counters::add(&self.runtime.counters.actor_deaths, 1);
        let owner = self.runs.get(&run).and_then(|r| r.header.as_ref()).map_or(Owner::platform(), |h| h.owner);
        self.audit(AuditEvent::ActorRestarted, owner, run, &format!("{path}: {failure}"));
    }

    fn audit(&mut self, event: AuditEvent, owner: Owner, run: RunId, failure: &str) {
        let entry = AuditEntry {
            owner,
            partition: self.number,
            event,
            actor: format!("partition-{}", self.number),
            subject_type: "flow_run",
            subject_id: Some(run.0),
            decision_event_id: None,
            summary: event.as_str().replace('_', " "),
            details: json!({"failure": failure.chars().take(500).collect::<String>()}),
            at_ms: self.runtime.now_ms(),
        };
        self.outbox.push_other(Write::Audit(Box::new(entry)));
    }
}
