//! `data_sync`: rows from one place to another, a portion at a time.
//!
//! ```text
//! source ── portion ──> columns ── rows ──> destination (durable) ──> position (durable) ──> the next portion
//! ```
//! A position is kept only when what stands before it is durable at the destination. So a sync that died goes on behind its last
//! position: nothing is lost, and the one portion that may come again is met by its keys (a table), its idempotency keys (HTTP),
//! or cut off (a file); see ADR 017.
//!
//! Invariants:
//! - Each item of the source is counted once: `read = written + skipped + failed`, through every crash.
//! - No more than a few portions are in memory, each within `executors.sync.batch_rows` and `batch_bytes`, or one page.
//! - Of two executions of one sync only the later one goes on.

mod columns;
mod destination;
mod file;
mod folders;
mod plan;
mod position;
mod source;
mod table;
mod text;

use std::sync::Arc;

use core314_actors::failpoint;
use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Connection, Executor, Performed, Target};
use core314_actors::ports::records::Records;
use core314_actors::ports::sync::SyncPositions;
use core314_domain::Json;
use core314_domain::integration::Kind;
use core314_domain::log::{Failure, HttpFigures};
use core314_domain::plan::Problem;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api_call::Caller;
use super::client::{self, HttpClient, invalid};
use super::connect::http;
use super::connect::oauth::Tokens;
use super::failure::Code;
use super::payload::Reading;
use super::redact::Redactor;
use super::update_record::{Databases, postgres};
use columns::Columns;
use destination::Destination;
use folders::Folders;
pub use folders::FoldersError;
use plan::{End, Ends, Plan};
use position::{Failed, Position};
use source::{Portion, Source};

const KINDS: [&Kind; 2] = [&http::KIND, &postgres::KIND];

/// Bounds of syncs, and the folders of this machine: section `[executors.sync]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncSettings {
    /// Each as `NAME=PATH`; `{tenant}` in a path stands for the tenant's id.
    pub folders: Vec<String>,
    /// Ids of tenants that may use them; `*` for all.
    pub tenants: Vec<String>,
    /// Whether `*` is meant. Asked at the start of a server for production, before there are executors.
    pub allow_all_tenants: bool,
    /// Rows of a portion, where a payload says nothing, and at most.
    pub batch_rows: usize,
    /// About the bytes of a portion.
    pub batch_bytes: usize,
    /// A longer row of a file fails the sync, in bytes.
    pub max_row_bytes: usize,
    /// Syncs whose positions a tenant may have.
    pub max_syncs_per_tenant: usize,
}

/// Moves rows.
pub struct DataSync {
    shared: Arc<Shared>,
}

struct Shared {
    http: Arc<HttpClient>,
    tokens: Arc<Tokens>,
    records: Arc<dyn Records>,
    positions: Arc<dyn SyncPositions>,
    databases: Arc<Databases>,
    folders: Folders,
    settings: SyncSettings,
}

impl DataSync {
    /// An executor that shares a client, reads and puts rows by these, and keeps its positions there.
    pub fn new(
        (http, tokens): (Arc<HttpClient>, Arc<Tokens>),
        (records, positions): (Arc<dyn Records>, Arc<dyn SyncPositions>),
        (databases, settings): (Arc<Databases>, SyncSettings),
    ) -> Result<Self, FoldersError> {
        let folders = Folders::new(&settings)?;
        let shared = Shared { http, tokens, records, positions, databases, folders, settings };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Executor for DataSync {
    fn action_type(&self) -> &'static str {
        "data_sync"
    }

    fn kinds(&self) -> &'static [&'static Kind] {
        &KINDS
    }

    fn source<'a>(&self, payload: &'a Value) -> Option<&'a str> {
        plan::source_name(payload)
    }

    fn check(&self, to: &Target<'_>, payload: &Value) -> Vec<Problem> {
        let of = |integration: Option<&core314_actors::ports::integration::Integration>| {
            integration.map(|found| (found.kind.clone(), None, found.definition.settings.clone()))
        };
        let ends = Ends {
            source: plan::source_name(payload).map_or(End::Open, |name| self.shared.end(name, of(to.source))),
            destination: self.shared.end(to.word, of(to.integration)),
        };
        plan::read(payload, Reading::Document, &ends, &self.shared.settings).err().unwrap_or_default()
    }

    fn logged(&self, payload: &Json) -> Json {
        Redactor::new(payload).logged_payload()
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let redactor = Redactor::of(&attempt);
            let mut figures = Figures::default();
            let within =
                attempt.timeout.saturating_sub((attempt.timeout / 50).min(std::time::Duration::from_millis(100)));
            let late = |_| {
                let message =
                    format!("not done within {} ms; another attempt goes on from here", attempt.timeout.as_millis());
                Err(Code::Timeout.failure(message))
            };
            let outcome = tokio::time::timeout(within, shared.perform(&attempt, &mut figures)).await;
            client::performed(outcome.unwrap_or_else(late), &redactor, figures.destination.or(figures.source))
        })
    }
}

/// Of the last exchange with either end, where it is reached by HTTP.
#[derive(Default)]
struct Figures {
    source: Option<HttpFigures>,
    destination: Option<HttpFigures>,
}

/// What is known of an integration: its kind, its endpoint, its settings.
type Known = (String, Option<Arc<str>>, serde_json::Map<String, Value>);

fn known(connection: Option<&Connection>) -> Option<Known> {
    connection.map(|found| (found.kind.word.to_owned(), found.endpoint.clone(), found.settings.clone()))
}

impl Shared {
    /// What a name stands for: an integration, or what the configuration calls so.
    fn end(&self, name: &str, integration: Option<Known>) -> End {
        match integration {
            Some((kind, _, settings)) if kind == postgres::KIND.word => End::Tables(settings),
            Some((_, endpoint, _)) => End::Http { endpoint, is_integration: true },
            None if self.databases.get(name).is_some() => {
                End::Tables(self.databases.get(name).map(|found| found.1.clone()).unwrap_or_default())
            }
            None if self.folders.has(name) => End::Folder,
            None => End::Http { endpoint: None, is_integration: false },
        }
    }

    async fn perform(&self, attempt: &Attempt, figures: &mut Figures) -> Result<Value, Failure> {
        let name = plan::source_name(&attempt.payload);
        let ends = Ends {
            source: name.map_or(End::Open, |name| self.end(name, known(attempt.source.as_deref()))),
            destination: self.end(&attempt.action_target, known(attempt.connection.as_deref())),
        };
        let plan = plan::read(&attempt.payload, Reading::Rendered, &ends, &self.settings);
        let plan = plan.map_err(|problems| invalid(&problems))?.expect("a rendered payload is read whole");
        let most = self.settings.max_syncs_per_tenant;
        let mut position = Position::take(self.positions.as_ref(), attempt, &plan, most).await?;
        if position.state.is_done {
            return Ok(output(&plan, &position));
        }
        let from = Attempt { connection: attempt.source.clone(), ..attempt.clone() };
        let (mut hidden, mut shown) = (Redactor::of(&from), Redactor::of(attempt));
        let way = (self.http.as_ref(), self.tokens.as_ref());
        let outcome = async {
            let reader = Caller::new(way, &from, &mut hidden, &mut figures.source);
            let mut source = self.source(&plan, name.unwrap_or_default(), attempt, &position, reader).await?;
            let writer = Caller::new(way, attempt, &mut shown, &mut figures.destination);
            let columns = Columns::new(&plan, source.names())?;
            let mut destination = self.destination(&plan, attempt, &position, &columns, writer).await?;
            self.all(&plan, &mut position, &columns, (&mut source, &mut destination)).await
        };
        let outcome: Result<(), Failure> = outcome.await;
        // Tokens that were got on the way are known to these alone.
        let most_chars = usize::MAX / 8;
        outcome.map_err(|failure| Failure {
            message: shown.message(&hidden.message(&failure.message, most_chars), most_chars),
            ..failure
        })?;
        Ok(output(&plan, &position))
    }

    /// Portion after portion.
    async fn all(
        &self,
        plan: &Plan,
        position: &mut Position<'_>,
        columns: &Columns,
        (source, destination): (&mut Source<'_>, &mut Destination<'_>),
    ) -> Result<(), Failure> {
        // What comes once all is put is the next sync's: the file may have taken its place already.
        while let Some(Portion { items, place }) =
            if position.state.is_finishing { None } else { source.next().await? }
        {
            let counts = &mut position.state.counts;
            let first = counts.read + 1;
            counts.read += items.len() as u64;
            let (rows, mut failed) = columns.rows(first, items);
            let room = plan.max_failed.saturating_sub(counts.failed);
            if failed.len() as u64 <= room {
                let room = room - failed.len() as u64;
                let put = destination.put(&columns.names, &rows, room).await?;
                counts.written += put.written;
                counts.skipped += put.skipped;
                failed.extend(put.failed);
            }
            position.note(failed);
            if position.state.counts.failed > plan.max_failed {
                return Err(too_many(plan, position));
            }
            position.state.place = Some(place);
            position.state.destination = destination.state();
            position.keep().await?;
            failpoint::hit("sync.kept");
        }
        position.state.is_finishing = true;
        position.keep().await?;
        destination.finish(&columns.names)?;
        position.state.is_done = true;
        if let Some(cursor) = source.cursor() {
            position.cursor = Some(cursor);
        }
        position.keep().await
    }
}

fn too_many(plan: &Plan, position: &Position<'_>) -> Failure {
    let state = &position.state;
    let Failed { row, reason } = state.failures.first().cloned().unwrap_or_default();
    let message = match plan.max_failed {
        0 => format!("row {row}: {reason}"),
        most => format!("more than {most} rows failed; the first of them, row {row}: {reason}"),
    };
    let details = json!({"counts": state.counts, "failures": state.failures});
    Failure { details: Some(details), ..Code::RowsFailed.failure(message) }
}

fn output(plan: &Plan, position: &Position<'_>) -> Value {
    let state = &position.state;
    json!({
        "name": plan.name, "read": state.counts.read, "written": state.counts.written, "skipped": state.counts.skipped,
        "failed": state.counts.failed, "failures": state.failures, "cursor": position.cursor,
        "resumed_after": position.resumed_after,
    })
}
