//! The schema's history, embedded in the program.
//!
//! Both databases have the same list of names. A database that has seen a newer release's migrations is no error here:
//! two neighbouring releases may run side by side, and `cluster.minimum_version` says when that ends.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// Declares the list once for both databases.
macro_rules! migrations {
    ($($number:literal $name:literal),* $(,)?) => {
        /// The files, in order.
        #[cfg(test)]
        const FILES: &[&str] = &[$($name),*];

        /// The number of the newest one.
        pub(super) const LATEST: i64 = { let mut last = 0; $(last = { assert!($number > last); $number };)* last };

        pub(super) fn sqlite() -> Migrator {
            migrator(vec![$(migration($number, $name, include_str!(migrations!(@path "sqlite/" $name)))),*])
        }

        pub(super) fn postgres() -> Migrator {
            migrator(vec![$(migration($number, $name, include_str!(migrations!(@path "postgres/" $name)))),*])
        }
    };
    (@path $folder:literal $name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $folder, $name)
    };
}

migrations! {
    1 "0001_tables.sql",
    2 "0002_views.sql",
    3 "0003_row_level_security.sql",
    4 "0004_surface.sql",
    5 "0005_notifications.sql",
    6 "0006_service_keys.sql",
    7 "0007_webhooks.sql",
    8 "0008_quick_reads.sql",
    9 "0009_schedules.sql",
    10 "0010_signals.sql",
    11 "0011_rollouts.sql",
    12 "0012_limits.sql",
    15 "0015_queue_and_scopes.sql",
    16 "0016_steps_in_steps.sql",
    17 "0017_events_that_runs_wait_for.sql",
    19 "0019_step_cache.sql",
    21 "0021_reused_results.sql",
    23 "0023_idle_runs.sql",
    25 "0025_integrations.sql",
    26 "0026_breakers.sql",
    27 "0027_secret_overlap.sql",
    28 "0028_escalation.sql",
    34 "0034_tenants_are_equal.sql",
    35 "0035_deliveries_by_tenant.sql",
    36 "0036_gathering.sql",
    44 "0044_statistics_of_all.sql",
    45 "0045_people.sql",
    46 "0046_recipients.sql",
    47 "0047_slack_buttons.sql",
    50 "0050_sync_positions.sql",
    54 "0054_bounded_outbox.sql",
    56 "0056_how_people_were_found.sql",
    58 "0058_approvals_told.sql",
    59 "0059_undo_of_its_own.sql",
    60 "0060_retries_of_integrations.sql",
    61 "0061_versions_of_silences.sql",
    63 "0063_installation_marks.sql",
    64 "0064_archived_notifications.sql",
    66 "0066_policies_ask_once.sql",
    67 "0067_leases.sql",
    68 "0068_quicker_lists.sql",
}

fn migration(number: i64, name: &'static str, sql: &'static str) -> Migration {
    Migration::new(number, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
}

fn migrator(migrations: Vec<Migration>) -> Migrator {
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.set_ignore_missing(true);
    migrator
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connection::Connection;
    use crate::store::{StoreOptions, postgres as on_postgres, sqlite as on_sqlite};

    #[test]
    fn the_list_is_the_folder() {
        for folder in ["sqlite", "postgres"] {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
            let entries = std::fs::read_dir(&folder).expect("the folder of migrations");
            let mut names: Vec<_> =
                entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
            names.sort();
            assert_eq!(names, FILES, "{}", folder.display());
        }
    }

    #[test]
    fn numbers_are_those_of_the_names() {
        let numbers: Vec<i64> = sqlite().iter().map(|migration| migration.version).collect();
        for (number, name) in numbers.iter().zip(FILES) {
            assert!(name.starts_with(&format!("{number:04}_")), "{name}");
        }
        assert_eq!(numbers.last(), Some(&LATEST));
    }

    /// Webhooks of before 0006 kept one digest each.
    async fn a_webhook_keeps_its_secret(mut connection: Connection, migrator: Migrator, insert: &'static str) {
        let before = migrator.iter().filter(|m| m.version < 6).cloned().collect();
        connection.migrate(&self::migrator(before)).await.expect("the schema of before");
        connection.begin_write().await.expect("begins");
        connection.run(insert).await.expect("a webhook of before");
        connection.commit().await.expect("commits");
        connection.migrate(&migrator).await.expect("the schema of today");
        connection.begin_read().await.expect("begins");
        let rows = connection.fetch("SELECT CAST(secrets AS text), updated_at_ms FROM webhooks", &[]).await;
        let rows = rows.expect("reads");
        let mut fields = rows[0].fields();
        let secrets: serde_json::Value = serde_json::from_str(&fields.text().expect("a text")).expect("JSON");
        assert_eq!(secrets, serde_json::json!([{"sha256": "ab".repeat(32)}]));
        assert_eq!(fields.int().expect("a number"), 7);
    }

    #[tokio::test]
    async fn a_webhook_keeps_its_secret_on_sqlite() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let connector = on_sqlite::connector(&dir.path().join("core314.db"), &StoreOptions::default());
        let connection = connector.connect().await.expect("it connects");
        let insert = "INSERT INTO webhooks (id, tenant_id, user_id, name, verification, secret_hash, trigger_type, \
            is_active, created_at_ms) VALUES (zeroblob(16), zeroblob(16), zeroblob(16), 'w', 'url_secret', \
            x'abababababababababababababababababababababababababababababababab', 'webhook', 1, 7)";
        a_webhook_keeps_its_secret(connection, sqlite(), insert).await;
    }

    #[tokio::test]
    async fn a_webhook_keeps_its_secret_on_postgres() {
        let url = std::env::var("CORE314_TEST_POSTGRES_URL")
            .expect("CORE314_TEST_POSTGRES_URL is not set: run the tests under scripts/with-postgres.sh");
        let (server, _) = url.rsplit_once('/').expect("the address names a database");
        let name = format!("migrations_{}", std::process::id());
        let connect = async |url: &str| {
            let connector = on_postgres::connector(url, &StoreOptions::default()).expect("a valid address");
            connector.connect().await.expect("it connects")
        };
        connect(&url).await.create_database(&name).await.expect("a database can be created");
        let url = format!("{server}/{name}");
        // The login gets the two roles with the schema, in another database of the server.
        on_postgres::migrate(&url, &StoreOptions::default()).await.expect("the roles are granted");
        let url = format!("{server}/{name}_before");
        connect(&format!("{server}/{name}"))
            .await
            .create_database(&format!("{name}_before"))
            .await
            .expect("another one");
        let insert = "INSERT INTO webhooks (id, tenant_id, user_id, name, verification, secret_hash, trigger_type, \
            is_active, created_at_ms) VALUES (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'w', \
            'url_secret', decode(repeat('ab', 32), 'hex'), 'webhook', true, 7)";
        a_webhook_keeps_its_secret(connect(&url).await, postgres(), insert).await;
    }
}
