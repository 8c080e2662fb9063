//! `core314 token create`, `list` and `revoke`.

use clap::Args;
use core314_domain::words::{KeyScope, Role};
use serde_json::{Value, json};

use super::Global;
use super::client::{self, Client};
use super::outcome::{Exit, Failure};
use super::print::{Columns, Printer};

const COLUMNS: Columns<'_> = &[
    ("NAME", "name"),
    ("SCOPE", "scope"),
    ("ROLES", "roles"),
    ("CREATED", "created_at"),
    ("EXPIRES", "expires_at"),
    ("REVOKED", "revoked_at"),
    ("ID", "id"),
];

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// What the key is for, such as the name of the program that will hold it.
    name: String,
    /// A key that may act for every tenant, and sees all of them.
    #[arg(long)]
    platform: bool,
    /// What the key may do: viewer, operator or admin; may be given more than once.
    #[arg(long, value_name = "ROLE", default_value = "admin")]
    role: Vec<Role>,
    /// When it stops working, such as 2030-01-01T00:00:00Z; never, without it.
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// The keys of every tenant and of the platform, as a platform key sees them.
    #[arg(long)]
    platform: bool,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    limit: usize,
}

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The key's id.
    id: uuid::Uuid,
    /// The key is one of the platform.
    #[arg(long)]
    platform: bool,
}

pub fn create(global: &Global, printer: &Printer, args: &CreateArgs) -> Result<Exit, Failure> {
    let client = connect(global, args.platform)?;
    let scope = if args.platform { KeyScope::Platform } else { KeyScope::Tenant };
    let body = json!({"name": args.name, "roles": args.role, "expires_at": args.expires_at, "scope": scope});
    let made = client::block_on(client.post(&["tokens"], &body))?;
    if !printer.is_table() {
        printer.value(&made)?;
        return Ok(Exit::Done);
    }
    let text = |name: &str| made[name].as_str().map(str::to_owned).unwrap_or_default();
    printer.line(&text("key"))?;
    // Not on the standard output: a script takes the key from there.
    eprintln!("This is the key of '{}', shown this once. `core314 token revoke {}` ends it.", args.name, text("id"));
    Ok(Exit::Done)
}

pub fn list(global: &Global, printer: &Printer, args: &ListArgs) -> Result<Exit, Failure> {
    let client = connect(global, args.platform)?;
    let rows: Vec<Value> = client::block_on(client.list(&["tokens"], &[], args.limit))?;
    printer.rows(COLUMNS, &rows)?;
    Ok(Exit::Done)
}

pub fn revoke(global: &Global, printer: &Printer, args: &RevokeArgs) -> Result<Exit, Failure> {
    let client = connect(global, args.platform)?;
    client::block_on(client.delete(&["tokens", &args.id.to_string()]))?;
    printer.line(&format!("{} is revoked", args.id))?;
    Ok(Exit::Done)
}

fn connect(global: &Global, platform: bool) -> Result<Client, Failure> {
    let client = Client::new(global)?;
    Ok(if platform { client.for_platform() } else { client })
}
