//! `core314 decision` and `core314 recommendation`: what engines outside want done, and what people make of it.

use clap::{Args, Subcommand};
use core314_domain::words::{DecisionStatus, RecommendationStatus};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::args::{Id, Limit, query, word};
use super::outcome::{Exit, Failure};
use super::print::Columns;
use super::session::Session;

const DECISIONS: Columns<'_> = &[
    ("SINCE", "created_at"),
    ("STATUS", "status"),
    ("SOURCE", "source"),
    ("TITLE", "title"),
    ("CONFIDENCE", "confidence_score"),
    ("RISK", "risk_level"),
    ("DECISION", "id"),
];
const RECOMMENDATIONS: Columns<'_> = &[
    ("SINCE", "created_at"),
    ("STATUS", "status"),
    ("TITLE", "title"),
    ("ACTION", "action_type"),
    ("TARGET", "action_target"),
    ("PRIORITY", "priority"),
    ("RECOMMENDATION", "id"),
];

#[derive(Debug, Subcommand)]
pub enum DecisionCommand {
    /// List decisions, the newest first.
    List(DecisionsArgs),
    /// Show a decision with everything in it.
    Show(Id),
    /// Approve a decision: the flows that wait for it start.
    Approve(VerdictArgs),
    /// Reject a decision: nothing of it happens.
    Reject(VerdictArgs),
}

#[derive(Debug, Subcommand)]
pub enum RecommendationCommand {
    /// List recommendations, the newest first.
    List(RecommendationsArgs),
    /// Show a recommendation with everything in it.
    Show(Id),
    /// Accept a recommendation: its action is performed.
    Accept(VerdictArgs),
    /// Dismiss a recommendation: its action is not performed.
    Dismiss(VerdictArgs),
}

#[derive(Debug, Args)]
pub struct DecisionsArgs {
    /// Only decisions with this status.
    #[arg(long, value_name = "STATUS", value_parser = word::<DecisionStatus>(DecisionStatus::ALL.iter().map(|word| word.as_str())))]
    status: Option<DecisionStatus>,
    #[command(flatten)]
    page: Limit,
}

#[derive(Debug, Args)]
pub struct RecommendationsArgs {
    /// Only recommendations with this status.
    #[arg(long, value_name = "STATUS", value_parser = word::<RecommendationStatus>(RecommendationStatus::ALL.iter().map(|word| word.as_str())))]
    status: Option<RecommendationStatus>,
    #[command(flatten)]
    page: Limit,
}

#[derive(Debug, Args)]
pub struct VerdictArgs {
    /// As the list shows it.
    id: Uuid,
    /// Why, for the audit log and whoever asks later.
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
}

impl DecisionCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let (args, verb) = match self {
            Self::List(args) => {
                let filters = query([("status", args.status.map(|status| status.to_string()))]);
                return session.list(&["decisions"], &filters, args.page.limit, DECISIONS).await;
            }
            Self::Show(decision) => {
                return session.show(&["decisions", &decision.id.to_string()], &Vec::new()).await;
            }
            Self::Approve(args) => (args, "approve"),
            Self::Reject(args) => (args, "reject"),
        };
        judge(session, "decisions", verb, args, DECISIONS).await
    }
}

impl RecommendationCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let (args, verb) = match self {
            Self::List(args) => {
                let filters = query([("status", args.status.map(|status| status.to_string()))]);
                return session.list(&["recommendations"], &filters, args.page.limit, RECOMMENDATIONS).await;
            }
            Self::Show(recommendation) => {
                return session.show(&["recommendations", &recommendation.id.to_string()], &Vec::new()).await;
            }
            Self::Accept(args) => (args, "accept"),
            Self::Dismiss(args) => (args, "dismiss"),
        };
        judge(session, "recommendations", verb, args, RECOMMENDATIONS).await
    }
}

async fn judge(
    session: &Session<'_>,
    resource: &str,
    verb: &str,
    args: VerdictArgs,
    columns: Columns<'_>,
) -> Result<Exit, Failure> {
    let body: Map<String, Value> = args.notes.map(|notes| ("notes".to_owned(), json!(notes))).into_iter().collect();
    let judged = session.client.post(&[resource, &args.id.to_string(), verb], &Value::Object(body)).await?;
    if !session.printer.is_table() {
        return session.printer.value(&judged).map(|()| Exit::Done);
    }
    session.printer.rows(columns, std::slice::from_ref(&judged["row"]))?;
    for run in judged["run_ids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        session.printer.line(&format!("started run {run}"))?;
    }
    for why_not in judged["why_not"].as_array().into_iter().flatten() {
        let (flow, clause) = (why_not["flow_name"].as_str(), why_not["clause"].as_str());
        let (flow, clause) = (flow.unwrap_or_default(), clause.unwrap_or_default());
        session.printer.line(&format!("flow {flow} was not started: {clause}"))?;
    }
    if judged["is_pending"] == true {
        session.printer.line("the server is busy: what this starts is started in a moment")?;
    }
    Ok(Exit::Done)
}
