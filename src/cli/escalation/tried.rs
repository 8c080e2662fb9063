//! `core314 escalation rules test`: what the rules of a server would make of a failure, and its own run of a file of cases.

use std::path::PathBuf;

use clap::Args;
use core314_domain::escalation::EscalationReason;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::cli::args::{self, word};
use crate::cli::outcome::{Exit, Failure};
use crate::cli::print::Columns;
use crate::cli::session::Session;
use crate::cli::written::Written;

const ASKED: Columns<'_> =
    &[("PRIORITY", "priority"), ("RULE", "rule_name"), ("VERDICT", "verdict"), ("BECAUSE", "because")];

#[derive(Debug, Args)]
pub struct TestArgs {
    /// A failure of the past: an execution, as `core314 execution list` shows it.
    #[arg(long, value_name = "ID", conflicts_with_all = ["run", "event", "reason", "context", "suite"])]
    execution: Option<Uuid>,
    /// Or a run that has ended badly.
    #[arg(long, value_name = "ID", conflicts_with_all = ["event", "reason", "context", "suite"])]
    run: Option<Uuid>,
    /// Or an escalation event, also one that was held back.
    #[arg(long, value_name = "ID", conflicts_with_all = ["reason", "context", "suite"])]
    event: Option<Uuid>,
    /// A failure that is made up: why the rules are asked (`reported`).
    #[arg(long, value_name = "REASON", conflicts_with = "suite", value_parser = word::<EscalationReason>(EscalationReason::WORDS.iter().copied()))]
    reason: Option<EscalationReason>,
    /// What conditions see as `trigger`: a JSON object, or @FILE with one (@- is the standard input).
    #[arg(long, value_name = "JSON|@FILE", conflicts_with = "suite")]
    context: Option<String>,
    /// Ask the rules as they were at this time (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "suite")]
    at: Option<String>,
    /// A file of `rules` and `cases`, which the server runs in simulated time.
    #[arg(long, value_name = "FILE")]
    suite: Option<PathBuf>,
}

/// Asks, and fails where a case does not pass.
pub async fn test(session: &Session<'_>, args: &TestArgs) -> Result<Exit, Failure> {
    let answer = session.client.post(&["escalation-rules", "test"], &body(args)?).await?;
    if !session.printer.is_table() {
        session.printer.value(&answer)?;
    } else if args.suite.is_some() {
        for case in items(&answer["cases"]) {
            session.printer.line(&said(case))?;
        }
    } else {
        let rows: Vec<Value> = items(&answer["asked"]).iter().map(explained).collect();
        session.printer.rows(ASKED, &rows)?;
        let acting: Vec<&str> = items(&answer["acting"]).iter().filter_map(Value::as_str).collect();
        let acting = if acting.is_empty() { "nobody: no rule acts".to_owned() } else { acting.join(", ") };
        session.printer.line(&format!("it would be taken by {acting}"))?;
    }
    let failed = items(&answer["cases"]).iter().filter(|case| !items(&case["failures"]).is_empty()).count();
    if failed == 0 {
        return Ok(Exit::Done);
    }
    Err(Failure::new(Exit::Failed, format!("{failed} of {} cases failed", items(&answer["cases"]).len())))
}

fn body(args: &TestArgs) -> Result<Value, Failure> {
    if let Some(path) = &args.suite {
        return Ok(json!({"suite": Written::of(path)?.value}));
    }
    let mut body = Map::new();
    for (name, id) in [("execution_id", args.execution), ("run_id", args.run), ("escalation_event_id", args.event)] {
        body.extend(id.map(|id| (name.to_owned(), json!(id))));
    }
    body.extend(args.reason.map(|reason| ("escalation_reason".to_owned(), json!(reason))));
    body.extend(args.at.as_ref().map(|at| ("at".to_owned(), json!(at))));
    if let Some(context) = &args.context {
        body.insert("context".to_owned(), args::object("--context", context)?);
    }
    Ok(Value::Object(body))
}

/// What a rule says, with its reason in one member.
fn explained(asked: &Value) -> Value {
    let mut row = asked.clone();
    let because =
        ["clause", "error", "acting_rule_name"].iter().find_map(|name| asked[*name].as_str().map(str::to_owned));
    let filter = asked["filter"]
        .as_str()
        .map(|filter| format!("{filter} does not have {}", asked["found"].as_str().unwrap_or_default()));
    row["because"] = json!(because.or(filter));
    row
}

fn said(case: &Value) -> String {
    let failures = items(&case["failures"]);
    let verdict = if failures.is_empty() { "passed" } else { "FAILED" };
    let name = case["name"].as_str().unwrap_or_default();
    let lines = [name].into_iter().chain(failures.iter().filter_map(Value::as_str));
    format!("{verdict}   {}", lines.collect::<Vec<_>>().join("\n         "))
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}
