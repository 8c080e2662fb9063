//! Rows for `core314 bench`: tables to move them between, and the plain COPY that a sync is measured beside.

use core314_actors::ports::StoreError;
use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::failure::Failure;

const MAKE: &str = "DROP TABLE IF EXISTS bench_source, bench_synced, bench_copied; \
    CREATE TABLE bench_source (id bigint PRIMARY KEY, at timestamptz NOT NULL, name text NOT NULL, amount numeric(12, 2), \
    is_paid boolean NOT NULL); \
    CREATE TABLE bench_synced (LIKE bench_source INCLUDING ALL); CREATE TABLE bench_copied (LIKE bench_source INCLUDING ALL)";
const COPY_OUT: &str = "COPY bench_source TO STDOUT";
const COPY_IN: &str = "COPY bench_copied FROM STDIN";
const DIFFERENCES: &str = "SELECT (SELECT count(*) FROM bench_source s FULL JOIN bench_synced t USING (id) \
    WHERE to_jsonb(s) IS DISTINCT FROM to_jsonb(t)) + (SELECT count(*) FROM bench_source s FULL JOIN bench_copied t USING (id) \
    WHERE to_jsonb(s) IS DISTINCT FROM to_jsonb(t))";

/// The tables of a database.
#[derive(Debug, Clone)]
pub struct PlainCopy {
    options: PgConnectOptions,
}

impl PlainCopy {
    /// Of the database at a URL.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let options = url.parse::<PgConnectOptions>().map_err(Failure::from)?;
        Ok(Self { options: options.disable_statement_logging() })
    }

    /// Makes the tables anew, and rows to be read.
    pub async fn fill(&self, rows: u64) -> Result<(), StoreError> {
        let fill = format!(
            "INSERT INTO bench_source SELECT n, timestamptz '2030-01-01' + n * interval '1 second', \
             'customer number ' || n, n * 1.25, n % 2 = 0 FROM generate_series(1, {rows}) AS n"
        );
        let mut connection = self.connect().await?;
        for sql in [MAKE, &fill, "ANALYZE bench_source"] {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.map_err(Failure::from)?;
        }
        Ok(())
    }

    /// Copies all rows through this process, in one transaction.
    pub async fn copy(&self) -> Result<(), StoreError> {
        let (mut from, mut to) = (self.connect().await?, self.connect().await?);
        let copied = async {
            let mut rows = from.copy_out_raw(COPY_OUT).await?;
            let mut copy = to.copy_in_raw(COPY_IN).await?;
            while let Some(bytes) = rows.try_next().await? {
                copy.send(bytes).await?;
            }
            copy.finish().await
        };
        copied.await.map(drop).map_err(|error| Failure::from(error).into())
    }

    /// How many rows are not the same in all three tables.
    pub async fn differences(&self) -> Result<i64, StoreError> {
        let mut connection = self.connect().await?;
        let count = sqlx::query_scalar(DIFFERENCES).fetch_one(&mut connection).await;
        count.map_err(|error| Failure::from(error).into())
    }

    async fn connect(&self) -> Result<PgConnection, Failure> {
        Ok(PgConnection::connect_with(&self.options).await?)
    }
}
