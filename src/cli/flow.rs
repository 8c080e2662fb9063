//! `core314 flow`: flows as files, and by name.

mod apply;
mod change;
pub mod documents;
mod export;
mod plan;
mod schedule;
mod shape;
mod start;
mod templates;
mod test;
mod validate;
mod versions;

use clap::{Args, Subcommand};
use core314_domain::words::TriggerType;
use serde_json::{Value, json};

use super::args::{self, Limit, Query, query, word};
use super::outcome::{Exit, Failure};
use super::print::Columns;
use super::session::Session;

const FLOWS: Columns<'_> = &[
    ("NAME", "flow_name"),
    ("VERSION", "flow_version"),
    ("ACTIVE", "is_active"),
    ("TRIGGER", "trigger_type"),
    ("RUNS", "total_executions"),
    ("FAILED", "failed_executions"),
    ("LAST RUN", "last_executed_at"),
    ("ID", "id"),
];

#[derive(Debug, Subcommand)]
pub enum FlowCommand {
    /// Check documents without saving them, and name everything that is wrong.
    Validate(documents::Paths),
    /// Show what `apply` would change, place by place.
    Plan(plan::PlanArgs),
    /// Create the flows of these files, or change the ones of their names.
    Apply(apply::ApplyArgs),
    /// Write flows as documents.
    Export(export::ExportArgs),
    /// Run the test cases that documents declare, without a server; actions are mocked.
    Test(test::TestArgs),
    /// List flows, the newest first.
    List(ListArgs),
    /// Show a flow with everything in it.
    Show(Named),
    /// List the versions of a flow, the newest first.
    Versions(versions::VersionsArgs),
    /// Show what changed from one version of a flow to another, step by step.
    Diff(versions::DiffArgs),
    /// Make the content of an earlier version the next one.
    Rollback(versions::RollbackArgs),
    /// Give a version to a share of a flow's new runs, and watch how they fare.
    #[command(subcommand)]
    Rollout(versions::RolloutCommand),
    /// List the templates that come with the server.
    Templates,
    /// Make a flow of a template.
    New(templates::NewArgs),
    /// Start a run of a flow, or many.
    Run(start::RunArgs),
    /// Show what a run would do, without doing it.
    DryRun(DryRunArgs),
    /// Start no runs of a flow until it is resumed; runs under way go on.
    Pause(Named),
    /// Let a paused flow start runs again.
    Resume(Named),
    /// Show when a flow starts by itself, and why it did not; pause, resume or fill in its schedule.
    Schedule(schedule::ScheduleArgs),
    /// Copy a flow under a new name.
    Clone(CloneArgs),
    /// Delete a flow.
    Delete(Named),
}

/// One flow.
#[derive(Debug, Args)]
pub struct Named {
    /// The flow's name or id.
    name: String,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only flows of this trigger.
    #[arg(long, value_name = "TYPE", value_parser = word::<TriggerType>(TriggerType::ALL.iter().map(|word| word.as_str())))]
    trigger: Option<TriggerType>,
    /// Only flows that start runs, or that do not.
    #[arg(long, value_name = "true|false")]
    active: Option<bool>,
    #[command(flatten)]
    page: Limit,
}

#[derive(Debug, Args)]
pub struct DryRunArgs {
    #[command(flatten)]
    flow: Named,
    /// What the flow would see as `trigger`: a JSON object, or @FILE with one.
    #[arg(long, value_name = "JSON|@FILE")]
    input: Option<String>,
}

#[derive(Debug, Args)]
pub struct CloneArgs {
    #[command(flatten)]
    flow: Named,
    /// The name of the copy.
    new_name: String,
}

impl FlowCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        match self {
            Self::Validate(files) => validate::validate(session, &files).await,
            Self::Plan(args) => plan::plan(session, &args).await,
            Self::Apply(args) => apply::apply(session, &args).await,
            Self::Export(args) => export::export(session, &args).await,
            Self::Test(args) => test::test(session.printer, &args),
            Self::List(args) => {
                let filters = query([
                    ("trigger_type", args.trigger.map(|trigger| trigger.to_string())),
                    ("is_active", args.active.map(|active| active.to_string())),
                ]);
                session.list(&["flows"], &filters, args.page.limit, FLOWS).await
            }
            Self::Show(flow) => show(session, &flow.name).await,
            Self::Versions(args) => versions::versions(session, &args).await,
            Self::Diff(args) => versions::diff(session, &args).await,
            Self::Rollback(args) => versions::rollback(session, &args).await,
            Self::Rollout(command) => versions::rollout(session, &command).await,
            Self::Templates => templates::list(session).await,
            Self::New(args) => templates::new(session, &args).await,
            Self::Run(args) => start::run(session, &args).await,
            Self::DryRun(args) => dry_run(session, &args).await,
            Self::Pause(flow) => act(session, &flow, "pause", &json!({})).await,
            Self::Resume(flow) => act(session, &flow, "resume", &json!({})).await,
            Self::Schedule(args) => schedule::schedule(session, &args).await,
            Self::Clone(args) => act(session, &args.flow, "clone", &json!({"flow_name": args.new_name})).await,
            Self::Delete(flow) => {
                let id = session.flow_id(&flow.name).await?;
                session.delete(&["flows", &id], &flow.name).await
            }
        }
    }
}

async fn act(session: &Session<'_>, flow: &Named, verb: &str, body: &Value) -> Result<Exit, Failure> {
    let id = session.flow_id(&flow.name).await?;
    session.act(&["flows", &id, verb], body, FLOWS).await
}

async fn show(session: &Session<'_>, name: &str) -> Result<Exit, Failure> {
    let id = session.flow_id(name).await?;
    session.show(&["flows", &id], &Query::new()).await
}

async fn dry_run(session: &Session<'_>, args: &DryRunArgs) -> Result<Exit, Failure> {
    let context = args.input.as_deref().map_or(Ok(json!({})), |given| args::object("--input", given))?;
    let id = session.flow_id(&args.flow.name).await?;
    let answer = session.client.post(&["flows", &id, "dry-run"], &json!({"trigger_context": context})).await?;
    session.printer.value(&answer).map(|()| Exit::Done)
}
