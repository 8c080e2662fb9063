//! `core314 silence`: times in which failures that match are recorded, and nobody is told.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use core314_domain::escalation::SilenceDocument;
use serde_json::json;

use super::args::{Id, Limit};
use super::outcome::{Exit, Failure};
use super::print::Columns;
use super::session::Session;
use super::written::{Written, about};

const PATH: &str = "silences";
const SILENCES: Columns<'_> = &[
    ("NAME", "name"),
    ("FROM", "starts_at"),
    ("UNTIL", "ends_at"),
    ("CRON", "cron"),
    ("MINUTES", "duration_minutes"),
    ("MATCHER", "matcher"),
    ("REASON", "reason"),
    ("SILENCE", "id"),
];

#[derive(Debug, Subcommand)]
pub enum SilenceCommand {
    /// Keep silent as a file says: for a time, or again and again.
    Add(AddArgs),
    /// List silences, the newest first.
    List(Limit),
    /// Show a silence with everything in it.
    Show(Id),
    /// End a silence: what it held goes on.
    End(Id),
}

#[derive(Debug, Args)]
pub struct AddArgs {
    /// The silence, YAML or JSON; `-` is the standard input.
    file: PathBuf,
}

impl SilenceCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        match self {
            Self::Add(args) => {
                let silence: SilenceDocument = Written::of(&args.file)?.read()?;
                let made = session.act(&[PATH], &json!(silence), SILENCES).await;
                made.map_err(|failure| about(&args.file, failure))
            }
            Self::List(page) => session.list(&[PATH], &Vec::new(), page.limit, SILENCES).await,
            Self::Show(of) => session.show(&[PATH, &of.id.to_string()], &Vec::new()).await,
            Self::End(of) => {
                let id = of.id.to_string();
                session.client.delete(&[PATH, &id]).await?;
                session.printer.line(&format!("{id} is over"))?;
                Ok(Exit::Done)
            }
        }
    }
}
