//! `core314 log verify`: proves the append-only tables, read-only, beside a running server or without one.

use serde_json::{Value, json};

use super::Global;
use super::outcome::{Exit, Failure};
use super::print::{Columns, Printer};
use crate::app;

const FINDINGS: Columns<'_> =
    &[("TABLE", "table"), ("PARTITION", "partition"), ("NUMBER", "seq"), ("ROW", "id"), ("FINDING", "message")];

pub fn verify(global: &Global, printer: &Printer) -> Result<Exit, Failure> {
    let config = global.load()?;
    let report = app::verify_log(&config)?;
    if printer.is_table() {
        printer.line(&format!(
            "{} rows and {} checkpoints in {} partitions were verified",
            report.rows, report.checkpoints, report.partitions
        ))?;
        if !report.findings.is_empty() {
            let rows: Vec<Value> = report.findings.iter().map(|finding| json!(finding)).collect();
            printer.rows(FINDINGS, &rows)?;
        }
    } else {
        printer.value(&json!(report))?;
    }
    if report.findings.is_empty() {
        return Ok(Exit::Done);
    }
    let message = format!("the log does not hold: {} findings", report.findings.len());
    Err(Failure::new(Exit::Failed, message)
        .hint("keep the database as it is, and compare it with a backup from before"))
}
