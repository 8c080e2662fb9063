//! `core314 flow apply`: makes the server's flows what the files say, and the webhooks that they name.
//!
//! All files are read before the first request, so that a mistake in the last one leaves nothing half done.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use core314_domain::document::FlowDocument;
use core314_domain::words::TriggerType;
use serde_json::{Map, Value, json};

use super::change::{Change, marked, row, without_document};
use super::documents::Paths;
use crate::cli::applied::say_warnings;
use crate::cli::outcome::{Exit, Failure};
use crate::cli::progress::Progress;
use crate::cli::session::Session;
use crate::cli::written::about;

#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    files: Paths,
    /// Delete (or deactivate) the flows that were applied from files and that no file names any more; `core314 flow plan
    /// --prune` shows which.
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "delete")]
    prune: Option<Prune>,
    /// Prune without asking.
    #[arg(long, short)]
    yes: bool,
}

/// What becomes of a flow whose file is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Prune {
    Delete,
    Deactivate,
}

impl Prune {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Deactivate => "deactivate",
        }
    }
}

pub async fn apply(session: &Session<'_>, args: &ApplyArgs) -> Result<Exit, Failure> {
    let documents = args.files.documents()?;
    let mut applied = Vec::new();
    let outcome = apply_all(session, &documents, args, &mut applied).await;
    if !session.printer.is_table() {
        // What was done before a failure is done, and so it is said.
        session.printer.value(&Value::Array(applied))?;
    }
    outcome.map(|()| Exit::Done)
}

async fn apply_all(
    session: &Session<'_>,
    documents: &[(PathBuf, FlowDocument)],
    args: &ApplyArgs,
    applied: &mut Vec<Value>,
) -> Result<(), Failure> {
    let client = &session.client;
    let progress = Progress::new();
    for (at, (path, document)) in documents.iter().enumerate() {
        progress.step(at, documents.len(), &document.flow_name);
        let document = marked(document.clone(), path);
        let made = async { Change::of(client, &document).await?.make(client, &document).await };
        let mut done = made.await.map_err(|failure| about(path, failure))?;
        progress.clear();
        say(session, &done)?;
        if let Some(webhook) = webhook(session, &document, &done).await.map_err(|failure| about(path, failure))? {
            done["webhook"] = webhook;
        }
        applied.push(done);
    }
    let Some(prune) = args.prune else { return Ok(()) };
    let pruned = without_document(client, documents.iter().map(|(_, document)| document)).await?;
    progress.clear();
    if !pruned.is_empty() && !args.yes {
        confirm(prune, &pruned)?;
    }
    for (at, flow) in pruned.iter().enumerate() {
        progress.step(at, pruned.len(), flow["flow_name"].as_str().unwrap_or_default());
        let id = flow["id"].as_str().unwrap_or_default();
        let done = match prune {
            Prune::Delete => client.delete(&["flows", id]).await.map(|_| row("deleted", flow))?,
            Prune::Deactivate if flow["is_active"] == false => row("unchanged", flow),
            Prune::Deactivate => row("deactivated", &client.post(&["flows", id, "pause"], &json!({})).await?),
        };
        progress.clear();
        say(session, &done)?;
        applied.push(done);
    }
    Ok(())
}

/// A line for what was done with a flow, and one for each thing that is doubtful about it.
fn say(session: &Session<'_>, done: &Value) -> Result<(), Failure> {
    let words = [&done["result"], &done["flow_name"]].map(|word| word.as_str().unwrap_or_default());
    session.printer.line(&format!("{} (version {})", words.join(" "), done["flow_version"]))?;
    say_warnings(session, done)
}

/// Asks a person whether flows may go.
fn confirm(prune: Prune, pruned: &[Value]) -> Result<(), Failure> {
    let names: Vec<&str> = pruned.iter().filter_map(|flow| flow["flow_name"].as_str()).collect();
    let question = format!("{} {} flows that no file names: {}", prune.as_str(), names.len(), names.join(", "));
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, format!("nobody is there to say yes to: {question}"))
            .hint("--yes prunes without asking; all files are applied"));
    }
    write!(io::stderr(), "{}? [y/N] ", crate::cli::print::harmless(&question))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, "nothing was pruned; all files are applied"))
}

/// Keys of a webhook that a trigger may give.
const PASSED_ON: [&str; 4] = ["verification", "hmac", "dedup_key", "respond"];

/// What a webhook that is there already does otherwise than the trigger of this flow says.
fn doubt(config: &Map<String, Value>, webhook: &Value, flow: &Value) -> Option<String> {
    // One that looks for flows of this type finds those that name it.
    let is_looking = webhook["trigger_type"] == json!(TriggerType::Webhook);
    if webhook["flow_id"] != *flow && !is_looking {
        return Some("does not start this flow".to_owned());
    }
    let [wanted, found] = [config.get("verification")?, &webhook["verification"]].map(Value::as_str);
    (wanted != found).then(|| {
        let [wanted, found] = [wanted, found].map(Option::unwrap_or_default);
        format!("verifies its callers by {found}, not by {wanted}: once it is deleted, apply makes it anew")
    })
}

/// Makes the webhook that a flow's trigger names, where there is none of the name, and shows its address.
async fn webhook(session: &Session<'_>, document: &FlowDocument, applied: &Value) -> Result<Option<Value>, Failure> {
    let config = &document.trigger_config;
    let (TriggerType::Webhook, Some(name)) = (document.trigger_type, config.get("webhook").and_then(Value::as_str))
    else {
        return Ok(None);
    };
    let found = session.client.list(&["webhooks"], &[("name", name.to_owned())], 1).await?;
    if let Some(found) = found.into_iter().next() {
        if let Some(doubt) = doubt(config, &found, &applied["id"]) {
            session.printer.line(&format!("    warning: webhook '{name}' is there already and {doubt}"))?;
        }
        return Ok(None);
    }
    let mut body = Map::from_iter([("name".to_owned(), json!(name)), ("flow_id".to_owned(), applied["id"].clone())]);
    for key in PASSED_ON {
        body.extend(config.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    let made = session.client.post(&["webhooks"], &Value::Object(body)).await?;
    let text = |member: &str| made[member].as_str().unwrap_or_default();
    session.printer.line(&format!("    webhook {name}: {}", text("url")))?;
    if !text("secret").is_empty() {
        session.printer.line(&format!("    secret (shown this once): {}", text("secret")))?;
    }
    Ok(Some(made))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_that_is_there_and_asks_for_less_proof_is_doubtful() {
        let config = |given: Value| given.as_object().cloned().unwrap_or_default();
        let signed = config(json!({"webhook": "alerts", "verification": "github"}));
        let webhook = |flow: &str, way: &str| json!({"flow_id": flow, "verification": way});
        let flow = json!("a");
        assert_eq!(doubt(&signed, &webhook("a", "github"), &flow), None);
        assert_eq!(doubt(&config(json!({"webhook": "alerts"})), &webhook("a", "github"), &flow), None);
        assert!(doubt(&signed, &webhook("b", "github"), &flow).expect("another's").contains("does not start"));
        let looking = |kind: &str| json!({"flow_id": null, "trigger_type": kind, "verification": "github"});
        assert_eq!(doubt(&signed, &looking("webhook"), &flow), None, "it finds the flow by its name");
        assert!(doubt(&signed, &looking("event"), &flow).expect("of another type").contains("does not start"));
        let less = doubt(&signed, &webhook("a", "url_secret"), &flow).expect("another way");
        assert!(less.contains("by url_secret, not by github"), "{less}");
    }
}
