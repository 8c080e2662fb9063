//! `core314 flow run`: starts a run, or many at once, and shows how it goes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};
use core314_domain::words::RunStatus;
use serde_json::{Map, Value, json};

use crate::cli::args;
use crate::cli::outcome::{Exit, Failure};
use crate::cli::progress::Progress;
use crate::cli::session::Session;
use crate::cli::wait::{self, Watched};

/// How many runs one request may start.
const MOST_AT_ONCE: usize = 1_000;
/// A run may have more executions; a person does not read them one by one.
const MOST_EXECUTIONS: usize = 1_000;
/// How long `--follow` alone waits: a day.
const FOLLOW_SECONDS: u32 = 86_400;

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The flow's name or id.
    name: String,
    /// What the flow sees as `trigger`: a JSON object, or @FILE with one (@- is the standard input).
    #[arg(long, visible_alias = "context", value_name = "JSON|@FILE")]
    input: Option<String>,
    /// Start one run for each JSON object of this file: an array of them, or one a line.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["input", "wait", "follow", "run_key", "on_conflict"])]
    each: Option<std::path::PathBuf>,
    /// Wait for the run's end, this long at most (300 without a number); it fails the command unless the run has completed.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "300")]
    wait: Option<u32>,
    /// Print each step's changes until the run ends, and wait for that as --wait does.
    #[arg(long)]
    follow: bool,
    /// Your own name for the run: one run of the flow at a time can have it.
    #[arg(long, value_name = "KEY")]
    run_key: Option<String>,
    /// What to do where a run with this key is under way.
    #[arg(long, value_enum, value_name = "WHAT", requires = "run_key")]
    on_conflict: Option<OnConflict>,
}

/// What becomes of a trigger whose run key is taken.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum OnConflict {
    /// Answer with the run that has it.
    Return,
    /// Refuse.
    Reject,
    /// Cancel the run that has it, and start.
    CancelRunning,
}

impl OnConflict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Return => "return",
            Self::Reject => "reject",
            Self::CancelRunning => "cancel_running",
        }
    }
}

pub async fn run(session: &Session<'_>, args: &RunArgs) -> Result<Exit, Failure> {
    if let Some(path) = &args.each {
        return run_each(session, &args.name, path).await;
    }
    let body = body(args)?;
    let run = session.client.post(&["flows", &args.name, "trigger"], &body).await?;
    let id = run["id"].as_str().unwrap_or_default().to_owned();
    let default = args.follow.then_some(FOLLOW_SECONDS);
    let Some(seconds) = args.wait.or(default) else {
        session.printer.line(&format!("{id} {}", run["run_status"].as_str().unwrap_or_default()))?;
        session.printer.line(&format!("`core314 run show {id}` shows how it goes on"))?;
        if !session.printer.is_table() {
            session.printer.value(&run)?;
        }
        return Ok(Exit::Done);
    };
    let is_terminal = |status: &str| status.parse::<RunStatus>().is_ok_and(RunStatus::is_terminal);
    let watched = Watched { noun: "run", resource: "runs", id: &id, status: "run_status", is_terminal };
    let patience = Duration::from_secs(u64::from(seconds));
    let mut followed = Followed::default();
    let look = async |_: &Value, progress: &Progress| {
        if args.follow { followed.look(session, &id, progress).await } else { Ok(()) }
    };
    let run = wait::until_ended(session, &watched, patience, look).await?;
    conclude(session, &id, &run)
}

/// What the server is told.
fn body(args: &RunArgs) -> Result<Value, Failure> {
    let context = args.input.as_deref().map_or(Ok(json!({})), |given| args::object("--input", given))?;
    let mut body = Map::from_iter([("trigger_context".to_owned(), context)]);
    body.extend(args.run_key.as_ref().map(|key| ("run_key".to_owned(), json!(key))));
    body.extend(args.on_conflict.map(|then| ("on_conflict".to_owned(), json!(then.as_str()))));
    Ok(Value::Object(body))
}

/// How the run ended, as words and as exit code.
fn conclude(session: &Session<'_>, id: &str, run: &Value) -> Result<Exit, Failure> {
    let status = run["run_status"].as_str().unwrap_or_default();
    let milliseconds = run["duration_ms"].as_i64().unwrap_or_default();
    session.printer.line(&format!("{id} {status} in {milliseconds} ms"))?;
    if !run["output"].is_null() {
        session.printer.line(&format!("output: {}", run["output"]))?;
    }
    if !session.printer.is_table() {
        session.printer.value(run)?;
    }
    if status == RunStatus::Completed.as_str() {
        return Ok(Exit::Done);
    }
    let why = run["error"].as_str().map_or_else(String::new, |error| format!(": {error}"));
    let failure = Failure::new(Exit::Failed, format!("the run is {status}{why}"));
    Err(failure.hint(format!("`core314 run show {id}` shows its attempts")))
}

/// What was last seen of each execution of a run.
#[derive(Default)]
struct Followed {
    seen: BTreeMap<String, (String, i64)>,
}

impl Followed {
    async fn look(&mut self, session: &Session<'_>, run: &str, progress: &Progress) -> Result<(), Failure> {
        let of_run = [("flow_run_id", run.to_owned())];
        let executions = session.client.list(&["executions"], &of_run, MOST_EXECUTIONS).await?;
        for line in self.changes(executions) {
            progress.clear();
            session.printer.line(&line)?;
        }
        Ok(())
    }

    /// A line for each execution that is not what it was.
    fn changes(&mut self, mut executions: Vec<Value>) -> Vec<String> {
        executions.sort_by_key(|row| (row["updated_at"].as_str().map(str::to_owned), row["step_no"].as_i64()));
        let mut lines = Vec::new();
        for row in executions {
            let text = |member: &str| row[member].as_str().unwrap_or_default().to_owned();
            let now = (text("execution_status"), row["current_retry_attempt"].as_i64().unwrap_or_default());
            let is_new = self.seen.insert(text("id"), now.clone()).as_ref() != Some(&now);
            // Every step begins as one that waits for others; nothing has happened to it yet.
            if is_new && now.0 != "blocked" {
                lines.push(change(&row, &now));
            }
        }
        lines
    }
}

fn change(row: &Value, (status, retry): &(String, i64)) -> String {
    let text = |member: &str| row[member].as_str();
    let parts = [
        (*retry > 0).then(|| format!(", retry {retry}")),
        text("next_retry_at").filter(|_| status == "retrying").map(|at| format!(" at {at}")),
        row["execution_duration_ms"].as_i64().map(|milliseconds| format!(" ({milliseconds} ms)")),
        text("execution_error").map(|error| format!(": {error}")),
    ];
    let [at, step] = ["updated_at", "step_id"].map(|member| text(member).unwrap_or_default());
    format!("{at:<24}  {step:<20}  {status}{}", parts.into_iter().flatten().collect::<String>())
}

/// Starts a run for each context of a file, a thousand with each request.
async fn run_each(session: &Session<'_>, name: &str, path: &Path) -> Result<Exit, Failure> {
    let contexts = contexts(path)?;
    let progress = Progress::new();
    let mut answers = Vec::new();
    for (at, chunk) in contexts.chunks(MOST_AT_ONCE).enumerate() {
        progress.step(at * MOST_AT_ONCE, contexts.len(), "runs started");
        let triggers: Vec<Value> = chunk.iter().map(|context| json!({"trigger_context": context})).collect();
        let path = ["flows", name, "trigger", "bulk"];
        let answer = session.client.post(&path, &json!({"triggers": triggers})).await.map_err(|failure| {
            let started = at * MOST_AT_ONCE;
            Failure {
                message: format!("{started} of {} runs were started: {}", contexts.len(), failure.message),
                ..failure
            }
        })?;
        answers.push(answer);
    }
    drop(progress);
    session
        .printer
        .line(&format!("{} runs were started; `core314 run list --flow {name}` shows them", contexts.len()))?;
    if !session.printer.is_table() {
        session.printer.value(&Value::Array(answers))?;
    }
    Ok(Exit::Done)
}

/// The objects of a file: a JSON array, or JSON lines.
fn contexts(path: &Path) -> Result<Vec<Value>, Failure> {
    let wrong = |why: String| Failure::new(Exit::Usage, format!("--each {}: {why}", path.display()));
    let text = args::read_text(path).map_err(|error| wrong(error.to_string()))?;
    let values: Vec<Value> = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?
    } else {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let read = |(at, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|error| wrong(format!("line {}: {error}", at + 1)))
        };
        lines.map(read).collect::<Result<_, _>>()?
    };
    match values.iter().position(|value| !value.is_object()) {
        Some(at) => Err(wrong(format!("number {} is no JSON object", at + 1))),
        None if values.is_empty() => Err(wrong("has no JSON object".to_owned())),
        None => Ok(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_an_array_or_lines() {
        let read = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            contexts(file.path()).map_err(|failure| failure.message)
        };
        let both = vec![json!({"a": 1}), json!({"a": 2})];
        assert_eq!(read("[{\"a\": 1}, {\"a\": 2}]"), Ok(both.clone()));
        assert_eq!(read("{\"a\": 1}\n\n{\"a\": 2}\n"), Ok(both));
        for (text, words) in [("{}\n{", "line 2: "), ("[1]", "number 1 is no JSON object"), ("", "has no JSON object")]
        {
            assert!(read(text).expect_err(text).contains(words), "{text}");
        }
    }

    #[test]
    fn only_what_changed_is_said_again() {
        let row = |id: &str, status: &str, retry: i64| {
            json!({"id": id, "step_id": id, "execution_status": status, "current_retry_attempt": retry,
                "updated_at": "2026-01-01T00:00:00.000Z", "next_retry_at": "2026-01-01T00:00:02.000Z"})
        };
        let mut followed = Followed::default();
        let lines = followed.changes(vec![row("b", "blocked", 0), row("a", "in_progress", 0)]);
        assert_eq!(lines, ["2026-01-01T00:00:00.000Z  a                     in_progress"]);
        assert_eq!(followed.changes(vec![row("b", "blocked", 0), row("a", "in_progress", 0)]), [""; 0]);
        let lines = followed.changes(vec![row("a", "retrying", 1)]);
        assert!(lines[0].ends_with("retrying, retry 1 at 2026-01-01T00:00:02.000Z"), "{}", lines[0]);
    }
}
