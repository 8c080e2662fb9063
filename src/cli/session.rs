//! What the commands that talk with a server have in common: a list, one row, a verb on a row.
//!
//! A command names the resource's path and the columns that people see; everything else is the same for all of them.

use serde_json::Value;
use uuid::Uuid;

use super::Global;
use super::args::Query;
use super::client::{self, Client};
use super::outcome::{Exit, Failure};
use super::print::{Columns, Printer};

/// A server to ask, and a place for what it answers.
pub struct Session<'a> {
    pub client: Client,
    pub printer: &'a Printer,
}

/// Runs a command that talks with a server.
pub fn online(
    global: &Global,
    printer: &Printer,
    command: impl AsyncFnOnce(Session<'_>) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let session = Session { client: Client::new(global)?, printer };
    client::block_on(command(session))
}

impl Session<'_> {
    /// Prints a list, as far as it was asked for.
    pub async fn list(
        &self,
        path: &[&str],
        query: &Query,
        limit: usize,
        columns: Columns<'_>,
    ) -> Result<Exit, Failure> {
        let rows = self.client.list(path, query, limit).await?;
        self.printer.rows(columns, &rows)?;
        Ok(Exit::Done)
    }

    /// Prints one row with everything in it.
    pub async fn show(&self, path: &[&str], query: &Query) -> Result<Exit, Failure> {
        let row = self.client.get(path, query).await?;
        self.printer.value(&row)?;
        Ok(Exit::Done)
    }

    /// Has something done, and prints what it is now.
    pub async fn act(&self, path: &[&str], body: &Value, columns: Columns<'_>) -> Result<Exit, Failure> {
        let row = self.client.post(path, body).await?;
        self.outcome(&row, columns)
    }

    /// Removes a row that people know by this name.
    pub async fn delete(&self, path: &[&str], name: &str) -> Result<Exit, Failure> {
        let row = self.client.delete(path).await?;
        self.printer.line(&format!("{name} is deleted"))?;
        if !self.printer.is_table() && !row.is_null() {
            self.printer.value(&row)?;
        }
        Ok(Exit::Done)
    }

    /// Prints what a row is after something was done with it. A server may answer with nothing but its consent.
    pub fn outcome(&self, row: &Value, columns: Columns<'_>) -> Result<Exit, Failure> {
        match row {
            Value::Null => self.printer.line("done")?,
            _ if self.printer.is_table() => self.printer.rows(columns, std::slice::from_ref(row))?,
            _ => self.printer.value(row)?,
        }
        Ok(Exit::Done)
    }

    /// The row that is given by its id, or by its name in this column. `noun` says what it is, `list` which command shows them.
    pub async fn named(
        &self,
        resource: &str,
        column: &str,
        named: &str,
        noun: &str,
        list: &str,
    ) -> Result<Value, Failure> {
        if let Ok(id) = named.parse::<Uuid>() {
            return self.client.get(&[resource, &id.to_string()], &[]).await;
        }
        let found = self.client.list(&[resource], &[(column, named.to_owned())], 1).await?.pop();
        found.ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("there is no {noun} '{named}'"))
                .hint(format!("`{list}` shows those there are"))
        })
    }

    /// The id of a flow that is given by its name or id.
    pub async fn flow_id(&self, named: &str) -> Result<String, Failure> {
        if let Ok(id) = named.parse::<Uuid>() {
            return Ok(id.to_string());
        }
        let flows = self.client.list(&["flows"], &[("flow_name", named.to_owned())], 1).await?;
        let id = flows.first().and_then(|flow| flow["id"].as_str());
        id.map(str::to_owned).ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("there is no flow '{named}'"))
                .hint("`core314 flow list` shows those there are")
        })
    }
}

/// The id of a row.
pub fn id_of(row: &Value) -> &str {
    row["id"].as_str().unwrap_or_default()
}
