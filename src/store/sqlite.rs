//! Opening SQLite: one file, one process, one writer.
//!
//! Types: ids and digests are blobs, times milliseconds since the epoch, JSON text, truth 0 or 1.
//!
//! The process locks `<file>.lock` for as long as it may write; SQLite's own locks would let a second process in between
//! two transactions, and both would believe that the partitions are theirs. The write-ahead log is folded into the
//! file when it has grown to 32 MB, and before that beside the writer (`store/fold.rs`). Readers cannot write, and what
//! one of them computes ends with its time limit, so that none of them keeps the log from being folded.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use core314_actors::ports::StoreError;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sqlx::ConnectOptions;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::StoreOptions;
use super::connection::Connector;

/// Held while the process may write to the file.
pub(super) type FileLock = Flock<File>;

/// 32 MB of pages: what comes while half of them are folded beside the writer finds room.
const FOLD_AT_PAGES: &str = "8192";
/// A log that grew further, because a reader held it, is cut back to this.
const LOG_LIMIT_BYTES: &str = "67108864";
const WRITER_CACHE_KIB: &str = "-65536";
const READER_CACHE_KIB: &str = "-16384";
/// How many of its machine's steps SQLite takes between two looks at the clock: about a tenth of a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// The path in `sqlite:PATH` or `sqlite://PATH`.
pub(super) fn path_of(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite:")?;
    Some(PathBuf::from(path.strip_prefix("//").unwrap_or(path)))
}

/// Whoever only looks makes no file; the database's own message would not say which one it misses.
pub(super) fn check_presence(path: &Path) -> Result<(), StoreError> {
    if path.exists() {
        return Ok(());
    }
    let shown = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Err(StoreError::Refused(format!("there is no database at {}", shown.display())))
}

/// Locks the file for this process.
pub(super) fn lock(path: &Path) -> Result<FileLock, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&name);
    let file =
        file.map_err(|e| StoreError::Refused(format!("the lock file beside the database cannot be opened: {e}")))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => StoreError::Refused(
            "another process has the database open for writing: stop it first, or open another file".to_owned(),
        ),
        errno => StoreError::Refused(format!("the lock file beside the database cannot be locked: {errno}")),
    })
}

/// How the writer connects, and whoever reads at length.
pub(super) fn connector(path: &Path, options: &StoreOptions) -> Connector {
    let base = base(path, options).pragma("cache_size", WRITER_CACHE_KIB);
    Connector::Sqlite(Box::new(if options.read_only {
        base.read_only(true)
    } else {
        base.create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // SQLite would rather index the 256 rows of a statement and read the whole table past them.
            .pragma("automatic_index", "off")
            .pragma("wal_autocheckpoint", FOLD_AT_PAGES)
            .pragma("journal_size_limit", LOG_LIMIT_BYTES)
    }))
}

/// An empty database in memory, another one for each connection.
pub(super) fn in_memory() -> Connector {
    Connector::Sqlite(Box::new(SqliteConnectOptions::new().in_memory(true).disable_statement_logging()))
}

/// The readers. They connect when they are first used.
pub(super) fn readers(path: &Path, options: &StoreOptions) -> SqlitePool {
    let connect = base(path, options)
        .read_only(options.read_only)
        .pragma("cache_size", READER_CACHE_KIB)
        .pragma("query_only", "on");
    let limit = options.read_limit;
    SqlitePoolOptions::new()
        .max_connections(options.readers as u32)
        .test_before_acquire(false)
        .acquire_timeout(options.busy_timeout)
        .after_connect(move |connection, _| Box::pin(limit_from_now(connection, limit)))
        .before_acquire(move |connection, _| {
            Box::pin(async move { limit_from_now(connection, limit).await.map(|()| true) })
        })
        .connect_lazy_with(connect)
}

fn base(path: &Path, options: &StoreOptions) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .page_size(4096)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(options.busy_timeout)
        .pragma("temp_store", "memory")
        .statement_cache_capacity(256)
        // Each row crosses a thread: a batch's answers must fit without the two waking each other in turns.
        .row_buffer_size(1_024)
        .disable_statement_logging()
}

/// Ends whatever the connection still computes when the limit is over.
async fn limit_from_now(connection: &mut SqliteConnection, limit: Duration) -> Result<(), sqlx::Error> {
    let end = Instant::now() + limit;
    connection.lock_handle().await?.set_progress_handler(STEPS_BETWEEN_LOOKS, move || Instant::now() < end);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_to_its_path() {
        assert_eq!(path_of("sqlite:data/x.db"), Some(PathBuf::from("data/x.db")));
        assert_eq!(path_of("sqlite:///data/x.db"), Some(PathBuf::from("/data/x.db")));
        assert_eq!(path_of("postgres://x"), None);
    }

    /// `.cargo/config.toml` says so, and whoever builds without it has a slower server.
    #[tokio::test]
    async fn sqlite_takes_no_lock_for_each_page_and_allocation() {
        let mut connection = in_memory().connect().await.expect("it connects");
        let rows = connection.fetch("PRAGMA compile_options", &[]).await.expect("it says");
        let options: Vec<String> = rows.iter().map(|row| row.fields().text().expect("a text")).collect();
        assert!(options.iter().any(|option| option == "DEFAULT_MEMSTATUS=0"), "{options:?}");
        assert!(!options.iter().any(|option| option == "ENABLE_MEMORY_MANAGEMENT"), "{options:?}");
    }
}
