//! `core314 dead-letters`: what could not be processed and was set aside, so that nothing is lost in silence.

use clap::Subcommand;
use serde_json::json;

use super::args::{Id, Limit};
use super::outcome::{Exit, Failure};
use super::print::Columns;
use super::session::Session;

const DEAD_LETTERS: Columns<'_> = &[
    ("SET ASIDE", "created_at"),
    ("BY", "actor_path"),
    ("MESSAGE", "message"),
    ("FAILURE", "failure"),
    ("RUN", "flow_run_id"),
    ("SETTLED", "settlement"),
    ("DEAD LETTER", "id"),
];

#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// List what was set aside, the newest first.
    List(Limit),
    /// Process one again.
    Retry(Id),
    /// Give one up for good.
    Discard(Id),
}

impl DeadLettersCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let (letter, verb) = match self {
            Self::List(page) => {
                return session.list(&["dead-letters"], &Vec::new(), page.limit, DEAD_LETTERS).await;
            }
            Self::Retry(letter) => (letter, "retry"),
            Self::Discard(letter) => (letter, "discard"),
        };
        session.act(&["dead-letters", &letter.id.to_string(), verb], &json!({}), DEAD_LETTERS).await
    }
}
