//! OTP's supervision in Rust, on actix.
//!
//! ```text
//! Tree ── root supervisor ─┬─ actor                     Ref ──> mailbox ──> driver ( ContextFut ( Cell ( value ) ) )
//!                          └─ supervisor ─┬─ actor ── child of that actor
//!                                         └─ actor
//! ```
//! An actor (`Behaviour`) is plain state and one message type. When a handler panics, the driver catches it and drops the value;
//! the supervisor's `Policy` decides; the driver makes a fresh value, and the mailbox goes on behind the same `Ref`. What is lost
//! is the message in hand, whose sender learns it by the reply channel dropped with it.
//!
//! - One actor's death takes no other with it, unless the strategy says so; children that an actor started itself die with it.
//! - The decisions are pure (`policy`), the actors around them do as they are told (`supervisor`).
//! - A thread that is blocked for ever is given up and fenced, and its actors start again elsewhere (`watchdog`, `arbiters`).
//! - Nothing here knows what the actors do.

mod actor_ref;
mod arbiters;
mod behaviour;
mod cell;
mod control;
mod ctx;
mod driver;
mod exit;
mod hooks;
mod node;
mod poison;
pub mod policy;
mod registry;
mod spec;
mod supervisor;
#[cfg(test)]
mod tests;
mod timers;
mod tree;
mod watchdog;

pub use self::{
    actor_ref::{Ref, TellError, Vitals},
    arbiters::{ArbiterPool, RuntimeFactory, fenced},
    behaviour::Behaviour,
    ctx::Ctx,
    exit::{ChildExit, Exit},
    hooks::{ActorRestarted, Hooks, Listener},
    registry::{Registry, RestartError, Snapshot, StartError},
    spec::{Backoff, ChildSpec, Intensity, Placement, Restart, Strategy, SupervisorSpec},
    supervisor::SupervisorRef,
    timers::TimerKey,
    tree::Tree,
    watchdog::{Finding, Patience, Trouble, Watchdog},
};

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Locks here guard single assignments and counters, which a panic cannot leave half done; so poisoning means nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
