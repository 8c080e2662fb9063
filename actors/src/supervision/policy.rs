//! The decisions of a supervisor, and nothing else: no actor, no clock, no randomness.
//!
//! The machine is told what happened (`add`, `started`, `exited`, `remove`, `restart`, `shutdown`) and asked by `advance`
//! what to do now. It is level-triggered: events only change the status of children, `advance` compares the statuses and
//! emits the next steps. So an event may arrive in the middle of a group restart without a case of its own.
//!
//! ```text
//!   Off ──> Queued{due} ──> Starting ──> Up ──> Doomed ──> Stopping ──> Off | Queued | forgotten
//!              ^               └─────────┴── failed: Queued, and its group Doomed
//! ```
//!
//! The semantics are those of Erlang/OTP's `supervisor`, with a backoff added. Invariants:
//! - children start one at a time, in the order they were added, and stop one at a time, in reverse;
//! - under `OneForAll` and `RestForOne` nothing starts before everything that must stop has stopped;
//! - an exit is counted against the intensity only if nobody had asked for it;
//! - a child that had finished (transient, normal exit) runs again when a sibling's failure restarts its group, as in OTP;
//! - `Finished` is emitted once, when nothing runs any more.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{
    exit::Exit,
    spec::{Backoff, Restart, Strategy, SupervisorSpec},
};

/// Children are told apart by their actor's number; numbers grow, so their order is the order of starting.
pub type ChildId = u64;

/// After a kill an actor has this long to be seen dead; then it must be stuck, and its arbiter is given up.
pub const KILL_GRACE: Duration = Duration::from_secs(5);

/// One step that the supervisor must take now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start the child; answer with `started` or `exited`.
    Start(ChildId),
    /// Ask it to stop; answer with `exited`.
    Shutdown(ChildId),
    /// Drop it between two messages; answer with `exited`.
    Kill(ChildId),
    /// It cannot even be killed: give up its arbiter; answer with `exited`.
    Abandon(ChildId),
    /// It finished and nobody waits to start it: close its mailbox.
    Release(ChildId),
    /// It is no longer a child.
    Forget(ChildId),
    /// Nothing runs any more; the supervisor itself ends.
    Finished(Verdict),
}

/// Why a supervisor ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was asked to.
    Stopped,
    /// Too many restarts: its own supervisor decides.
    GaveUp { child: ChildId, exit: Exit },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Off,
    Queued { due: Duration },
    Starting,
    Up,
    Doomed,
    Stopping { deadline: Option<Duration>, kills: u8 },
}

/// What follows a stop that we asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Off,
    Start { due: Duration },
    Forget,
}

#[derive(Debug)]
struct Child {
    restart: Restart,
    shutdown_timeout: Option<Duration>,
    status: Status,
    next: Next,
}

/// The state of one supervisor. Times are durations since any fixed moment.
#[derive(Debug)]
pub struct Policy {
    spec: SupervisorSpec,
    children: BTreeMap<ChildId, Child>,
    /// Children that are neither `Up` nor `Off`, so that `advance` does not scan thousands that are well.
    unsettled: BTreeSet<ChildId>,
    /// Restarts within the intensity's window, oldest first; never longer than the intensity allows.
    history: VecDeque<(Duration, ChildId)>,
    /// Leftovers of an earlier life are being stopped; nothing starts before that is done.
    sweeping: bool,
    ending: Option<Verdict>,
    finished: bool,
    pending: Vec<Action>,
}

impl Policy {
    pub fn new(spec: SupervisorSpec) -> Self {
        Self {
            spec,
            children: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            history: VecDeque::new(),
            sweeping: false,
            ending: None,
            finished: false,
            pending: Vec::new(),
        }
    }

    /// Adds a child that is to start now. A child that still `runs`, left over from the supervisor's earlier life, is stopped
    /// first. While the supervisor ends, new children stay off.
    pub fn add(
        &mut self,
        id: ChildId,
        restart: Restart,
        shutdown_timeout: Option<Duration>,
        runs: bool,
        now: Duration,
    ) {
        let next = if self.ending.is_some() { Next::Off } else { Next::Start { due: now } };
        let child = Child { restart, shutdown_timeout, status: Status::Off, next };
        if self.contains(id) {
            return;
        }
        self.children.insert(id, child);
        match (self.ending.is_some(), runs) {
            (false, false) => self.set(id, Status::Queued { due: now }),
            (_, true) => {
                self.sweeping = true;
                self.set(id, Status::Doomed);
            }
            (true, false) => {}
        }
    }

    /// The child's `start` has returned.
    pub fn started(&mut self, id: ChildId) {
        if self.status(id) == Some(Status::Starting) {
            self.set(id, Status::Up);
        }
    }

    /// The child has ended. `jitter` is a fresh random number in `[0, 1)`.
    pub fn exited(&mut self, id: ChildId, exit: &Exit, now: Duration, jitter: f64) {
        let Some(child) = self.children.get(&id) else {
            return;
        };
        let (status, next, restart) = (child.status, child.next, child.restart);
        match status {
            Status::Off | Status::Queued { .. } => {}
            Status::Doomed | Status::Stopping { .. } => match next {
                Next::Off => self.set(id, Status::Off),
                Next::Start { due } => self.set(id, Status::Queued { due }),
                Next::Forget => self.forget(id),
            },
            Status::Starting | Status::Up => match restart {
                Restart::Temporary => self.forget(id),
                Restart::Transient if !exit.is_abnormal() => {
                    self.set(id, Status::Off);
                    self.pending.push(Action::Release(id));
                }
                Restart::Transient | Restart::Permanent => self.failed(id, exit, now, jitter),
            },
        }
    }

    /// Stops the child and forgets it.
    pub fn remove(&mut self, id: ChildId) {
        match self.status(id) {
            None => {}
            Some(Status::Off | Status::Queued { .. }) => self.forget(id),
            Some(_) => self.doom(id, Next::Forget),
        }
    }

    /// Stops the child and starts it again, because somebody asked; not a failure.
    pub fn restart(&mut self, id: ChildId, now: Duration) {
        if self.ending.is_some() {
            return;
        }
        match self.status(id) {
            None => {}
            Some(Status::Off | Status::Queued { .. }) => self.set(id, Status::Queued { due: now }),
            Some(_) => self.doom(id, Next::Start { due: now }),
        }
    }

    /// Stops every child in reverse order and ends.
    pub fn shutdown(&mut self) {
        self.end(Verdict::Stopped);
    }

    pub fn contains(&self, id: ChildId) -> bool {
        self.children.contains_key(&id)
    }

    /// True once the supervisor is on its way out.
    pub const fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// True when every child is up or off.
    pub fn is_settled(&self) -> bool {
        self.unsettled.is_empty()
    }

    /// The steps to take now, in order.
    pub fn advance(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = std::mem::take(&mut self.pending);
        let stopping = self.advance_stops(now, &mut actions);
        self.sweeping &= stopping;
        if let Some(verdict) = &self.ending {
            if !stopping && !self.finished {
                self.finished = true;
                actions.push(Action::Finished(verdict.clone()));
            }
        } else if !stopping || (self.spec.strategy == Strategy::OneForOne && !self.sweeping) {
            self.advance_starts(now, &mut actions);
        }
        actions
    }

    /// When `advance` should be called again though nothing happened; always later than `now`.
    pub fn next_wake(&self, now: Duration) -> Option<Duration> {
        self.unsettled
            .iter()
            .filter_map(|id| match self.children[id].status {
                Status::Queued { due } => Some(due),
                Status::Stopping { deadline, .. } => deadline,
                _ => None,
            })
            .filter(|at| *at > now)
            .min()
    }

    /// Moves the one stop under way forward, or begins the next. True while anything must stop.
    fn advance_stops(&mut self, now: Duration, actions: &mut Vec<Action>) -> bool {
        let mut doomed = None;
        let mut under_way = None;
        for id in self.unsettled.iter().rev() {
            match self.children[id].status {
                Status::Doomed if doomed.is_none() => doomed = Some(*id),
                Status::Stopping { deadline, kills } => under_way = Some((*id, deadline, kills)),
                _ => {}
            }
        }
        if let Some((id, deadline, kills)) = under_way {
            if deadline.is_some_and(|at| at <= now) {
                actions.push(if kills == 0 { Action::Kill(id) } else { Action::Abandon(id) });
                let status = Status::Stopping { deadline: Some(now + KILL_GRACE), kills: kills.saturating_add(1) };
                self.set(id, status);
            }
            return true;
        }
        let Some(id) = doomed else { return false };
        let timeout = self.children[&id].shutdown_timeout;
        let (action, deadline, kills) = if timeout == Some(Duration::ZERO) {
            (Action::Kill(id), Some(now + KILL_GRACE), 1)
        } else {
            (Action::Shutdown(id), timeout.map(|t| now + t), 0)
        };
        actions.push(action);
        self.set(id, Status::Stopping { deadline, kills });
        true
    }

    /// Starts the first child that is due, unless another is being started.
    fn advance_starts(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let in_group = self.spec.strategy != Strategy::OneForOne;
        let mut first = None;
        for id in &self.unsettled {
            match self.children[id].status {
                Status::Starting => return,
                // In a group, a child waits for those before it; alone, it waits for itself only.
                Status::Queued { due } if first.is_none() && (in_group || due <= now) => {
                    first = Some((*id, due));
                }
                _ => {}
            }
        }
        if let Some((id, due)) = first
            && due <= now
        {
            self.set(id, Status::Starting);
            actions.push(Action::Start(id));
        }
    }

    /// A child that should be up has ended: count it, and restart it with its group, or give up.
    fn failed(&mut self, id: ChildId, exit: &Exit, now: Duration, jitter: f64) {
        let within = self.spec.intensity.within;
        while self.history.front().is_some_and(|(at, _)| now.saturating_sub(*at) > within) {
            self.history.pop_front();
        }
        if self.history.len() >= self.spec.intensity.max_restarts as usize {
            self.set(id, Status::Off);
            let exit = exit.clone();
            self.end(Verdict::GaveUp { child: id, exit });
            return;
        }
        let alone = self.spec.strategy == Strategy::OneForOne;
        let earlier = self.history.iter().filter(|(_, other)| !alone || *other == id).count();
        self.history.push_back((now, id));
        let due = now + delay(self.spec.backoff, earlier, jitter);
        self.set(id, Status::Queued { due });
        let group: Vec<ChildId> = match self.spec.strategy {
            Strategy::OneForOne => Vec::new(),
            Strategy::OneForAll => self.children.keys().copied().collect(),
            Strategy::RestForOne => self.children.range(id..).map(|(id, _)| *id).collect(),
        };
        for other in group.into_iter().filter(|other| *other != id) {
            self.restart_with_group(other, due);
        }
    }

    fn restart_with_group(&mut self, id: ChildId, due: Duration) {
        let child = &self.children[&id];
        match child.status {
            Status::Off | Status::Queued { .. } => self.set(id, Status::Queued { due }),
            _ if child.restart == Restart::Temporary => self.doom(id, Next::Forget),
            _ => self.doom(id, Next::Start { due }),
        }
    }

    fn end(&mut self, verdict: Verdict) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(verdict);
        let ids: Vec<ChildId> = self.children.keys().copied().collect();
        for id in ids {
            match self.children[&id].status {
                Status::Off => {}
                Status::Queued { .. } => self.set(id, Status::Off),
                _ => self.doom(id, Next::Off),
            }
        }
    }

    /// Marks a live child to be stopped. A child that was removed stays removed, whatever happens to its group meanwhile.
    fn doom(&mut self, id: ChildId, next: Next) {
        let child = self.children.get_mut(&id).expect("callers pass children");
        let live = matches!(child.status, Status::Starting | Status::Up);
        if live || child.next != Next::Forget {
            child.next = next;
        }
        if live {
            self.set(id, Status::Doomed);
        }
    }

    fn forget(&mut self, id: ChildId) {
        self.children.remove(&id);
        self.unsettled.remove(&id);
        self.pending.push(Action::Forget(id));
    }

    fn status(&self, id: ChildId) -> Option<Status> {
        self.children.get(&id).map(|child| child.status)
    }

    fn set(&mut self, id: ChildId, status: Status) {
        let child = self.children.get_mut(&id).expect("callers pass children");
        child.status = status;
        if matches!(status, Status::Up | Status::Off) {
            self.unsettled.remove(&id);
        } else {
            self.unsettled.insert(id);
        }
    }
}

/// The wait before a restart that `earlier` others preceded.
fn delay(backoff: Backoff, earlier: usize, jitter: f64) -> Duration {
    let doublings = u32::try_from(earlier).unwrap_or(u32::MAX).min(31);
    let full = backoff.first.saturating_mul(1 << doublings).min(backoff.max);
    full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const ZERO: Duration = Duration::ZERO;

    /// A supervisor of permanent children 1, 2 and 3, all up.
    fn three(strategy: Strategy) -> Policy {
        let spec = SupervisorSpec::new(strategy).intensity(2, 10 * SECOND).backoff(SECOND, 60 * SECOND);
        let mut policy = Policy::new(spec);
        for id in 1..=3 {
            policy.add(id, Restart::Permanent, Some(SECOND), false, ZERO);
        }
        for id in 1..=3 {
            assert_eq!(policy.advance(ZERO), [Action::Start(id)], "one at a time, in order");
            assert_eq!(policy.advance(ZERO), []);
            policy.started(id);
        }
        assert!(policy.is_settled());
        policy
    }

    fn panicked() -> Exit {
        Exit::Panicked("boom".into())
    }

    #[test]
    fn one_for_one_waits_and_starts_the_failed_child_alone() {
        let mut policy = three(Strategy::OneForOne);
        policy.exited(2, &panicked(), ZERO, 1.0);
        assert_eq!(policy.advance(ZERO), []);
        assert_eq!(policy.next_wake(ZERO), Some(SECOND));
        assert_eq!(policy.advance(SECOND), [Action::Start(2)]);
        policy.exited(2, &panicked(), SECOND, 0.0);
        assert_eq!(policy.next_wake(SECOND), Some(2 * SECOND), "doubled, and halved by jitter");
    }

    #[test]
    fn rest_for_one_stops_in_reverse_before_it_starts_in_order() {
        let mut policy = three(Strategy::RestForOne);
        policy.exited(2, &panicked(), ZERO, 0.0);
        assert_eq!(policy.advance(ZERO), [Action::Shutdown(3)]);
        assert_eq!(policy.advance(SECOND / 2), [], "3 has not stopped");
        policy.exited(3, &Exit::Shutdown, SECOND / 2, 0.0);
        assert_eq!(policy.advance(SECOND / 2), [Action::Start(2)]);
        policy.started(2);
        assert_eq!(policy.advance(SECOND), [Action::Start(3)]);
    }

    #[test]
    fn a_child_that_does_not_stop_is_killed_then_abandoned() {
        let mut policy = three(Strategy::OneForAll);
        policy.shutdown();
        assert_eq!(policy.advance(ZERO), [Action::Shutdown(3)]);
        assert_eq!(policy.next_wake(ZERO), Some(SECOND));
        assert_eq!(policy.advance(SECOND), [Action::Kill(3)]);
        assert_eq!(policy.advance(SECOND + KILL_GRACE), [Action::Abandon(3)]);
        policy.exited(3, &Exit::Stuck, SECOND + KILL_GRACE, 0.0);
        assert_eq!(policy.advance(SECOND + KILL_GRACE), [Action::Shutdown(2)]);
    }

    #[test]
    fn restarts_beyond_the_intensity_stop_everything_and_end_it() {
        let mut policy = three(Strategy::OneForOne);
        for second in 0..2 {
            policy.exited(1, &panicked(), second * SECOND, 0.0);
            assert_eq!(policy.advance((second + 1) * SECOND), [Action::Start(1)]);
            policy.started(1);
        }
        policy.exited(1, &panicked(), 3 * SECOND, 0.0);
        for id in [3, 2] {
            assert_eq!(policy.advance(3 * SECOND), [Action::Shutdown(id)]);
            policy.exited(id, &Exit::Shutdown, 3 * SECOND, 0.0);
        }
        let verdict = Verdict::GaveUp { child: 1, exit: panicked() };
        assert_eq!(policy.advance(3 * SECOND), [Action::Finished(verdict)]);
        assert_eq!(policy.advance(3 * SECOND), [], "said once");
    }

    #[test]
    fn a_removed_child_stays_removed_when_its_group_restarts() {
        let mut policy = three(Strategy::OneForAll);
        policy.remove(3);
        policy.exited(1, &panicked(), ZERO, 0.0);
        assert_eq!(policy.advance(ZERO), [Action::Shutdown(3)]);
        policy.exited(3, &Exit::Shutdown, ZERO, 0.0);
        assert_eq!(policy.advance(ZERO), [Action::Forget(3), Action::Shutdown(2)]);
    }

    #[test]
    fn a_restart_on_demand_is_no_failure() {
        let mut policy = three(Strategy::OneForAll);
        for _ in 0..5 {
            policy.restart(2, ZERO);
            assert_eq!(policy.advance(ZERO), [Action::Shutdown(2)]);
            policy.exited(2, &Exit::Shutdown, ZERO, 0.0);
            assert_eq!(policy.advance(ZERO), [Action::Start(2)]);
            policy.started(2);
        }
    }
}
