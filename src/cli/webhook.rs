//! `core314 webhook`: addresses at which others start flows.

use clap::{Args, Subcommand};
use core314_domain::words::TriggerType;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::args::{Id, Limit, word};
use super::outcome::{Exit, Failure};
use super::print::{Columns, aside};
use super::session::Session;

const WEBHOOKS: Columns<'_> = &[
    ("NAME", "name"),
    ("VERIFICATION", "verification"),
    ("TRIGGER", "trigger_type"),
    ("FLOW", "flow_id"),
    ("ACTIVE", "is_active"),
    ("CREATED", "created_at"),
    ("WEBHOOK", "id"),
];
const DELIVERIES: Columns<'_> = &[
    ("RECEIVED", "received_at"),
    ("STATUS", "delivery_status"),
    ("PROVIDER'S ID", "delivery_key"),
    ("RUNS", "run_ids"),
    ("ERROR", "error"),
    ("DELIVERY", "id"),
];

#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Make a webhook; its address and secret are shown this once.
    Create(CreateArgs),
    /// List webhooks, the newest first.
    List(Limit),
    /// Show a webhook, without its secret.
    Show(Id),
    /// List what was sent to a webhook, the newest first.
    Deliveries(DeliveriesArgs),
    /// Send a webhook a delivery of our own, and say what it would start.
    Test(Id),
    /// Delete a webhook; its address answers no longer.
    Delete(Id),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// What people call it.
    name: String,
    /// Start this flow always (its name or id); without it, whichever flow's trigger and conditions fit.
    #[arg(long, value_name = "NAME", conflicts_with = "trigger")]
    flow: Option<String>,
    /// The trigger whose flows it starts.
    #[arg(long, value_name = "TYPE", default_value = "webhook", value_parser = word::<TriggerType>(TriggerType::ALL.iter().map(|word| word.as_str())))]
    trigger: TriggerType,
    /// How senders prove themselves: `url_secret`, `standard_webhooks`, `github`, `slack`, `hmac` or `bearer`.
    #[arg(long, value_name = "WAY")]
    verification: Option<String>,
}

#[derive(Debug, Args)]
pub struct DeliveriesArgs {
    /// The webhook, as `core314 webhook list` shows it.
    id: Uuid,
    #[command(flatten)]
    page: Limit,
}

impl WebhookCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        match self {
            Self::Create(args) => create(session, args).await,
            Self::List(page) => session.list(&["webhooks"], &Vec::new(), page.limit, WEBHOOKS).await,
            Self::Show(webhook) => session.show(&["webhooks", &webhook.id.to_string()], &Vec::new()).await,
            Self::Deliveries(args) => {
                let path = ["webhooks", &args.id.to_string(), "deliveries"];
                session.list(&path, &Vec::new(), args.page.limit, DELIVERIES).await
            }
            Self::Test(webhook) => {
                let path = ["webhooks", &webhook.id.to_string(), "test"];
                let answer = session.client.post(&path, &json!({})).await?;
                session.printer.value(&answer).map(|()| Exit::Done)
            }
            Self::Delete(webhook) => {
                let id = webhook.id.to_string();
                session.delete(&["webhooks", &id], &id).await
            }
        }
    }
}

async fn create(session: &Session<'_>, args: CreateArgs) -> Result<Exit, Failure> {
    let mut body = Map::from_iter([("name".to_owned(), json!(args.name))]);
    match &args.flow {
        Some(flow) => body.insert("flow_id".to_owned(), json!(session.flow_id(flow).await?)),
        None => body.insert("trigger_type".to_owned(), json!(args.trigger)),
    };
    body.extend(args.verification.map(|verification| ("verification".to_owned(), json!(verification))));
    let made = session.client.post(&["webhooks"], &Value::Object(body)).await?;
    if !session.printer.is_table() {
        return session.printer.value(&made).map(|()| Exit::Done);
    }
    for (heading, member) in [("id", "id"), ("url", "url"), ("secret", "secret")] {
        if let Some(text) = made[member].as_str() {
            session.printer.line(&format!("{heading:<8}{text}"))?;
        }
    }
    aside("Keep the secret now: it is not shown again.");
    Ok(Exit::Done)
}
