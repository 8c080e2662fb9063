//! `core314 actors`: the live supervision tree, for those who run the platform.

use clap::{Args, Subcommand};
use serde_json::json;

use super::args::{Limit, query};
use super::client::Client;
use super::outcome::{Exit, Failure};
use super::print::Columns;
use super::session::Session;

const ACTORS: Columns<'_> = &[
    ("PATH", "path"),
    ("KIND", "kind"),
    ("STATE", "state"),
    ("MAILBOX", "mailbox_depth"),
    ("HANDLED", "handled"),
    ("RESTARTS", "restarts"),
    ("AGE MS", "age_ms"),
    ("LAST FAILURE", "last_failure"),
];
const RESTARTED: Columns<'_> = &[("PATH", "path"), ("RESTARTING", "restarting")];

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ActorsArgs {
    #[command(subcommand)]
    command: Option<ActorsCommand>,
    /// Only actors of this kind, such as `queue_partition`.
    #[arg(long)]
    kind: Option<String>,
    #[command(flatten)]
    page: Limit,
}

#[derive(Debug, Subcommand)]
enum ActorsCommand {
    /// Stop an actor in order and start it afresh; it reads its state again.
    Restart {
        /// Its path, as `core314 actors` shows it.
        path: String,
    },
}

pub async fn perform(session: Session<'_>, args: ActorsArgs) -> Result<Exit, Failure> {
    // A node's actors belong to nobody's tenant.
    let session = Session { client: Client::for_platform(session.client), ..session };
    match args.command {
        None => session.list(&["actors"], &query([("kind", args.kind)]), args.page.limit, ACTORS).await,
        Some(ActorsCommand::Restart { path }) => {
            let segments = ["actors"].into_iter().chain(path.split('/')).chain(["restart"]);
            session.act(&segments.collect::<Vec<_>>(), &json!({}), RESTARTED).await
        }
    }
}
