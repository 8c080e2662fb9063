//! What the rest of the runtime hears of the tree, for the audit log, metrics and health. Hooks run on the thread where the
//! event happened; they must be quick and must not panic.

use std::{fmt, sync::Arc};

use super::{
    exit::{ChildExit, Exit},
    watchdog::Finding,
};

/// A supervised actor runs again, with a fresh value.
#[derive(Debug, Clone)]
pub struct ActorRestarted {
    pub path: Arc<str>,
    pub kind: &'static str,
    /// Why its earlier value ended; `Shutdown` when it was stopped to be restarted with a sibling or on demand.
    pub reason: Exit,
    /// How often it has been restarted since the process began.
    pub nth: u32,
}

/// One listener.
pub type Listener<E> = Box<dyn Fn(&E) + Send + Sync>;

/// The listeners of one tree. `Hooks::default()` listens to nothing.
#[derive(Default)]
pub struct Hooks {
    pub on_restart: Option<Listener<ActorRestarted>>,
    /// Every end of every actor, flow runs included.
    pub on_exit: Option<Listener<ChildExit>>,
    /// What the watchdog found.
    pub on_finding: Option<Listener<Finding>>,
    /// The root has given up or was lost; the process should end with a non-zero status.
    pub on_root_failure: Option<Listener<Exit>>,
    /// Called with the actor's kind and path before each message, where a panic is a panic of that actor: for failpoints.
    pub before_handle: Option<fn(&'static str, &str)>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

pub(super) fn call<E>(listener: Option<&Listener<E>>, event: &E) {
    if let Some(listener) = listener {
        listener(event);
    }
}
