//! `core314 run list` and `run show`.

use clap::Args;
use core314_domain::words::RunStatus;
use serde_json::{Value, json};

use super::Global;
use super::client::{self, Client};
use super::outcome::{Exit, Failure};
use super::print::{Columns, Printer};

const RUNS: Columns<'_> = &[
    ("RUN", "id"),
    ("FLOW", "flow_name"),
    ("STATUS", "run_status"),
    ("TRIGGER", "trigger_type"),
    ("ACCEPTED", "created_at"),
    ("MS", "duration_ms"),
    ("ERROR", "error"),
];
const EXECUTIONS: Columns<'_> = &[
    ("STEP", "step_id"),
    ("ACTION", "action_type"),
    ("STATUS", "execution_status"),
    ("RETRY", "current_retry_attempt"),
    ("MS", "execution_duration_ms"),
    ("ERROR", "execution_error"),
    ("EXECUTION", "id"),
];
const ATTEMPTS: Columns<'_> = &[
    ("STARTED", "started_at"),
    ("STEP", "step_no"),
    ("ACTION", "action_type"),
    ("RETRY", "retry_attempt"),
    ("STATUS", "execution_status"),
    ("HTTP", "http_status_code"),
    ("WAITED MS", "queue_wait_time_ms"),
    ("MS", "execution_duration_ms"),
    ("ERROR", "execution_error"),
];
/// A run may have more executions and attempts; a person does not read them one by one.
const MOST_ROWS: usize = 1_000;

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only runs with this status.
    #[arg(long)]
    status: Option<RunStatus>,
    /// Only runs of the flow of this name.
    #[arg(long, value_name = "NAME")]
    flow: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 20, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    limit: usize,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The run's id.
    id: uuid::Uuid,
}

pub fn list(global: &Global, printer: &Printer, args: &ListArgs) -> Result<Exit, Failure> {
    let client = Client::new(global)?;
    let rows = client::block_on(async {
        let mut query = Vec::new();
        query.extend(args.status.map(|status| ("run_status", status.to_string())));
        if let Some(name) = &args.flow {
            query.push(("orchestration_flow_id", flow_id(&client, name).await?));
        }
        client.list(&["runs"], &query, args.limit).await
    })?;
    printer.rows(RUNS, &rows)?;
    Ok(Exit::Done)
}

async fn flow_id(client: &Client, name: &str) -> Result<String, Failure> {
    let flows = client.list(&["flows"], &[("flow_name", name.to_owned())], 1).await?;
    let id = flows.first().and_then(|flow| flow["id"].as_str());
    id.map(str::to_owned).ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("there is no flow '{name}'"))
            .hint("`core314 flow list` shows those there are")
    })
}

pub fn show(global: &Global, printer: &Printer, args: &ShowArgs) -> Result<Exit, Failure> {
    let client = Client::new(global)?;
    let id = args.id.to_string();
    let (run, mut executions, mut attempts) = client::block_on(async {
        let run = client.get(&["runs", &id], &[]).await?;
        let of_run = [("flow_run_id", id.clone())];
        let executions = client.list(&["executions"], &of_run, MOST_ROWS).await?;
        let attempts = client.list(&["execution-log"], &of_run, MOST_ROWS).await?;
        Ok((run, executions, attempts))
    })?;
    executions.sort_by_key(|row| row["step_no"].as_i64());
    attempts.sort_by_key(|row| (row["started_at"].as_str().map(str::to_owned), row["retry_attempt"].as_i64()));
    if !printer.is_table() {
        printer.value(&json!({"run": run, "executions": executions, "attempts": attempts}))?;
        return Ok(Exit::Done);
    }
    printer.rows(RUNS, std::slice::from_ref(&run))?;
    if !matches!(run["output"], Value::Null) {
        printer.line(&format!("\noutput: {}", run["output"]))?;
    }
    printer.heading("Executions")?;
    printer.rows(EXECUTIONS, &executions)?;
    printer.heading("Attempts")?;
    printer.rows(ATTEMPTS, &attempts)?;
    Ok(Exit::Done)
}
