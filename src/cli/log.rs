//! `core314 log`: the execution log in rows and figures, and the proof that nobody has changed it.
//!
//! `verify` reads the store itself, read-only, beside a running server or without one: a proof that the server gives of
//! itself would prove little.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Global;
use super::args::{Limit, query};
use super::outcome::{Exit, Failure};
use super::print::{Columns, Printer};
use super::session::Session;
use crate::app;

const ATTEMPTS: Columns<'_> = &[
    ("STARTED", "started_at"),
    ("ACTION", "action_type"),
    ("TARGET", "action_target"),
    ("RETRY", "retry_attempt"),
    ("STATUS", "execution_status"),
    ("HTTP", "http_status_code"),
    ("MS", "execution_duration_ms"),
    ("ERROR", "execution_error"),
    ("RUN", "flow_run_id"),
    ("ATTEMPT", "id"),
];
const REVIEWED: Columns<'_> =
    &[("ATTEMPT", "id"), ("ACTION", "action_type"), ("STATUS", "execution_status"), ("NOTES", "review_notes")];
const FINDINGS: Columns<'_> =
    &[("TABLE", "table"), ("PARTITION", "partition"), ("NUMBER", "seq"), ("ROW", "id"), ("FINDING", "message")];

#[derive(Debug, Subcommand)]
pub enum LogCommand {
    #[command(flatten)]
    Online(OnlineCommand),
    /// Recompute every hash chain and checkpoint of the append-only tables, beside a running server or without one.
    Verify,
}

/// What the server answers.
#[derive(Debug, Subcommand)]
pub enum OnlineCommand {
    /// List attempts, the newest first.
    List(ListArgs),
    /// Count executions by their end, and show how long they took.
    Statistics(StatisticsArgs),
    /// List the attempts that took longest.
    Slowest(SlowestArgs),
    /// List attempts that failed, the newest first.
    Failed(Limit),
    /// Note a verdict on an attempt; the log itself never changes.
    Review(ReviewArgs),
}

#[derive(Debug, Args)]
pub struct ReviewArgs {
    /// The attempt, as `core314 log list` shows it.
    id: Uuid,
    /// What was found.
    #[arg(long, value_name = "VERDICT", value_parser = ["ok", "problem", "false_alarm"])]
    verdict: String,
    /// Why, for whoever looks later.
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only attempts of this run.
    #[arg(long, value_name = "ID")]
    run: Option<Uuid>,
    /// Only attempts of this execution.
    #[arg(long, value_name = "ID")]
    execution: Option<Uuid>,
    /// Only attempts that succeeded, or that did not.
    #[arg(long, value_name = "true|false")]
    success: Option<bool>,
    #[command(flatten)]
    page: Limit,
}

#[derive(Debug, Args)]
pub struct StatisticsArgs {
    /// How far back.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8_784))]
    hours: u32,
}

#[derive(Debug, Args)]
pub struct SlowestArgs {
    /// How far back.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8_784))]
    hours: u32,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100))]
    limit: usize,
}

impl OnlineCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let log = "execution-log";
        match self {
            Self::List(args) => {
                let filters = query([
                    ("flow_run_id", args.run.map(|id| id.to_string())),
                    ("execution_queue_id", args.execution.map(|id| id.to_string())),
                    ("success", args.success.map(|success| success.to_string())),
                ]);
                session.list(&[log], &filters, args.page.limit, ATTEMPTS).await
            }
            Self::Statistics(args) => {
                session.show(&[log, "statistics"], &vec![("hours", args.hours.to_string())]).await
            }
            Self::Slowest(args) => {
                session.list(&[log, "slowest"], &vec![("hours", args.hours.to_string())], args.limit, ATTEMPTS).await
            }
            Self::Failed(page) => session.list(&[log, "failed"], &Vec::new(), page.limit, ATTEMPTS).await,
            Self::Review(args) => {
                let mut body = Map::from_iter([("verdict".to_owned(), json!(args.verdict))]);
                body.extend(args.notes.map(|notes| ("notes".to_owned(), json!(notes))));
                session.act(&[log, &args.id.to_string(), "review"], &Value::Object(body), REVIEWED).await
            }
        }
    }
}

/// Proves the append-only tables of the configured store.
pub fn verify(global: &Global, printer: &Printer) -> Result<Exit, Failure> {
    let config = global.load()?;
    let report = app::verify_log(&config).map_err(|error| {
        Failure::from(error).hint(
            "this reads the store itself: run it where the server runs, with the server's --data-dir (CORE314_DATA_DIR) \
             or --database-url (CORE314_DATABASE_URL)",
        )
    })?;
    if printer.is_table() {
        printer.line(&format!(
            "{} rows and {} checkpoints in {} partitions were verified",
            report.rows, report.checkpoints, report.partitions
        ))?;
        if !report.findings.is_empty() {
            let rows: Vec<Value> = report.findings.iter().map(|finding| json!(finding)).collect();
            printer.rows(FINDINGS, &rows)?;
        }
    } else {
        printer.value(&json!(report))?;
    }
    if report.findings.is_empty() {
        return Ok(Exit::Done);
    }
    let message = format!("the log does not hold: {} findings", report.findings.len());
    Err(Failure::new(Exit::Failed, message)
        .hint("keep the database as it is, and compare it with a backup from before"))
}
