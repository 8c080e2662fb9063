//! `core314 user`, `contact` and `preference`: who is told, how they are reached, and how they want it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use core314_domain::people::ContactKind;
use core314_domain::words::Role;
use serde_json::json;
use uuid::Uuid;

use super::args::{Id, Limit, word};
use super::outcome::{Exit, Failure};
use super::print::Columns;
use super::session::Session;
use super::written::Written;

const USERS: Columns<'_> =
    &[("NAME", "name"), ("EMAIL", "email"), ("ROLE", "role"), ("ADDED", "created_at"), ("USER", "user_id")];
const CONTACTS: Columns<'_> = &[
    ("KIND", "kind"),
    ("ADDRESS", "address"),
    ("VERIFIED", "verified"),
    ("CODE SENT", "code_sent_at"),
    ("CONTACT METHOD", "id"),
];

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Put somebody into the directory.
    Add(AddUserArgs),
    /// List the directory.
    List(Limit),
    /// Show somebody.
    Show(Person),
    /// Change what the directory says of somebody.
    Change(ChangeUserArgs),
    /// Take somebody out of the directory, with their contact methods and preferences here.
    Remove(Person),
}

#[derive(Debug, Args)]
pub struct AddUserArgs {
    /// Where they get their mail; no other user of the tenant has it.
    email: String,
    /// What they are called.
    name: String,
    /// Who is told where `role:ROLE` is a recipient.
    #[arg(long, value_name = "ROLE", default_value = "operator", value_parser = role())]
    role: Role,
    /// The id that they have elsewhere, such as `sub` in their tokens; without it they get one.
    #[arg(long, value_name = "ID")]
    id: Option<Uuid>,
}

#[derive(Debug, Args)]
pub struct ChangeUserArgs {
    #[command(flatten)]
    of: Person,
    /// Their new address.
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// What they are called from now on.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Their new role.
    #[arg(long, value_name = "ROLE", value_parser = role())]
    role: Option<Role>,
}

#[derive(Debug, Args)]
pub struct Person {
    /// The person's id, as the list shows it.
    #[arg(value_name = "USER")]
    person: Uuid,
}

fn role() -> impl clap::builder::TypedValueParser<Value = Role> {
    word::<Role>(Role::ALL.iter().map(|word| word.as_str()))
}

impl UserCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        match self {
            Self::Add(args) => {
                let body = json!({"email": args.email, "name": args.name, "role": args.role, "person_id": args.id});
                session.act(&["users"], &body, USERS).await
            }
            Self::List(page) => session.list(&["users"], &Vec::new(), page.limit, USERS).await,
            Self::Show(of) => session.show(&["users", &of.person.to_string()], &Vec::new()).await,
            Self::Change(args) => {
                let id = args.of.person.to_string();
                let path = ["users", id.as_str()];
                let version = session.client.get(&path, &[]).await?["version"].as_i64().unwrap_or_default();
                let body = json!({"email": args.email, "name": args.name, "role": args.role});
                let row = session.client.patch(&path, version, &body).await?;
                session.outcome(&row, USERS)
            }
            Self::Remove(of) => {
                let id = of.person.to_string();
                session.delete(&["users", &id], &id).await
            }
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum ContactCommand {
    /// Add a way to reach you; a code is sent there.
    Add(AddContactArgs),
    /// List how you are reached.
    List(Limit),
    /// Give the code that was sent, which proves the address to be yours.
    Verify(VerifyArgs),
    /// Have another code sent.
    SendCode(Id),
    /// Remove a contact method.
    Remove(Id),
}

#[derive(Debug, Args)]
pub struct AddContactArgs {
    /// By what.
    #[arg(value_name = "KIND", value_parser = word::<ContactKind>(ContactKind::ALL.iter().map(|word| word.as_str())))]
    kind: ContactKind,
    /// An e-mail address, a number such as +12025550123, the id of a Slack member, or a URL.
    address: String,
    /// The integration that messages go through; without it the one that is called as the kind.
    #[arg(long, value_name = "NAME")]
    integration: Option<String>,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The contact method, as the list shows it.
    id: Uuid,
    /// Eight digits.
    code: String,
}

impl ContactCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let path = "contact-methods";
        match self {
            Self::Add(args) => {
                let body = json!({"kind": args.kind, "address": args.address, "integration": args.integration});
                session.act(&[path], &body, CONTACTS).await
            }
            Self::List(page) => session.list(&[path], &Vec::new(), page.limit, CONTACTS).await,
            Self::Verify(args) => {
                let body = json!({"code": args.code});
                session.act(&[path, &args.id.to_string(), "verify"], &body, CONTACTS).await
            }
            Self::SendCode(of) => session.act(&[path, &of.id.to_string(), "send-code"], &json!({}), CONTACTS).await,
            Self::Remove(of) => {
                let id = of.id.to_string();
                session.delete(&[path, &id], &id).await
            }
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum PreferenceCommand {
    /// Show how you want to be told.
    Show,
    /// Replace how you want to be told, by a file of YAML or JSON.
    Set(SetArgs),
}

#[derive(Debug, Args)]
pub struct SetArgs {
    /// YAML or JSON; `-` is the standard input.
    file: PathBuf,
}

impl PreferenceCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let found = session.client.list(&["preferences"], &[], 1).await?.pop();
        match self {
            Self::Show => match found {
                Some(row) => session.printer.value(&row)?,
                None => session.printer.line("You have set none: what is high or critical is sent to you at once.")?,
            },
            Self::Set(args) => {
                let version = found.as_ref().and_then(|row| row["version"].as_i64()).unwrap_or_default();
                let row = session.client.patch(&["preferences"], version, &Written::of(&args.file)?.value).await?;
                session.printer.value(&row)?;
            }
        }
        Ok(Exit::Done)
    }
}
