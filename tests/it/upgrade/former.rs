//! An installation as it was when its schema had no later migration than one with a given number.

use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, SqliteConnection};

use crate::support::{Installation, fresh_database};

/// The newest migration of each former state: the first with limits, the first that counts for all tenants together, and the last
/// before nodes had leases.
pub const NUMBERS: [i64; 3] = [12, 44, 66];

const SQLITE_TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '%sqlx%' \
    AND name NOT LIKE 'sqlite%'";
const POSTGRES_TABLES: &str = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() \
    AND tablename NOT LIKE '%sqlx%'";

/// Copies an installation whose server does not live into the schema of then.
pub async fn copy(today: &Installation, number: i64) -> Installation {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let database_url = if today.database_url.is_some() { Some(fresh_database().await) } else { None };
    let former = Installation { dir, database_url };
    std::fs::create_dir_all(former.data_dir()).expect("a data directory");
    for entry in std::fs::read_dir(today.data_dir()).expect("the data directory") {
        let entry = entry.expect("an entry");
        if entry.path().is_file() && !entry.file_name().to_string_lossy().starts_with("core314.db") {
            std::fs::copy(entry.path(), former.data_dir().join(entry.file_name())).expect("a file is copied");
        }
    }
    match (&today.database_url, &former.database_url) {
        (Some(from), Some(into)) => copy_postgres(from, into, number).await,
        _ => copy_sqlite(&today.data_dir(), &former.data_dir(), number).await,
    }
    former
}

async fn migrations(database: &str) -> Migrator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database);
    Migrator::new(folder).await.expect("the migrations can be read")
}

async fn copy_sqlite(from: &Path, into: &Path, number: i64) {
    let file = SqliteConnectOptions::new().filename(into.join("core314.db")).create_if_missing(true);
    let mut into: SqliteConnection = file.connect().await.expect("the file opens");
    migrations("sqlite").await.run_to(number, &mut into).await.expect("the schema of then");
    let attach = format!("ATTACH DATABASE '{}' AS today", from.join("core314.db").display());
    sqlx::raw_sql(AssertSqlSafe(attach)).execute(&mut into).await.expect("the file of today opens");
    let tables: Vec<String> = sqlx::query_scalar(SQLITE_TABLES).fetch_all(&mut into).await.expect("tables");
    for table in tables {
        let columns = format!("SELECT name FROM pragma_table_info('{table}', 'main')");
        let columns: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(columns)).fetch_all(&mut into).await.expect("columns");
        let columns = quoted(&columns);
        let copy = format!("INSERT INTO main.\"{table}\" ({columns}) SELECT {columns} FROM today.\"{table}\"");
        sqlx::raw_sql(AssertSqlSafe(copy)).execute(&mut into).await.unwrap_or_else(|error| panic!("{table}: {error}"));
    }
    sqlx::raw_sql(AssertSqlSafe(version(number))).execute(&mut into).await.expect("the version is noted");
    into.close().await.expect("it is written");
}

async fn copy_postgres(from: &str, into: &str, number: i64) {
    let mut from = PgConnection::connect(from).await.expect("the database of today answers");
    let mut into = PgConnection::connect(into).await.expect("the database of then answers");
    migrations("postgres").await.run_to(number, &mut into).await.expect("the schema of then");
    let tables: Vec<String> = sqlx::query_scalar(POSTGRES_TABLES).fetch_all(&mut into).await.expect("tables");
    let mut all = Vec::new();
    for table in tables {
        let columns = "SELECT column_name::text FROM information_schema.columns \
            WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position";
        let columns: Vec<String> =
            sqlx::query_scalar(columns).bind(&table).fetch_all(&mut into).await.expect("columns");
        all.push((table, quoted(&columns)));
    }
    for connection in [&mut from, &mut into] {
        sqlx::raw_sql("SET ROLE core314_service").execute(connection).await.expect("the role is granted");
    }
    for (table, columns) in all {
        let rows = format!("SELECT coalesce(json_agg(r), '[]')::text FROM (SELECT {columns} FROM \"{table}\") r");
        let rows: String = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_one(&mut from).await.expect("rows");
        let copy = format!(
            "INSERT INTO \"{table}\" ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::\"{table}\", $1::json)"
        );
        let copied = sqlx::query(AssertSqlSafe(copy)).bind(&rows).execute(&mut into).await;
        copied.unwrap_or_else(|error| panic!("{table}: {error}"));
    }
    sqlx::raw_sql(AssertSqlSafe(version(number))).execute(&mut into).await.expect("the version is noted");
}

fn version(number: i64) -> String {
    format!("UPDATE cluster SET schema_version = {number}")
}

fn quoted(columns: &[String]) -> String {
    columns.iter().map(|column| format!("\"{column}\"")).collect::<Vec<_>>().join(", ")
}
