//! `core314 store`: the database as a whole. These commands open it themselves: none of them speaks with a server.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Global;
use super::export::private_file;
use super::outcome::{Exit, Failure};
use super::print::{self, Columns, Printer};
use super::progress::Progress;
use crate::app::{self, GoesOn, StoreCopy, StoreReport, TransferReport};

const COPIED: Columns<'_> = &[("TABLE", "name"), ("ROWS", "rows"), ("DIGEST", "digest")];
const FINDINGS: Columns<'_> =
    &[("INVARIANT", "invariant"), ("TABLE", "table"), ("FINDING", "message"), ("ROWS", "rows")];

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Move an installation into another database, SQLite or PostgreSQL, and prove that all of it is there.
    Migrate(MigrateArgs),
    /// Look through a database for what the promises do not allow, beside a running server or without one.
    Check(CheckArgs),
    /// Write the whole installation into a SQLite file, beside a running server or without one.
    Backup(BackupArgs),
    /// Fill an empty database, the configured one, from a backup. The installation is paused until `store resume`.
    Restore(RestoreArgs),
    /// Let the server do nothing from its next start on, until `store resume`.
    Pause,
    /// Show what would go on, and let a paused installation go on.
    Resume(ResumeArgs),
}

#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// The database that the installation is in: `sqlite:PATH` or `postgres://…`. Its server must have been stopped.
    #[arg(long, value_name = "URL")]
    from: String,
    /// An empty database, or the path of a file that is to be made. The installation at the source stays as it is.
    #[arg(long, value_name = "URL")]
    to: String,
    /// The owner of the destination's schema, where `--to` names a login that may not make tables.
    #[arg(long, value_name = "URL")]
    to_owner: Option<String>,
    /// Remove what an unfinished copy has left at the destination, and copy anew.
    #[arg(long)]
    restart: bool,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The database; without it the configured one.
    url: Option<String>,
}

#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to write. It must not exist.
    path: PathBuf,
    /// Remove what an unfinished backup has left in the file, and write it anew.
    #[arg(long)]
    restart: bool,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// A file that `store backup` has written.
    path: PathBuf,
    /// Remove what an unfinished restore has left in the database, and begin anew.
    #[arg(long)]
    restart: bool,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Ask nobody.
    #[arg(long)]
    yes: bool,
}

impl StoreCommand {
    pub fn perform(self, global: &Global, printer: &Printer) -> Result<Exit, Failure> {
        match self {
            Self::Migrate(args) => migrate(global, printer, args),
            Self::Check(args) => check(global, printer, args),
            Self::Backup(args) => backup(global, printer, &args),
            Self::Restore(args) => restore(global, printer, &args),
            Self::Pause => pause(global, printer),
            Self::Resume(args) => resume(global, printer, &args),
        }
    }
}

fn migrate(global: &Global, printer: &Printer, args: MigrateArgs) -> Result<Exit, Failure> {
    let copy = StoreCopy {
        from: Some(args.from),
        to: Some(args.to),
        to_owner: args.to_owner,
        moves: true,
        restart: args.restart,
        paused_by: None,
    };
    let report = copied(global, copy)?;
    shown(
        printer,
        &report,
        "was moved; let the server use --to from now on, keep the source until it has, and pause it before anything starts \
         it again: `core314 store pause --database-url FROM`",
    )
}

fn backup(global: &Global, printer: &Printer, args: &BackupArgs) -> Result<Exit, Failure> {
    // Who may read the file may read everything: nobody else does.
    match args.path.metadata() {
        // Somebody made it, to whatever mode.
        Ok(found) if found.is_file() && found.len() == 0 => {
            fs::set_permissions(&args.path, Permissions::from_mode(0o600))?;
        }
        Ok(_) => {}
        Err(_) => drop(private_file(&args.path)?),
    }
    let copy = StoreCopy { to: Some(url_of(&args.path)?), restart: args.restart, ..StoreCopy::default() };
    let report = copied(global, copy)?;
    shown(printer, &report, "was written; `core314 store restore` fills an empty database from it")
}

fn restore(global: &Global, printer: &Printer, args: &RestoreArgs) -> Result<Exit, Failure> {
    let copy = StoreCopy {
        from: Some(url_of(&args.path)?),
        restart: args.restart,
        paused_by: Some("core314 store restore".to_owned()),
        ..StoreCopy::default()
    };
    let report = copied(global, copy)?;
    shown(printer, &report, "was restored and is paused: its server waits for `core314 store resume`")
}

fn pause(global: &Global, printer: &Printer) -> Result<Exit, Failure> {
    let changed = app::pause_store(&global.load()?)?;
    let words =
        if changed { "paused: from its next start on the server does nothing" } else { "it was paused already" };
    printer.line(words)?;
    if !printer.is_table() {
        printer.value(&json!({"changed": changed}))?;
    }
    Ok(Exit::Done)
}

fn resume(global: &Global, printer: &Printer, args: &ResumeArgs) -> Result<Exit, Failure> {
    let config = global.load()?;
    let Some((paused, goes_on)) = app::store_pause(&config)? else {
        printer.line("the installation is not paused")?;
        if !printer.is_table() {
            printer.value(&json!({"changed": false}))?;
        }
        return Ok(Exit::Done);
    };
    for line in would_go_on(&goes_on) {
        printer.line(&line)?;
    }
    if !args.yes {
        confirm(&format!("it was paused by {}; let it go on", paused.by))?;
    }
    let changed = app::resume_store(&config)?;
    printer.line("resumed: a server that waits goes on within seconds")?;
    if !printer.is_table() {
        printer.value(&json!({"changed": changed, "goes_on": goes_on}))?;
    }
    Ok(Exit::Done)
}

/// What goes on with an installation, a line each.
fn would_go_on(goes_on: &GoesOn) -> Vec<String> {
    let mut lines: Vec<String> =
        goes_on.runs.iter().map(|(flow, count)| format!("{count} runs of {flow} that have not ended")).collect();
    for (count, what) in [
        (goes_on.other_runs, "runs of other flows that have not ended"),
        (goes_on.schedules, "schedules that fire when they are due; instants that have passed, as each of them says"),
        (goes_on.escalations, "escalations with something to do"),
        (goes_on.messages, "messages and actions of escalations that are not sent"),
        (goes_on.bulk_jobs, "bulk jobs that are under way"),
        (goes_on.occurrences, "occurrences that may start runs or escalations"),
    ] {
        if count > 0 {
            lines.push(format!("{count} {what}"));
        }
    }
    if lines.is_empty() {
        lines.push("nothing is under way".to_owned());
    }
    lines
}

/// Asks a person.
fn confirm(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, format!("nobody is there to say yes to: {question}"))
            .hint("--yes goes on without asking"));
    }
    write!(io::stderr(), "{}? [y/N] ", print::harmless(question))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, "it stays paused"))
}

fn copied(global: &Global, copy: StoreCopy) -> Result<TransferReport, Failure> {
    let config = global.load()?;
    let progress = Progress::new();
    Ok(app::copy_store(&config, copy, &|text| progress.say(text))?)
}

/// A file as the address of a database.
fn url_of(path: &Path) -> Result<String, Failure> {
    let path = path.to_str().ok_or_else(|| Failure::new(Exit::Usage, "the path must be UTF-8"))?;
    Ok(format!("sqlite:{path}"))
}

/// What was copied, and what came of it.
fn shown(printer: &Printer, report: &TransferReport, end: &str) -> Result<Exit, Failure> {
    if printer.is_table() {
        let tables = report.tables.iter().filter(|table| table.rows > 0);
        printer.rows(COPIED, &tables.map(|table| json!(table)).collect::<Vec<Value>>())?;
        for table in &report.left_out {
            printer.line(&format!("{table} is no table of Core314 and stays where it is"))?;
        }
        printer.line(&format!(
            "{} rows in {} tables were copied and read again; {} rows and {} checkpoints of the hash chains were verified",
            report.rows,
            report.tables.len(),
            report.ledger.rows,
            report.ledger.checkpoints
        ))?;
    } else {
        printer.value(&json!(report))?;
    }
    if report.ledger.findings.is_empty() {
        if printer.is_table() {
            printer.line(&format!("the installation {end}"))?;
        }
        return Ok(Exit::Done);
    }
    let count = report.ledger.findings.len();
    let message =
        format!("everything was copied, and the hash chains do not hold: {count} findings, at the source too");
    Err(Failure::new(Exit::Failed, message).hint("`core314 log verify` lists them"))
}

fn check(global: &Global, printer: &Printer, args: CheckArgs) -> Result<Exit, Failure> {
    let config = global.load()?;
    let report = app::check_store(&config, args.url).map_err(|error| {
        Failure::from(error).hint("name the database as `sqlite:PATH` or `postgres://…`, or configure it")
    })?;
    if printer.is_table() {
        printer.line(&summary(&report))?;
        let found = report.findings.iter().map(|finding| json!(finding));
        let chains = report.ledger.findings.iter().map(
            |finding| json!({"invariant": 6, "table": finding.table, "message": finding.message, "rows": finding.id}),
        );
        let rows: Vec<Value> = found.chain(chains).collect();
        if !rows.is_empty() {
            printer.rows(FINDINGS, &rows)?;
        }
    } else {
        printer.value(&json!(report))?;
    }
    match report.findings.len() + report.ledger.findings.len() {
        0 => Ok(Exit::Done),
        count => {
            Err(Failure::new(Exit::Failed, format!("the store does not hold what was promised: {count} findings"))
                .hint("keep the database as it is, and compare it with a backup from before"))
        }
    }
}

fn summary(report: &StoreReport) -> String {
    format!(
        "schema {} of {}; {} rows and {} checkpoints of the hash chains and {} runs that have not ended were looked at",
        report.schema_applied, report.schema_known, report.ledger.rows, report.ledger.checkpoints, report.runs
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_an_address() {
        assert_eq!(url_of(Path::new("/b/core314.db")).expect("UTF-8"), "sqlite:/b/core314.db");
        assert_eq!(url_of(Path::new("b.db")).expect("UTF-8"), "sqlite:b.db");
    }

    #[test]
    fn what_would_go_on_is_said_by_flow() {
        assert_eq!(would_go_on(&GoesOn::default()), ["nothing is under way"]);
        let some = GoesOn { runs: vec![("nightly".to_owned(), 3)], schedules: 2, bulk_jobs: 1, ..GoesOn::default() };
        let lines = would_go_on(&some);
        assert_eq!(lines[0], "3 runs of nightly that have not ended");
        assert!(lines.len() == 3 && lines[1].starts_with("2 schedules"), "{lines:?}");
        assert_eq!(lines[2], "1 bulk jobs that are under way");
    }
}
