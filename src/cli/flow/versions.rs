//! `core314 flow versions|diff|rollback|rollout`: what a flow was, and which of it its runs get.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::documents::Paths;
use super::{FLOWS, Named};
use crate::cli::args::{Limit, Query, query};
use crate::cli::outcome::{Exit, Failure};
use crate::cli::print::Columns;
use crate::cli::session::Session;

const VERSIONS: Columns<'_> = &[("VERSION", "flow_version"), ("SAVED", "created_at")];
const DIFFERENCES: Columns<'_> = &[("PLACE", "place"), ("BEFORE", "before"), ("AFTER", "after")];
const ROLLOUT: Columns<'_> = &[
    ("VERSION", "version"),
    ("BASE", "base_version"),
    ("PERCENT", "percent"),
    ("STATUS", "rollout_status"),
    ("RUNS", "ended.runs"),
    ("FAILED", "ended.failed"),
    ("BASE RUNS", "base_ended.runs"),
    ("BASE FAILED", "base_ended.failed"),
    ("REASON", "reason"),
];

#[derive(Debug, Args)]
pub struct VersionsArgs {
    #[command(flatten)]
    flow: Named,
    #[command(flatten)]
    page: Limit,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    #[command(flatten)]
    flow: Named,
    /// The version that is compared; by default the one before the other.
    #[arg(long, value_name = "VERSION")]
    from: Option<u32>,
    /// The version that it is compared with; by default the present one.
    #[arg(long, value_name = "VERSION")]
    to: Option<u32>,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    #[command(flatten)]
    flow: Named,
    /// The version whose content becomes the next one.
    #[arg(value_name = "VERSION")]
    flow_version: u32,
}

#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Give a version, or a new document, to a share of the new runs.
    Begin(BeginArgs),
    /// Show the newest roll-out and how its runs fare.
    Show(Named),
    /// Give the version to all new runs.
    Promote(Named),
    /// Give the old version to all new runs again.
    Return(Named),
}

#[derive(Debug, Args)]
pub struct BeginArgs {
    #[command(flatten)]
    flow: Named,
    /// The share of new runs, in percent.
    #[arg(long)]
    percent: f64,
    /// A version that is stored.
    #[arg(long, value_name = "VERSION", required_unless_present = "file")]
    flow_version: Option<u32>,
    /// A document that is saved as the next version; no run gets it before.
    #[arg(long, value_name = "FILE", conflicts_with = "flow_version")]
    file: Option<std::path::PathBuf>,
    /// The version of the other runs.
    #[arg(long, value_name = "VERSION")]
    base_version: Option<u32>,
    /// Judge it when so many of its runs have ended.
    #[arg(long, value_name = "RUNS")]
    min_runs: Option<u32>,
    /// Return it when its error rate (0 to 1) exceeds the old one's by more than this.
    #[arg(long, value_name = "RATE")]
    max_error_rate_increase: Option<f64>,
    /// Promote it by itself when so many of its runs have ended and it is no worse.
    #[arg(long, value_name = "RUNS")]
    promote_after_runs: Option<u32>,
    /// CEL over the trigger: runs for which it gives the same value get the same version.
    #[arg(long, value_name = "CEL")]
    by: Option<String>,
}

pub async fn versions(session: &Session<'_>, args: &VersionsArgs) -> Result<Exit, Failure> {
    let id = session.flow_id(&args.flow.name).await?;
    session.list(&["flows", &id, "versions"], &Query::new(), args.page.limit, VERSIONS).await
}

pub async fn diff(session: &Session<'_>, args: &DiffArgs) -> Result<Exit, Failure> {
    let id = session.flow_id(&args.flow.name).await?;
    let asked = query([("from", args.from.map(|v| v.to_string())), ("to", args.to.map(|v| v.to_string()))]);
    let answer = session.client.get(&["flows", &id, "diff"], &asked).await?;
    if !session.printer.is_table() {
        return session.printer.value(&answer).map(|()| Exit::Done);
    }
    session.printer.line(&format!("from version {} to version {}", answer["from"], answer["to"]))?;
    let rows = answer["differences"].as_array().cloned().unwrap_or_default();
    session.printer.rows(DIFFERENCES, &rows).map(|()| Exit::Done)
}

pub async fn rollback(session: &Session<'_>, args: &RollbackArgs) -> Result<Exit, Failure> {
    let id = session.flow_id(&args.flow.name).await?;
    session.act(&["flows", &id, "rollback"], &json!({"version": args.flow_version}), FLOWS).await
}

pub async fn rollout(session: &Session<'_>, command: &RolloutCommand) -> Result<Exit, Failure> {
    let answer = match command {
        RolloutCommand::Begin(args) => {
            let id = session.flow_id(&args.flow.name).await?;
            session.client.post(&["flows", &id, "rollout"], &body(args)?).await?
        }
        RolloutCommand::Show(flow) => {
            let id = session.flow_id(&flow.name).await?;
            session.client.get(&["flows", &id, "rollout"], &Query::new()).await?
        }
        RolloutCommand::Promote(flow) => end(session, flow, "promote").await?,
        RolloutCommand::Return(flow) => end(session, flow, "return").await?,
    };
    if !session.printer.is_table() {
        return session.printer.value(&answer).map(|()| Exit::Done);
    }
    session.printer.rows(ROLLOUT, &[flat(answer)]).map(|()| Exit::Done)
}

async fn end(session: &Session<'_>, flow: &Named, verb: &str) -> Result<Value, Failure> {
    let id = session.flow_id(&flow.name).await?;
    session.client.post(&["flows", &id, "rollout", verb], &json!({})).await
}

/// What the server is asked for.
fn body(args: &BeginArgs) -> Result<Value, Failure> {
    let mut body = Map::from_iter([("percent".to_owned(), json!(args.percent))]);
    let mut put = |name: &str, value: Option<Value>| body.extend(value.map(|value| (name.to_owned(), value)));
    put("version", args.flow_version.map(Value::from));
    put("base_version", args.base_version.map(Value::from));
    put("min_runs", args.min_runs.map(Value::from));
    put("max_error_rate_increase", args.max_error_rate_increase.map(Value::from));
    put("promote_after_runs", args.promote_after_runs.map(Value::from));
    put("key", args.by.clone().map(Value::from));
    if let Some(path) = &args.file {
        let (_, document) = Paths::of(path).documents()?.remove(0);
        put("document", Some(document.to_value()));
    }
    Ok(Value::Object(body))
}

/// Figures under names of one level, as columns have them.
fn flat(mut answer: Value) -> Value {
    for member in ["ended", "base_ended"] {
        for figure in ["runs", "failed"] {
            answer[format!("{member}.{figure}")] = answer[member][figure].clone();
        }
    }
    answer
}
