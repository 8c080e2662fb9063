//! `core314 flow apply`: makes the server's flows what the files say.
//!
//! All files are read before the first request, so that a mistake in the last one leaves nothing half done.

use std::path::PathBuf;

use clap::Args;
use core314_domain::document::FlowDocument;
use serde_json::Value;

use super::change::{Change, row, without_document};
use super::documents::{Paths, in_file};
use crate::cli::outcome::{Exit, Failure};
use crate::cli::progress::Progress;
use crate::cli::session::Session;

#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    files: Paths,
    /// Delete the flows that no file names; `core314 flow plan --prune` shows which.
    #[arg(long)]
    prune: bool,
}

pub async fn apply(session: &Session<'_>, args: &ApplyArgs) -> Result<Exit, Failure> {
    let documents = args.files.documents()?;
    let mut applied = Vec::new();
    let outcome = apply_all(session, &documents, args.prune, &mut applied).await;
    if !session.printer.is_table() {
        // What was done before a failure is done, and so it is said.
        session.printer.value(&Value::Array(applied))?;
    }
    outcome.map(|()| Exit::Done)
}

async fn apply_all(
    session: &Session<'_>,
    documents: &[(PathBuf, FlowDocument)],
    is_pruned: bool,
    applied: &mut Vec<Value>,
) -> Result<(), Failure> {
    let client = &session.client;
    let progress = Progress::new();
    let mut say = |row: Value| {
        progress.clear();
        let (result, name) = (&row["result"], &row["flow_name"]);
        let words = [result, name].map(|word| word.as_str().unwrap_or_default());
        session.printer.line(&format!("{} (version {})", words.join(" "), row["flow_version"]))?;
        applied.push(row);
        Ok::<(), Failure>(())
    };
    for (at, (path, document)) in documents.iter().enumerate() {
        progress.step(at, documents.len(), &document.flow_name);
        let made = match Change::of(client, document).await {
            Ok(change) => change.make(client, document).await,
            Err(failure) => Err(failure),
        };
        say(made.map_err(|failure| in_file(path, failure))?)?;
    }
    if !is_pruned {
        return Ok(());
    }
    let pruned = without_document(client, documents.iter().map(|(_, document)| document)).await?;
    for (at, flow) in pruned.iter().enumerate() {
        progress.step(at, pruned.len(), flow["flow_name"].as_str().unwrap_or_default());
        client.delete(&["flows", flow["id"].as_str().unwrap_or_default()]).await?;
        say(row("deleted", flow))?;
    }
    Ok(())
}
