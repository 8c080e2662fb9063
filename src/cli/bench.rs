//! `core314 bench`: which workloads, on which store, for how long.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::Global;
use super::outcome::{Exit, Failure};
use super::print::Printer;
use super::progress::Progress;
use crate::app::{self, BenchStore};
use crate::bench::{Plan, Workload};
use crate::config::local::DevFile;
use crate::config::{Config, Setting};

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// `sqlite` for a fresh file that is removed afterwards, or the postgres:// URL of an empty database, which is filled.
    #[arg(long, value_name = "sqlite|URL", default_value = "sqlite", value_parser = store)]
    store: BenchStore,
    /// Which workloads; without it all.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WORK,...")]
    work: Vec<Workload>,
    /// How long a workload is loaded.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// How many callers wait at once.
    #[arg(long, default_value_t = 256, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    callers: usize,
    /// Rows of the execution log in the history that `lists` asks about, and rows that `sync` moves.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    rows: u64,
    /// Print JSON, as `--output json` does.
    #[arg(long)]
    json: bool,
}

pub fn bench(global: &Global, printer: &Printer, args: &BenchArgs) -> Result<Exit, Failure> {
    let mut inputs = global.inputs(&[]);
    // The workloads call a receiver on this machine, and the API by a key of their own.
    inputs.flags.push(Setting::new("executors.outbound.allow_loopback", "true", "core314 bench"));
    let DevFile { key, secret_key, .. } = DevFile::fresh();
    inputs.flags.push(Setting::new("auth.service_key", key, "core314 bench"));
    // What `sync` signs in with is kept as a secret.
    inputs.flags.push(Setting::new("secrets.key", secret_key, "core314 bench"));
    let config = Config::load(&inputs)?;
    let is_possible = |work: &Workload| args.store != BenchStore::Sqlite || *work != Workload::Sync;
    let all = || Workload::value_variants().iter().copied().filter(is_possible).collect();
    let workloads = if args.work.is_empty() { all() } else { args.work.clone() };
    let plan = Plan { workloads, seconds: args.seconds, callers: args.callers, rows: args.rows };
    let is_table = printer.is_table() && !args.json;
    let progress = Progress::new();
    let figures = app::bench(&config, &args.store, &plan, &|text| progress.say(text), |figures| {
        progress.clear();
        if is_table {
            println!("{}", figures.line());
        }
    })?;
    match (is_table, args.json) {
        (true, _) => {}
        (false, true) => println!("{:#}", json!(figures)),
        (false, false) => printer.value(&json!(figures))?,
    }
    Ok(Exit::Done)
}

fn store(text: &str) -> Result<BenchStore, String> {
    match text {
        "sqlite" => Ok(BenchStore::Sqlite),
        url if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            Ok(BenchStore::Postgres(url.to_owned()))
        }
        _ => Err("must be sqlite, or the postgres:// URL of an empty database".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_sqlite_or_a_url_of_postgres() {
        assert_eq!(store("sqlite"), Ok(BenchStore::Sqlite));
        assert_eq!(store("postgres://h/d"), Ok(BenchStore::Postgres("postgres://h/d".to_owned())));
        assert!(store("mysql://h/d").is_err());
    }
}
