//! `core314 execution`: steps of runs and single actions; and what people decide on them: `approve`, `reject`,
//! `approvals`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use core314_domain::words::ExecutionStatus;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::args::{self, Id, Limit, query, word};
use super::outcome::{Exit, Failure};
use super::print::Columns;
use super::run::RUNS;
use super::session::Session;
use super::wait::{self, Watched};

pub const EXECUTIONS: Columns<'_> = &[
    ("STEP", "step_id"),
    ("ACTION", "action_type"),
    ("STATUS", "execution_status"),
    ("RETRY", "current_retry_attempt"),
    ("MS", "execution_duration_ms"),
    ("ERROR", "execution_error"),
    ("EXECUTION", "id"),
];
const APPROVALS: Columns<'_> = &[
    ("ID", "id"),
    ("WAITS", "waits"),
    ("FLOW", "flow_name"),
    ("STEP", "step_id"),
    ("ACTION", "action_type"),
    ("TARGET", "action_target"),
    ("SINCE", "created_at"),
    ("EXPIRES", "expires_at"),
    ("RUN", "flow_run_id"),
];

/// The names of so many flows are asked for, one after the other; those of more stay ids.
const MOST_NAMED: usize = 50;

#[derive(Debug, Subcommand)]
pub enum ExecutionCommand {
    /// List executions, the newest first.
    List(ListArgs),
    /// Show an execution with everything in it.
    Show(Id),
    /// Run a single action, without a flow.
    Run(RunArgs),
    /// Cancel an execution; a call under way is cut off.
    Cancel(Id),
    /// Try a failed execution once more.
    Retry(Id),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only executions of this run.
    #[arg(long, value_name = "ID")]
    run: Option<Uuid>,
    /// Only executions with this status.
    #[arg(long, value_name = "STATUS", value_parser = word::<ExecutionStatus>(ExecutionStatus::ALL.iter().map(|word| word.as_str())))]
    status: Option<ExecutionStatus>,
    #[command(flatten)]
    page: Limit,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// What kind of action, such as `api_call`.
    action_type: String,
    /// On what, such as the name of an integration.
    action_target: Option<String>,
    /// What the action gets: a JSON object, or @FILE with one (@- is the standard input).
    #[arg(long, value_name = "JSON|@FILE")]
    payload: Option<String>,
    /// Wait for its end, this long at most; it fails the command unless the action has completed.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "300")]
    wait: Option<u32>,
}

/// A decision on what waits for one.
#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The execution or run, as `core314 approvals` shows it.
    id: Uuid,
    /// Why, for the log and whoever asks later.
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
    /// The answers that the step's form asks for: a JSON object, or @FILE with one.
    #[arg(long, value_name = "JSON|@FILE")]
    form: Option<String>,
}

impl ExecutionCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        match self {
            Self::List(args) => {
                let filters = query([
                    ("flow_run_id", args.run.map(|run| run.to_string())),
                    ("execution_status", args.status.map(|status| status.to_string())),
                ]);
                session.list(&["executions"], &filters, args.page.limit, EXECUTIONS).await
            }
            Self::Show(execution) => session.show(&["executions", &execution.id.to_string()], &Vec::new()).await,
            Self::Run(args) => run(session, &args).await,
            Self::Cancel(execution) => act(session, execution.id, "cancel", &json!({})).await,
            Self::Retry(execution) => act(session, execution.id, "retry", &json!({})).await,
        }
    }
}

/// What waits for a person.
pub async fn approvals(session: &Session<'_>, page: &Limit) -> Result<Exit, Failure> {
    let mut rows = session.client.list(&["executions", "pending-approvals"], &[], page.limit).await?;
    if session.printer.is_table() {
        name_flows(session, &mut rows).await?;
        rows.iter_mut().for_each(say_what_waits);
    }
    session.printer.rows(APPROVALS, &rows)?;
    Ok(Exit::Done)
}

/// A run that has yet to begin waits as a whole, and stands in the list as it is.
fn say_what_waits(row: &mut Value) {
    let is_run = !row["run_status"].is_null();
    row["waits"] = json!(if is_run { "run" } else { "execution" });
    if is_run {
        row["flow_run_id"] = row["id"].clone();
    }
}

/// Executions have the ids of flows; people know them by their names, which runs have.
async fn name_flows(session: &Session<'_>, rows: &mut [Value]) -> Result<(), Failure> {
    let mut names: BTreeMap<String, Value> = BTreeMap::new();
    for row in rows {
        if !row["flow_name"].is_null() {
            continue;
        }
        let Some(id) = row["orchestration_flow_id"].as_str().map(str::to_owned) else { continue };
        let name = match names.get(&id) {
            Some(name) => name.clone(),
            None if names.len() < MOST_NAMED => flow_name(session, &id).await?,
            None => json!(id),
        };
        row["flow_name"] = name.clone();
        names.insert(id, name);
    }
    Ok(())
}

/// The name of a flow; what is no flow, or no more, such as that of a single action, stays an id.
async fn flow_name(session: &Session<'_>, id: &str) -> Result<Value, Failure> {
    match session.client.get(&["flows", id], &[]).await {
        Ok(mut flow) => Ok(flow["flow_name"].take()),
        Err(failure) if failure.exit == Exit::NotFound => Ok(json!(id)),
        Err(failure) => Err(failure),
    }
}

/// Gives a decision: `approve` or `reject`.
pub async fn decide(session: &Session<'_>, verb: &str, args: DecideArgs) -> Result<Exit, Failure> {
    let mut body = Map::new();
    body.extend(args.notes.map(|notes| ("notes".to_owned(), json!(notes))));
    if let Some(form) = &args.form {
        body.insert("form".to_owned(), args::object("--form", form)?);
    }
    let (id, body) = (args.id.to_string(), Value::Object(body));
    match session.client.post(&["executions", &id, verb], &body).await {
        // An older server knows runs that wait as a whole only by their own route.
        Err(failure) if failure.exit == Exit::NotFound => match session.act(&["runs", &id, verb], &body, RUNS).await {
            Err(other) if other.exit == Exit::NotFound => {
                Err(failure.hint("`core314 approvals` shows what waits for a decision"))
            }
            decided => decided,
        },
        decided => {
            let row = decided?;
            let is_run = row.get("run_status").is_some();
            session.outcome(&row, if is_run { RUNS } else { EXECUTIONS })
        }
    }
}

async fn act(session: &Session<'_>, execution: Uuid, verb: &str, body: &Value) -> Result<Exit, Failure> {
    session.act(&["executions", &execution.to_string(), verb], body, EXECUTIONS).await
}

async fn run(session: &Session<'_>, args: &RunArgs) -> Result<Exit, Failure> {
    let mut body = Map::from_iter([("action_type".to_owned(), json!(args.action_type))]);
    body.extend(args.action_target.as_ref().map(|target| ("action_target".to_owned(), json!(target))));
    if let Some(payload) = &args.payload {
        body.insert("action_payload".to_owned(), args::object("--payload", payload)?);
    }
    let started = session.client.post(&["executions"], &Value::Object(body)).await?;
    // What was accepted is a run of one step: the action is that step's execution.
    let Some(id) = started["execution_queue_ids"][0].as_str() else {
        return session.outcome(&started, RUNS);
    };
    let Some(seconds) = args.wait else {
        return match session.client.get(&["executions", id], &[]).await {
            Ok(execution) => session.outcome(&execution, EXECUTIONS),
            Err(failure) => {
                let message = format!("execution {id} goes on, but cannot be shown: {}", failure.message);
                Err(Failure { message, ..failure })
            }
        };
    };
    let is_terminal = |status: &str| status.parse::<ExecutionStatus>().is_ok_and(ExecutionStatus::is_terminal);
    let watched = Watched { noun: "execution", resource: "executions", id, status: "execution_status", is_terminal };
    let patience = Duration::from_secs(u64::from(seconds));
    let ended = wait::until_ended(session, &watched, patience, async |_, _| Ok(())).await?;
    session.outcome(&ended, EXECUTIONS)?;
    if !ended["execution_result"].is_null() {
        session.printer.line(&format!("\nresult: {}", ended["execution_result"]))?;
    }
    let status = ended["execution_status"].as_str().unwrap_or_default();
    if status == ExecutionStatus::Completed.as_str() {
        return Ok(Exit::Done);
    }
    Err(Failure::new(Exit::Failed, format!("the execution is {status}"))
        .hint(format!("`core314 log list --execution {id}` shows its attempts")))
}
