//! What the world does to a run: how attempts end, what crashes when, what people say, what is delivered once too often.

use std::collections::BTreeMap;

use core314_domain::ids::StepNo;

/// How the attempts of a step end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fate {
    Complete,
    /// The first attempts fail, and those after them do not.
    FailFirst {
        attempts: u32,
        retryable: bool,
        retry_after_ms: Option<i64>,
    },
    /// The effect takes place, the response is lost, and the executor calls it a timeout.
    LoseResponse,
    /// Never, unless it is told to end.
    Hang,
    Random,
}

/// What dies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Victim {
    /// The run's actor: what it decided stays on its way.
    Actor,
    /// The partition: what was decided and not committed is lost, attempts go on.
    Partition,
    /// The process: attempts are lost too.
    Process,
}

/// When, in relation to the commit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Moment {
    Before,
    /// The rows are stored and nothing was done about them.
    After,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crash {
    /// The commit's number, from 0.
    pub commit: u64,
    pub victim: Victim,
    pub moment: Moment,
}

/// What people say when they are asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum People {
    Approve,
    Reject(Option<StepNo>),
    /// Nobody answers.
    Silent,
    Random,
}

/// What a person does about an undo that has failed for good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Way {
    Retry,
    Skip,
    Done,
}

/// A mistake that a driver, a store or the run itself could make: the simulation must find each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mistake {
    /// Effects take place before their commit.
    ActBeforeCommit,
    /// Log rows and state in two commits, with a crash in between.
    TwoCommits,
    /// Now and then a log row is not stored.
    LoseLogRow,
    /// The wake-up is not stored.
    ForgetWakeUp,
    /// The queue key is not stored.
    ForgetQueueKey,
    /// Now and then an entry of the queue is lost.
    LoseEntry,
    /// A state is stored without the rows that come with it.
    ForgetRows,
    /// Effects take place twice.
    ActTwice,
    /// Who loads a run says that all its attempts are under way.
    RecoverNothing,
    /// More starts than there are slots.
    OverGrant,
    /// The run takes back in the order in which it did.
    UndoForwards,
    /// The run takes back one step less than there is.
    UndoTooLittle,
    /// The run takes a step back although it did nothing, or did not need to.
    UndoTooMuch,
    /// The run starts a step whose inputs are not there.
    StartTooEarly,
    /// The run forgets that a round is over.
    LoseRound,
    /// The run does not enter the next phase.
    LosePhase,
    /// The run loses a signal that it heard.
    LoseSignal,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Script {
    pub slots: usize,
    pub fates: BTreeMap<StepNo, Fate>,
    pub other_fates: Fate,
    pub crash: Option<Crash>,
    /// A person stops the run after so many commits.
    pub cancel_after: Option<u64>,
    /// Every report of this step arrives twice, and a third time at the end.
    pub repeat: Option<StepNo>,
    pub people: People,
    /// How many random disturbances there may be; 0: none.
    pub disturbances: usize,
    /// How often a person takes the run up again after its end.
    pub retries: usize,
    /// What people do about undos that fail, one after the other; then they leave it.
    pub ways: Vec<Way>,
    /// Commits are answered late: other things happen between a commit and what is done about it.
    pub answers_late: bool,
    /// A limit of the flow holds the run before it begins, and whenever it is taken up again.
    pub is_held: bool,
    pub mistake: Option<Mistake>,
}

impl Script {
    /// Everything goes well.
    pub fn calm() -> Self {
        Self {
            slots: 3,
            fates: BTreeMap::new(),
            other_fates: Fate::Complete,
            crash: None,
            cancel_after: None,
            repeat: None,
            people: People::Approve,
            disturbances: 0,
            retries: 0,
            ways: Vec::new(),
            answers_late: false,
            is_held: false,
            mistake: None,
        }
    }

    pub fn fate(&self, step: StepNo) -> Fate {
        self.fates.get(&step).copied().unwrap_or(self.other_fates)
    }
}
