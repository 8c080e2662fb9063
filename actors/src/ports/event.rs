//! Events that runs wait for.
//!
//! ```text
//! event ──► kept, and a delivery for each wait that is open, one commit ──► answered
//! wait opens ──► a delivery for each event kept since its run began, one commit
//!                          │
//!                          ▼
//!            relay tells the run ──► taken, or its match does not hold ──► the delivery goes
//! ```
//! Invariants:
//! - An event and the opening of a wait for its type and key never miss each other: whichever commits second sees the
//!   first.
//! - What a run has taken no later wait of that run is told of.
//! - A delivery goes only when its run has heard of it, durably, or when nothing waits there any more.

use core314_domain::Json;
use core314_domain::ids::{RowId, RunId, StepNo, TenantId};

/// An event to keep, and to tell those who wait for it. One whose name is kept already does nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    pub id: RowId,
    pub tenant: TenantId,
    /// Its type.
    pub kind: String,
    /// Its subject, as waits are compared with it.
    pub key: String,
    /// Made of its source and id.
    pub name: String,
    pub event: Json,
    pub at_ms: i64,
    /// Events before this time are kept no longer.
    pub oldest_ms: i64,
    /// Of one type and key so many are kept, the newest.
    pub most: u32,
}

/// An event that a waiting step is to be told of.
#[derive(Debug, Clone, PartialEq)]
pub struct EventDelivery {
    pub event: RowId,
    pub run: RunId,
    pub step: StepNo,
    pub partition: u16,
    pub content: Json,
}

/// The place of a delivery in the order in which they are told.
pub type DeliveryPlace = (RowId, RunId, StepNo);

impl EventDelivery {
    pub fn place(&self) -> DeliveryPlace {
        (self.event, self.run, self.step)
    }
}
