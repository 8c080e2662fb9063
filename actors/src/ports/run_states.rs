//! Where runs stand, without what their steps gave.

use core314_domain::ids::RunId;

use super::store::StoredRun;
use super::{BoxFuture, StoreError};

/// A store that tells where runs stand. It is asked each time that a step starts a run, or hears of one: what that costs must
/// not grow with what the steps before it gave.
pub trait RunStates: Send + Sync + 'static {
    /// Runs as [`load_runs`](super::store::Store::load_runs) has them, but without their attempts.
    fn run_states(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<Vec<StoredRun>, StoreError>>;
}
