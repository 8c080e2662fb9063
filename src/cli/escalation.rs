//! `core314 escalation`, `ack` and `resolve`: what has failed, who was told, and taking it. `escalation test` replays the cases
//! of a set of rules here and now, without a server; nothing is sent.

mod rules;
mod tried;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use core314_actors::ports::escalation::OutboxStatus;
use core314_domain::escalation::{CaseReport, EscalationReason, EscalationStatus, Suite};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::args::{self, Id, Limit, query, word};
use super::outcome::{Exit, Failure};
use super::print::{Columns, Printer};
use super::session::{Session, id_of};
use super::written::Written;

const EVENTS: Columns<'_> = &[
    ("SINCE", "triggered_at"),
    ("STATUS", "status"),
    ("LEVEL", "escalation_level"),
    ("REASON", "escalation_reason"),
    ("SUBJECT", "subject"),
    ("FAILURES", "failure_count"),
    ("ESCALATION", "id"),
];
const TAKEN: Columns<'_> = &[
    ("RESULT", "admission"),
    ("HELD BACK BY", "held_back_by"),
    ("RULE", "escalation_rule_id"),
    ("ESCALATION", "escalation_event_id"),
];
const OUTBOX: Columns<'_> = &[
    ("SINCE", "created_at"),
    ("STATUS", "status"),
    ("LEVEL", "escalation_level"),
    ("CHANNEL", "channel"),
    ("TARGET", "target"),
    ("SENT", "sent_at"),
    ("ERROR", "error"),
    ("ESCALATION", "escalation_event_id"),
];
const INTERVALS: Columns<'_> = &[
    ("FROM", "start"),
    ("ESCALATIONS", "total"),
    ("RESOLVED", "resolved"),
    ("FAILED", "failed"),
    ("HELD BACK", "suppressed"),
    ("BREACHED", "breached"),
    ("MINUTES TO TAKE", "mean_acknowledge_minutes"),
    ("TO RESOLVE", "mean_resolve_minutes"),
];

#[derive(Debug, Subcommand)]
pub enum EscalationCommand {
    /// List escalations, the newest first.
    List(ListArgs),
    /// Show an escalation with everything in it.
    Show(Id),
    /// Say why somebody was, or was not, told.
    Why(Id),
    /// Report a failure to the rules, and say what they made of it.
    Report(ReportArgs),
    /// List what escalations have sent and done, the newest first.
    Outbox(OutboxArgs),
    /// Show the figures of escalations over time.
    Analytics(AnalyticsArgs),
    /// List the rules; apply, export, delete and try them.
    Rules(rules::RulesArgs),
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
pub struct ReportArgs {
    /// Why; without it `reported`.
    #[arg(long, value_name = "REASON", value_parser = word::<EscalationReason>(EscalationReason::WORDS.iter().copied()))]
    reason: Option<EscalationReason>,
    /// What conditions see as `trigger`: a JSON object, or @FILE with one (@- is the standard input).
    #[arg(long, value_name = "JSON|@FILE")]
    context: Option<String>,
}

#[derive(Debug, Args)]
pub struct OutboxArgs {
    /// Only what this escalation wants done.
    #[arg(long, value_name = "ID")]
    escalation: Option<Uuid>,
    /// Only what stands so.
    #[arg(long, value_name = "STATUS", value_parser = word::<OutboxStatus>(OutboxStatus::WORDS.iter().copied()))]
    status: Option<OutboxStatus>,
    #[command(flatten)]
    page: Limit,
}

#[derive(Debug, Args)]
pub struct AnalyticsArgs {
    /// How far back.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8_760))]
    hours: u32,
    /// The length of an interval, in minutes.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=44_640))]
    interval: u32,
    /// Only escalations under this rule: its name or id.
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
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
            Self::Report(args) => report(session, &args).await,
            Self::Outbox(args) => {
                let filters = query([
                    ("escalation_event_id", args.escalation.map(|id| id.to_string())),
                    ("status", args.status.map(|status| status.to_string())),
                ]);
                session.list(&["escalation-outbox"], &filters, args.page.limit, OUTBOX).await
            }
            Self::Analytics(args) => analytics(session, &args).await,
            Self::Rules(args) => rules::rules(session, args).await,
            Self::Test(args) => test(session.printer, &args),
        }
    }
}

async fn report(session: &Session<'_>, args: &ReportArgs) -> Result<Exit, Failure> {
    let mut body = Map::new();
    body.extend(args.reason.map(|reason| ("escalation_reason".to_owned(), json!(reason))));
    if let Some(context) = &args.context {
        body.insert("context".to_owned(), args::object("--context", context)?);
    }
    let answer = session.client.post(&["escalation-events"], &Value::Object(body)).await?;
    if !session.printer.is_table() {
        return session.printer.value(&answer).map(|()| Exit::Done);
    }
    match answer["taken"].as_array().map(Vec::as_slice).unwrap_or_default() {
        [] => session.printer.line("no rule acts: nobody is told")?,
        taken => session.printer.rows(TAKEN, taken)?,
    }
    Ok(Exit::Done)
}

async fn analytics(session: &Session<'_>, args: &AnalyticsArgs) -> Result<Exit, Failure> {
    let rule = match &args.rule {
        Some(named) => Some(id_of(&rules::find(session, named).await?).to_owned()),
        None => None,
    };
    let filters = query([
        ("hours", Some(args.hours.to_string())),
        ("interval_minutes", Some(args.interval.to_string())),
        ("escalation_rule_id", rule),
    ]);
    let answer = session.client.get(&["escalation-events", "analytics"], &filters).await?;
    if !session.printer.is_table() {
        return session.printer.value(&answer).map(|()| Exit::Done);
    }
    session.printer.rows(INTERVALS, answer["items"].as_array().map(Vec::as_slice).unwrap_or_default())?;
    Ok(Exit::Done)
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
    let written = Written::of(path)?;
    let suite: Suite = written.read()?;
    suite.perform().map_err(|problems| written.refused(problems))
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
