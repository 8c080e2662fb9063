//! `core314 export`: everything that the API lists of a tenant, to take along. It reads the store itself, as its people see it.

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Global;
use super::outcome::{Exit, Failure};
use super::print::{Columns, Printer};
use super::progress::Progress;
use crate::app;

const EXPORTED: Columns<'_> = &[("TABLE", "table"), ("ROWS", "rows")];

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Whose rows: an organization, or a user for what is private to them.
    #[arg(long, value_name = "UUID")]
    tenant: Uuid,
    /// The file to write, a line of JSON for each row; it must not exist. `-`: the standard output.
    file: PathBuf,
}

pub fn export(global: &Global, printer: &Printer, args: &ExportArgs) -> Result<Exit, Failure> {
    let config = global.load()?;
    let progress = Progress::new();
    let say = |text: &str| progress.say(text);
    if args.file == Path::new("-") {
        app::export_tenant(&config, args.tenant, &mut BufWriter::new(io::stdout().lock()), &say)?;
        return Ok(Exit::Done);
    }
    let file = private_file(&args.file)?;
    let exported = app::export_tenant(&config, args.tenant, &mut BufWriter::new(file), &say)?;
    progress.clear();
    let exported = exported.iter().filter(|(_, rows)| *rows > 0);
    let rows: Vec<Value> = exported.map(|(table, rows)| json!({"table": table, "rows": rows})).collect();
    printer.rows(EXPORTED, &rows)?;
    Ok(Exit::Done)
}

/// A new file that its owner alone may read.
pub fn private_file(path: &Path) -> Result<File, Failure> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| Failure::new(Exit::Failed, format!("{} cannot be made: {error}", path.display())))
}
