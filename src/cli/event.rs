//! `core314 event`: events that start flows.

use clap::{Args, Subcommand};
use core314_domain::ids::RowId;
use serde_json::{Map, Value, json};

use super::args;
use super::outcome::{Exit, Failure};
use super::session::Session;

#[derive(Debug, Subcommand)]
pub enum EventCommand {
    /// Send an event (CloudEvents 1.0), and say which runs it started.
    Send(SendArgs),
}

#[derive(Debug, Args)]
pub struct SendArgs {
    /// What has happened, such as `com.example.order.paid`.
    event_type: String,
    /// Who says so; a URI or a path.
    #[arg(long, value_name = "URI", default_value = "/core314/cli")]
    source: String,
    /// What belongs to it: a JSON object, or @FILE with one (@- is the standard input).
    #[arg(long, value_name = "JSON|@FILE")]
    data: Option<String>,
    /// What it is about, such as the order's number.
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// The event's own name: of events of one source with the same one the first alone starts something. Without it a fresh
    /// one.
    #[arg(long, value_name = "TEXT")]
    id: Option<String>,
}

impl EventCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let Self::Send(args) = self;
        let now_ms = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64);
        let id = args.id.unwrap_or_else(|| RowId::new(now_ms, rand::random()).to_string());
        let mut event = Map::from_iter([
            ("specversion".to_owned(), json!("1.0")),
            ("id".to_owned(), json!(id)),
            ("source".to_owned(), json!(args.source)),
            ("type".to_owned(), json!(args.event_type)),
        ]);
        event.extend(args.subject.map(|subject| ("subject".to_owned(), json!(subject))));
        if let Some(data) = &args.data {
            event.insert("data".to_owned(), args::object("--data", data)?);
        }
        let taken = session.client.post(&["events"], &Value::Object(event)).await?;
        session.printer.value(&taken)?;
        Ok(Exit::Done)
    }
}
