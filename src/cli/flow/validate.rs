//! `core314 flow validate`: whether documents would be accepted, and everything that is wrong with each.
//!
//! The shape is checked here; what only the server knows (its action types, limits and targets) is asked of it.

use std::fmt::Write as _;
use std::path::Path;

use core314_domain::document::short::Places;
use core314_domain::document::{FlowDocument, Lines};
use serde_json::{Value, json};

use super::documents::{Paths, Read};
use crate::cli::outcome::{Exit, Failure};
use crate::cli::progress::Progress;
use crate::cli::session::Session;

/// Findings of one file whose lines are looked for; more are not read by anybody.
const MOST_PLACED: usize = 100;

pub async fn validate(session: &Session<'_>, files: &Paths) -> Result<Exit, Failure> {
    let files = files.read()?;
    let progress = Progress::new();
    let mut verdicts = Vec::new();
    for (at, Read { path, text, document, places }) in files.iter().enumerate() {
        progress.step(at, files.len(), &path.display().to_string());
        let verdict = match document {
            Ok(document) => placed(ask(session, path, document, places).await?, text),
            Err(why) => json!({"file": shown(path), "valid": false, "errors": [{"pointer": "", "message": why}]}),
        };
        progress.clear();
        session.printer.line(&lines(&verdict))?;
        verdicts.push(verdict);
    }
    let wrong = verdicts.iter().filter(|verdict| verdict["valid"] != true).count();
    if !session.printer.is_table() {
        session.printer.value(&Value::Array(verdicts))?;
    }
    if wrong == 0 {
        return Ok(Exit::Done);
    }
    let message = format!("{wrong} of {} documents would be refused", files.len());
    Err(Failure::new(Exit::Failed, message).hint("docs/flows.md explains the document"))
}

async fn ask(session: &Session<'_>, path: &Path, document: &FlowDocument, places: &Places) -> Result<Value, Failure> {
    let found = match session.client.post(&["flows", "validate"], &document.to_value()).await {
        Ok(answer) => answer,
        // Refused for what it says; anything else is no verdict.
        Err(failure) if failure.exit == Exit::Failed && failure.problem["errors"].is_array() => failure.problem,
        Err(failure) => return Err(failure),
    };
    // The server was sent the long form; the file may have the short one.
    let in_file = |mut finding: Value| {
        if let Some(place) = finding["pointer"].as_str().map(|pointer| places.in_text(pointer)) {
            finding["pointer"] = place.into();
        }
        finding
    };
    let list =
        |member: &str| -> Vec<Value> { found[member].as_array().into_iter().flatten().cloned().map(in_file).collect() };
    let (errors, warnings) = (list("errors"), list("warnings"));
    // An answer that lists no error and does not deny is a yes.
    let is_valid = errors.is_empty() && found["valid"] != false;
    Ok(json!({"file": shown(path), "flow_name": document.flow_name, "valid": is_valid, "errors": errors,
        "warnings": warnings}))
}

/// The verdict with the lines of the file: what was sent to the server has others.
fn placed(mut verdict: Value, text: &str) -> Value {
    let Some(lines) = Lines::of(text) else { return verdict };
    for member in ["errors", "warnings"] {
        for finding in verdict[member].as_array_mut().into_iter().flatten().take(MOST_PLACED) {
            let place = finding["pointer"].as_str().and_then(|pointer| lines.place(pointer));
            if let (Some(place), Some(finding)) = (place, finding.as_object_mut()) {
                finding.insert("line".to_owned(), place.line.into());
                finding.insert("column".to_owned(), place.column.into());
            }
        }
    }
    verdict
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A verdict for people: a line for the file, and one for each thing that is wrong or doubtful.
fn lines(verdict: &Value) -> String {
    let file = verdict["file"].as_str().unwrap_or_default();
    let mut text = if verdict["valid"] == true { format!("ok       {file}") } else { format!("invalid  {file}") };
    for (kind, member) in [("", "errors"), ("warning: ", "warnings")] {
        for finding in verdict[member].as_array().into_iter().flatten() {
            let place = finding["pointer"].as_str().filter(|place| !place.is_empty());
            let place = place.map_or_else(String::new, |place| format!("{place}: "));
            let line = match (finding["line"].as_u64(), finding["column"].as_u64()) {
                (Some(line), Some(column)) => format!("{line}:{column} "),
                _ => String::new(),
            };
            let message = finding["message"].as_str().or(finding.as_str()).unwrap_or_default();
            let _ = write!(text, "\n         {kind}{line}{place}{message}");
            for line in finding["excerpt"].as_str().unwrap_or_default().lines() {
                let _ = write!(text, "\n           | {line}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_names_every_place() {
        let verdict = json!({"file": "a.yaml", "valid": false,
            "errors": [{"pointer": "/flow_name", "message": "is required"}, {"pointer": "", "message": "line 2"}],
            "warnings": ["shadows flow 'b'"]});
        assert_eq!(
            lines(&verdict),
            "invalid  a.yaml\n         /flow_name: is required\n         line 2\n         warning: shadows flow 'b'"
        );
        assert_eq!(lines(&json!({"file": "b.yaml", "valid": true})), "ok       b.yaml");
    }

    #[test]
    fn lines_are_those_of_the_file_and_a_mark_shows_the_character() {
        let verdict = json!({"file": "a.yaml", "valid": false, "errors": [
            {"pointer": "/conditions", "message": "no", "line": 1, "column": 900, "excerpt": "a = b\n  ^"},
        ]});
        assert_eq!(
            lines(&placed(verdict, "flow_name: a\nconditions: a = b\n")),
            "invalid  a.yaml\n         2:13 /conditions: no\n           | a = b\n           |   ^"
        );
    }
}
