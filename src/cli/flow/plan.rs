//! `core314 flow plan`: what `apply` would do, place by place, and which runs stay on the version they began with.

use std::fmt::Write as _;

use clap::Args;
use core314_domain::words::RunStatus;
use serde_json::{Value, json};

use super::apply::Prune;
use super::change::{Change, marked, without_document};
use super::documents::{Paths, in_file};
use crate::cli::outcome::{Exit, Failure};
use crate::cli::progress::Progress;
use crate::cli::session::Session;

/// Runs of one flow that are counted; more is shown as so many.
const MOST_RUNS: usize = 500;
/// Longer values are cut for people.
const VALUE_CHARACTERS: usize = 60;

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    files: Paths,
    /// Show what becomes of flows that were applied from files and that no file names any more, as `core314 flow apply
    /// --prune` does it.
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "delete")]
    prune: Option<Prune>,
}

pub async fn plan(session: &Session<'_>, args: &PlanArgs) -> Result<Exit, Failure> {
    let documents = args.files.documents()?;
    let progress = Progress::new();
    let mut rows = Vec::new();
    for (at, (path, document)) in documents.iter().enumerate() {
        progress.step(at, documents.len(), &document.flow_name);
        let document = &marked(document.clone(), path);
        let change = Change::of(&session.client, document).await.map_err(|failure| in_file(path, failure))?;
        let mut row = match change {
            Change::Create => json!({"change": "create"}),
            Change::Update { stored, differences, .. } => {
                let runs = live_runs(session, &stored).await?;
                json!({"change": "update", "id": stored["id"], "flow_version": stored["flow_version"],
                    "live_runs": runs, "differences": differences})
            }
            Change::Leave { stored } => {
                json!({"change": "none", "id": stored["id"], "flow_version": stored["flow_version"]})
            }
        };
        let verdict = session.client.post(&["flows", "validate"], &document.to_value()).await?;
        for found in ["errors", "warnings"] {
            row[found] = verdict[found].as_array().cloned().unwrap_or_default().into();
        }
        row["flow_name"] = json!(document.flow_name);
        row["file"] = json!(path.display().to_string());
        rows.push(row);
    }
    if let Some(prune) = args.prune {
        for flow in without_document(&session.client, documents.iter().map(|(_, document)| document)).await? {
            let runs = live_runs(session, &flow).await?;
            rows.push(json!({"change": prune.as_str(), "id": flow["id"], "flow_version": flow["flow_version"],
                "live_runs": runs, "flow_name": flow["flow_name"]}));
        }
    }
    drop(progress);
    let refused = rows.iter().filter(|row| row["errors"].as_array().is_some_and(|errors| !errors.is_empty())).count();
    if session.printer.is_table() {
        rows.iter().try_for_each(|row| session.printer.line(&lines(row)))?;
        session.printer.line(&summary(&rows))?;
    } else {
        session.printer.value(&Value::Array(rows))?;
    }
    if refused > 0 {
        let message = format!("{refused} of {} documents would be refused", documents.len());
        return Err(Failure::new(Exit::Failed, message).hint("`core314 flow validate` names every place"));
    }
    Ok(Exit::Done)
}

/// How many runs of a flow have not ended: they stay on their version.
async fn live_runs(session: &Session<'_>, flow: &Value) -> Result<usize, Failure> {
    let mut count = 0;
    for status in RunStatus::ALL.iter().filter(|status| !status.is_terminal()) {
        let id = flow["id"].as_str().unwrap_or_default().to_owned();
        let filters = [("orchestration_flow_id", id), ("run_status", status.to_string())];
        count += session.client.list(&["runs"], &filters, MOST_RUNS).await?.len();
    }
    Ok(count)
}

/// A flow for people: a sign, its name, and where it changes.
fn lines(row: &Value) -> String {
    let name = row["flow_name"].as_str().unwrap_or_default();
    let pinned = match row["live_runs"].as_u64().unwrap_or_default() {
        0 => String::new(),
        1 => ", 1 run under way stays on it".to_owned(),
        count => format!(", {count} runs under way stay on it"),
    };
    let version = format!("(version {}{pinned})", row["flow_version"]);
    let mut text = match row["change"].as_str() {
        Some("create") => format!("+ {name}"),
        Some("update") => format!("~ {name} {version}"),
        Some("delete") => format!("- {name} {version}"),
        Some("deactivate") => format!("- {name} {version}, stays inactive"),
        _ => format!("  {name}"),
    };
    for difference in row["differences"].as_array().into_iter().flatten() {
        let place = difference["place"].as_str().unwrap_or_default();
        let (before, after) = (short(&difference["before"]), short(&difference["after"]));
        let _ = write!(text, "\n    {place}: {before} -> {after}");
    }
    for (kind, member) in [("error", "errors"), ("warning", "warnings")] {
        for found in row[member].as_array().into_iter().flatten() {
            let [place, message] = ["pointer", "message"].map(|key| found[key].as_str().unwrap_or_default());
            let _ = write!(text, "\n    {kind}: {place}: {message}");
        }
    }
    text
}

fn short(value: &Value) -> String {
    let text = if value.is_null() { "nothing".to_owned() } else { value.to_string() };
    if text.chars().count() <= VALUE_CHARACTERS {
        return text;
    }
    text.chars().take(VALUE_CHARACTERS - 1).chain(['…']).collect()
}

fn summary(rows: &[Value]) -> String {
    let count = |change: &str| rows.iter().filter(|row| row["change"] == change).count();
    let [create, update, delete, deactivate, none] = ["create", "update", "delete", "deactivate", "none"].map(count);
    let deactivated = if deactivate > 0 { format!("{deactivate} to deactivate, ") } else { String::new() };
    format!("{create} to create, {update} to update, {delete} to delete, {deactivated}{none} unchanged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_as_one() {
        let rows = [
            json!({"change": "create", "flow_name": "new"}),
            json!({"change": "update", "flow_name": "old", "flow_version": 3, "live_runs": 2,
                "differences": [{"place": "/tags", "before": null, "after": "x".repeat(100)}]}),
            json!({"change": "none", "flow_name": "same", "flow_version": 1}),
        ];
        assert_eq!(lines(&rows[0]), "+ new");
        let text = lines(&rows[1]);
        assert!(
            text.starts_with("~ old (version 3, 2 runs under way stay on it)\n    /tags: nothing -> \"xxx"),
            "{text}"
        );
        assert!(text.ends_with('…') && text.lines().all(|line| line.chars().count() < 90), "{text}");
        assert_eq!(lines(&rows[2]), "  same");
        assert_eq!(summary(&rows), "1 to create, 1 to update, 0 to delete, 1 unchanged");
    }
}
