//! How far an execution of a sync has come, as it is kept: after each portion that is durable at its destination.

use core314_actors::ports::executor::Attempt;
use core314_actors::ports::sync::{Saved, SyncPosition, SyncPositions};
use core314_domain::ids::TenantId;
use core314_domain::log::Failure;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plan::Plan;
use crate::executors::failure::Code;
use crate::executors::payload::cut;

/// Failed rows that are told one by one.
const MAX_FAILURES: usize = 20;
const MAX_REASON_CHARS: usize = 300;
/// The form of [`State`].
const VERSION: u32 = 1;

/// What has come of the items so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub read: u64,
    pub written: u64,
    /// A later row of the same portion has the same key.
    pub skipped: u64,
    pub failed: u64,
}

/// A row that failed, by its number from 1 in what this execution reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub row: u64,
    pub reason: String,
}

/// How far an execution has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub version: u32,
    pub counts: Counts,
    pub failures: Vec<Failed>,
    /// Where the source goes on.
    pub place: Option<Value>,
    /// What the destination has to know of itself.
    pub destination: Option<Value>,
    /// All is put; the destination may be finished.
    pub is_finishing: bool,
    pub is_done: bool,
}

/// A position that this execution holds.
pub struct Position<'a> {
    positions: &'a dyn SyncPositions,
    tenant: TenantId,
    name: String,
    most: usize,
    kept: SyncPosition,
    /// Where the last whole sync ended.
    pub cursor: Option<Value>,
    pub state: State,
    /// The rows that an attempt before had read; absent where this is the first.
    pub resumed_after: Option<u64>,
    /// Whose state stood here before.
    pub before: Option<String>,
}

impl<'a> Position<'a> {
    /// Takes a sync up: where this execution has left off, or from the start.
    pub async fn take(
        positions: &'a dyn SyncPositions,
        attempt: &Attempt,
        plan: &Plan,
        most: usize,
    ) -> Result<Self, Failure> {
        let tenant = attempt.owner.tenant;
        let found = positions.load(tenant, &plan.name).await.map_err(unavailable)?;
        let own = found.as_ref().filter(|found| found.execution == attempt.execution);
        let state = own.map(|found| serde_json::from_value::<State>(found.state.clone())).transpose();
        let unreadable =
            |error| Code::StoreRefused.failure(format!("the position of '{}' is unreadable: {error}", plan.name));
        let state = state.map_err(unreadable)?;
        if let Some(state) = &state
            && state.version != VERSION
        {
            let message =
                format!("the position of '{}' was written by another release: start the sync again", plan.name);
            return Err(Code::StoreRefused.failure(message));
        }
        let resumed_after = state.as_ref().map(|state| state.counts.read);
        let before = found.as_ref().filter(|found| found.execution != attempt.execution);
        let before = before.map(|found| found.execution.to_string());
        let kept = found.unwrap_or(SyncPosition {
            version: 0,
            execution: attempt.execution,
            cursor: None,
            state: Value::Null,
            at_ms: 0,
        });
        let is_new = state.is_none();
        let mut position = Self {
            positions,
            tenant,
            name: plan.name.clone(),
            most,
            cursor: kept.cursor.clone(),
            kept: SyncPosition { execution: attempt.execution, ..kept },
            state: state.unwrap_or(State { version: VERSION, ..State::default() }),
            resumed_after,
            before,
        };
        // From here on an execution before this one cannot go on.
        if is_new {
            position.keep().await?;
        }
        Ok(position)
    }

    /// Counts rows that failed, and tells the first of them.
    pub fn note(&mut self, failed: Vec<Failed>) {
        self.state.counts.failed += failed.len() as u64;
        let room = MAX_FAILURES.saturating_sub(self.state.failures.len());
        let told = failed.into_iter().map(|it| Failed { reason: cut(&it.reason, MAX_REASON_CHARS), ..it });
        self.state.failures.extend(told.take(room));
    }

    /// Keeps it, durably.
    pub async fn keep(&mut self) -> Result<(), Failure> {
        let state = serde_json::to_value(&self.state).expect("a state is JSON");
        let next = SyncPosition {
            version: self.kept.version + 1,
            execution: self.kept.execution,
            cursor: self.cursor.clone(),
            state,
            at_ms: chrono::Utc::now().timestamp_millis(),
        };
        let saved = self.positions.save(self.tenant, &self.name, &next, self.most).await.map_err(unavailable)?;
        let refused = match saved {
            Saved::Kept => {
                self.kept = next;
                return Ok(());
            }
            Saved::Moved => format!("another execution has taken over the sync '{}', or it was reset", self.name),
            Saved::LimitReached => {
                let most = self.most;
                format!(
                    "this tenant has {most} syncs, as many as executors.sync.max_syncs_per_tenant allows: reset some"
                )
            }
        };
        Err(Code::Refused.failure(refused))
    }
}

fn unavailable(error: core314_actors::ports::StoreError) -> Failure {
    use core314_actors::ports::StoreError as E;
    match error {
        E::Unavailable(message) => Code::StoreUnavailable.failure(message),
        E::Refused(message) | E::Corrupt(message) => Code::StoreRefused.failure(message),
    }
}
