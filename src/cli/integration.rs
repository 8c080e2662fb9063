//! `core314 integration`: named connections to services outside.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::args::Limit;
use super::outcome::{Exit, Failure};
use super::print::Columns;
use super::session::Session;

const INTEGRATIONS: Columns<'_> = &[
    ("NAME", "name"),
    ("KIND", "kind"),
    ("ENDPOINT", "endpoint"),
    ("ACTIVE", "is_active"),
    ("CHANGED", "updated_at"),
    ("INTEGRATION", "id"),
];
const KINDS: Columns<'_> = &[("KIND", "kind"), ("CONNECTS TO", "about"), ("ENDPOINT", "endpoint")];

#[derive(Debug, Subcommand)]
pub enum IntegrationCommand {
    /// Make an integration. Its credentials are secrets that `core314 secret set` has kept.
    Add(AddArgs),
    /// List integrations.
    List(Limit),
    /// List the kinds there are; with -o json also what each needs.
    Kinds,
    /// Show an integration. Its credentials are names.
    Show(Named),
    /// Remove an integration; actions that name it fail from then on.
    Remove(Named),
}

#[derive(Debug, Args)]
pub struct AddArgs {
    /// What `action_target` calls it.
    name: String,
    /// What it connects to; `core314 integration kinds` lists them.
    #[arg(long, value_name = "KIND")]
    kind: String,
    /// Where the service is; without it the kind's own address.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// A credential by the name of the secret that holds it, such as `token=SLACK_TOKEN`. Can be given several times.
    #[arg(long = "credential", value_name = "NAME=SECRET", value_parser = pair)]
    credentials: Vec<(String, String)>,
    /// What else the kind wants to know, such as `auth=bearer`; a value that is JSON is taken as such. Can be given
    /// several times.
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = pair)]
    settings: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub struct Named {
    /// Its name or id.
    name: String,
}

impl IntegrationCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        match self {
            Self::Add(args) => add(session, args).await,
            Self::List(page) => session.list(&["integrations"], &Vec::new(), page.limit, INTEGRATIONS).await,
            Self::Kinds => kinds(session).await,
            Self::Show(of) => session.show(&["integrations", &of.name], &Vec::new()).await,
            Self::Remove(of) => session.delete(&["integrations", &of.name], &of.name).await,
        }
    }
}

async fn kinds(session: &Session<'_>) -> Result<Exit, Failure> {
    let mut answer = session.client.get(&["integrations", "kinds"], &[]).await?;
    let Value::Array(kinds) = answer["items"].take() else {
        return Err(Failure::new(Exit::Failed, "the server's answer has no items: is it a Core314 server?"));
    };
    session.printer.rows(KINDS, &kinds)?;
    Ok(Exit::Done)
}

async fn add(session: &Session<'_>, args: AddArgs) -> Result<Exit, Failure> {
    let credentials: Map<String, Value> =
        args.credentials.into_iter().map(|(name, secret)| (name, json!(reference(&secret)))).collect();
    let settings: Map<String, Value> = args.settings.into_iter().map(|(name, text)| (name, setting(text))).collect();
    let mut body = json!({"name": args.name, "kind": args.kind, "credentials": credentials, "settings": settings});
    if let Some(endpoint) = args.endpoint {
        body["endpoint"] = json!(endpoint);
    }
    let made = session.client.post(&["integrations"], &body).await?;
    session.outcome(&made, INTEGRATIONS)
}

/// `NAME` and `secrets.NAME` are the same.
fn reference(secret: &str) -> String {
    format!("secrets.{}", secret.strip_prefix("secrets.").unwrap_or(secret))
}

/// A value that is JSON, else the text.
fn setting(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("must be NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_with_or_without_its_root() {
        assert_eq!(reference("TOKEN"), "secrets.TOKEN");
        assert_eq!(reference("secrets.TOKEN"), "secrets.TOKEN");
    }

    #[test]
    fn a_setting_is_json_or_a_text() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("a").is_err() && pair("=b").is_err() && pair("a=").is_err());
        assert_eq!(setting("bearer".to_owned()), json!("bearer"));
        assert_eq!(setting("5".to_owned()), json!(5));
        assert_eq!(setting("{\"a\": 1}".to_owned()), json!({"a": 1}));
    }
}
