//! What a decision changes, and what must happen once that is stored.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::step::{self, StepStatus};
use super::{CacheKey, Closing, IdempotencyKey, PhaseMove, PlanRef, RequestName, RunHeader, UndoWay};
use crate::Json;
use crate::expr::Output;
use crate::ids::{RowId, RunId, StepNo, UserId};
use crate::log::LogEntry;
use crate::secret::Marked;
use crate::words::RunStatus;

/// A fact about a run, once committed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    RunAwaitsApproval,
    RunStarted {
        at_ms: i64,
    },
    RunPaused {
        by: Arc<str>,
    },
    RunResumed,
    /// A person takes it up again after its end, or after a failure that paused it.
    RunReopened {
        at_ms: i64,
    },
    /// A limit of its flow holds it: nothing of it starts until it begins.
    RunHeld,
    /// It was paused before it began: it has no place any more, and waits for none.
    RunStepsAside,
    /// It is paused no more, and has yet to begin: it asks for its turn.
    RunLinesUp,
    /// It gathers further triggers of its key before it begins.
    RunGathers,
    /// It gathers no more: what it has gathered is its trigger from now on.
    RunGathered {
        header: Arc<RunHeader>,
    },
    /// The step is as if it had never been released, but for the attempts that the log has of it.
    StepReset {
        step: StepNo,
    },
    RunClosing {
        closing: Closing,
        error: String,
    },
    RunEnded {
        status: RunStatus,
        error: Option<String>,
        at_ms: i64,
    },
    /// Its inputs are satisfied; it waits for its time, a slot or a person.
    StepReleased {
        step: StepNo,
        status: StepStatus,
        live: step::Live,
    },
    /// It stays where it is, with this.
    StepAdjusted {
        step: StepNo,
        live: step::Live,
    },
    /// Nobody has decided in time: it goes on waiting, and somebody else is told.
    ApprovalOverdue {
        step: StepNo,
    },
    StepStarted {
        step: StepNo,
        attempt: u32,
        at_ms: i64,
        epoch: i64,
    },
    StepRetrying {
        step: StepNo,
        next_attempt: u32,
        due_at_ms: i64,
    },
    /// Its outcome is unknown and a person must say what to do.
    StepParked {
        step: StepNo,
        next_attempt: u32,
    },
    StepEnded {
        step: StepNo,
        status: StepStatus,
    },
    /// An approval is wanted, or was given or refused.
    ApprovalRequested {
        step: Option<StepNo>,
    },
    ApprovalDecided {
        step: Option<StepNo>,
        approved: bool,
        by: UserId,
        /// What they filled in, with what the form fills in itself; null: nothing.
        form: Json,
    },
    AttemptLogged(Box<LogEntry>),
    /// What the attempt before it in the log gave may be used again until then.
    ResultCached {
        step: StepNo,
        key: CacheKey,
        result: Json,
        expires_at_ms: i64,
    },
    /// It has begun and waits, without an attempt.
    StepWaiting {
        step: StepNo,
        live: step::Live,
    },
    /// It waits for an event of this key.
    WaitOpened {
        step: StepNo,
        kind: Arc<str>,
        key: String,
    },
    /// It waits for no event any more.
    WaitClosed {
        step: StepNo,
        /// The event that it was told of and took; later waits of this run are not told of that again.
        taken: Option<RowId>,
    },
    /// A loop has its numbers, and what it goes over.
    LoopOpened {
        base: StepNo,
        owner: StepNo,
        rounds: u32,
        released_at_ms: i64,
        /// What is set, where the collection depends on it.
        vars: Option<Json>,
        items: Arc<Vec<Json>>,
    },
    /// What a loop did was taken back.
    LoopDropped {
        base: StepNo,
    },
    /// A loop that failed is to make its bad rounds again.
    LoopReopened {
        base: StepNo,
    },
    RoundOpened {
        base: StepNo,
        round: u32,
    },
    RoundClosed {
        base: StepNo,
        round: u32,
        is_bad: bool,
        output: Output,
    },
    VarsSet {
        values: Json,
    },
    Voted {
        step: StepNo,
        by: UserId,
        form: Json,
    },
    SignalKept {
        name: Arc<str>,
        payload: Json,
    },
    SignalTaken {
        name: Arc<str>,
    },
    /// The caller's own name for a signal that was heard or kept.
    SignalNamed(RequestName),
    PhaseMoved(Box<PhaseMove>),
    /// The phase under way takes longer than it may, and goes on.
    PhaseLate {
        phase: u32,
        /// How long it has taken until now.
        duration_ms: i64,
    },
    /// What was done after this phase is taken back: these executions, in this order.
    RollbackBegan {
        base: StepNo,
        targets: Vec<StepNo>,
        to_phase: u32,
        error: String,
        /// Whether somebody asked for it after the run's end.
        is_asked: bool,
    },
    /// The next of them begins.
    UndoOpened {
        step: StepNo,
    },
    /// A person has settled an undo that had failed: the run is taken up again.
    UndoSettled {
        step: StepNo,
        way: UndoWay,
    },
    RollbackEnded {
        to_phase: u32,
        retries: bool,
    },
    OutputSet {
        output: Json,
    },
}

/// What must happen once the changes are committed.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    StartAttempt {
        step: StepNo,
        attempt: u32,
        /// As it may be shown: with the names of secrets.
        payload: Json,
        /// The same with marks for secrets, where it names any.
        marked: Option<Marked>,
        /// What the attempt does.
        part: PlanRef,
        /// By what a receiver knows a repetition; absent: by the execution's id.
        key: Option<IdempotencyKey>,
    },
    /// A step starts another flow. Asked for again by the same attempt, it is the run that was started.
    StartRun {
        step: StepNo,
        attempt: u32,
        /// The run, where the step has heard of it before.
        known: Option<RunId>,
        input: Json,
        part: PlanRef,
    },
    CancelAttempt {
        step: StepNo,
        attempt: u32,
    },
    /// The run that a step has started, and waits for, is told to end. Told again, it is told the same.
    StopRun {
        step: StepNo,
        attempt: u32,
        /// The run, where the step has heard of it.
        known: Option<RunId>,
    },
    /// The step may start when a slot is free; smallest order first.
    Enqueue {
        step: StepNo,
        order: i64,
        /// The integration that its action names.
        gate: Option<Arc<str>>,
    },
}

impl Decision {
    /// Whether nothing was decided, because something must be read first.
    pub fn wants_more(&self) -> bool {
        !self.wanted.is_empty() || !self.looks_up.is_empty()
    }
}

/// What a command leads to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    pub changes: Vec<Change>,
    pub effects: Vec<Effect>,
    /// About the bytes of JSON that it renders, or takes in, and that its commit writes.
    pub bytes: usize,
    /// Results that were looked for and are not in memory. Where there are any nothing was decided: the same command is
    /// to be given again once they are brought.
    pub wanted: BTreeSet<StepNo>,
    /// Keys of the cache whose results must be looked up first: likewise.
    pub looks_up: BTreeSet<CacheKey>,
    /// How many of the granted slots were not used.
    pub unused_slots: usize,
}
