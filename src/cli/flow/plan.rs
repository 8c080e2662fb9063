//! `core314 flow plan`: what `apply` would do, place by place, which runs stay on the version they began with, and what would
//! become of the last runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use core314_domain::document::FlowDocument;
use core314_domain::words::RunStatus;
use serde_json::{Value, json};

use super::apply::Prune;
use super::change::{Change, marked, without_document};
use super::documents::Paths;
use crate::cli::outcome::{Exit, Failure};
use crate::cli::progress::Progress;
use crate::cli::replay::summary as summary_of;
use crate::cli::session::Session;
use crate::cli::written::about;

/// Runs of one flow that are counted; more is shown as so many.
const MOST_RUNS: usize = 500;
/// How long the replays of one flow may take.
const REPLAY_MS: u64 = 2_000;
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
    /// Replay so many of the last runs of each flow that changes, and say what would be otherwise; 0: none.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    replay: u64,
}

pub async fn plan(session: &Session<'_>, args: &PlanArgs) -> Result<Exit, Failure> {
    let documents = args.files.documents()?;
    let progress = Progress::new();
    let mut rows = Vec::new();
    for (at, (path, document)) in documents.iter().enumerate() {
        progress.step(at, documents.len(), &document.flow_name);
        let document = &marked(document.clone(), path);
        let change = Change::of(&session.client, document).await.map_err(|failure| about(path, failure))?;
        let mut row = match change {
            Change::Create => json!({"change": "create"}),
            Change::Update { stored, differences, .. } => {
                let runs = live_runs(session, &stored).await?;
                let mut row = json!({"change": "update", "id": stored["id"], "flow_version": stored["flow_version"],
                    "differences": differences});
                pin(&mut row, &runs);
                row
            }
            Change::Leave { stored } => {
                json!({"change": "none", "id": stored["id"], "flow_version": stored["flow_version"]})
            }
        };
        let verdict = session.client.post(&["flows", "validate"], &document.to_value()).await?;
        for found in ["errors", "warnings"] {
            row[found] = verdict[found].as_array().cloned().unwrap_or_default().into();
        }
        let is_sound = row["errors"].as_array().is_some_and(Vec::is_empty);
        if args.replay > 0 && row["change"] == "update" && is_sound {
            row["replay"] = replay(session, &row["id"], document, args.replay).await?;
        }
        row["flow_name"] = json!(document.flow_name);
        row["file"] = json!(path.display().to_string());
        rows.push(row);
    }
    if let Some(prune) = args.prune {
        for flow in without_document(&session.client, documents.iter().map(|(_, document)| document)).await? {
            let runs = live_runs(session, &flow).await?;
            let mut row = json!({"change": prune.as_str(), "id": flow["id"], "flow_version": flow["flow_version"],
                "flow_name": flow["flow_name"]});
            pin(&mut row, &runs);
            rows.push(row);
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

/// How many runs of a flow have not ended, by the versions on which they stay.
async fn live_runs(session: &Session<'_>, flow: &Value) -> Result<BTreeMap<i64, usize>, Failure> {
    let mut counts = BTreeMap::new();
    for status in RunStatus::ALL.iter().filter(|status| !status.is_terminal()) {
        let id = flow["id"].as_str().unwrap_or_default().to_owned();
        let filters = [("orchestration_flow_id", id), ("run_status", status.to_string())];
        for run in session.client.list(&["runs"], &filters, MOST_RUNS).await? {
            *counts.entry(run["flow_version"].as_i64().unwrap_or_default()).or_default() += 1;
        }
    }
    Ok(counts)
}

fn pin(row: &mut Value, runs: &BTreeMap<i64, usize>) {
    let pinned = |(version, runs): (&i64, &usize)| json!({"flow_version": version, "runs": runs});
    row["live_runs"] = json!(runs.values().sum::<usize>());
    row["pinned"] = runs.iter().map(pinned).collect();
}

/// What would become of the last runs of a flow.
async fn replay(session: &Session<'_>, flow: &Value, document: &FlowDocument, runs: u64) -> Result<Value, Failure> {
    let body = json!({"filter": {"orchestration_flow_id": flow}, "limit": runs, "within_ms": REPLAY_MS,
        "document": document.to_value()});
    session.client.post(&["runs", "bulk", "replay"], &body).await
}

/// A flow for people: a sign, its name, and where it changes.
fn lines(row: &Value) -> String {
    let name = row["flow_name"].as_str().unwrap_or_default();
    let version = format!("(version {}{})", row["flow_version"], pinned(row));
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
    // A run that has no record, because its flow is new or has never ended one, has nothing to say.
    if row["replay"]["replayed"].as_u64().is_some_and(|count| count > 0) {
        let _ = write!(text, "\n    {}", summary_of(&row["replay"]).replace('\n', "\n    "));
    }
    for (kind, member) in [("error", "errors"), ("warning", "warnings")] {
        for found in row[member].as_array().into_iter().flatten() {
            let [place, message] = ["pointer", "message"].map(|key| found[key].as_str().unwrap_or_default());
            let _ = write!(text, "\n    {kind}: {place}: {message}");
        }
    }
    text
}

/// Which runs under way stay where, for people: those of the present version first.
fn pinned(row: &Value) -> String {
    let runs = |count: u64| if count == 1 { "1 run".to_owned() } else { format!("{count} runs") };
    let of = |pinned: &Value| (pinned["flow_version"].clone(), pinned["runs"].as_u64().unwrap_or_default());
    let each: Vec<(Value, u64)> = row["pinned"].as_array().into_iter().flatten().map(of).collect();
    let total = each.iter().map(|(_, count)| count).sum::<u64>();
    match each.as_slice() {
        [] => String::new(),
        [(version, _)] if *version == row["flow_version"] => {
            format!(", {} under way {} on it", runs(total), if total == 1 { "stays" } else { "stay" })
        }
        each => {
            let each: Vec<String> =
                each.iter().map(|(version, count)| format!("{count} on version {version}")).collect();
            format!(", {} under way: {}", runs(total), each.join(", "))
        }
    }
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
                "pinned": [{"flow_version": 3, "runs": 2}], "differences": [{"place": "/tags", "before": null, "after": "x".repeat(100)}]}),
            json!({"change": "none", "flow_name": "same", "flow_version": 1}),
        ];
        assert_eq!(lines(&rows[0]), "+ new");
        let text = lines(&rows[1]);
        assert!(
            text.starts_with("~ old (version 3, 2 runs under way stay on it)\n    /tags: nothing -> \"xxx"),
            "{text}"
        );
        assert!(text.ends_with('…') && text.lines().all(|line| line.chars().count() < 90), "{text}");
        let mut older = rows[1].clone();
        older["pinned"] = json!([{"flow_version": 1, "runs": 1}, {"flow_version": 3, "runs": 2}]);
        older["replay"] = json!({"replayed": 5, "same": 5, "different": 0});
        let text = lines(&older);
        assert!(text.starts_with("~ old (version 3, 3 runs under way: 1 on version 1, 2 on version 3)\n"), "{text}");
        assert!(text.ends_with("\n    5 replayed: 5 as they went, 0 otherwise"), "{text}");
        assert_eq!(lines(&rows[2]), "  same");
        assert_eq!(summary(&rows), "1 to create, 1 to update, 0 to delete, 1 unchanged");
    }
}
