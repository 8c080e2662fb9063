//! `core314 flow validate`: whether documents would be accepted, and everything that is wrong with each.
//!
//! The shape is checked here; what only the server knows (its action types, limits and targets) is asked of it.

use std::fmt::Write as _;
use std::path::Path;

use core314_domain::document::short::Places;
use core314_domain::document::{FlowDocument, Lines, ShapeError};
use serde_json::{Value, json};

use super::documents::{Paths, Read};
use super::shape;
use crate::cli::outcome::{Exit, Failure};
use crate::cli::progress::Progress;
use crate::cli::session::Session;

/// Findings of one file whose lines are looked for; more are not read by anybody.
const MOST_PLACED: usize = 100;
/// Characters of a line that are shown before and behind the one that is marked.
const AROUND: usize = 60;

pub async fn validate(session: &Session<'_>, files: &Paths) -> Result<Exit, Failure> {
    let files = files.read()?;
    let progress = Progress::new();
    let mut verdicts = Vec::new();
    for (at, Read { path, text, document, places }) in files.iter().enumerate() {
        progress.step(at, files.len(), &path.display().to_string());
        let verdict = match document {
            Ok(document) => placed(ask(session, path, document, places).await?, text),
            Err(why) => misshapen(path, text, why),
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

/// The verdict on a text that is no document, in the order of its lines.
fn misshapen(path: &Path, text: &str, why: &ShapeError) -> Value {
    let errors: Vec<Value> = shape::faults(text, why.clone()).into_iter().map(finding).collect();
    let mut verdict = placed(json!({"file": shown(path), "valid": false, "errors": errors, "warnings": []}), text);
    if let Some(errors) = verdict["errors"].as_array_mut() {
        errors.sort_by_key(|error| (error["line"].as_u64(), error["column"].as_u64()));
    }
    verdict
}

/// A mistake of the shape as the server would tell it. A parser says the place in its words.
fn finding(fault: ShapeError) -> Value {
    let told = fault.message.split_once(" at line ").and_then(|(before, rest)| {
        let (line, rest) = number(rest)?;
        let (column, rest) = number(rest.strip_prefix(" column ")?)?;
        Some(json!({"message": format!("{before}{rest}"), "line": line, "column": column}))
    });
    let mut finding = told.unwrap_or_else(|| json!({"message": fault.message}));
    finding["pointer"] = fault.pointer.into();
    finding
}

/// The number at the beginning of a text, and the rest.
fn number(text: &str) -> Option<(u64, &str)> {
    let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    Some((digits.parse().ok()?, rest))
}

/// The verdict with the lines of the file: what was sent to the server has others.
fn placed(mut verdict: Value, text: &str) -> Value {
    let lines = Lines::of(text);
    for member in ["errors", "warnings"] {
        for finding in verdict[member].as_array_mut().into_iter().flatten().take(MOST_PLACED) {
            let pointer = finding["pointer"].as_str();
            let place = pointer.and_then(|pointer| lines.as_ref().and_then(|lines| lines.place(pointer)));
            if let (Some(place), Some(finding)) = (place, finding.as_object_mut()) {
                finding.insert("line".to_owned(), place.line.into());
                finding.insert("column".to_owned(), place.column.into());
            }
            if member == "errors" && finding["excerpt"].is_null() {
                let mark = mark(text, finding["line"].as_u64(), finding["column"].as_u64());
                if let (Some(mark), Some(finding)) = (mark, finding.as_object_mut()) {
                    finding.insert("excerpt".to_owned(), mark.into());
                }
            }
        }
    }
    verdict
}

/// The line of a mistake with a mark below its character; of a long line, what is around that.
fn mark(text: &str, line: Option<u64>, column: Option<u64>) -> Option<String> {
    let at = |number: Option<u64>| usize::try_from(number?).ok()?.checked_sub(1);
    let (line, column) = (at(line)?, at(column)?);
    let skipped = column.saturating_sub(AROUND);
    let shown: String = text.lines().nth(line)?.chars().skip(skipped).take(2 * AROUND).collect();
    Some(format!("{}\n{:>width$}", shown.replace('\t', " "), '^', width = column - skipped + 1))
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
    fn a_mistake_of_the_shape_has_its_place_and_a_mark() {
        let verdict = |text: &str| {
            let why = FlowDocument::from_text(text).expect_err(text);
            misshapen(Path::new("a.yaml"), text, &why)
        };
        let found = verdict("flow_name: a\nspeed: 3\ntrigger_type: manual\nflow_steps: 7\n");
        let places: Vec<_> = found["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
        assert_eq!(places, ["/speed", "/flow_steps"], "{found}");
        let text = lines(&found);
        assert!(text.contains("\n         2:") && text.contains("| speed: 3\n           | "), "{text}");
        let found = verdict("{\"flow_name\": \"a\",\n \"x\" 3}");
        let error = &found["errors"][0];
        assert_eq!((&error["line"], &error["column"]), (&json!(2), &json!(6)), "{found}");
        assert_eq!(error["excerpt"], " \"x\" 3}\n     ^");
        assert!(!error["message"].as_str().unwrap().contains(" at line "), "{found}");
    }

    #[test]
    fn of_a_long_line_the_part_around_the_mark_is_shown() {
        let text = format!("{}x{}", "-".repeat(100), "-".repeat(100));
        let shown = mark(&text, Some(1), Some(101)).expect("it is there");
        let (line, below) = shown.split_once('\n').unwrap();
        assert_eq!((line.chars().count(), line.find('x'), below.find('^')), (120, Some(60), Some(60)));
        assert_eq!(mark(&text, Some(2), Some(1)), None);
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
