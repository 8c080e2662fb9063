//! `core314 token`: keys with which programs reach the server.

use std::io::{self, IsTerminal};

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use core314_domain::words::KeyScope;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::args::{Limit, query};
use super::client::Client;
use super::outcome::{Exit, Failure};
use super::print::{self, Columns};
use super::session::Session;

const TOKENS: Columns<'_> = &[
    ("NAME", "name"),
    ("SCOPE", "scope"),
    ("ROLES", "roles"),
    ("CREATED", "created_at"),
    ("EXPIRES", "expires_at"),
    ("REVOKED", "revoked_at"),
    ("TOKEN", "id"),
];
/// A key that lives longer than a century lives for ever, which is the default.
const MOST_DAYS: i64 = 36_500;

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a key; it is shown this once.
    Create(CreateArgs),
    /// List keys, without their secrets.
    List(ListArgs),
    /// Take a key out of use, at once and for good.
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// What it is for.
    name: String,
    /// May act for any user and sees the whole platform; only a platform key can make one.
    #[arg(long)]
    platform: bool,
    /// What it may do: `viewer` reads, `operator` also starts and decides, `admin` also writes definitions. Can be given
    /// several times; a platform key without it may do everything.
    #[arg(long = "role", value_name = "ROLE", value_parser = ["viewer", "operator", "admin"], required_unless_present = "platform")]
    roles: Vec<String>,
    /// When it ends: a time (RFC 3339), or a number with d, h or m from now, such as 90d. Without it the key does not end.
    #[arg(long, value_name = "TIME", value_parser = end)]
    expires: Option<DateTime<Utc>>,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// The platform's keys, not those of the tenant.
    #[arg(long)]
    platform: bool,
    #[command(flatten)]
    page: Limit,
}

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The key's id, as `core314 token list` shows it.
    id: Uuid,
    /// A key of the platform.
    #[arg(long)]
    platform: bool,
}

impl TokenCommand {
    pub async fn perform(self, session: Session<'_>) -> Result<Exit, Failure> {
        let is_platform = match &self {
            Self::Create(args) => args.platform,
            Self::List(args) => args.platform,
            Self::Revoke(args) => args.platform,
        };
        let client = if is_platform { Client::for_platform(session.client) } else { session.client };
        let session = Session { client, ..session };
        match self {
            Self::Create(args) => create(&session, args).await,
            Self::List(args) => {
                // Whoever is the platform sees the keys of all tenants, too.
                let scope = args.platform.then(|| KeyScope::Platform.to_string());
                session.list(&["tokens"], &query([("scope", scope)]), args.page.limit, TOKENS).await
            }
            Self::Revoke(args) => {
                let id = args.id.to_string();
                session.delete(&["tokens", &id], &id).await
            }
        }
    }
}

async fn create(session: &Session<'_>, args: CreateArgs) -> Result<Exit, Failure> {
    let roles = if args.roles.is_empty() { vec!["admin".to_owned()] } else { args.roles };
    let mut body = Map::from_iter([("name".to_owned(), json!(args.name)), ("roles".to_owned(), json!(roles))]);
    if args.platform {
        body.insert("scope".to_owned(), json!("platform"));
    }
    let expires = args.expires.map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true));
    body.extend(expires.map(|time| ("expires_at".to_owned(), json!(time))));
    let made = session.client.post(&["tokens"], &Value::Object(body)).await?;
    if !session.printer.is_table() {
        return session.printer.value(&made).map(|()| Exit::Done);
    }
    let (shown, beside) = told(&made, io::stdout().is_terminal());
    session.printer.line(&shown)?;
    print::aside(&beside);
    Ok(Exit::Done)
}

/// What is said of a key that was made, as the result and beside it. Whoever takes the result into a variable or a file wants the
/// key and nothing else.
fn told(made: &Value, is_for_a_person: bool) -> (String, String) {
    const KEEP: &str = "Keep the key now: it is not shown again. Use it with --key or CORE314_KEY.";
    let [id, key] = ["id", "key"].map(|member| made[member].as_str().unwrap_or_default());
    if is_for_a_person {
        (format!("id   {id}\nkey  {key}"), KEEP.to_owned())
    } else {
        (key.to_owned(), format!("The key's id is {id}. {KEEP}"))
    }
}

/// A time that is given as such, or as a distance from now.
fn end(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let wrong = || "must be a time such as 2027-01-31T00:00:00Z, or a number with d, h or m, such as 90d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let minutes = match unit {
        'd' => 24 * 60,
        'h' => 60,
        'm' => 1,
        _ => return Err(wrong()),
    };
    let number: i64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let total = number.checked_mul(minutes).filter(|total| (1..=MOST_DAYS * 24 * 60).contains(total));
    let total = total.ok_or_else(|| format!("must be a minute to {MOST_DAYS} days from now"))?;
    Ok(Utc::now() + Duration::minutes(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_gets_the_key_alone() {
        let made = json!({"id": "7", "key": "sk_x"});
        assert_eq!(told(&made, true).0, "id   7\nkey  sk_x");
        let (shown, beside) = told(&made, false);
        assert_eq!(shown, "sk_x");
        assert!(beside.starts_with("The key's id is 7. Keep the key now"), "{beside}");
    }

    #[test]
    fn an_end_is_a_time_or_a_distance() {
        assert_eq!(end("2027-01-31T00:00:00Z").unwrap().to_rfc3339(), "2027-01-31T00:00:00+00:00");
        let distance = end("90d").unwrap() - Utc::now();
        assert!((89..=90).contains(&distance.num_days()), "{distance}");
        for text in ["", "d", "90", "90y", "-1d", "0h", "9999999999999999999d", "99999d", "1é"] {
            assert!(end(text).is_err(), "{text}");
        }
    }
}
