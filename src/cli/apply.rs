//! `core314 flow apply`: makes the server's flows what the files say.
//!
//! All files are read before the first request, so that a mistake in the last one leaves nothing half done. A flow is
//! found by its name; what is sent is the difference, against the version it was computed from, so that a change that
//! somebody else makes meanwhile is not lost.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use core314_domain::document::FlowDocument;
use serde_json::{Map, Value, json};

use super::Global;
use super::client::{self, Client};
use super::outcome::{Exit, Failure};
use super::print::Printer;

/// More files are a mistake in the path.
const MOST_FILES: usize = 10_000;
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
/// Members of a document that the server counts or that say how it is read.
const NOT_COMPARED: [&str; 2] = ["flow_version", "format"];

#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Flow documents (YAML or JSON), or directories of them.
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
}

pub fn apply(global: &Global, printer: &Printer, args: &ApplyArgs) -> Result<Exit, Failure> {
    let documents = read(&args.paths)?;
    let client = Client::new(global)?;
    let mut applied = Vec::new();
    let outcome = client::block_on(async {
        for (path, document) in &documents {
            let row = apply_one(&client, document).await.map_err(|failure| in_file(path, failure))?;
            printer.line(&format!(
                "{} {} (version {})",
                row["result"].as_str().unwrap_or_default(),
                document.flow_name,
                row["flow_version"]
            ))?;
            applied.push(row);
        }
        Ok(())
    });
    if !printer.is_table() {
        printer.value(&Value::Array(applied))?;
    }
    outcome.map(|()| Exit::Done)
}

fn in_file(path: &Path, failure: Failure) -> Failure {
    if failure.exit == Exit::Unreachable {
        return failure;
    }
    Failure { message: format!("{}: {}", path.display(), failure.message), ..failure }
}

/// Creates, changes or leaves one flow, and says which.
async fn apply_one(client: &Client, document: &FlowDocument) -> Result<Value, Failure> {
    let name = document.flow_name.as_str();
    let found = client.list(&["flows"], &[("flow_name", name.to_owned())], 1).await?;
    let Some(stored) = found.first() else {
        let created = client.post(&["flows"], &document.to_value()).await?;
        return Ok(row("created", &created));
    };
    let patch = difference(&shown_document(stored), &comparable(document.to_value()));
    let (Some(patch), Some(id), Some(version)) = (patch, stored["id"].as_str(), stored["flow_version"].as_i64()) else {
        return Ok(row("unchanged", stored));
    };
    let changed = client.patch(&["flows", id], version, &patch).await?;
    let result = if changed["flow_version"].as_i64() == Some(version) { "unchanged" } else { "updated" };
    Ok(row(result, &changed))
}

fn row(result: &str, flow: &Value) -> Value {
    json!({"result": result, "flow_name": flow["flow_name"], "id": flow["id"], "flow_version": flow["flow_version"]})
}

/// The document inside a flow as the API shows it, in the same form as one from a file.
fn shown_document(stored: &Value) -> Value {
    let members =
        FlowDocument::from_text("flow_name: x\ntrigger_type: manual\nflow_steps: []").map(|blank| blank.to_value());
    let known = members.expect("a blank document can be read");
    let optional = [
        "conditions",
        "max_execution_time_seconds",
        "approval_threshold",
        "input_schema",
        "output_schema",
        "fallback_flow_id",
    ];
    let is_member = |name: &str| known.get(name).is_some() || optional.contains(&name);
    let shown = stored.as_object().into_iter().flatten();
    let document: Map<String, Value> = shown
        .filter(|(name, value)| is_member(name) && !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let document = Value::Object(document);
    // What cannot be read as a document differs from every document, and so is replaced.
    comparable(FlowDocument::from_value(document.clone()).map_or(document, |read| read.to_value()))
}

fn comparable(mut document: Value) -> Value {
    if let Some(members) = document.as_object_mut() {
        members.retain(|name, _| !NOT_COMPARED.contains(&name.as_str()));
    }
    document
}

/// The merge patch (RFC 7396) from one value to another; `None` when they are equal.
fn difference(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in new {
        let change = match old.get(name) {
            Some(before) => difference(before, value),
            None => Some(value.clone()),
        };
        patch.extend(change.map(|change| (name.clone(), change)));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Reads and checks the shape of every document.
fn read(paths: &[PathBuf]) -> Result<Vec<(PathBuf, FlowDocument)>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        gather(path, true, &mut files).map_err(|error| usage(path, &error.to_string()))?;
    }
    if files.is_empty() {
        return Err(Failure::new(Exit::Usage, "there are no flow documents: no file ends in .yaml, .yml or .json"));
    }
    let mut documents: Vec<(PathBuf, FlowDocument)> = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).map_err(|error| usage(&path, &error.to_string()))?;
        let document = FlowDocument::from_text(&text).map_err(|error| usage(&path, &error.to_string()))?;
        if let Some((other, _)) = documents.iter().find(|(_, known)| known.flow_name == document.flow_name) {
            let message = format!("flow '{}' is in {} too", document.flow_name, other.display());
            return Err(usage(&path, &message));
        }
        documents.push((path, document));
    }
    Ok(documents)
}

/// Files in the order of their names. A file that is named is read whatever its ending.
fn gather(path: &Path, is_named: bool, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if is_named || ENDINGS.contains(&ending) {
            files.push(path.to_owned());
        }
        return Ok(());
    }
    let mut inside = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    inside.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    inside.sort();
    for path in inside {
        if files.len() >= MOST_FILES {
            return Err(std::io::Error::other(format!("more than {MOST_FILES} files")));
        }
        // A link may lead back up; directories are followed only where they stand.
        if !(path.is_symlink() && path.is_dir()) {
            gather(&path, false, files)?;
        }
    }
    Ok(())
}

fn usage(path: &Path, message: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{}: {message}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core314_domain::json::merge_patch;

    const FLOW: &str =
        "flow_name: NAME\ntrigger_type: manual\nflow_steps:\n  - {id: x, config: {action_type: transform}}\n";

    fn flow(text: &str) -> FlowDocument {
        FlowDocument::from_text(text).unwrap()
    }

    #[test]
    fn applying_the_difference_gives_the_new_document() {
        let plain = flow(FLOW).to_value();
        let rich = flow(&format!(
            "{FLOW}conditions: trigger.n > 1\nmetadata: {{a: 1, b: {{c: 2}}}}\nmax_execution_time_seconds: 5\ntags: [x]\nretry_policy: {{deadline_seconds: 9}}"
        ))
        .to_value();
        for (from, to) in [(&plain, &rich), (&rich, &plain)] {
            let patch = difference(from, to).expect("they differ");
            let mut patched = from.clone();
            merge_patch(&mut patched, &patch);
            assert_eq!(&patched, to, "by {patch}");
        }
        assert_eq!(difference(&rich, &rich.clone()), None);
    }

    #[test]
    fn a_flow_as_the_api_shows_it_equals_its_file() {
        let document = flow(&format!("{FLOW}max_execution_time_seconds: 5\nmetadata: {{a: 1}}"));
        let mut shown = comparable(document.to_value());
        let more = json!({"id": "0", "flow_version": 7, "total_executions": 3, "conditions": null, "tenant_id": "t",
            "created_at": "2026-01-01T00:00:00.000Z", "avg_execution_time_ms": 1.5});
        shown.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(difference(&shown_document(&shown), &comparable(document.to_value())), None);
        shown["metadata"] = json!({"a": 2});
        assert_eq!(
            difference(&shown_document(&shown), &comparable(document.to_value())),
            Some(json!({"metadata": {"a": 1}}))
        );
    }

    #[test]
    fn directories_are_read_in_order_and_mistakes_name_the_file() {
        let scratch = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = scratch.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("b.yaml", &FLOW.replace("NAME", "b"));
        write("a/deep.yml", &FLOW.replace("NAME", "deep"));
        write("a/notes.txt", "not a flow");
        write(".hidden.yaml", "not a flow");
        let names = |paths: &[PathBuf]| {
            read(paths).map(|found| found.into_iter().map(|(_, d)| d.flow_name).collect::<Vec<_>>())
        };
        let root = scratch.path().to_owned();
        assert_eq!(names(std::slice::from_ref(&root)).unwrap(), ["deep", "b"]);
        assert!(names(&[root.join("a/notes.txt")]).is_err(), "a named file is read whatever its ending");
        assert_eq!(names(&[root.join("missing")]).expect_err("missing").exit, Exit::Usage);
        write("c.json", "{\"flow_name\": 1}");
        let message = names(std::slice::from_ref(&root)).expect_err("no flow").message;
        assert!(message.contains("c.json: ") && message.contains("line 1"), "{message}");
        write("c.json", &FLOW.replace("NAME", "b"));
        let message = names(&[root]).expect_err("twice").message;
        assert!(message.contains("c.json: flow 'b' is in") && message.contains("b.yaml too"), "{message}");
    }
}
