//! Row-level security: PostgreSQL itself keeps tenants apart, in every table that has a tenant.

use core314::store::{SqlStore, StoreOptions};
use core314_actors::testkit::store_suite::samples::Samples;
use core314_actors::testkit::store_suite::{commit_run, holds, take};

use super::bed::{Bed, Raw, fresh_database};

const MINE: &str = "0190a000-0000-7000-8000-00000000000a";
const THEIRS: &str = "0190a000-0000-7000-8000-00000000000b";

/// The tables of the schema, and whether they have a tenant.
async fn tables(raw: &mut Raw) -> Vec<(String, bool)> {
    let sql = "SELECT t.table_name::text, (EXISTS (SELECT FROM information_schema.columns c \
               WHERE c.table_name = t.table_name AND c.table_schema = t.table_schema AND c.column_name = 'tenant_id'))::text \
               FROM information_schema.tables t \
               WHERE t.table_schema = 'public' AND t.table_type = 'BASE TABLE' ORDER BY 1";
    raw.pairs(sql).await.into_iter().map(|(name, has_tenant)| (name, has_tenant == "true")).collect()
}

/// A statement that inserts a row of the tenant, with something in every column that needs it.
async fn insert(raw: &mut Raw, table: &str, tenant: &str) -> String {
    let sql = format!(
        "SELECT column_name::text, data_type::text FROM information_schema.columns WHERE table_name = '{table}' \
         AND (is_nullable = 'NO' OR table_name = 'webhooks' AND column_name = 'trigger_type')"
    );
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (name, kind) in raw.pairs(&sql).await {
        values.push(match (name.as_str(), kind.as_str()) {
            ("tenant_id", _) | (_, "text") => format!("'{tenant}'"),
            (_, "uuid") => "gen_random_uuid()".to_owned(),
            (_, "bytea") => format!("'{tenant}'::bytea"),
            (_, "jsonb") => "'{}'".to_owned(),
            (_, "boolean") => "false".to_owned(),
            (_, "integer" | "bigint" | "double precision") => "1".to_owned(),
            other => panic!("no value for {other:?}"),
        });
        names.push(name);
    }
    format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "))
}

#[tokio::test]
async fn a_tenant_sees_its_own_rows_in_every_table() {
    let bed = Bed::postgres().await;
    let raw = &mut bed.raw().await;
    let tables = tables(raw).await;
    assert!(tables.iter().filter(|(_, has_tenant)| *has_tenant).count() > 10, "{tables:?}");
    for (table, has_tenant) in tables {
        if !has_tenant {
            let look = format!("BEGIN; SET LOCAL ROLE core314_tenant; SELECT * FROM {table}");
            let refused = raw.run(&look).await;
            raw.run("ROLLBACK").await.expect("rolls back");
            assert!(refused.expect_err("no table without a tenant").contains("permission denied"), "{table}");
            continue;
        }
        for tenant in [MINE, THEIRS] {
            let insert = insert(raw, &table, tenant).await;
            raw.run(&format!("BEGIN; SET LOCAL ROLE core314_service; {insert}; COMMIT"))
                .await
                .expect("the service writes");
        }
        assert_eq!(seen(raw, &table, Some(MINE)).await, (1, 1), "{table}");
        assert_eq!(seen(raw, &table, None).await, (0, 0), "{table}: without a tenant there is nothing to see");
        let insert = insert(raw, &table, MINE).await;
        let attempt = format!("BEGIN; SET LOCAL ROLE core314_tenant; SET LOCAL core314.tenant_id = '{MINE}'; {insert}");
        let refused = raw.run(&attempt).await;
        raw.run("ROLLBACK").await.expect("rolls back");
        assert!(refused.expect_err("a tenant's role only reads").contains("permission denied"), "{table}");
        let forced =
            format!("SELECT relrowsecurity::text, relforcerowsecurity::text FROM pg_class WHERE relname = '{table}'");
        assert_eq!(raw.pairs(&forced).await, [("true".to_owned(), "true".to_owned())], "{table}");
        // A plan that is kept must suit every tenant (ADR 011).
        let statistics = format!(
            "SELECT attname::text, attstattarget::text FROM pg_attribute \
             WHERE attrelid = '{table}'::regclass AND attname = 'tenant_id'"
        );
        let none = [("tenant_id".to_owned(), "0".to_owned())];
        assert_eq!(raw.pairs(&statistics).await, none, "{table}: ALTER COLUMN tenant_id SET STATISTICS 0 is missing");
    }
}

/// How many rows the tenant's role sees, and how many of them are `MINE`.
async fn seen(raw: &mut Raw, table: &str, tenant: Option<&str>) -> (i64, i64) {
    let tenant = tenant.map(|t| format!("SET LOCAL core314.tenant_id = '{t}'")).unwrap_or_default();
    raw.run(&format!("BEGIN; SET LOCAL ROLE core314_tenant; {tenant}")).await.expect("begins");
    let count = format!("SELECT count(*)::text, (count(*) FILTER (WHERE tenant_id = '{MINE}'))::text FROM {table}");
    let counts = raw.pairs(&count).await;
    raw.run("ROLLBACK").await.expect("rolls back");
    (counts[0].0.parse().expect("a number"), counts[0].1.parse().expect("a number"))
}

/// A tenant may see that a key exists, and never what it is compared with.
#[tokio::test]
async fn no_tenant_reads_a_digest() {
    let bed = Bed::postgres().await;
    let raw = &mut bed.raw().await;
    for (sql, allowed) in [
        ("SELECT id, name, roles FROM keys", true),
        ("SELECT * FROM service_keys", true),
        ("SELECT key_hash FROM keys", false),
        ("SELECT * FROM keys", false),
        ("SELECT id FROM keys WHERE key_hash = 'x'::bytea", false),
    ] {
        let outcome = raw.run(&format!("BEGIN; SET LOCAL ROLE core314_tenant; {sql}")).await;
        raw.run("ROLLBACK").await.expect("rolls back");
        assert_eq!(outcome.is_ok(), allowed, "{sql}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_owner_migrates_and_another_login_works() {
    let owner_url = fresh_database().await;
    let (_, database) = owner_url.rsplit_once('/').expect("a database");
    let login = format!("app_{database}");
    let bed = Bed::postgres().await;
    bed.raw().await.run(&format!("CREATE ROLE {login} LOGIN PASSWORD 'app'")).await.expect("a login");
    let (_, server) = owner_url.split_once('@').expect("an address");
    let url = format!("postgres://{login}:app@{server}");

    let without = SqlStore::open(&url, StoreOptions::default()).await;
    assert!(without.is_err(), "the login may not create tables");
    let options = StoreOptions { owner_url: Some(owner_url), ..StoreOptions::default() };
    let store = SqlStore::open(&url, options).await.expect("the owner migrates, the login works");
    let epoch = take(&store).await;
    let run = Samples::new(40).accept(0, epoch);
    commit_run(&store, &run).await;
    assert_eq!(holds(&store).await.rows, 1);
}
