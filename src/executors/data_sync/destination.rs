//! Where rows go. What [`Destination::put`] has answered for is durable there.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use core314_actors::failpoint;
use core314_actors::ports::executor::Attempt;
use core314_actors::ports::records::{PutWish, Table};
use core314_domain::log::Failure;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::columns::{Columns, Row, object};
use super::file::Part;
use super::plan::{Plan, To};
use super::position::{Failed, Position};
use super::{Shared, table};
use crate::executors::api_call::{Caller, IDEMPOTENCY_KEY, mark};
use crate::executors::client::Call;
use crate::executors::failure::Code;
use crate::executors::update_record::rows::failure;

/// What came of rows.
#[derive(Debug, Default)]
pub struct Put {
    pub written: u64,
    pub skipped: u64,
    pub failed: Vec<Failed>,
}

/// An open destination.
pub enum Destination<'a> {
    Table { table: Box<dyn Table>, key: Vec<usize> },
    Http(Box<Service<'a>>),
    File(Box<Part>),
}

/// A service that gets rows as lists.
pub struct Service<'a> {
    caller: Caller<'a>,
    call: Call,
    wrap: Option<String>,
    execution: String,
    most_bytes: usize,
}

impl Shared {
    /// Opens a destination.
    pub(super) async fn destination<'a>(
        &self,
        plan: &Plan,
        attempt: &Attempt,
        position: &Position<'_>,
        columns: &Columns,
        caller: Caller<'a>,
    ) -> Result<Destination<'a>, Failure> {
        Ok(match &plan.destination {
            To::Table { table: name, key, .. } => {
                let databases = (self.databases.as_ref(), &*attempt.action_target);
                let connection = attempt.connection.as_deref();
                let place = table::place(&self.http, databases, connection, attempt.owner.tenant).await?;
                let wish = PutWish {
                    table: name.clone(),
                    columns: columns.names.clone(),
                    key: key.clone(),
                    within: attempt.timeout,
                    secrets: attempt.secrets.clone(),
                };
                let table = self.records.open(place, wish).await.map_err(|error| failure(&error))?;
                let at = key.iter().filter_map(|name| columns.names.iter().position(|column| column == name));
                Destination::Table { table, key: at.collect() }
            }
            To::Http { call, wrap } => {
                let mut call = Call::clone(call);
                mark(&mut call, attempt);
                let most_bytes = self.http.bounds().max_request_bytes;
                let execution = attempt.execution.to_string();
                Destination::Http(Box::new(Service { caller, call, wrap: wrap.clone(), execution, most_bytes }))
            }
            To::File { name, format } => {
                // The disk may keep it waiting.
                let part = tokio::task::block_in_place(|| {
                    let path = self.folders.file(&attempt.action_target, attempt.owner.tenant, name);
                    let path = path.map_err(|message| Code::Refused.failure(message))?;
                    Part::open(path, *format, &attempt.execution.to_string(), position)
                });
                Destination::File(Box::new(part?))
            }
        })
    }
}

impl Destination<'_> {
    /// Puts rows, durably. More than `room` failed rows are not looked for.
    pub async fn put(&mut self, names: &[String], rows: &[Row], room: u64) -> Result<Put, Failure> {
        let put = match self {
            Self::Table { table, key } => table::put(table.as_mut(), key, rows, room).await?,
            Self::Http(service) => {
                service.put(names, rows).await?;
                Put { written: rows.len() as u64, ..Put::default() }
            }
            Self::File(part) => {
                tokio::task::block_in_place(|| part.put(names, rows))?;
                Put { written: rows.len() as u64, ..Put::default() }
            }
        };
        failpoint::hit("sync.put");
        Ok(put)
    }

    /// What it has to know of itself when the sync goes on.
    pub fn state(&self) -> Option<Value> {
        match self {
            Self::File(part) => Some(json!({"bytes": part.bytes})),
            Self::Table { .. } | Self::Http(_) => None,
        }
    }

    /// All rows are there.
    pub fn finish(&mut self, names: &[String]) -> Result<(), Failure> {
        if let Self::File(part) = self {
            tokio::task::block_in_place(|| part.finish(names))?;
            failpoint::hit("sync.finished");
        }
        Ok(())
    }
}

impl Service<'_> {
    /// Sends rows in lists that are no larger than a request may be, each under a key of its own: the same each
    /// time it is the same list.
    async fn put(&mut self, names: &[String], rows: &[Row]) -> Result<(), Failure> {
        let (before, after) = match &self.wrap {
            Some(member) => (format!("{{{}:[", Value::String(member.clone())), "]}"),
            None => ("[".to_owned(), "]"),
        };
        let (mut body, mut first) = (before.clone(), None);
        for (number, row) in rows {
            let text = object(names, row).to_string();
            let bytes = body.len() + text.len() + after.len() + 1;
            if let (Some(from), true) = (first, bytes > self.most_bytes) {
                let whole = std::mem::replace(&mut body, before.clone()) + after;
                self.send(whole, from).await?;
                first = None;
            }
            if first.is_some() {
                body.push(',');
            }
            body.push_str(&text);
            first = first.or(Some(*number));
        }
        match first {
            Some(from) => self.send(body + after, from).await,
            None => Ok(()),
        }
    }

    async fn send(&mut self, body: String, first: u64) -> Result<(), Failure> {
        let key = key(&self.execution, first, &body);
        let mut call = Call { body: body.into_bytes(), ..self.call.clone() };
        call.headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(&key).expect("it is visible ASCII"));
        self.caller.send(call).await.map(drop)
    }
}

/// The key of a list. Other rows at the same place, because the source has changed, are another list: under the key of the one before
/// a service would answer from memory and take none of them.
fn key(execution: &str, first: u64, body: &str) -> String {
    format!("{execution}-{first}-{}", BASE64.encode(&Sha256::digest(body)[..9]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_list_has_the_same_key_and_another_list_another() {
        let one = key("E", 11, "[1,2]");
        assert_eq!(one, key("E", 11, "[1,2]"));
        for other in [key("E", 11, "[1,3]"), key("E", 12, "[1,2]"), key("F", 11, "[1,2]")] {
            assert_ne!(one, other);
        }
        assert!(one.starts_with("E-11-") && one.len() == 17, "{one}");
    }
}
