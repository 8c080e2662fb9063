//! What the reactive core needs of the world: few traits, shaped by their consumers.
//!
//! Each has a fake in the testkit and a conformance suite that every adapter runs. Futures are boxed, because a port is
//! a value that the composition root chooses.

pub mod aging;
pub mod answers;
pub mod bulk;
pub mod catalog;
pub mod consent;
pub mod dependency;
pub mod escalation;
pub mod event;
pub mod executor;
pub mod integration;
pub mod ledger;
pub mod limits;
pub mod membership;
pub mod notifications;
pub mod people;
pub mod records;
pub mod resource;
pub mod run_states;
pub mod schedule;
pub mod signal;
pub mod store;
pub mod sync;
pub mod views;
pub mod webhook;

use std::pin::Pin;

/// A boxed future that may cross threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why the store did not do what it was asked. The variants say what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or is busy: try again.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The request cannot be answered, now or later: give up and tell the caller.
    #[error("{0}")]
    Refused(String),
    /// What it holds does not make sense: stop what depends on it and call a person.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
}

/// Whose rows a caller may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Tenant(core314_domain::ids::TenantId),
    /// All tenants.
    Platform,
}
