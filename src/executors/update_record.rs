//! `update_record`: changes a record of another system: rows of a PostgreSQL database, or one that a REST service keeps. The
//! kind of the integration that `action_target` names says which.
//!
//! A change says what it expects: which rows and how many, and what they hold (or which version a service's record has). A
//! repeated attempt finds what an earlier one has changed, and changes nothing twice.

mod postgres;
mod rest;

use std::sync::Arc;

use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Executor, Performed, Target};
use core314_actors::ports::records::Records;
use core314_domain::Json;
use core314_domain::integration::Kind;
use core314_domain::log::HttpFigures;
use core314_domain::plan::Problem;
use serde_json::{Map, Value};

use super::client::{self, HttpClient, invalid};
use super::connect::http;
use super::payload::{Reader, Reading};
use super::redact::Redactor;

const KINDS: [&Kind; 2] = [&http::KIND, &postgres::KIND];

/// Changes records.
pub struct UpdateRecord {
    http: Arc<HttpClient>,
    records: Arc<dyn Records>,
}

impl UpdateRecord {
    /// An executor that shares a client, and changes rows by these.
    pub fn new(http: Arc<HttpClient>, records: Arc<dyn Records>) -> Self {
        Self { http, records }
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
        let Some(integration) = to.integration else { return vec![no_integration(to.word)] };
        let settings = &integration.definition.settings;
        let problems = if integration.kind == postgres::KIND.word {
            postgres::read(payload, Reading::Document, settings).map(drop)
        } else {
            rest::read(payload, Reading::Document).map(drop)
        };
        problems.err().unwrap_or_default()
    }

    fn logged(&self, payload: &Json) -> Json {
        Redactor::new(payload).logged_payload()
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let (http, records) = (self.http.clone(), self.records.clone());
        Box::pin(async move {
            let mut redactor = Redactor::of(&attempt);
            let mut figures: Option<HttpFigures> = None;
            let outcome = match attempt.connection.as_deref() {
                None => Err(invalid(&[no_integration(&attempt.action_target)])),
                Some(connection) if connection.kind.word == postgres::KIND.word => {
                    postgres::update(&http, records.as_ref(), &attempt, connection).await
                }
                Some(connection) => rest::update(&http, &attempt, connection, &mut redactor, &mut figures).await,
            };
            client::performed(outcome, &redactor, figures)
        })
    }
}

fn no_integration(word: &str) -> Problem {
    let message = format!("action_target '{word}' names no integration: it needs one of the kinds http, postgres");
    Problem::new("", message)
}

/// A reader of a payload; `None` when nothing can be read yet.
fn reader<'a>(payload: &'a Value, reading: Reading) -> Result<Option<Reader<'a>>, Vec<Problem>> {
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
