//! `core314 sync`: how far each `data_sync` has come.

use clap::{Args, Subcommand};

use super::args::Limit;
use super::outcome::{Exit, Failure};
use super::print::Columns;
use super::session::Session;

const SYNCS: Columns<'_> = &[
    ("NAME", "name"),
    ("DONE", "is_done"),
    ("READ", "read"),
    ("WRITTEN", "written"),
    ("SKIPPED", "skipped"),
    ("FAILED", "failed"),
    ("CURSOR", "cursor"),
    ("MOVED", "updated_at"),
];

#[derive(Debug, Subcommand)]
pub enum SyncCommand {
    /// List syncs: what each has read and written, and where the next one begins.
    List(Limit),
    /// Forget how far a sync has come, so that it begins from the start.
    Reset(Named),
}

#[derive(Debug, Args)]
pub struct Named {
    /// The name in its payload.
    name: String,
}

impl SyncCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        match self {
            Self::List(page) => session.list(&["syncs"], &Vec::new(), page.limit, SYNCS).await,
            Self::Reset(sync) => session.delete(&["syncs", &sync.name], &sync.name).await,
        }
    }
}
