//! `core314 secret`: values that actions need and nobody reads back.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::args::{Limit, read_text};
use super::client::Client;
use super::outcome::{Exit, Failure};
use super::print::{Columns, aside};
use super::session::Session;

const SECRETS: Columns<'_> = &[
    ("NAME", "name"),
    ("DESCRIPTION", "description"),
    ("VERSION", "version"),
    ("CHANGED", "updated_at"),
    ("SECRET", "id"),
];

#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Keep a value under a name, or replace the one that is there. It is read from the standard input.
    Set(SetArgs),
    /// List secrets, without their values.
    List(Limit),
    /// Remove a secret that no integration uses.
    Remove(Named),
    /// Encrypt every secret with the key of now, after `CORE314_SECRET_KEY` was changed; for those who run the platform.
    RotateKey,
}

#[derive(Debug, Args)]
pub struct SetArgs {
    /// What payloads and integrations call it, as in `secrets.NAME`.
    name: String,
    /// Read the value from this file, without the line break at its end.
    #[arg(long, value_name = "FILE", conflicts_with = "from_env")]
    from_file: Option<PathBuf>,
    /// Read the value from this variable of the environment.
    #[arg(long, value_name = "VARIABLE")]
    from_env: Option<String>,
    /// For how long the value before stays good beside this one, in seconds.
    #[arg(long, value_name = "SECONDS")]
    overlap: Option<u64>,
    /// What it is for; shown.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Debug, Args)]
pub struct Named {
    /// Its name or id.
    name: String,
}

impl SecretCommand {
    pub async fn perform(self, session: Session<'_>) -> Result<Exit, Failure> {
        if matches!(self, Self::RotateKey) {
            let client = Client::for_platform(session.client);
            return rotate(&Session { client, ..session }).await;
        }
        let session = &session;
        match self {
            Self::RotateKey => Ok(Exit::Done),
            Self::Set(args) => set(session, args).await,
            Self::List(page) => session.list(&["secrets"], &Vec::new(), page.limit, SECRETS).await,
            Self::Remove(secret) => session.delete(&["secrets", &secret.name], &secret.name).await,
        }
    }
}

async fn set(session: &Session<'_>, args: SetArgs) -> Result<Exit, Failure> {
    let mut body = Map::from_iter([("value".to_owned(), json!(value(&args)?))]);
    body.extend(args.description.map(|text| ("description".to_owned(), json!(text))));
    let path = ["secrets", args.name.as_str()];
    let saved = match session.client.get(&path, &[]).await {
        Ok(known) => {
            let version = known["version"].as_i64().unwrap_or_default();
            body.extend(args.overlap.map(|seconds| ("overlap_seconds".to_owned(), json!(seconds))));
            session.client.patch(&path, version, &Value::Object(body)).await?
        }
        Err(failure) if failure.exit == Exit::NotFound => {
            body.insert("name".to_owned(), json!(args.name));
            session.client.post(&["secrets"], &Value::Object(body)).await?
        }
        Err(failure) => return Err(failure),
    };
    session.outcome(&saved, SECRETS)
}

/// Goes on until nothing is left. Whoever is interrupted starts again: what is done is not done twice.
async fn rotate(session: &Session<'_>) -> Result<Exit, Failure> {
    let (mut body, mut resealed, mut unreadable) = (json!({}), 0, 0);
    loop {
        let step = session.client.post(&["secrets", "rotate-key"], &body).await?;
        resealed += step["resealed"].as_u64().unwrap_or_default();
        unreadable += step["unreadable"].as_u64().unwrap_or_default();
        let Some(next) = step["next"].as_str() else { break };
        aside(&format!("{resealed} secrets encrypted anew ..."));
        body = json!({"next": next});
    }
    if unreadable > 0 {
        return Err(Failure::new(Exit::Failed, format!("{unreadable} secrets can be read with neither key")).hint(
            "set CORE314_SECRET_KEY_PREVIOUS to the key that they were encrypted with; the server's log names them",
        ));
    }
    session.printer.line(&format!("{resealed} secrets encrypted anew; CORE314_SECRET_KEY_PREVIOUS can go now"))?;
    Ok(Exit::Done)
}

fn value(args: &SetArgs) -> Result<String, Failure> {
    let text = match (&args.from_env, &args.from_file) {
        (Some(variable), _) => std::env::var(variable)
            .map_err(|_| Failure::new(Exit::Usage, format!("--from-env {variable}: there is no such variable")))?,
        (None, Some(path)) => read_text(path)
            .map_err(|error| Failure::new(Exit::Usage, format!("--from-file {}: {error}", path.display())))?,
        (None, None) => {
            if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
                aside("Type or paste the value, then Enter and Ctrl-D. It is shown as you type: better pipe it in.");
            }
            read_text(Path::new("-"))
                .map_err(|error| Failure::new(Exit::Usage, format!("the standard input: {error}")))?
        }
    };
    // The line break that editors and `echo` put at the end is no part of it.
    Ok(text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text)).to_owned())
}
