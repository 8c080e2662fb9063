//! What a supervisor is told of a child, and what a supervisor itself is made of: plain data, with defaults that suit most.

use std::time::Duration;

/// When a child is started again after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Permanent,
    /// After an abnormal exit only.
    Transient,
    /// Never; the child is forgotten when it ends.
    Temporary,
}

/// Whom the failure of one child concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Only itself.
    OneForOne,
    /// Every child: all are stopped in reverse order and started in order.
    OneForAll,
    /// Itself and those started after it.
    RestForOne,
}

/// How many restarts a supervisor makes before it gives up: at most `max_restarts` in any `within`.
#[derive(Debug, Clone, Copy)]
pub struct Intensity {
    pub max_restarts: u32,
    pub within: Duration,
}

/// The wait before a restart: `first`, doubled with each earlier restart of the intensity's window, at most `max`;
/// jitter takes up to half of it away, so that actors that failed together do not return together.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    pub first: Duration,
    pub max: Duration,
}

/// The arbiter that a child lives on. A lost arbiter is replaced under the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The workers in turn.
    Any,
    /// The worker with this number, modulo the number of workers: for actors that talk with each other.
    Worker(usize),
    /// The arbiter of the supervisors, for actors that never compute.
    Control,
}

/// How an actor is started, stopped and bounded.
#[derive(Debug, Clone)]
pub struct ChildSpec {
    /// Last segment of its path.
    pub name: String,
    /// Ignored for children of plain actors, which are always temporary.
    pub restart: Restart,
    /// How long an orderly stop may take before the actor is dropped; `None` waits for ever, zero drops at once.
    pub shutdown_timeout: Option<Duration>,
    /// Messages that may wait in its mailbox before `tell` answers `Full`.
    pub mailbox: u32,
    /// Deaths by messages with one key before that key is set aside as poison.
    pub poison_limit: u32,
    /// Ignored for children of plain actors, which live on their parent's arbiter.
    pub placement: Placement,
}

impl ChildSpec {
    /// A permanent child with 5 s to stop, a mailbox of 1,024 and a poison limit of 3, on any worker.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            restart: Restart::Permanent,
            shutdown_timeout: Some(Duration::from_secs(5)),
            mailbox: 1024,
            poison_limit: 3,
            placement: Placement::Any,
        }
    }

    #[must_use]
    pub const fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    #[must_use]
    pub const fn shutdown_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    #[must_use]
    pub const fn mailbox(mut self, messages: u32) -> Self {
        self.mailbox = messages;
        self
    }

    #[must_use]
    pub const fn poison_limit(mut self, deaths: u32) -> Self {
        self.poison_limit = deaths;
        self
    }

    #[must_use]
    pub const fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }
}

/// What a supervisor does when a child fails.
#[derive(Debug, Clone, Copy)]
pub struct SupervisorSpec {
    pub strategy: Strategy,
    pub intensity: Intensity,
    pub backoff: Backoff,
}

impl SupervisorSpec {
    /// At most 10 restarts a minute, the first after at most 10 ms, later ones after at most 30 s.
    pub const fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            intensity: Intensity { max_restarts: 10, within: Duration::from_mins(1) },
            backoff: Backoff { first: Duration::from_millis(10), max: Duration::from_secs(30) },
        }
    }

    #[must_use]
    pub const fn intensity(mut self, max_restarts: u32, within: Duration) -> Self {
        self.intensity = Intensity { max_restarts, within };
        self
    }

    #[must_use]
    pub const fn backoff(mut self, first: Duration, max: Duration) -> Self {
        self.backoff = Backoff { first, max };
        self
    }
}
