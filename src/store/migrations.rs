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
    6 "0006_quick_reads.sql",
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
}
