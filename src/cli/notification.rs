//! `core314 notification`: the inbox of whoever asks.

use clap::{Args, Subcommand};
use core314_domain::words::{NotificationStatus, NotificationType, Severity};
use serde_json::json;
use uuid::Uuid;

use super::args::{Id, Limit, query, word};
use super::outcome::{Exit, Failure};
use super::print::Columns;
use super::session::Session;

const PATH: &str = "notifications";
const NOTIFICATIONS: Columns<'_> = &[
    ("SINCE", "created_at"),
    ("STATUS", "status"),
    ("SEVERITY", "severity"),
    ("TITLE", "title"),
    ("MESSAGE", "message"),
    ("NOTIFICATION", "id"),
];
const READ: Columns<'_> = &[("READ", "read_count")];
const UNREAD: Columns<'_> = &[("UNREAD", "unread_count")];

#[derive(Debug, Subcommand)]
pub enum NotificationCommand {
    /// List your notifications, the newest first.
    List(ListArgs),
    /// Count those that you have not read.
    Count,
    /// Mark a notification as read, or all of them.
    Read(ReadArgs),
    /// Put a notification away.
    Archive(Id),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only those that stand so.
    #[arg(long, value_name = "STATUS", value_parser = word::<NotificationStatus>(NotificationStatus::WORDS.iter().copied()))]
    status: Option<NotificationStatus>,
    /// Only those of this kind.
    #[arg(long = "type", value_name = "TYPE", value_parser = word::<NotificationType>(NotificationType::WORDS.iter().copied()))]
    kind: Option<NotificationType>,
    /// Only those that matter so much.
    #[arg(long, value_name = "SEVERITY", value_parser = word::<Severity>(Severity::WORDS.iter().copied()))]
    severity: Option<Severity>,
    #[command(flatten)]
    page: Limit,
}

#[derive(Debug, Args)]
pub struct ReadArgs {
    /// The notification, as the list shows it.
    #[arg(required_unless_present = "all")]
    id: Option<Uuid>,
    /// All that are unread.
    #[arg(long, conflicts_with = "id")]
    all: bool,
}

impl NotificationCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        match self {
            Self::List(args) => {
                let filters = query([
                    ("status", args.status.map(|status| status.to_string())),
                    ("type", args.kind.map(|kind| kind.to_string())),
                    ("severity", args.severity.map(|severity| severity.to_string())),
                ]);
                session.list(&[PATH], &filters, args.page.limit, NOTIFICATIONS).await
            }
            Self::Count => {
                let count = session.client.get(&[PATH, "unread-count"], &[]).await?;
                session.outcome(&count, UNREAD)
            }
            Self::Read(args) => match args.id.filter(|_| !args.all) {
                Some(id) => session.act(&[PATH, &id.to_string(), "read"], &json!({}), NOTIFICATIONS).await,
                None => session.act(&[PATH, "read-all"], &json!({}), READ).await,
            },
            Self::Archive(of) => session.act(&[PATH, &of.id.to_string(), "archive"], &json!({}), NOTIFICATIONS).await,
        }
    }
}
