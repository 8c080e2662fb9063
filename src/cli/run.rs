//! `core314 run`: runs of flows, what they wait for, and the verbs on them.

use clap::{Args, Subcommand};
use core314_domain::words::RunStatus;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::args::{self, Id, Limit, query, word};
use super::bulk::{BulkCommand, ManyArgs};
use super::execution::EXECUTIONS;
use super::outcome::{Exit, Failure};
use super::phase::TRANSITIONS;
use super::print::Columns;
use super::replay::ReplayArgs;
use super::session::Session;

pub const RUNS: Columns<'_> = &[
    ("RUN", "id"),
    ("FLOW", "flow_name"),
    ("STATUS", "run_status"),
    ("TRIGGER", "trigger_type"),
    ("ACCEPTED", "created_at"),
    ("MS", "duration_ms"),
    ("ERROR", "error"),
];
const ATTEMPTS: Columns<'_> = &[
    ("STARTED", "started_at"),
    ("STEP", "step_id"),
    ("ACTION", "action_type"),
    ("RETRY", "retry_attempt"),
    ("STATUS", "execution_status"),
    ("HTTP", "http_status_code"),
    ("WAITED MS", "queue_wait_time_ms"),
    ("MS", "execution_duration_ms"),
    ("ERROR", "execution_error"),
];
const REASONS: Columns<'_> = &[
    ("STEP", "step_id"),
    ("REASON", "code"),
    ("WAKES AT", "wakes_at"),
    ("HELD BY", "held_by"),
    ("EXPLANATION", "message"),
    ("EXECUTION", "execution_id"),
];
const EVENTS: Columns<'_> = &[("AT", "at"), ("EVENT", "event"), ("STEP", "step_id"), ("DETAIL", "detail")];
const UNDO: Columns<'_> = &[
    ("STEP", "step_id"),
    ("ACTION", "action_type"),
    ("TARGET", "action_target"),
    ("ASKS", "requires_approval"),
    ("EXECUTION", "execution_id"),
];
/// What can become of an undo that has failed.
const WAYS: [&str; 3] = ["retry", "skip", "done"];
/// A run may have more executions and attempts; a person does not read them one by one.
const MOST_ROWS: usize = 1_000;

#[derive(Debug, Subcommand)]
pub enum RunCommand {
    /// List runs, the newest first.
    List(ListArgs),
    /// Show a run with its executions and attempts.
    Show(Id),
    /// Say what a run waits for, and who or what can make it go on.
    Why(Id),
    /// Show what happened in a run, in order.
    Timeline(OfRun),
    /// End a run; calls under way are cut off.
    Cancel(CancelArgs),
    /// Start no further steps of a run; calls under way end.
    Pause(Id),
    /// Let a paused run go on.
    Resume(Id),
    /// Send a run a signal, for the step that waits for it now or later.
    Signal(SignalArgs),
    /// Say what would be taken back if the run rolled back now.
    UndoPlan(Id),
    /// Settle an undo that has failed, and go on with taking back.
    Undo(UndoArgs),
    /// List the transitions of a run's phases, the newest first.
    Phases(OfRun),
    /// Go on with a failed run, from the step that failed; or with all that a filter finds.
    Retry(AgainArgs),
    /// Start a new run from a step of one that has ended, with the results of what came before; or for all that a filter
    /// finds.
    Rerun(RerunArgs),
    /// Say where a run that has ended would go otherwise with another version; or how many of those that a filter finds.
    /// Nothing is executed.
    Replay(ReplayArgs),
    /// Start a new run of the same flow with the same input, from the beginning; or for all that a filter finds.
    Restart(AgainArgs),
    /// Jobs that retry, rerun or restart many runs.
    #[command(subcommand)]
    Bulk(BulkCommand),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only runs with this status.
    #[arg(long, value_name = "STATUS", value_parser = word::<RunStatus>(RunStatus::ALL.iter().map(|word| word.as_str())))]
    status: Option<RunStatus>,
    /// Only runs of this flow.
    #[arg(long, value_name = "NAME")]
    flow: Option<String>,
    /// Only runs with this key (`flow run --run-key`).
    #[arg(long, value_name = "KEY")]
    run_key: Option<String>,
    #[command(flatten)]
    page: Limit,
}

#[derive(Debug, Args)]
pub struct OfRun {
    #[command(flatten)]
    run: Id,
    #[command(flatten)]
    page: Limit,
}

#[derive(Debug, Args)]
pub struct CancelArgs {
    #[command(flatten)]
    run: Id,
    /// Why, for the log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct SignalArgs {
    #[command(flatten)]
    run: Id,
    /// The signal, as the step names it.
    #[arg(value_name = "SIGNAL")]
    name: String,
    /// What it carries: JSON, or @FILE with it (@- is the standard input).
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}", hide_default_value = true)]
    payload: String,
}

#[derive(Debug, Args)]
pub struct UndoArgs {
    #[command(flatten)]
    run: Id,
    /// `retry` tries it again, `skip` leaves the step as it is, `done` says that a person has taken it back by hand.
    #[arg(value_name = "WAY", value_parser = WAYS)]
    way: String,
    /// Why the step is left as it is.
    #[arg(long, value_name = "TEXT", required_if_eq("way", "skip"))]
    reason: Option<String>,
}

#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false, args = ["run", "filter"])]
pub struct AgainArgs {
    /// Its id, as the list shows it.
    run: Option<Uuid>,
    #[command(flatten)]
    many: ManyArgs,
}

#[derive(Debug, Args)]
pub struct RerunArgs {
    /// Its id, as the list shows it.
    #[arg(required_unless_present = "filter", conflicts_with = "filter")]
    run: Option<Uuid>,
    /// The step with which the new run begins; what comes before it is not done again.
    #[arg(long, value_name = "STEP")]
    from: String,
    /// The version of the flow, if not that of the run.
    #[arg(long, value_name = "N")]
    flow_version: Option<i64>,
    /// Your own name for the new run.
    #[arg(long, value_name = "KEY", conflicts_with = "filter")]
    run_key: Option<String>,
    #[command(flatten)]
    many: ManyArgs,
}

impl RunCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        match self {
            Self::List(args) => list(session, args).await,
            Self::Show(run) => show(session, run.id).await,
            Self::Why(run) => why(session, run.id).await,
            Self::Timeline(args) => {
                let path = ["runs", &args.run.id.to_string(), "timeline"];
                session.list(&path, &Vec::new(), args.page.limit, EVENTS).await
            }
            Self::Cancel(args) => {
                let reason = args.reason.map(|reason| ("reason".to_owned(), json!(reason)));
                act(session, args.run.id, "cancel", reason.into_iter().collect()).await
            }
            Self::Pause(run) => act(session, run.id, "pause", Map::new()).await,
            Self::Resume(run) => act(session, run.id, "resume", Map::new()).await,
            Self::Signal(args) => {
                let payload = args::json("--payload", &args.payload)?;
                session.act(&["runs", &args.run.id.to_string(), "signal", &args.name], &payload, RUNS).await
            }
            Self::UndoPlan(run) => undo_plan(session, run.id).await,
            Self::Undo(args) => {
                let mut body = Map::from_iter([("way".to_owned(), json!(args.way))]);
                body.extend(args.reason.map(|reason| ("reason".to_owned(), json!(reason))));
                act(session, args.run.id, "undo", body).await
            }
            Self::Phases(args) => {
                let path = ["runs", &args.run.id.to_string(), "phases"];
                session.list(&path, &Vec::new(), args.page.limit, TRANSITIONS).await
            }
            Self::Retry(args) => again(session, args, "retry").await,
            Self::Rerun(args) => rerun(session, args).await,
            Self::Replay(args) => args.replay(session).await,
            Self::Restart(args) => again(session, args, "restart").await,
            Self::Bulk(command) => command.perform(session).await,
        }
    }
}

/// One run, or a job for all that a filter finds.
async fn again(session: &Session<'_>, args: AgainArgs, verb: &str) -> Result<Exit, Failure> {
    match args.run {
        Some(run) => act(session, run, verb, Map::new()).await,
        None => args.many.start(session, verb, Map::new()).await,
    }
}

async fn rerun(session: &Session<'_>, args: RerunArgs) -> Result<Exit, Failure> {
    let mut body = Map::from_iter([("from_step".to_owned(), json!(args.from))]);
    body.extend(args.flow_version.map(|version| ("version".to_owned(), json!(version))));
    match args.run {
        Some(run) => {
            body.extend(args.run_key.map(|key| ("run_key".to_owned(), json!(key))));
            act(session, run, "rerun", body).await
        }
        None => args.many.start(session, "rerun", body).await,
    }
}

async fn act(session: &Session<'_>, run: Uuid, verb: &str, body: Map<String, Value>) -> Result<Exit, Failure> {
    session.act(&["runs", &run.to_string(), verb], &Value::Object(body), RUNS).await
}

async fn list(session: &Session<'_>, args: ListArgs) -> Result<Exit, Failure> {
    let flow = match &args.flow {
        Some(name) => Some(session.flow_id(name).await?),
        None => None,
    };
    let filters = query([
        ("run_status", args.status.map(|status| status.to_string())),
        ("orchestration_flow_id", flow),
        ("run_key", args.run_key),
    ]);
    session.list(&["runs"], &filters, args.page.limit, RUNS).await
}

async fn why(session: &Session<'_>, run: Uuid) -> Result<Exit, Failure> {
    let answer = session.client.get(&["runs", &run.to_string(), "why"], &[]).await?;
    if !session.printer.is_table() {
        return session.printer.value(&answer).map(|()| Exit::Done);
    }
    let status = answer["run_status"].as_str().unwrap_or_default();
    session.printer.line(&format!("the run is {status}"))?;
    if let Some(reasons) = answer["reasons"].as_array().filter(|reasons| !reasons.is_empty()) {
        session.printer.rows(REASONS, reasons)?;
    }
    Ok(Exit::Done)
}

async fn undo_plan(session: &Session<'_>, run: Uuid) -> Result<Exit, Failure> {
    let plan = session.client.get(&["runs", &run.to_string(), "undo-plan"], &[]).await?;
    if !session.printer.is_table() {
        return session.printer.value(&plan).map(|()| Exit::Done);
    }
    let steps = plan["undo"].as_array().map(Vec::as_slice).unwrap_or_default();
    if steps.is_empty() {
        session.printer.line("nothing is left to be taken back")?;
        return Ok(Exit::Done);
    }
    match plan["to_phase"].as_u64() {
        Some(0) | None => session.printer.line("the run would go back to its start:")?,
        Some(phase) => session.printer.line(&format!("the run would go back to the end of phase {phase}:"))?,
    }
    session.printer.rows(UNDO, steps)?;
    Ok(Exit::Done)
}

async fn show(session: &Session<'_>, run: Uuid) -> Result<Exit, Failure> {
    let (client, printer) = (&session.client, session.printer);
    let id = run.to_string();
    let run = client.get(&["runs", &id], &[]).await?;
    let of_run = [("flow_run_id", id)];
    let mut executions = client.list(&["executions"], &of_run, MOST_ROWS).await?;
    let mut attempts = client.list(&["execution-log"], &of_run, MOST_ROWS).await?;
    executions.sort_by_key(|row| row["step_no"].as_i64());
    attempts.sort_by_key(|row| (row["started_at"].as_str().map(str::to_owned), row["retry_attempt"].as_i64()));
    if !printer.is_table() {
        printer.value(&json!({"run": run, "executions": executions, "attempts": attempts}))?;
        return Ok(Exit::Done);
    }
    name_steps(&mut attempts, &executions);
    printer.rows(RUNS, std::slice::from_ref(&run))?;
    if !run["output"].is_null() {
        printer.line(&format!("\noutput: {}", run["output"]))?;
    }
    printer.heading("Executions")?;
    printer.rows(EXECUTIONS, &executions)?;
    printer.heading("Attempts")?;
    printer.rows(ATTEMPTS, &attempts)?;
    Ok(Exit::Done)
}

/// The log has the ids of executions; people know steps by the names that the flow gives them.
fn name_steps(attempts: &mut [Value], executions: &[Value]) {
    for attempt in attempts {
        let own = executions.iter().find(|execution| execution["id"] == attempt["execution_queue_id"]);
        if let (Some(own), Value::Object(members)) = (own, attempt) {
            members.insert("step_id".to_owned(), own["step_id"].clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_get_the_names_of_their_steps() {
        let executions = [json!({"id": "e1", "step_id": "drain"}), json!({"id": "e2", "step_id": "restart"})];
        let mut attempts = [json!({"execution_queue_id": "e2"}), json!({"execution_queue_id": "gone"})];
        name_steps(&mut attempts, &executions);
        assert_eq!(attempts[0]["step_id"], "restart");
        assert_eq!(attempts[1]["step_id"], Value::Null);
    }
}
