//! What is decided and not yet durable.
//!
//! Decisions of one run that wait together become one write: the last state, all the rows. Effects and answers ride on
//! their write and are let go by its outcome.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use core314_domain::ids::RunId;
use core314_domain::run::{Command, Effect};
use serde_json::Value;

use super::gather::Join;
use super::runs::Ask;
use super::{Answer, News, PartitionMsg, QueuePartition};
use crate::commit_writer::{CommitResult, Reply};
use crate::flow_run::StepEnd;
use crate::membership::NodeEnd;
use crate::ports::store::{ApprovalWrite, Outcome, RunEnd, RunWrite, WaitWrite, Write};
use crate::runtime::Counters;
use crate::sub_runs::{SubRunMsg, SubRuns};
use crate::supervision::Ctx;

/// A run's write and what waits for it.
pub struct Pending {
    pub write: Arc<RunWrite>,
    pub effects: Vec<Effect>,
    /// Steps that end by it, for metrics and for those who wait.
    pub ends: Vec<StepEnd>,
    pub asks: Vec<Ask>,
    pub news: News,
}

impl Pending {
    /// How many attempts it will start.
    pub fn starts(&self) -> usize {
        self.effects.iter().filter(|e| matches!(e, Effect::StartAttempt { .. })).count()
    }

    /// Whether this is the answer that it would have stored itself; it names the run, so nobody else's is the same.
    fn promises(&self, answer: &Value) -> bool {
        let own = self.write.accept.as_ref().and_then(|accept| accept.idempotency.as_ref());
        own.is_some_and(|own| own.answer == *answer)
    }

    /// Adds a later decision of the same run.
    fn merge(&mut self, later: Self) {
        // Neither has been sent: nobody else has them.
        let (write, newer) = (Arc::make_mut(&mut self.write), Arc::unwrap_or_clone(later.write));
        let has_ended = newer.state.status.is_terminal();
        write.state = newer.state;
        write.timing = newer.timing;
        write.log.extend(newer.log);
        write.audit.extend(newer.audit);
        write.approvals.extend(newer.approvals);
        write.waits.extend(newer.waits);
        write.phases.extend(newer.phases);
        write.cached.extend(newer.cached);
        write.failures.extend(newer.failures);
        write.bytes += newer.bytes;
        // An end that was taken back before it was stored never was.
        let earlier = write.ended.take();
        write.reopened = write.reopened.take().or(newer.reopened.filter(|_| earlier.is_none()));
        write.ended = newer.ended.or(earlier.filter(|_| has_ended));
        let before = write.limit.as_ref();
        let (started, gathered) = before.map_or((None, None), |limit| (limit.bucket, limit.gathered.clone()));
        if let Some(mut limit) = newer.limit {
            limit.bucket = limit.bucket.or(started);
            limit.gathered = limit.gathered.or(gathered);
            write.limit = Some(limit);
        }
        self.effects.extend(later.effects);
        self.ends.extend(later.ends);
        self.asks.extend(later.asks);
        self.news.changes.extend(later.news.changes);
        self.news.loose.extend(later.news.loose);
    }
}

/// Writes that wait, and those of the commit under way.
#[derive(Default)]
pub struct Outbox {
    waiting: Vec<Pending>,
    place: HashMap<RunId, usize>,
    others: Vec<Write>,
    /// Triggers that are to join runs that gather.
    joins: Vec<Join>,
    /// About the bytes of JSON that wait.
    bytes: usize,
    sent: Vec<Pending>,
    sent_joins: Vec<Join>,
    /// The number of the commit under way.
    under_way: Option<u64>,
    /// It is of the actor's earlier life.
    is_earlier: bool,
}

impl Outbox {
    /// A commit of the actor's earlier life is still under way (0: none is).
    pub fn await_earlier(&mut self, batch: u64) {
        self.under_way = (batch != 0).then_some(batch);
        self.is_earlier = batch != 0;
    }

    /// Whether an earlier life's commit is awaited, so that the store may not be read yet.
    pub fn awaits_earlier(&self) -> bool {
        self.under_way.is_some() && self.sent.is_empty()
    }

    /// Adds a run's write. True if the run had none waiting.
    pub fn push(&mut self, pending: Pending) -> bool {
        self.bytes += pending.write.bytes;
        if let Some(place) = self.place.get(&pending.write.id) {
            self.waiting[*place].merge(pending);
            return false;
        }
        self.place.insert(pending.write.id, self.waiting.len());
        self.waiting.push(pending);
        true
    }

    /// Adds a write that belongs to no run.
    pub fn push_other(&mut self, write: Write) {
        self.others.push(write);
    }

    /// Adds a trigger that is to join a run.
    pub fn push_join(&mut self, join: Join) {
        self.joins.push(join);
    }

    /// Takes a run's waiting write back.
    pub fn take(&mut self, run: RunId) -> Option<Pending> {
        let place = self.place.remove(&run)?;
        let pending = self.waiting.swap_remove(place);
        self.bytes = self.bytes.saturating_sub(pending.write.bytes);
        if let Some(moved) = self.waiting.get(place) {
            self.place.insert(moved.write.id, place);
        }
        Some(pending)
    }

    /// Whether so much waits that nothing should be added to it before its commit.
    pub fn is_heavy(&self, bound: usize) -> bool {
        self.bytes >= bound && self.under_way.is_some()
    }

    /// Whether nothing waits and nothing is under way.
    pub fn is_clear(&self) -> bool {
        self.waiting.is_empty() && self.others.is_empty() && self.joins.is_empty() && self.under_way.is_none()
    }
}

impl QueuePartition {
    /// Sends what waits, unless a commit is under way.
    pub(super) fn flush(&mut self, ctx: &mut Ctx<'_, Self>) {
        let outbox = &self.outbox;
        let empty = outbox.waiting.is_empty() && outbox.others.is_empty() && outbox.joins.is_empty();
        if empty || self.outbox.under_way.is_some() || !self.gathering.is_empty() {
            return;
        }
        let mut sent = std::mem::take(&mut self.outbox.waiting);
        self.outbox.place.clear();
        self.outbox.bytes = 0;
        let mut writes = Vec::with_capacity(sent.len() + self.outbox.others.len());
        for pending in &mut sent {
            let version = self.runs.get(&pending.write.id).map_or(0, |r| r.version);
            Arc::make_mut(&mut pending.write).expected_version = version;
            writes.push(Write::Run(pending.write.clone()));
        }
        self.outbox.sent_joins = std::mem::take(&mut self.outbox.joins);
        writes.extend(self.outbox.sent_joins.iter().map(|join| Write::Gather(join.write.clone())));
        writes.append(&mut self.outbox.others);
        self.outbox.sent = sent;
        let batch = self.shared.commits.fetch_add(1, Ordering::Relaxed) + 1;
        self.outbox.under_way = Some(batch);
        self.shared.committing.store(batch, Ordering::Release);
        let (shared, me) = (self.shared.clone(), ctx.me());
        let reply = Reply::new(&self.runtime.io, move |result| {
            shared.committing.store(0, Ordering::Release);
            // A partition that is gone for good reads the store when it starts again.
            let _ = me.tell_urgent(PartitionMsg::Committed { batch, result });
        });
        // Refused, it drops the reply, which says that the outcome is unknown.
        let _ = self.writer.commit(self.number, writes, reply);
    }

    /// The commit under way is over.
    pub(super) fn committed(&mut self, batch: u64, result: CommitResult, ctx: &mut Ctx<'_, Self>) {
        if self.outbox.under_way != Some(batch) {
            return;
        }
        if std::mem::take(&mut self.outbox.is_earlier) {
            // What the earlier life had committed was told to nobody.
            self.runtime.feed.begin_anew();
        }
        self.outbox.under_way = None;
        let (sent, joins) = (std::mem::take(&mut self.outbox.sent), std::mem::take(&mut self.outbox.sent_joins));
        match result {
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                for (pending, outcome) in sent.into_iter().zip(&mut outcomes) {
                    self.settle(pending, outcome, ctx);
                }
                for (join, outcome) in joins.into_iter().zip(outcomes) {
                    if outcome == Outcome::Fenced {
                        self.fenced(ctx);
                    }
                    self.joined(join, outcome);
                }
            }
            Err(error) => {
                tracing::warn!(partition = self.number, %error, runs = sent.len(), "a commit's outcome is unknown; its runs are read again");
                for pending in sent {
                    self.undone(pending, ctx);
                }
                self.join_again(joins);
            }
        }
    }

    fn settle(&mut self, pending: Pending, outcome: Outcome, ctx: &mut Ctx<'_, Self>) {
        match outcome {
            Outcome::Committed { log_seq } => self.durable(pending, log_seq, ctx),
            Outcome::Conflict => self.undone(pending, ctx),
            // Its own key: an earlier try of this very batch was stored unseen.
            Outcome::Duplicate { answer, .. } if pending.promises(&answer) => self.undone(pending, ctx),
            Outcome::Duplicate { answer, same_request } => {
                let reply = Answer::Duplicate { answer, same_request };
                self.abandon(pending, reply, ctx);
            }
            Outcome::RunKeyTaken { run } => self.abandon(pending, Answer::RunKeyTaken(run), ctx),
            Outcome::Stale => {
                self.abandon(pending, Answer::Failed("the schedule has moved on".to_owned()), ctx);
            }
            Outcome::NotFound => self.rejected(pending, "the store does not know the run", ctx),
            Outcome::Rejected { message, .. } => self.rejected(pending, &message, ctx),
            Outcome::Fenced => {
                self.abandon(pending, Answer::Failed("this node no longer owns the partition".to_owned()), ctx);
                self.fenced(ctx);
            }
        }
    }

    fn fenced(&self, ctx: &mut Ctx<'_, Self>) {
        (self.runtime.on_end)(NodeEnd::Replaced);
        ctx.fail("the partition belongs to another node");
    }

    /// What was decided is durable: now it is acted upon.
    fn durable(&mut self, pending: Pending, log_seq: Option<i64>, ctx: &mut Ctx<'_, Self>) {
        let run = pending.write.id;
        let starts = pending.starts();
        self.starting -= starts;
        if let Some(resident) = self.runs.get_mut(&run) {
            resident.version += 1;
            resident.writes -= 1;
        }
        if pending.write.accept.is_some() {
            self.opened(run);
        }
        self.record_statistics(&pending.write, log_seq, ctx);
        self.measure(&pending);
        if pending.write.waits.iter().any(|wait| matches!(wait, WaitWrite::Opened { .. })) {
            self.runtime.events_wait();
        }
        let is_told = pending.write.phases.iter().any(|phase| phase.is_told);
        let asks = |write: &ApprovalWrite| matches!(write, ApprovalWrite::Requested { told: Some(_), .. });
        let is_told = is_told || pending.write.approvals.iter().any(asks);
        let starts = |end: &RunEnd| end.fallback.is_some() || end.is_told;
        if is_told || pending.write.ended.as_ref().is_some_and(starts) {
            self.runtime.occurred();
        }
        if pending.write.ended.is_some() {
            self.runtime.ends.tell(run.0);
            self.runtime.run_ended(pending.write.tenant);
            if SubRuns::is_sub_run(&pending.news.header) {
                self.runtime.sub_runs.ask(SubRunMsg::Ended(pending.news.header.clone()));
            }
        }
        if !pending.write.failures.is_empty() {
            self.runtime.failed(pending.write.tenant);
        }
        // Not only those that end with an attempt: whoever waits for an execution hears of its cancellation too.
        pending.ends.iter().for_each(|end| self.runtime.ends.tell(run.execution(end.step).0));
        self.set_timer(run, pending.write.timing.wake_at_ms, ctx);
        self.tell_news(&pending);
        pending.asks.into_iter().for_each(|ask| ask.answer(Answer::Committed));
        self.act(run, pending.effects, ctx);
        // After the effects: one of them may cut off an attempt that is logged here.
        for entry in &pending.write.log {
            self.shared.attempts.settle(run, entry.step, entry.attempt);
            if !entry.success() {
                Counters::add(&self.runtime.counters.attempts_failed, 1);
            }
        }
        self.leave_if_done(run, ctx);
    }

    /// Counts what has ended. Of a commit whose outcome was lost this node counts nothing.
    fn measure(&self, pending: &Pending) {
        let meters = &self.runtime.meters;
        if let Some(end) = &pending.write.ended {
            Counters::add(&self.runtime.counters.runs_ended, 1);
            meters.run_ended(end.status);
        }
        for entry in &pending.write.log {
            meters.queue_wait.record(entry.queue_wait_ms.max(0) as u64);
        }
        for end in &pending.ends {
            meters.action(&end.action_type).ended(end.status);
        }
    }

    /// It is not known, or not so, that the write was stored: the run is read again and told again what it was told.
    fn undone(&mut self, pending: Pending, ctx: &mut Ctx<'_, Self>) {
        self.starting -= pending.starts();
        let run = pending.write.id;
        if let Some(resident) = self.runs.get_mut(&run) {
            resident.writes -= 1;
            let starts = pending.effects.into_iter().filter(|e| matches!(e, Effect::StartAttempt { .. }));
            resident.held.get_or_insert_default().extend(starts);
        }
        self.reload(run, pending.asks, ctx);
    }

    /// The run was not accepted, or is not ours: it leaves memory.
    fn abandon(&mut self, pending: Pending, answer: Answer, ctx: &mut Ctx<'_, Self>) {
        self.starting -= pending.starts();
        let run = pending.write.id;
        self.drop_actor(run, ctx);
        if let Some(later) = self.outbox.take(run) {
            self.starting -= later.starts();
        }
        self.runs.remove(&run);
        self.give_place_back(run);
        let mut answer = Some(answer);
        for ask in pending.asks {
            let told = answer.take().unwrap_or_else(|| Answer::Failed("the run was not accepted".to_owned()));
            ask.answer(told);
        }
    }

    /// The database refuses the write for good: a new run is not accepted, another one is set aside.
    fn rejected(&mut self, pending: Pending, message: &str, ctx: &mut Ctx<'_, Self>) {
        tracing::error!(run = %pending.write.id, message, "the store refuses a run's write");
        let quarantining = pending.asks.iter().any(|ask| matches!(&*ask.command, Command::Quarantine { .. }));
        if pending.write.accept.is_some() || quarantining {
            self.abandon(pending, Answer::Failed(format!("the store refuses the run: {message}")), ctx);
            return;
        }
        self.starting -= pending.starts();
        let run = pending.write.id;
        if let Some(resident) = self.runs.get_mut(&run) {
            resident.writes -= 1;
        }
        pending.asks.into_iter().for_each(|ask| ask.answer(Answer::Failed(message.to_owned())));
        self.quarantine(run, message, ctx);
    }
}
