//! An installation that waits for a person: what would go on, and letting it.
//!
//! The pause stands in the database itself, so that a restored copy carries it with it, and a server looks for it before
//! anything else. It is set and lifted beside that server: nothing else writes meanwhile, or the row is changed alone.

use core314_actors::ports::{Scope, StoreError};
use serde::Serialize;

use super::cell::Cell;
use super::connection::{Connection, Connector};
use super::failure::Failure;
use super::transfer::{self, Paused};
use super::{SqlStore, StoreOptions, postgres, sqlite};

const SET: &str = "UPDATE cluster SET paused_at_ms = $1, paused_by = $2";
/// Flows with runs under way that are named; the others are counted together.
const MOST_FLOWS: usize = 20;

const RUNS: &str = "SELECT r.flow_name, count(*) FROM run_state s JOIN runs r ON r.id = s.run_id \
    WHERE s.run_status NOT IN ('completed', 'failed', 'rolled_back', 'cancelled', 'timed_out') \
    GROUP BY r.flow_name ORDER BY 2 DESC, 1";
const SCHEDULES: &str = "SELECT count(*) FROM schedules WHERE due_at_ms IS NOT NULL";
const MESSAGES: &str = "SELECT count(*) FROM outbox WHERE status IN ('pending', 'sending')";
const BULK_JOBS: &str = "SELECT count(*) FROM bulk_jobs WHERE status = 'running'";
/// What is settled is crossed out: its row goes.
const OCCURRENCES: &str = "SELECT count(*) FROM occurrences";
const ESCALATIONS: &str = "SELECT count(*) FROM escalations WHERE wake_at_ms IS NOT NULL";

/// What goes on as soon as an installation does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GoesOn {
    /// Runs that have not ended, by the name of their flow, the most first.
    pub runs: Vec<(String, i64)>,
    /// Runs of other flows.
    pub other_runs: i64,
    /// Schedules that are to fire.
    pub schedules: i64,
    /// Escalations that have something to do, and messages of theirs that are not sent.
    pub escalations: i64,
    pub messages: i64,
    /// Bulk jobs that are under way.
    pub bulk_jobs: i64,
    /// What has happened and was not yet asked what it starts.
    pub occurrences: i64,
}

impl SqlStore {
    /// Whether the installation waits for a person.
    pub async fn paused(&self) -> Result<Option<Paused>, StoreError> {
        let mut connection = self.read(Scope::Platform).await?;
        Ok(transfer::installation(&mut connection).await?.paused)
    }

    /// What would go on.
    pub async fn goes_on(&self) -> Result<GoesOn, StoreError> {
        let mut connection = self.connector.connect().await?;
        connection.begin_read().await?;
        let mut found = GoesOn::default();
        for row in connection.fetch(RUNS, &[]).await? {
            let mut fields = row.fields();
            let (flow, count) = (fields.text()?, fields.int()?);
            if found.runs.len() < MOST_FLOWS {
                found.runs.push((flow, count));
            } else {
                found.other_runs += count;
            }
        }
        found.schedules = count(&mut connection, SCHEDULES).await?;
        found.escalations = count(&mut connection, ESCALATIONS).await?;
        found.messages = count(&mut connection, MESSAGES).await?;
        found.bulk_jobs = count(&mut connection, BULK_JOBS).await?;
        found.occurrences = count(&mut connection, OCCURRENCES).await?;
        connection.commit().await?;
        Ok(found)
    }
}

async fn count(connection: &mut Connection, sql: &'static str) -> Result<i64, Failure> {
    let rows = connection.fetch(sql, &[]).await?;
    rows.first().map_or(Ok(0), |row| row.fields().int())
}

/// Pauses an installation, or lets it go on. Says whether that is a change.
pub async fn set_paused(url: &str, options: &StoreOptions, paused: Option<&Paused>) -> Result<bool, StoreError> {
    // Looking first: a database that is not there is not made, and one of another schema has no such column.
    let looking = StoreOptions { read_only: true, ..options.clone() };
    let store = SqlStore::open(url, looking).await?;
    transfer::check_schema(&store, "installation").await?;
    let was = store.paused().await?;
    if was.is_some() == paused.is_some() {
        return Ok(false);
    }
    let mut connection = writing(url, options)?.connect().await?;
    let cells =
        [Cell::Int(paused.map(|paused| paused.at_ms)), Cell::Text(paused.map(|paused| paused.by.as_str().into()))];
    connection.begin_write().await?;
    connection.fetch(SET, &cells).await?;
    connection.commit().await?;
    Ok(true)
}

/// A connection beside the server that has the database: for one row, and no more.
fn writing(url: &str, options: &StoreOptions) -> Result<Connector, StoreError> {
    match sqlite::path_of(url) {
        Some(path) => Ok(sqlite::connector(&path, options)),
        None => postgres::connector(url, options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pause_is_set_and_lifted_beside_whoever_has_the_database() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", dir.path().join("core314.db").display());
        let options = StoreOptions::default();
        let paused = Paused { at_ms: 7, by: "a test".to_owned() };
        let absent = set_paused(&url, &options, Some(&paused)).await.expect_err("there is no file");
        assert!(absent.to_string().contains("there is no database at"), "{absent}");
        let store = SqlStore::open(&url, options.clone()).await.expect("it opens");
        assert_eq!(store.paused().await.expect("it reads"), None);
        for (wanted, changes) in [(Some(&paused), true), (Some(&paused), false), (None, true), (None, false)] {
            assert_eq!(set_paused(&url, &options, wanted).await.expect("it is set"), changes);
            assert_eq!(store.paused().await.expect("it reads").as_ref(), wanted);
        }
        assert_eq!(store.goes_on().await.expect("it reads"), GoesOn::default());
        let mut connection = store.connector.connect().await.expect("a connection");
        let rows = "INSERT INTO bulk_jobs (id, tenant_id, user_id, status, plan, progress, version, created_at_ms, \
            updated_at_ms) VALUES (zeroblob(16), zeroblob(16), zeroblob(16), 'running', '{}', '{}', 1, 0, 0), \
            (x'01', zeroblob(16), zeroblob(16), 'done', '{}', '{}', 1, 0, 0); \
            INSERT INTO occurrences (id, tenant_id, user_id, kind, subject_id, context, triggered_by, created_at_ms) \
            VALUES (zeroblob(16), zeroblob(16), zeroblob(16), 'k', zeroblob(16), '{}', 't', 0)";
        connection.run(rows).await.expect("rows");
        let expected = GoesOn { bulk_jobs: 1, occurrences: 1, ..GoesOn::default() };
        assert_eq!(store.goes_on().await.expect("it reads"), expected);
    }
}
