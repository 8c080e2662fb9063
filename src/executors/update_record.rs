//! `update_record`: changes a record of another system: rows of a database, or one that a REST service keeps. The integration
//! that `action_target` names says which by its kind; a file of SQLite is named by the server's configuration.
//!
//! A change says what it expects: which rows and how many, and what they hold (or which version a service's record has). A
//! repeated attempt finds what an earlier one has changed, and changes nothing twice.

pub mod postgres;
mod rest;
pub mod rows;
mod sqlite;

use std::sync::Arc;

use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Executor, Performed, Target, Trial};
use core314_actors::ports::integration::Integration;
use core314_actors::ports::records::{Place, Records};
use core314_domain::Json;
use core314_domain::integration::Kind;
use core314_domain::log::{Failure, HttpFigures};
use core314_domain::plan::Problem;
use serde_json::{Map, Value};

use super::client::{self, HttpClient, invalid};
use super::connect::http;
use super::failure::Code;
use super::payload::{Reader, Reading};
use super::redact::Redactor;
pub use rows::{QUERIES, TABLES};
pub use sqlite::{Databases, RecordSettings, RecordsError};

const KINDS: [&Kind; 2] = [&http::KIND, &postgres::KIND];

/// Changes records.
pub struct UpdateRecord {
    http: Arc<HttpClient>,
    records: Arc<dyn Records>,
    databases: Arc<Databases>,
}

impl UpdateRecord {
    /// An executor that shares a client, and changes rows by these.
    pub fn new(http: Arc<HttpClient>, records: Arc<dyn Records>, databases: Arc<Databases>) -> Self {
        Self { http, records, databases }
    }
}

impl Executor for UpdateRecord {
    fn action_type(&self) -> &'static str {
        "update_record"
    }

    fn kinds(&self) -> &'static [&'static Kind] {
        &KINDS
    }

    fn check(&self, to: &Target<'_>, payload: &Value) -> Vec<Problem> {
        let Some(integration) = to.integration else {
            let Some((_, tables)) = self.databases.get(to.word) else { return vec![no_integration(to.word)] };
            return rows::read(payload, Reading::Document, tables).err().unwrap_or_default();
        };
        if integration.kind == http::KIND.word && integration.definition.text("auth") == Some("oauth2") {
            return vec![Problem::new("", "auth oauth2 is not possible with this action: use api_call")];
        }
        let settings = &integration.definition.settings;
        let problems = if integration.kind == postgres::KIND.word {
            rows::read(payload, Reading::Document, settings).map(drop)
        } else {
            rest::read(payload, Reading::Document).map(drop)
        };
        problems.err().unwrap_or_default()
    }

    fn logged(&self, payload: &Json) -> Json {
        Redactor::new(payload).logged_payload()
    }

    /// `http` is tested by `api_call`.
    fn trial(&self, integration: &Integration) -> Option<Trial> {
        (integration.kind == postgres::KIND.word).then_some(Trial::Probe)
    }

    fn probe(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let (http, records) = (self.http.clone(), self.records.clone());
        Box::pin(async move {
            let outcome = match attempt.connection.as_deref() {
                None => Err(invalid(&[no_integration(&attempt.action_target)])),
                Some(connection) => rows::probe(records.as_ref(), &attempt, postgres::place(&http, connection)).await,
            };
            client::performed(outcome, &Redactor::of(&attempt), None)
        })
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let (http, records, databases) = (self.http.clone(), self.records.clone(), self.databases.clone());
        Box::pin(async move {
            let mut redactor = Redactor::of(&attempt);
            let mut figures: Option<HttpFigures> = None;
            let outcome = match attempt.connection.as_deref() {
                None => of_machine(&databases, records.as_ref(), &attempt).await,
                Some(connection) if connection.kind.word == postgres::KIND.word => {
                    let place = postgres::place(&http, connection);
                    rows::update(records.as_ref(), &attempt, &connection.settings, place).await
                }
                Some(connection) => rest::update(&http, &attempt, connection, &mut redactor, &mut figures).await,
            };
            client::performed(outcome, &redactor, figures)
        })
    }
}

/// Rows of a file that the configuration names.
async fn of_machine(databases: &Databases, records: &dyn Records, attempt: &Attempt) -> Result<Value, Failure> {
    let none = || invalid(&[no_integration(&attempt.action_target)]);
    let (path, tables) = databases.get(&attempt.action_target).ok_or_else(none)?;
    if !databases.may(attempt.owner.tenant) {
        let message = "executors.records.tenants of this server's configuration does not name this tenant";
        return Err(Code::Refused.failure(message));
    }
    let place = std::future::ready(Ok(Place::Sqlite(path.to_owned())));
    rows::update(records, attempt, tables, place).await
}

fn no_integration(word: &str) -> Problem {
    let message = format!(
        "action_target '{word}' names neither an integration of the kinds http, postgres nor a database of executors.records.sqlite"
    );
    Problem::new("", message).of_absence()
}

/// A reader of a payload; `None` when nothing can be read yet.
fn reader(payload: &Value, reading: Reading) -> Result<Option<Reader<'_>>, Vec<Problem>> {
    match Reader::new(payload, reading) {
        Ok(reader) => Ok(Some(reader)),
        Err(problems) if problems.is_empty() => Ok(None),
        Err(problems) => Err(problems),
    }
}

/// An object that must say something.
fn read_object(reader: &mut Reader<'_>, key: &str, is_required: bool) -> Map<String, Value> {
    if is_required && !reader.has(key) {
        reader.problem(&[key], "is required");
    }
    let map = reader.object(key).cloned();
    if map.as_ref().is_some_and(Map::is_empty) {
        reader.problem(&[key], "must not be empty");
    }
    map.unwrap_or_default()
}
