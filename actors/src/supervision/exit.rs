//! Why an actor's value ended. The reason alone decides, with the child's `Restart`, whether its supervisor starts it again.

use std::{fmt, sync::Arc};

/// The end of one life of an actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It finished its work and said so (`Ctx::stop`).
    Normal,
    /// Its supervisor or parent asked it to stop, and it did.
    Shutdown,
    /// It did not stop within its shutdown timeout, or its parent died, and it was dropped between two messages.
    Killed,
    /// A handler panicked; the text is the panic's message.
    Panicked(String),
    /// It gave up by itself (`Ctx::fail`).
    Failed(String),
    /// The thread it lived on ended, was abandoned, or never took it.
    ArbiterLost,
    /// One handler ran for longer than the watchdog allows; its thread was abandoned.
    Stuck,
}

impl Exit {
    /// Abnormal exits restart transient children and count as failures.
    pub const fn is_abnormal(&self) -> bool {
        !matches!(self, Self::Normal | Self::Shutdown)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("finished"),
            Self::Shutdown => f.write_str("shut down"),
            Self::Killed => f.write_str("killed"),
            Self::Panicked(text) => write!(f, "panicked: {text}"),
            Self::Failed(text) => write!(f, "failed: {text}"),
            Self::ArbiterLost => f.write_str("arbiter lost"),
            Self::Stuck => f.write_str("stuck in one handler"),
        }
    }
}

/// What a parent, a supervisor or a hook is told of an actor that ended.
#[derive(Debug, Clone)]
pub struct ChildExit {
    /// The actor's number, unique in this process.
    pub id: u64,
    /// The actor's place in the tree.
    pub path: Arc<str>,
    /// `Behaviour::KIND` of the actor.
    pub kind: &'static str,
    /// Which life of the actor ended: 1 is the first. A supervisor ignores news of lives that are over.
    pub life: u32,
    /// Why it ended.
    pub reason: Exit,
}
