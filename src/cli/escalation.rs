//! `core314 escalation`, `ack` and `resolve`: what has failed, who was told, and taking it. `escalation test` replays the cases
//! of a set of rules here and now, without a server; nothing is sent.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use core314_domain::escalation::{CaseReport, EscalationStatus, Suite};
use core314_domain::json::{parse_json, parse_yaml};
use core314_domain::plan::Problem;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::args::{Id, Limit, query, word};
use super::outcome::{Exit, Failure};
use super::print::{Columns, Printer};
use super::session::Session;

const EVENTS: Columns<'_> = &[
    ("SINCE", "triggered_at"),
    ("STATUS", "status"),
    ("LEVEL", "escalation_level"),
    ("REASON", "escalation_reason"),
    ("SUBJECT", "subject"),
    ("FAILURES", "failure_count"),
    ("ESCALATION", "id"),
];
const RULES: Columns<'_> = &[
    ("PRIORITY", "priority"),
    ("NAME", "rule_name"),
    ("ACTIVE", "is_active"),
    ("ESCALATIONS", "total_escalations"),
    ("RESOLVED", "successful_resolutions"),
    ("HELD BACK", "suppressed_count"),
    ("RULE", "id"),
];

#[derive(Debug, Subcommand)]
pub enum EscalationCommand {
    /// List escalations, the newest first.
    List(ListArgs),
    /// Show an escalation with everything in it.
    Show(Id),
    /// Say why somebody was, or was not, told.
    Why(Id),
    /// List the rules.
    Rules(Limit),
    /// Run the cases that files of rules declare, in simulated time, without a server: nothing is sent.
    Test(TestArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only escalations with this status.
    #[arg(long, value_name = "STATUS", value_parser = word::<EscalationStatus>(EscalationStatus::ALL.iter().map(|word| word.as_str())))]
    status: Option<EscalationStatus>,
    #[command(flatten)]
    page: Limit,
}

#[derive(Debug, Args)]
pub struct AckArgs {
    /// As the list and the message show it.
    id: Uuid,
}

#[derive(Debug, Args)]
pub struct ResolveArgs {
    /// As the list and the message show it.
    id: Uuid,
    /// What it was, for whoever asks later.
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
    /// It ends as failed: nothing could be done.
    #[arg(long)]
    failed: bool,
}

#[derive(Debug, Args)]
pub struct TestArgs {
    /// Files with `rules` and `cases`, YAML or JSON.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl EscalationCommand {
    /// What needs a server.
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        match self {
            Self::List(args) => {
                let filters = query([("status", args.status.map(|status| status.to_string()))]);
                session.list(&["escalation-events"], &filters, args.page.limit, EVENTS).await
            }
            Self::Show(event) => session.show(&["escalation-events", &event.id.to_string()], &Vec::new()).await,
            Self::Why(event) => session.show(&["escalation-events", &event.id.to_string(), "why"], &Vec::new()).await,
            Self::Rules(page) => session.list(&["escalation-rules"], &Vec::new(), page.limit, RULES).await,
            Self::Test(args) => test(session.printer, &args),
        }
    }
}

/// Acknowledges an escalation.
pub async fn acknowledge(session: &Session<'_>, args: AckArgs) -> Result<Exit, Failure> {
    told(session, &args.id.to_string(), "acknowledge", Map::new()).await
}

/// Ends an escalation.
pub async fn resolve(session: &Session<'_>, args: ResolveArgs) -> Result<Exit, Failure> {
    let mut body = Map::new();
    body.extend(args.notes.map(|notes| ("notes".to_owned(), json!(notes))));
    if args.failed {
        body.insert("failed".to_owned(), json!(true));
    }
    told(session, &args.id.to_string(), "resolve", body).await
}

async fn told(session: &Session<'_>, id: &str, verb: &str, body: Map<String, Value>) -> Result<Exit, Failure> {
    let row = session.client.post(&["escalation-events", id, verb], &Value::Object(body)).await?;
    if session.printer.is_table() {
        session.printer.rows(EVENTS, &[row])?;
    } else {
        session.printer.value(&row)?;
    }
    Ok(Exit::Done)
}

/// Runs the cases of files.
pub fn test(printer: &Printer, args: &TestArgs) -> Result<Exit, Failure> {
    let (mut rows, mut failed, mut cases) = (Vec::new(), 0, 0);
    for path in &args.files {
        for report in performed(path)? {
            cases += 1;
            failed += usize::from(!report.failures.is_empty());
            printer.line(&lines(path, &report))?;
            let mut row = serde_json::to_value(&report).map_err(anyhow::Error::from)?;
            row["file"] = json!(path.display().to_string());
            rows.push(row);
        }
    }
    if !printer.is_table() {
        printer.value(&Value::Array(rows))?;
    }
    if failed == 0 {
        return Ok(Exit::Done);
    }
    Err(Failure::new(Exit::Failed, format!("{failed} of {cases} cases failed")))
}

fn performed(path: &Path) -> Result<Vec<CaseReport>, Failure> {
    let in_file = |message: String| Failure::new(Exit::Usage, format!("{}: {message}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| in_file(error.to_string()))?;
    let is_json = text.trim_start().starts_with('{');
    let parsed = if is_json { parse_json(text.as_bytes()) } else { parse_yaml(&text) };
    let value = parsed.map_err(|error| in_file(error.to_string()))?;
    let refused = |mut problems: Vec<Problem>| {
        Problem::locate(&mut problems, &text);
        let said = problems.iter().map(|problem| {
            let line = problem.line.map_or_else(String::new, |line| format!("line {line}: "));
            format!("{line}{}: {}", problem.pointer, problem.message)
        });
        in_file(said.collect::<Vec<_>>().join("\n"))
    };
    let suite: Suite = core314_domain::document::read(value)
        .map_err(|error| refused(vec![Problem::new(error.pointer, error.message)]))?;
    suite.perform().map_err(refused)
}

fn lines(path: &Path, report: &CaseReport) -> String {
    let verdict = if report.failures.is_empty() { "passed" } else { "FAILED" };
    let mut text = format!("{verdict}   {}: {}", path.display(), report.name);
    for failure in &report.failures {
        // Writing into a string cannot fail.
        let _ = write!(text, "\n         {failure}");
    }
    text
}
