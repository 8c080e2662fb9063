//! `core314 integration`: named connections to services outside.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::args::Limit;
use super::outcome::{Exit, Failure};
use super::print::Columns;
use super::session::Session;
use super::written::{self, Written};

const INTEGRATIONS: Columns<'_> = &[
    ("NAME", "name"),
    ("KIND", "kind"),
    ("ENDPOINT", "endpoint"),
    ("ACTIVE", "is_active"),
    ("CHANGED", "updated_at"),
    ("INTEGRATION", "id"),
];
const TEMPLATES: Columns<'_> =
    &[("TEMPLATE", "template"), ("CONNECTS TO", "about"), ("SECRETS", "credentials"), ("TO BE GIVEN", "own_settings")];
const KINDS: Columns<'_> = &[("KIND", "kind"), ("CONNECTS TO", "about"), ("ENDPOINT", "endpoint")];

#[derive(Debug, Subcommand)]
pub enum IntegrationCommand {
    /// Make an integration. Its credentials are secrets that `core314 secret set` has kept.
    Add(AddArgs),
    /// List integrations.
    List(Limit),
    /// List the kinds there are; with -o json also what each needs.
    Kinds,
    /// List templates for the usual services, for `add --template`.
    Templates,
    /// Make a real call to the service behind an integration, and say what came of it.
    Test(Named),
    /// Print where a person is to consent, so that the service gives tokens: to be opened in a browser.
    Consent(Named),
    /// Show an integration. Its credentials are names.
    Show(Named),
    /// Show whether the service behind an integration is well; with a flag, put a hand on its breaker.
    Breaker(BreakerArgs),
    /// Remove an integration; actions that name it fail from then on.
    Remove(Named),
}

#[derive(Debug, Args)]
pub struct AddArgs {
    /// What `action_target` calls it; with a template its name where nothing is said.
    #[arg(required_unless_present_any = ["template", "file"])]
    name: Option<String>,
    /// A document, in YAML or JSON, that says all of it: `name`, `kind`, `endpoint`, `credentials`, `settings`, `limits`, `retry`. Flags go
    /// before what it says; `-` is the standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "template")]
    file: Option<PathBuf>,
    /// What it connects to; `core314 integration kinds` lists them.
    #[arg(long, value_name = "KIND", required_unless_present_any = ["template", "file"])]
    kind: Option<String>,
    /// A well-known service; `core314 integration templates` lists them. Flags go before what it says.
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// Where the service is; without it the kind's own address.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Where else the same service is, for the time in which it is ill.
    #[arg(long, value_name = "URL")]
    backup_endpoint: Option<String>,
    /// Calls under way at once at most.
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// Calls that may start in a second at most.
    #[arg(long, value_name = "N")]
    per_second: Option<u32>,
    /// Attempts of an action whose step and flow say nothing of their own, the first included.
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
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
            Self::Kinds => table(session, "kinds", KINDS).await,
            Self::Templates => table(session, "templates", TEMPLATES).await,
            Self::Test(of) => test(session, &of.name).await,
            Self::Consent(of) => {
                let answer = session.client.post(&["integrations", &of.name, "consent"], &json!({})).await?;
                session.printer.value(&answer).map(|()| Exit::Done)
            }
            Self::Show(of) => session.show(&["integrations", &of.name], &Vec::new()).await,
            Self::Breaker(args) => breaker(session, args).await,
            Self::Remove(of) => session.delete(&["integrations", &of.name], &of.name).await,
        }
    }
}

#[derive(Debug, Args)]
pub struct BreakerArgs {
    /// The integration's name or id.
    name: String,
    /// Hold it there, whatever the calls say: `open` or `closed`; `auto` lets it go.
    #[arg(long = "set", value_name = "STATE", value_parser = ["open", "closed", "auto"])]
    set: Option<String>,
}

async fn breaker(session: &Session<'_>, args: BreakerArgs) -> Result<Exit, Failure> {
    let path = ["integrations", args.name.as_str(), "breaker"];
    let answer = match args.set {
        Some(state) => session.client.post(&path, &json!({"state": state})).await?,
        None => session.client.get(&path, &[]).await?,
    };
    session.printer.value(&answer).map(|()| Exit::Done)
}

/// All rows of what comes with the server.
async fn items(session: &Session<'_>, what: &str) -> Result<Vec<Value>, Failure> {
    match session.client.get(&["integrations", what], &[]).await?["items"].take() {
        Value::Array(items) => Ok(items),
        _ => Err(Failure::new(Exit::Failed, "the server's answer has no items: is it a Core314 server?")),
    }
}

async fn table(session: &Session<'_>, what: &str, columns: Columns<'_>) -> Result<Exit, Failure> {
    session.printer.rows(columns, &items(session, what).await?)?;
    Ok(Exit::Done)
}

async fn test(session: &Session<'_>, name: &str) -> Result<Exit, Failure> {
    let answer = session.client.post(&["integrations", name, "test"], &json!({})).await?;
    session.printer.value(&answer)?;
    if answer["ok"] == json!(true) { Ok(Exit::Done) } else { Ok(Exit::Failed) }
}

async fn add(session: &Session<'_>, args: AddArgs) -> Result<Exit, Failure> {
    let mut body = match (&args.template, &args.file) {
        (Some(template), _) => of_template(session, template).await?,
        (None, Some(file)) => document(file)?,
        (None, None) => json!({"credentials": {}, "settings": {}}),
    };
    for (field, value) in [("name", args.name), ("kind", args.kind)] {
        if let Some(value) = value {
            body[field] = json!(value);
        }
    }
    for (name, secret) in args.credentials {
        body["credentials"][name] = json!(reference(&secret));
    }
    for (name, text) in args.settings {
        body["settings"][name] = setting(text);
    }
    if let Some(endpoint) = args.endpoint {
        body["endpoint"] = json!(endpoint);
    }
    if let Some(endpoint) = args.backup_endpoint {
        body["backup_endpoint"] = json!(endpoint);
    }
    if let Some(max) = args.concurrency {
        body["limits"]["concurrency"] = json!(max);
    }
    if let Some(max) = args.per_second {
        body["limits"]["rate"] = json!({"max": max});
    }
    if let Some(max) = args.max_attempts {
        body["retry"]["max_attempts"] = json!(max);
    }
    let made = session.client.post(&["integrations"], &body).await?;
    session.outcome(&made, INTEGRATIONS)
}

/// What a template says, as far as everybody says the same.
async fn of_template(session: &Session<'_>, name: &str) -> Result<Value, Failure> {
    let found = items(session, "templates").await?.into_iter().find(|template| template["template"] == json!(name));
    let found = found.ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("there is no template '{name}'"))
            .hint("`core314 integration templates` shows those there are")
    })?;
    let mut body = json!({"name": found["template"], "kind": found["kind"], "settings": found["settings"],
        "credentials": found["credentials"]});
    if !found["endpoint"].is_null() {
        body["endpoint"] = found["endpoint"].clone();
    }
    Ok(body)
}

/// What a document says.
fn document(file: &Path) -> Result<Value, Failure> {
    let body = Written::of(file)?.value;
    if body.is_object() { Ok(body) } else { Err(written::in_file(file, "must be an object")) }
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
