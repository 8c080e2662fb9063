//! `core314 run replay`: where old runs would go otherwise with another version, or with a file.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::bulk::{Column, columns};
use super::flow::documents::Paths;
use super::outcome::{Exit, Failure};
use super::session::Session;

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Its id, as the list shows it.
    #[arg(required_unless_present = "filter", conflicts_with = "filter")]
    run: Option<Uuid>,
    /// A version of the flow.
    #[arg(long, value_name = "N", required_unless_present = "file", conflicts_with = "file")]
    flow_version: Option<i64>,
    /// A flow document, whether it has been applied or not.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// All runs in which this column has this value, such as `flow_name=restock`; several must all hold.
    #[arg(long, value_name = "COLUMN=VALUE")]
    filter: Vec<Column>,
    /// At most so many runs, the newest first.
    #[arg(long, value_name = "N", requires = "filter")]
    limit: Option<usize>,
}

impl ReplayArgs {
    pub async fn replay(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let mut body = Map::new();
        body.extend(self.flow_version.map(|version| ("version".to_owned(), json!(version))));
        if let Some(path) = &self.file {
            let (_, document) = Paths::of(path).documents()?.remove(0);
            body.insert("document".to_owned(), document.to_value());
        }
        let (path, is_many) = match self.run {
            Some(run) => (vec!["runs".to_owned(), run.to_string(), "replay".to_owned()], false),
            None => (["runs", "bulk", "replay"].map(str::to_owned).into(), true),
        };
        if is_many {
            body.insert("filter".to_owned(), columns(self.filter));
            body.extend(self.limit.map(|limit| ("limit".to_owned(), json!(limit))));
        }
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let answer = session.client.post(&path, &Value::Object(body)).await?;
        if !session.printer.is_table() {
            return session.printer.value(&answer).map(|()| Exit::Done);
        }
        session.printer.line(&if is_many { summary(&answer) } else { lines(&answer) })?;
        Ok(Exit::Done)
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// How a status changes, for people.
fn status(change: &Value) -> String {
    let after = if change["after"].is_null() { "unknown".to_owned() } else { text(&change["after"]) };
    format!("{} -> {after}", text(&change["before"]))
}

/// A run for people.
fn lines(replay: &Value) -> String {
    let mut told = match (&replay["same"], replay["refused"].as_str()) {
        (Value::Bool(true), _) => format!("all would be as it was: {}", text(&replay["run_status"]["before"])),
        (_, Some(refused)) => format!("it would not start: {refused}"),
        _ => status(&replay["run_status"]),
    };
    if replay["faithful"] == false {
        told.push_str(
            "\n(its own version does not lead to its end either: time, retries or people made the difference)",
        );
    }
    for step in replay["steps"].as_array().into_iter().flatten() {
        let _ = write!(told, "\n  {:<20} {}", text(&step["step"]), text(&step["change"]));
        if step["before"] != step["after"] && !step["before"].is_null() {
            let _ = write!(told, " ({})", status(step));
        }
        places(&mut told, "    ", &step["differences"]);
    }
    if replay["more_steps"].as_u64().is_some_and(|more| more > 0) {
        let _ = write!(told, "\n  and {} more", replay["more_steps"]);
    }
    places(&mut told, "  ", &replay["output"]);
    told
}

/// Where two values differ, a line each.
fn places(told: &mut String, indent: &str, differences: &Value) {
    for place in differences.as_array().into_iter().flatten() {
        let _ = write!(told, "\n{indent}{}: {} -> {}", text(&place["place"]), place["before"], place["after"]);
    }
}

/// Many runs for people.
pub fn summary(sum: &Value) -> String {
    let count = |name: &str| sum[name].as_u64().unwrap_or_default();
    let mut told =
        format!("{} replayed: {} as they went, {} otherwise", count("replayed"), count("same"), count("different"));
    for (name, words) in [("unknown", "with an end that nobody knows"), ("refused", "that would not start")] {
        if count(name) > 0 {
            let _ = write!(told, ", {} of these {words}", count(name));
        }
    }
    for end in sum["ends"].as_array().into_iter().flatten() {
        let _ = write!(told, "\n  run {}: {} run(s)", status(end), end["runs"]);
    }
    for step in sum["steps"].as_array().into_iter().flatten() {
        let _ =
            write!(told, "\n  step {:<20} {:<8} {} run(s)", text(&step["step"]), text(&step["change"]), step["runs"]);
    }
    if sum["out_of_time"] == true {
        told.push_str("\n  (the time was over before all had been replayed)");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replays_read_as_sentences() {
        let same = json!({"same": true, "faithful": true, "refused": null, "run_status": {"before": "completed", "after": "completed"}, "steps": [], "more_steps": 0});
        assert_eq!(lines(&same), "all would be as it was: completed");
        let other = json!({"same": false, "faithful": true, "refused": null, "run_status": {"before": "completed", "after": null}, "more_steps": 0,
            "steps": [{"step": "tell", "change": "payload", "before": "completed", "after": "completed",
                "differences": [{"place": "/payload/text", "before": "a", "after": "b"}]}]});
        assert_eq!(
            lines(&other),
            "completed -> unknown\n  tell                 payload\n    /payload/text: \"a\" -> \"b\""
        );
        let given = json!({"same": false, "faithful": true, "refused": null, "more_steps": 0, "steps": [],
            "run_status": {"before": "completed", "after": "completed"}, "output": [{"place": "/output/n", "before": 1, "after": 2}]});
        assert_eq!(lines(&given), "completed -> completed\n  /output/n: 1 -> 2");
        let many = json!({"replayed": 3, "same": 2, "different": 1, "unknown": 1, "refused": 0, "out_of_time": false,
            "ends": [{"before": "completed", "after": null, "runs": 1}], "steps": [{"step": "tell", "change": "unknown", "runs": 1}]});
        assert!(summary(&many).starts_with("3 replayed: 2 as they went, 1 otherwise, 1 of these with an end that nobody knows\n  run completed -> unknown: 1 run(s)"));
    }
}
