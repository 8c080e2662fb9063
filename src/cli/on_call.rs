//! `core314 on-call`: schedules as files, who is on call, and who stands in for a while.

use std::path::PathBuf;

use chrono::{SecondsFormat, Utc};
use clap::{Args, Subcommand};
use core314_domain::escalation::OnCallDocument;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::applied::{Applied, apply, done, unreadable};
use super::args::{Id, Limit, query};
use super::outcome::{Exit, Failure};
use super::print::Columns;
use super::session::{Session, id_of};
use super::written::Written;

const PATH: &str = "on-call";
const SCHEDULES: Columns<'_> = &[
    ("NAME", "name"),
    ("TIME ZONE", "time_zone"),
    ("DESCRIPTION", "description"),
    ("CHANGED", "updated_at"),
    ("SCHEDULE", "id"),
];
const NOW: Columns<'_> =
    &[("SCHEDULE", "schedule"), ("ON CALL", "user_id"), ("BY", "by"), ("UNTIL", "until"), ("AT", "at")];
const OVERRIDES: Columns<'_> = &[
    ("FROM", "starts_at"),
    ("UNTIL", "ends_at"),
    ("STANDS IN", "on_call_user_id"),
    ("REASON", "reason"),
    ("SCHEDULE", "schedule_id"),
    ("OVERRIDE", "id"),
];
/// Schedules that are asked one by one who is on call.
const MOST_ASKED: usize = 1_000;

#[derive(Debug, Subcommand)]
pub enum OnCallCommand {
    /// List the schedules.
    List(Limit),
    /// Show a schedule with its layers.
    Show(Named),
    /// Say who is on call, by which layer, and until when.
    Now(NowArgs),
    /// Create the schedules of these files, or change the ones of their names.
    Apply(ApplyArgs),
    /// Write a schedule as a document that `apply` takes.
    Export(Named),
    /// Delete a schedule, and who stands in for it.
    Delete(Named),
    /// Who stands in for a while.
    #[command(subcommand)]
    Override(OverrideCommand),
}

#[derive(Debug, Args)]
pub struct Named {
    /// The schedule's name or id.
    schedule: String,
}

#[derive(Debug, Args)]
pub struct NowArgs {
    /// The schedule's name or id; without it all of them.
    schedule: Option<String>,
    /// At this time (RFC 3339) in place of now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Files of a schedule each, YAML or JSON; `-` is the standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum OverrideCommand {
    /// Let somebody stand in.
    Add(AddArgs),
    /// List who stands in, has stood in, or will.
    List(ListArgs),
    /// Take back that somebody stands in.
    Remove(Id),
}

#[derive(Debug, Args)]
pub struct AddArgs {
    /// The schedule's name or id.
    schedule: String,
    /// Who stands in: their id, as `core314 user list` shows it.
    #[arg(value_name = "USER")]
    person: Uuid,
    /// From when on (RFC 3339); without it from now on.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Until when (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: String,
    /// Why, for whoever asks later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only for this schedule: its name or id.
    schedule: Option<String>,
    #[command(flatten)]
    page: Limit,
}

impl OnCallCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        match self {
            Self::List(page) => session.list(&[PATH], &Vec::new(), page.limit, SCHEDULES).await,
            Self::Show(of) => {
                let row = find(session, &of.schedule).await?;
                session.printer.value(&row).map(|()| Exit::Done)
            }
            Self::Now(args) => now(session, &args).await,
            Self::Apply(args) => apply::<OnCallDocument>(session, &args.files).await,
            Self::Export(of) => {
                let document = stored(&find(session, &of.schedule).await?)?;
                session.printer.value(&json!(document)).map(|()| Exit::Done)
            }
            Self::Delete(of) => {
                let row = find(session, &of.schedule).await?;
                session.delete(&[PATH, id_of(&row)], &of.schedule).await
            }
            Self::Override(command) => command.perform(session).await,
        }
    }
}

impl OverrideCommand {
    async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        match self {
            Self::Add(args) => {
                let schedule = find(session, &args.schedule).await?;
                let from = args.from.unwrap_or_else(|| Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true));
                let mut body = Map::from_iter([
                    ("on_call_user_id".to_owned(), json!(args.person)),
                    ("starts_at".to_owned(), json!(from)),
                    ("ends_at".to_owned(), json!(args.until)),
                ]);
                body.extend(args.reason.map(|reason| ("reason".to_owned(), json!(reason))));
                session.act(&[PATH, id_of(&schedule), "overrides"], &Value::Object(body), OVERRIDES).await
            }
            Self::List(args) => {
                let schedule = match &args.schedule {
                    Some(named) => Some(id_of(&find(session, named).await?).to_owned()),
                    None => None,
                };
                let filters = query([("schedule_id", schedule)]);
                session.list(&[PATH, "overrides"], &filters, args.page.limit, OVERRIDES).await
            }
            Self::Remove(of) => {
                let id = of.id.to_string();
                session.delete(&[PATH, "overrides", &id], &id).await
            }
        }
    }
}

async fn find(session: &Session<'_>, named: &str) -> Result<Value, Failure> {
    session.named(PATH, "name", named, "on-call schedule", "core314 on-call list").await
}

async fn now(session: &Session<'_>, args: &NowArgs) -> Result<Exit, Failure> {
    let schedules = match &args.schedule {
        Some(named) => vec![find(session, named).await?],
        None => session.client.list(&[PATH], &[], MOST_ASKED).await?,
    };
    let when = query([("at", args.at.clone())]);
    let mut rows = Vec::new();
    for schedule in &schedules {
        let mut row = session.client.get(&[PATH, id_of(schedule), "now"], &when).await?;
        row["schedule"] = schedule["name"].clone();
        rows.push(row);
    }
    match rows.as_slice() {
        [one] if args.schedule.is_some() => session.outcome(one, NOW),
        many => session.printer.rows(NOW, many).map(|()| Exit::Done),
    }
}

impl Applied for OnCallDocument {
    const NOUN: &'static str = "schedule";

    fn name(&self) -> &str {
        &self.name
    }

    fn read(written: &Written) -> Result<Vec<Self>, Failure> {
        Ok(vec![written.read()?])
    }

    async fn save(&self, session: &Session<'_>) -> Result<Value, Failure> {
        let client = &session.client;
        let known = client.list(&[PATH], &[("name", self.name.clone())], 1).await?.pop();
        Ok(match known {
            None => done("created", client.post(&[PATH], &json!(self)).await?),
            Some(row) if stored(&row)? == *self => done("unchanged", row),
            Some(row) => {
                let version = row["version"].as_i64().unwrap_or_default();
                done("updated", client.patch(&[PATH, id_of(&row)], version, &json!(self)).await?)
            }
        })
    }
}

/// The document of a row.
fn stored(row: &Value) -> Result<OnCallDocument, Failure> {
    let keys = ["name", "description", "time_zone", "layers"];
    let document: Map<String, Value> = keys.into_iter().map(|key| (key.to_owned(), row[key].clone())).collect();
    core314_domain::document::read(Value::Object(document)).map_err(|error| unreadable(OnCallDocument::NOUN, &error))
}
