//! An installation from one database into another: moving it, backing it up, restoring it.
//!
//! All three copy everything, between SQLite and PostgreSQL or two of a kind: a backup is a SQLite file with the whole
//! installation in it, and a restored one comes from there. The source is read in one snapshot. The destination is
//! empty before, and afterwards is read again: each of its tables must come to what was read at the source, and the
//! hash chains must hold. Until then it bears a mark, with which no server starts on it.
//!
//! ```text
//! look at both ──► mark ──► copy, table by table ──► read again ──► chains ──► unmark
//!     │ refuses what holds data             └── an interruption leaves the mark: `--restart` empties and begins anew
//! ```

mod catalogue;
mod copy;
mod empty;
mod mark;

use std::time::UNIX_EPOCH;

use core314_actors::ports::StoreError;
use core314_actors::ports::ledger::{Ledger, LedgerReport};
use serde::Serialize;

use super::connection::Connection;
use super::failure::Failure;
use super::sqlite::FileLock;
use super::{Claim, SqlStore, StoreOptions, ledger, migrations, postgres, sqlite};
use catalogue::{Table, Tables, quoted};
use copy::Tally;
pub use mark::Paused;
pub(super) use mark::{read as installation, refuse_unfinished};

const LITE_HAS_INSTALLATION: &str = "SELECT count(*) > 0 FROM sqlite_master WHERE name = 'cluster'";
const POSTGRES_HAS_INSTALLATION: &str = "SELECT to_regclass('cluster') IS NOT NULL";
const SCHEMA_VERSION: &str = "SELECT schema_version FROM cluster";
/// So that the file alone holds everything, without the log beside it.
const FOLD: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// What is copied where.
#[derive(Debug, Clone)]
pub struct Transfer {
    pub from: String,
    pub to: String,
    /// How both are opened. An owner named here is that of the destination's schema.
    pub options: StoreOptions,
    /// Whether the installation moves: its source must then have no server, and gets none while it is copied.
    pub moves: bool,
    /// Whether an unfinished copy at the destination is removed, and not a reason to refuse.
    pub restart: bool,
    /// By what the copy is paused until a person says otherwise; absent: it is as paused as its source.
    pub paused_by: Option<String>,
}

/// What was copied.
#[derive(Debug, Clone, Serialize)]
pub struct TransferReport {
    pub rows: u64,
    pub tables: Vec<CopiedTable>,
    /// Tables of the source that are no part of an installation, and stayed where they are.
    pub left_out: Vec<String>,
    /// The proof of the copied hash chains. What it found is at the source, too.
    pub ledger: LedgerReport,
}

/// What one table came to, at both ends.
#[derive(Debug, Clone, Serialize)]
pub struct CopiedTable {
    pub name: String,
    pub rows: u64,
    /// The sum of the digests of its rows.
    pub digest: String,
}

/// What people hear while it goes on.
pub type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// Copies an installation and proves the copy.
pub async fn transfer(plan: &Transfer, say: Say<'_>) -> Result<TransferReport, StoreError> {
    if plan.from == plan.to {
        return Err(StoreError::Refused("the source and the destination are the same".to_owned()));
    }
    let looking = StoreOptions { read_only: true, owner_url: None, ..plan.options.clone() };
    let from = SqlStore::open(&plan.from, looking.clone()).await?;
    let _held = if plan.moves { hold(&plan.from, &from, &looking).await? } else { Held::default() };
    check_schema(&from, "source").await?;
    look_before(&plan.to, &looking).await?;
    let filling = StoreOptions { claim: Claim::Alone, read_only: false, ..plan.options.clone() };
    let to = SqlStore::open_to_fill(&plan.to, filling).await?;
    let mut source = from.connector.connect().await?;
    let mut target = to.connector.connect().await?;
    source.begin_read().await?;
    let installation = mark::read(&mut source).await?;
    if installation.unfinished_since_ms.is_some() {
        return Err(StoreError::Refused("the source is itself a copy that was not finished".to_owned()));
    }
    let tables = prepare(plan, &mut source, &mut target).await?;
    let copied = fill(&mut source, &mut target, &tables.ours, say).await?;
    prove(&mut target, &tables.ours, &copied, say).await?;
    say("the hash chains are being verified");
    let ledger = to.verify().await?;
    // The source goes on beside a backup: what is compared is what was copied.
    if !ledger.findings.is_empty() && ledger::verify(&mut source).await?.findings != ledger.findings {
        let first = ledger.findings.first().map(|finding| finding.message.clone()).unwrap_or_default();
        return Err(StoreError::Corrupt(format!("a chain that holds at the source does not in the copy: {first}")));
    }
    let pause = plan.paused_by.as_ref().map(|by| Paused { at_ms: now_ms(), by: by.clone() });
    mark::finish(&mut target, &installation, pause.as_ref().or(installation.paused.as_ref())).await?;
    fold(&mut target).await?;
    let report = |(table, tally): (&Table, &Tally)| CopiedTable {
        name: table.name.clone(),
        rows: tally.rows,
        digest: tally.digest(),
    };
    Ok(TransferReport {
        rows: copied.iter().map(|tally| tally.rows).sum(),
        tables: tables.ours.iter().zip(&copied).map(report).collect(),
        left_out: tables.left_out,
        ledger,
    })
}

/// What keeps servers away from a source, for as long as it lives.
#[derive(Default)]
struct Held {
    _lock: Option<FileLock>,
    _claim: Option<Connection>,
}

/// Refuses a source that has a server, and lets none start.
async fn hold(url: &str, store: &SqlStore, options: &StoreOptions) -> Result<Held, StoreError> {
    Ok(match sqlite::path_of(url) {
        Some(path) => Held { _lock: Some(sqlite::lock(&path)?), _claim: None },
        None => Held {
            _lock: None,
            _claim: Some(postgres::claim(&store.connector, Claim::Alone, options.busy_timeout).await?),
        },
    })
}

pub(super) async fn check_schema(store: &SqlStore, end: &str) -> Result<(), StoreError> {
    let schema = store.schema().await?;
    if schema.applied == schema.known {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "the {end} has schema {} and this release has schema {}: start the server of this release on it once, or use \
         the release that it is of",
        schema.applied, schema.known
    )))
}

/// Looks at a destination before it is opened for writing, which would bring an older installation's schema up to date.
async fn look_before(url: &str, looking: &StoreOptions) -> Result<(), StoreError> {
    let connector = match sqlite::path_of(url) {
        Some(path) if !path.exists() => return Ok(()),
        Some(path) => sqlite::connector(&path, looking),
        None => postgres::connector(url, looking)?,
    };
    let mut connection = connector.connect().await?;
    let sql = if connection.is_postgres() { POSTGRES_HAS_INSTALLATION } else { LITE_HAS_INSTALLATION };
    let found = connection.fetch(sql, &[]).await?;
    if !found.first().map_or(Ok(false), |row| row.fields().bool())? {
        return Ok(());
    }
    connection.begin_read().await?;
    let version = connection.fetch(SCHEMA_VERSION, &[]).await?;
    let version = version.first().map(|row| row.fields().int()).transpose()?;
    connection.commit().await?;
    match version {
        None | Some(migrations::LATEST) => Ok(()),
        Some(other) => Err(StoreError::Refused(format!(
            "the destination holds an installation of another release (schema {other}): name an empty database"
        ))),
    }
}

/// Makes sure that the destination is empty, and marks it.
async fn prepare(plan: &Transfer, source: &mut Connection, target: &mut Connection) -> Result<Tables, StoreError> {
    target.begin_read().await?;
    let tables = catalogue::tables(source, target).await?;
    let mark = mark::read(target).await?.unfinished_since_ms;
    let occupied = occupied(target, &tables.ours).await?;
    target.commit().await?;
    match (mark, occupied) {
        (Some(_), _) if !plan.restart => {
            return Err(StoreError::Refused(
                "a copy into the destination was begun and not finished: --restart removes what is there and copies anew"
                    .to_owned(),
            ));
        }
        (Some(_), Some(_)) => {
            let owner = if target.is_postgres() { Some(postgres::owner(&plan.to, &plan.options)?) } else { None };
            empty::empty(target, owner.as_ref(), &tables.ours).await?;
        }
        (None, Some(name)) => {
            return Err(StoreError::Refused(format!(
                "the destination holds data (the table {name} has rows): name an empty database"
            )));
        }
        (_, None) => {}
    }
    mark::begin(target, now_ms()).await?;
    Ok(tables)
}

/// The first table that has a row.
async fn occupied(target: &mut Connection, tables: &[Table]) -> Result<Option<String>, Failure> {
    for table in tables {
        let sql = format!("SELECT 1 FROM {} LIMIT 1", quoted(&table.name));
        if !target.fetch_made(sql, &[]).await?.is_empty() {
            return Ok(Some(table.name.clone()));
        }
    }
    Ok(None)
}

/// Copies the tables, and says what each came to at the source.
async fn fill(
    source: &mut Connection,
    target: &mut Connection,
    tables: &[Table],
    say: Say<'_>,
) -> Result<Vec<Tally>, StoreError> {
    let mut tallies = Vec::with_capacity(tables.len());
    for (number, table) in tables.iter().enumerate() {
        let told = |rows| say(&progress("copied", number, tables, rows));
        tallies.push(copy::copy(source, target, table, &told).await.map_err(|failure| table.named(failure))?);
    }
    Ok(tallies)
}

/// Reads the tables of the destination again, and refuses what does not come to the same.
async fn prove(target: &mut Connection, tables: &[Table], copied: &[Tally], say: Say<'_>) -> Result<(), StoreError> {
    target.begin_read().await?;
    for (number, (table, expected)) in tables.iter().zip(copied).enumerate() {
        let told = |rows| say(&progress("verified", number, tables, rows));
        let found = copy::tally(target, table, &told).await.map_err(|failure| table.named(failure))?;
        if found != *expected {
            return Err(StoreError::Corrupt(format!(
                "{}: the source has {} rows that come to {}, the copy {} that come to {}",
                table.name,
                expected.rows,
                expected.digest(),
                found.rows,
                found.digest()
            )));
        }
    }
    target.commit().await?;
    Ok(())
}

fn progress(verb: &str, number: usize, tables: &[Table], rows: u64) -> String {
    format!("[{}/{}] {}: {rows} rows {verb}", number + 1, tables.len(), tables[number].name)
}

/// Leaves nothing beside a SQLite file that it would need.
async fn fold(target: &mut Connection) -> Result<(), StoreError> {
    if target.is_postgres() {
        return Ok(());
    }
    let folded = target.fetch(FOLD, &[]).await?;
    let is_busy = folded.first().map_or(Ok(false), |row| row.fields().bool())?;
    if is_busy {
        let message = "the copy is whole, but somebody reads it and keeps its write-ahead log beside it";
        return Err(StoreError::Unavailable(message.to_owned()));
    }
    Ok(())
}

fn now_ms() -> i64 {
    UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_destination_that_differs_is_refused_and_keeps_its_mark() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [from, to] = ["from.db", "to.db"].map(|name| format!("sqlite:{}", dir.path().join(name).display()));
        let row = "INSERT INTO idempotency_keys (tenant_id, key, body_hash, answer, expires_at_ms) \
            VALUES (zeroblob(16), 'k', zeroblob(32), '{}', 1)";
        let alters = "CREATE TRIGGER alters AFTER INSERT ON idempotency_keys BEGIN \
            UPDATE idempotency_keys SET expires_at_ms = 2 WHERE key = NEW.key; END";
        for (url, sql) in [(&from, row), (&to, alters)] {
            let store = SqlStore::open(url, StoreOptions::default()).await.expect("it opens");
            let mut connection = store.connector.connect().await.expect("a connection");
            connection.run(sql).await.expect("the statement holds");
        }
        let options = StoreOptions::default();
        let plan = Transfer { from, to, options, moves: false, restart: false, paused_by: None };
        let refused = Box::pin(transfer(&plan, &|_| {})).await.expect_err("a row is another").to_string();
        assert!(refused.contains("idempotency_keys: the source has 1 rows"), "{refused}");
        let Err(refused) = SqlStore::open(&plan.to, StoreOptions::default()).await else {
            panic!("nobody starts on it");
        };
        assert!(refused.to_string().contains("the same command and `--restart`"), "{refused}");
    }
}
