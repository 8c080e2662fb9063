//! `core314 config show`: what is in force, and where each value comes from.

use serde_json::{Value, json};

use super::Global;
use super::outcome::{Exit, Failure};
use super::print::{Columns, Printer};

const COLUMNS: Columns<'_> = &[("KEY", "key"), ("VALUE", "value"), ("SOURCE", "source")];

pub fn show(global: &Global, printer: &Printer) -> Result<Exit, Failure> {
    let config = global.load()?;
    let rows: Vec<Value> = config.shown().into_iter().map(|shown| json!(shown)).collect();
    printer.rows(COLUMNS, &rows)?;
    for note in config.notes() {
        eprintln!("note: {note}");
    }
    Ok(Exit::Done)
}
