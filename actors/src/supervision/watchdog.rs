//! Notices actors that make no progress. A handler that never returns blocks its whole arbiter, so the watchdog has a thread of
//! its own.
//!
//! It reads counters only. Time is counted in its own rounds: actors write down the round in which they began a message, so
//! `Patience` is kept with the precision of one interval. Two findings:
//! - **stuck**: one handler runs for too long. Its thread is given up, and supervisors start its actors again on another, with
//!   new mailboxes. What waited in the old ones is out of reach: its senders learn that it is lost only if the thread ever wakes,
//!   so whoever waits for a reply needs a timeout;
//! - **stalled**: messages wait and none is handled, though no handler of the actor runs: another actor hogs the thread, or the
//!   actor is between two lives. Reported once per stall; the cause is elsewhere.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{hooks, node::Node};

/// How long the watchdog waits before it finds something.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Time between two rounds.
    pub interval: Duration,
    pub stuck_after: Duration,
    pub stalled_after: Duration,
}

impl Default for Patience {
    /// Rounds of 1 s; stuck after 10 s, stalled after 30 s.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            stuck_after: Duration::from_secs(10),
            stalled_after: Duration::from_secs(30),
        }
    }
}

/// An actor without progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub path: Arc<str>,
    pub kind: &'static str,
    pub trouble: Trouble,
    /// Messages waiting.
    pub queued: u32,
    /// Number of its arbiter.
    pub arbiter: u32,
    /// For how long, in whole rounds.
    pub lasting: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Stuck,
    Stalled,
}

/// The watchdog's thread; dropping this ends it.
#[derive(Debug)]
pub struct Watchdog {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(super) fn start(node: Arc<Node>, patience: Patience) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let mut rounds = Rounds::new(node, patience);
        let thread = thread::Builder::new().name("watchdog".into()).spawn(move || {
            while stopped.recv_timeout(patience.interval) == Err(RecvTimeoutError::Timeout) {
                rounds.round();
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watchdog had panicked");
        }
    }
}

/// An actor with waiting messages, as it was when that was first seen.
struct Waiting {
    handled: u64,
    since: u32,
    reported: bool,
}

/// The watchdog without its thread.
pub(super) struct Rounds {
    node: Arc<Node>,
    interval: Duration,
    stuck_after: u32,
    stalled_after: u32,
    waiting: HashMap<u64, Waiting>,
}

impl Rounds {
    pub(super) fn new(node: Arc<Node>, patience: Patience) -> Self {
        let rounds = |time: Duration| {
            let rounds = time.as_millis().div_ceil(patience.interval.as_millis().max(1));
            u32::try_from(rounds).unwrap_or(u32::MAX)
        };
        Self {
            node,
            interval: patience.interval,
            stuck_after: rounds(patience.stuck_after),
            stalled_after: rounds(patience.stalled_after),
            waiting: HashMap::new(),
        }
    }

    /// Looks at every actor once, reports, and gives up the threads of stuck ones.
    pub(super) fn round(&mut self) -> Vec<Finding> {
        let tick = self.node.tick.fetch_add(1, Ordering::Relaxed) + 1;
        let mut findings = Vec::new();
        let mut blocked = Vec::new();
        let mut still_waiting = HashMap::new();
        for actor in self.node.registry.entries() {
            let pulse = actor.pulse();
            let busy = pulse.live && pulse.busy_since != 0;
            let find = |trouble, rounds: u32| Finding {
                path: Arc::clone(actor.path()),
                kind: actor.kind(),
                trouble,
                queued: pulse.queued,
                arbiter: actor.arbiter().index,
                lasting: self.interval.saturating_mul(rounds),
            };
            let busy_for = tick.saturating_sub(pulse.busy_since);
            if busy && busy_for > self.stuck_after {
                findings.push(find(Trouble::Stuck, busy_for - 1));
                blocked.push((actor.arbiter(), pulse.id));
            } else if pulse.queued > 0 && !busy {
                let mut seen = self
                    .waiting
                    .remove(&pulse.id)
                    .filter(|seen| seen.handled == pulse.handled)
                    .unwrap_or(Waiting { handled: pulse.handled, since: tick, reported: false });
                let lasting = tick - seen.since;
                if lasting >= self.stalled_after && !seen.reported {
                    seen.reported = true;
                    findings.push(find(Trouble::Stalled, lasting));
                }
                still_waiting.insert(pulse.id, seen);
            }
        }
        self.waiting = still_waiting;
        for finding in &findings {
            tracing::error!(path = %finding.path, kind = finding.kind, trouble = ?finding.trouble, queued = finding.queued, lasting = ?finding.lasting, "an actor makes no progress");
            hooks::call(self.node.hooks.on_finding.as_ref(), finding);
        }
        for (arbiter, id) in blocked {
            self.node.abandon(&arbiter, Some(id));
        }
        findings
    }
}
