//! `core314 phase`: how the phases of runs go, and where the slow ones lose their time.

use clap::{Args, Subcommand};

use super::args::{Limit, query};
use super::outcome::{Exit, Failure};
use super::print::Columns;
use super::session::Session;

/// What shows transitions of phases.
pub const TRANSITIONS: Columns<'_> = &[
    ("AT", "timestamp"),
    ("PHASE", "phase_number"),
    ("NAME", "phase_name"),
    ("STATUS", "status"),
    ("MS", "duration_ms"),
    ("BACK TO", "rollback_to_phase"),
    ("ERROR", "error_message"),
    ("RUN", "workflow_id"),
];
const ANALYSED: Columns<'_> = &[
    ("PHASE", "phase_number"),
    ("NAME", "phase_name"),
    ("STARTED", "started"),
    ("COMPLETED", "completed"),
    ("FAILED", "failed"),
    ("ROLLED BACK", "rolled_back"),
    ("MEAN MS", "avg_duration_ms"),
    ("P95 MS", "p95_duration_ms"),
    ("ALLOWED MS", "sla_ms"),
    ("LATE", "sla_violations"),
    ("SLOWEST STEP", "costliest_step"),
    ("FLOW", "orchestration_flow_id"),
];

#[derive(Debug, Subcommand)]
pub enum PhaseCommand {
    /// List transitions of phases, the newest first.
    List(ListArgs),
    /// Say how the phases went, and which step cost a slow one its time.
    Analytics(AnalyticsArgs),
    /// List the transitions that took longer than their phase may, the newest first.
    Late(Limit),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only phases of this flow.
    #[arg(long, value_name = "NAME")]
    flow: Option<String>,
    #[command(flatten)]
    page: Limit,
}

#[derive(Debug, Args)]
pub struct AnalyticsArgs {
    /// How far back.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8_784))]
    hours: u32,
    /// Only phases of this flow.
    #[arg(long, value_name = "NAME")]
    flow: Option<String>,
}

impl PhaseCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        match self {
            Self::List(args) => {
                let flow = flow(session, args.flow.as_deref()).await?;
                let filters = query([("orchestration_flow_id", flow)]);
                session.list(&["workflow-phase-logs"], &filters, args.page.limit, TRANSITIONS).await
            }
            Self::Analytics(args) => analytics(session, &args).await,
            Self::Late(page) => session.list(&["phases", "sla-violations"], &Vec::new(), page.limit, TRANSITIONS).await,
        }
    }
}

/// The id of a flow that was named.
async fn flow(session: &Session<'_>, named: Option<&str>) -> Result<Option<String>, Failure> {
    match named {
        Some(name) => session.flow_id(name).await.map(Some),
        None => Ok(None),
    }
}

async fn analytics(session: &Session<'_>, args: &AnalyticsArgs) -> Result<Exit, Failure> {
    let flow = flow(session, args.flow.as_deref()).await?;
    let filters = query([("hours", Some(args.hours.to_string())), ("flow_id", flow)]);
    let answer = session.client.get(&["phases", "analytics"], &filters).await?;
    if !session.printer.is_table() {
        return session.printer.value(&answer).map(|()| Exit::Done);
    }
    session.printer.rows(ANALYSED, answer["items"].as_array().map(Vec::as_slice).unwrap_or_default())?;
    if answer["is_cut"] == true {
        session.printer.line("there were more transitions than are looked at: the oldest are left out")?;
    }
    Ok(Exit::Done)
}
