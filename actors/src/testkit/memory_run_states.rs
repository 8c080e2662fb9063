//! Where runs stand, in memory.

use std::future::ready;

use core314_domain::ids::RunId;

use super::memory_store::MemoryStore;
use crate::ports::run_states::RunStates;
use crate::ports::store::StoredRun;
use crate::ports::{BoxFuture, StoreError};

impl RunStates for MemoryStore {
    fn run_states(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<Vec<StoredRun>, StoreError>> {
        let rows = self.rows();
        let bare = |run: &StoredRun| StoredRun { attempts: Vec::new(), ..run.clone() };
        let found: Vec<StoredRun> = runs.iter().filter_map(|run| rows.runs.get(run)).map(bare).collect();
        Box::pin(ready(Ok(found)))
    }
}
