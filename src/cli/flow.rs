//! `core314 flow run` and `flow list`.

use std::time::{Duration, Instant};

use clap::Args;
use core314_domain::words::{RunStatus, TriggerType};
use serde_json::{Value, json};

use super::Global;
use super::client::{self, Client};
use super::outcome::{Exit, Failure};
use super::print::{Columns, Printer};

/// How often a run is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const COLUMNS: Columns<'_> = &[
    ("NAME", "flow_name"),
    ("VERSION", "flow_version"),
    ("ACTIVE", "is_active"),
    ("TRIGGER", "trigger_type"),
    ("RUNS", "total_executions"),
    ("FAILED", "failed_executions"),
    ("LAST RUN", "last_executed_at"),
    ("ID", "id"),
];

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The flow's name or id.
    name: String,
    /// The trigger's context: a JSON object, or @FILE with one.
    #[arg(long, value_name = "JSON|@FILE")]
    context: Option<String>,
    /// Wait for the run's end; it fails the command unless the run has completed.
    #[arg(long)]
    wait: bool,
    /// How long to wait at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "wait")]
    timeout: u64,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only flows of this trigger.
    #[arg(long)]
    trigger: Option<TriggerType>,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    limit: usize,
}

pub fn list(global: &Global, printer: &Printer, args: &ListArgs) -> Result<Exit, Failure> {
    let client = Client::new(global)?;
    let query: Vec<_> = args.trigger.map(|trigger| ("trigger_type", trigger.to_string())).into_iter().collect();
    let rows = client::block_on(client.list(&["flows"], &query, args.limit))?;
    printer.rows(COLUMNS, &rows)?;
    Ok(Exit::Done)
}

pub fn run(global: &Global, printer: &Printer, args: &RunArgs) -> Result<Exit, Failure> {
    let context = args.context.as_deref().map_or(Ok(json!({})), context)?;
    let client = Client::new(global)?;
    client::block_on(async {
        let run = client.post(&["flows", &args.name, "trigger"], &json!({"trigger_context": context})).await?;
        let id = run["id"].as_str().unwrap_or_default().to_owned();
        if !args.wait {
            printer.line(&format!("{id} {}", run["run_status"].as_str().unwrap_or_default()))?;
            printer.line(&format!("`core314 run show {id}` shows how it goes on"))?;
            return if printer.is_table() { Ok(Exit::Done) } else { printer.value(&run).map(|()| Exit::Done) };
        }
        let run = ended(&client, &id, Duration::from_secs(args.timeout)).await?;
        let status = run["run_status"].as_str().unwrap_or_default();
        let milliseconds = run["duration_ms"].as_i64().unwrap_or_default();
        printer.line(&format!("{id} {status} in {milliseconds} ms"))?;
        if !printer.is_table() {
            printer.value(&run)?;
        }
        if status == RunStatus::Completed.as_str() {
            return Ok(Exit::Done);
        }
        let why = run["error"].as_str().map_or_else(String::new, |error| format!(": {error}"));
        let failure = Failure::new(Exit::Failed, format!("the run is {status}{why}"));
        Err(failure.hint(format!("`core314 run show {id}` shows its attempts")))
    })
}

/// The run, once it has ended.
async fn ended(client: &Client, id: &str, patience: Duration) -> Result<Value, Failure> {
    let since = Instant::now();
    loop {
        let run = client.get(&["runs", id], &[]).await?;
        let status = run["run_status"].as_str().unwrap_or_default();
        if status.parse::<RunStatus>().is_ok_and(RunStatus::is_terminal) {
            return Ok(run);
        }
        if since.elapsed() >= patience {
            let message = format!("the run is {status} after {} s; it goes on", patience.as_secs());
            return Err(Failure::new(Exit::Failed, message).hint(format!("`core314 run show {id}` shows what it does")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The context as it is given, or from a file.
fn context(given: &str) -> Result<Value, Failure> {
    let wrong = |why: String| {
        Failure::new(Exit::Usage, format!("--context {why}")).hint("such as --context '{\"host\": \"web-1\"}'")
    };
    let text = match given.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(|error| wrong(format!("@{path}: {error}")))?,
        None => given.to_owned(),
    };
    let value: Value = serde_json::from_str(&text).map_err(|error| wrong(format!("is no JSON: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(wrong("must be a JSON object".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_an_object_given_or_in_a_file() {
        assert_eq!(context("{\"a\": 1}").unwrap(), json!({"a": 1}));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"b\": 2}").unwrap();
        assert_eq!(context(&format!("@{}", file.path().display())).unwrap(), json!({"b": 2}));
        for (given, words) in [("[1]", "JSON object"), ("{", "no JSON"), ("@/nonexistent", "@/nonexistent: ")] {
            let failure = context(given).expect_err(given);
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(words), "{}", failure.message);
        }
    }
}
