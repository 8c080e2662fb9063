//! Executors: each performs one action type against the world.
//!
//! One file each behind the port `Executor`; [`all`] is the one list. What they share (the HTTP client with its outbound
//! rules, reading payloads, redaction, the words for failures) lies beside them and knows none of them.

mod api_call;
mod ask_ai;
mod client;
mod connect;
mod create_task;
mod data_sync;
mod failure;
mod outbound;
mod payload;
mod redact;
mod run_command;
mod send_notification;
mod service;
mod tenants;
#[cfg(test)]
mod tests;
mod transform;
mod trigger_webhook;
mod update_record;

use std::sync::Arc;

use core314_actors::ports::executor::Executor;
use core314_actors::ports::notifications::Inbox;
use core314_actors::ports::records::Records;
use core314_actors::ports::sync::SyncPositions;
use serde::Deserialize;

use api_call::ApiCall;
use ask_ai::AskAi;
pub use ask_ai::{AiSettings, ModelsError};
use client::HttpClient;
pub use client::{ClientError, HttpSettings};
use connect::oauth::Tokens;
use create_task::CreateTask;
use data_sync::DataSync;
pub use data_sync::{FoldersError, SyncSettings};
pub use outbound::OutboundSettings;
use run_command::RunCommand;
pub use run_command::{CommandSettings, ProgramsError};
pub use send_notification::Reach;
use send_notification::SendNotification;
use transform::Transform;
use trigger_webhook::TriggerWebhook;
use update_record::{Databases, UpdateRecord};
pub use update_record::{RecordSettings, RecordsError};

/// What the configuration says about executors: section `[executors]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutorSettings {
    /// Bounds of HTTP exchanges.
    pub http: HttpSettings,
    /// Where actions may connect to.
    pub outbound: OutboundSettings,
    /// Which programs actions may run.
    pub commands: CommandSettings,
    /// Bounds of what language models are asked, and the server's own.
    pub ai: AiSettings,
    /// Which databases of this machine actions may change.
    pub records: RecordSettings,
    /// Bounds of what moves rows, and the folders of this machine.
    pub sync: SyncSettings,
}

/// The executors cannot be made: stop the start and say so.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorsError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Programs(#[from] ProgramsError),
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error(transparent)]
    Folders(#[from] FoldersError),
    #[error(transparent)]
    Models(#[from] ModelsError),
}

/// Every executor there is; in-app notifications go into these inboxes, rows of other databases are changed by these
/// records, these people are reached, and how far syncs have come is kept there. The process must have installed its TLS
/// provider.
pub fn all(
    settings: &ExecutorSettings,
    inbox: Arc<dyn Inbox>,
    records: Arc<dyn Records>,
    reach: Reach,
    positions: Arc<dyn SyncPositions>,
) -> Result<Vec<Arc<dyn Executor>>, ExecutorsError> {
    let http = Arc::new(HttpClient::new(settings.http.clone(), settings.outbound.clone())?);
    through(http, settings, inbox, records, reach, positions)
}

/// The same, through this client.
fn through(
    http: Arc<HttpClient>,
    settings: &ExecutorSettings,
    inbox: Arc<dyn Inbox>,
    records: Arc<dyn Records>,
    reach: Reach,
    positions: Arc<dyn SyncPositions>,
) -> Result<Vec<Arc<dyn Executor>>, ExecutorsError> {
    let databases = Arc::new(Databases::new(&settings.records)?);
    let tokens = Arc::new(Tokens::default());
    let sync = DataSync::new(
        (http.clone(), tokens.clone()),
        (records.clone(), positions),
        (databases.clone(), settings.sync.clone()),
    )?;
    Ok(vec![
        Arc::new(ApiCall::new(http.clone(), tokens)),
        Arc::new(AskAi::new(http.clone(), settings.ai.clone())?),
        Arc::new(CreateTask::new(http.clone())),
        Arc::new(sync),
        Arc::new(RunCommand::new(settings.commands.clone())?),
        Arc::new(SendNotification::new(http.clone(), inbox, reach)),
        Arc::new(UpdateRecord::new(http.clone(), records, databases)),
        Arc::new(TriggerWebhook::new(http)),
        Arc::new(Transform),
    ])
}
