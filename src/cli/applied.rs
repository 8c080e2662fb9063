//! Documents that are no flows, applied under their names: escalation rules and on-call schedules.
//!
//! All files are read before the first request, so that a mistake in the last one leaves nothing half done.

use std::collections::BTreeSet;
use std::path::PathBuf;

use core314_domain::document::ShapeError;
use serde_json::{Value, json};

use super::outcome::{Exit, Failure};
use super::session::Session;
use super::written::{Written, about};

/// A document that is applied under its name.
pub trait Applied: Sized {
    /// What it is, as messages call it.
    const NOUN: &'static str;

    fn name(&self) -> &str;

    /// The documents of a file.
    fn read(written: &Written) -> Result<Vec<Self>, Failure>;

    /// Makes it, or changes the one of its name; the row, with what was done as [`done`] has it.
    async fn save(&self, session: &Session<'_>) -> Result<Value, Failure>;
}

/// Applies the documents of these files, and says of each what was done.
pub async fn apply<D: Applied>(session: &Session<'_>, files: &[PathBuf]) -> Result<Exit, Failure> {
    let mut wanted = Vec::new();
    let mut names = BTreeSet::new();
    for path in files {
        for document in D::read(&Written::of(path)?)? {
            if !names.insert(document.name().to_owned()) {
                let message = format!("{}: {} '{}' is named twice", path.display(), D::NOUN, document.name());
                return Err(Failure::new(Exit::Usage, message));
            }
            wanted.push((path, document));
        }
    }
    let mut applied = Vec::new();
    for (path, document) in wanted {
        let done = document.save(session).await.map_err(|failure| about(path, failure))?;
        let word = done["result"].as_str().unwrap_or_default();
        session.printer.line(&format!("{word} {} (version {})", document.name(), done["version"]))?;
        say_warnings(session, &done)?;
        applied.push(done);
    }
    if !session.printer.is_table() {
        session.printer.value(&Value::Array(applied))?;
    }
    Ok(Exit::Done)
}

/// A line for each thing that is doubtful about what was saved.
pub fn say_warnings(session: &Session<'_>, done: &Value) -> Result<(), Failure> {
    for warning in done["warnings"].as_array().into_iter().flatten() {
        let [place, message] = ["pointer", "message"].map(|key| warning[key].as_str().unwrap_or_default());
        session.printer.line(&format!("    warning: {place}: {message}"))?;
    }
    Ok(())
}

/// A row with what was done: `created`, `updated` or `unchanged`.
pub fn done(result: &str, mut row: Value) -> Value {
    row["result"] = json!(result);
    row
}

/// What the server keeps is not what this version knows.
pub fn unreadable(noun: &str, error: &ShapeError) -> Failure {
    Failure::new(Exit::Failed, format!("the server's {noun} cannot be read: {error}"))
        .hint("run the same version of core314 on both sides")
}
