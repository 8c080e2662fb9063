//! `core314 retention`: rows that go when they are old, now and not at the server's next look.

use clap::Subcommand;
use serde_json::{Value, json};

use super::Global;
use super::outcome::{Exit, Failure};
use super::print::{Columns, Printer};
use crate::app;

const DROPPED: Columns<'_> = &[("TABLE", "table"), ("DROPPED", "dropped")];

#[derive(Debug, Subcommand)]
pub enum RetentionCommand {
    /// Drop now what is older than it is to be kept (`engine.retention`), as a running server does by itself.
    Run,
}

pub fn run(global: &Global, printer: &Printer) -> Result<Exit, Failure> {
    let dropped = app::run_retention(&global.load()?).map_err(|error| {
        Failure::from(error).hint("a running server does this by itself, every `engine.collect_interval_ms`")
    })?;
    let rows: Vec<Value> = dropped.iter().map(|(table, rows)| json!({"table": table, "dropped": rows})).collect();
    printer.rows(DROPPED, &rows)?;
    Ok(Exit::Done)
}
