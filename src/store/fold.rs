//! Folding SQLite's write-ahead log into its file beside the writer.
//!
//! SQLite folds the log within the commit that has made it long: thousands of pages and two flushes to disk, which whoever waits
//! for that commit waits for, too. Another connection folds most of it while the writer goes on, and leaves to the writer what
//! came since. The writer alone begins the log anew, once all of it has been folded.
//!
//! Nothing depends on it: where it fails, or comes too late, the writer folds as before. But two connections may then fold at
//! once, and SQLite before 3.51.3 could damage the file where one of them begins the log anew meanwhile. A test holds the version.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::connection::{Connection, Connector};
use super::failure::Failure;

/// About how many pages the log grows by between two times: half of what the writer lets it grow to. A page that many commits
/// change is written to the file once for each time, so that more often is not better.
const PAGES: usize = 4_096;
/// Pages that a commit changes beside one for each of its writes: the upper ones of the trees.
const OF_A_COMMIT: usize = 8;
/// As far as that goes without anybody waiting.
const FOLD: &str = "PRAGMA wal_checkpoint(PASSIVE)";

/// Folds until it is dropped.
pub(super) struct Folder {
    log: Arc<Log>,
    task: JoinHandle<()>,
}

/// How much has come into the log.
#[derive(Debug, Default)]
struct Log {
    pages: AtomicUsize,
    is_long: Notify,
}

impl Log {
    fn grows(&self, writes: usize) {
        let pages = OF_A_COMMIT + writes;
        let before = self.pages.fetch_add(pages, Ordering::Relaxed);
        if before < PAGES && before + pages >= PAGES {
            self.is_long.notify_one();
        }
    }
}

impl Folder {
    /// Folds the log of this database. To be called within a tokio runtime; connects when there is something to do.
    pub fn start(connector: Connector) -> Self {
        let log = Arc::new(Log::default());
        let task = tokio::spawn(fold(connector, log.clone()));
        Self { log, task }
    }

    /// So many writes were committed together.
    pub fn committed(&self, writes: usize) {
        self.log.grows(writes);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn fold(connector: Connector, log: Arc<Log>) {
    let mut connection = None;
    loop {
        log.is_long.notified().await;
        log.pages.store(0, Ordering::Relaxed);
        if let Err(failure) = fold_once(&connector, &mut connection).await {
            tracing::debug!(?failure, "the log was not folded: the writer will");
            connection = None;
        }
    }
}

async fn fold_once(connector: &Connector, connection: &mut Option<Connection>) -> Result<(), Failure> {
    if connection.is_none() {
        *connection = Some(connector.connect().await?);
    }
    match connection {
        Some(connection) => connection.run(FOLD).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;
    use crate::store::{StoreOptions, sqlite};

    #[test]
    fn it_is_told_once_that_the_log_is_long() {
        let log = Log::default();
        let is_told = || log.is_long.notified().now_or_never().is_some();
        let commits = PAGES / (OF_A_COMMIT + 1);
        (0..commits).for_each(|_| log.grows(1));
        assert!(!is_told());
        log.grows(1);
        assert!(is_told());
        log.grows(PAGES);
        assert!(!is_told(), "it is at it");
        log.pages.store(0, Ordering::Relaxed);
        log.grows(PAGES);
        assert!(is_told());
    }

    /// The writer and the folder may checkpoint at the same time. Before 3.51.3 that could lose what was committed: one of them
    /// took for folded what another had written into a log that was begun anew (SQLite's "WAL-reset bug").
    #[tokio::test]
    async fn sqlite_is_one_that_two_connections_may_fold() {
        let mut connection = sqlite::in_memory().connect().await.expect("it connects");
        let rows = connection.fetch("SELECT sqlite_version()", &[]).await.expect("it says");
        let version = rows[0].fields().text().expect("a text");
        let numbers: Vec<u32> = version.split('.').map(|part| part.parse().expect("a number")).collect();
        assert!(numbers.as_slice() >= [3, 51, 3].as_slice(), "{version}");
    }

    #[tokio::test]
    async fn the_log_is_folded_beside_the_writer() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("core314.db");
        let connector = sqlite::connector(&file, &StoreOptions::default());
        let mut writer = connector.connect().await.expect("it connects");
        writer.run("CREATE TABLE long (text)").await.expect("a table");
        for _ in 0..20 {
            writer.run("INSERT INTO long VALUES (zeroblob(100000))").await.expect("a row");
        }
        let long = || std::fs::metadata(&file).expect("it is there").len() >= 20 * 100_000;
        assert!(!long(), "so little the writer does not fold");
        let folder = Folder::start(connector);
        folder.committed(PAGES);
        let is_short = async {
            while !long() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), is_short).await.expect("it is folded");
    }
}
