//! Migrations come in pairs: the same names for both databases, numbered in ascending order,
//! each beginning with a comment that says why. Numbers may leave gaps, because work that goes on at the same time takes
//! its number before it is known what comes in between.
//!
//! A schema that exists on one database only is found here and not by the first user of the other.

use crate::tree::Violation;

const FOLDERS: [&str; 2] = ["migrations/sqlite", "migrations/postgres"];

/// A migration's file name and text.
type Migration = (String, String);

fn check(sqlite: &[Migration], postgres: &[Migration]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (folder, own, other_folder, other) in
        [(FOLDERS[0], sqlite, FOLDERS[1], postgres), (FOLDERS[1], postgres, FOLDERS[0], sqlite)]
    {
        let mut last = 0;
        for (name, text) in own {
            let path = format!("{folder}/{name}");
            let mut report = |message: String| found.push(Violation::new(&path, 1, message));
            if !other.iter().any(|(twin, _)| twin == name) {
                report(format!("it has no twin: write {other_folder}/{name}"));
            }
            match number(name).filter(|number| *number > last) {
                Some(number) => last = number,
                None => report(format!("its number should be above {last:04}: names are 0001_what.sql, in order")),
            }
            if !says_why(text) {
                report("its first line must be a comment (--) that says in a sentence why it is there".to_owned());
            }
        }
    }
    found
}

fn number(name: &str) -> Option<usize> {
    let (digits, rest) = name.split_once('_')?;
    rest.strip_suffix(".sql").filter(|title| !title.is_empty())?;
    digits.parse().ok()
}

/// Fewer than five words name a thing; they do not give a reason.
fn says_why(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("--").is_some_and(|comment| comment.split_whitespace().count() >= 5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_none, files, read};

    const WHY: &str = "-- Runs outlive the process, so they have a table.\nCREATE TABLE runs (id);";

    fn migrations(names: &[&str]) -> Vec<Migration> {
        names.iter().map(|name| ((*name).to_owned(), WHY.to_owned())).collect()
    }

    #[test]
    fn the_tree_has_pairs() {
        let [sqlite, postgres] = FOLDERS.map(|folder| {
            let name = |path: &String| path[folder.len() + 1..].to_owned();
            files(folder, "").iter().map(|path| (name(path), read(path))).collect::<Vec<Migration>>()
        });
        assert_none(sqlite.len() + postgres.len(), &check(&sqlite, &postgres));
    }

    #[test]
    fn pairs_in_order_pass() {
        let both = migrations(&["0001_runs.sql", "0002_log.sql"]);
        assert_eq!(check(&both, &both), []);
    }

    #[test]
    fn a_missing_twin_is_found() {
        let found = check(&migrations(&["0001_runs.sql"]), &[]);
        assert_eq!(
            found[0].to_string(),
            "migrations/sqlite/0001_runs.sql:1: it has no twin: write migrations/postgres/0001_runs.sql"
        );
        assert_eq!(check(&[], &migrations(&["0001_runs.sql"])).len(), 1);
    }

    #[test]
    fn repetitions_and_foreign_files_are_found() {
        for names in [&["0000_runs.sql"][..], &["0001_a.sql", "0001_b.sql"], &["0001_a.sql", "notes.txt"], &["1.sql"]] {
            let both = migrations(names);
            let found = check(&both, &both);
            assert_eq!(found.len(), 2, "{names:?}");
            assert!(found[0].message.starts_with("its number should be above "), "{}", found[0]);
        }
    }

    #[test]
    fn a_missing_reason_is_found() {
        for text in ["CREATE TABLE runs (id);", "-- runs", "", "\n-- Runs outlive the process, so they have a table."] {
            let both = [("0001_runs.sql".to_owned(), text.to_owned())];
            assert_eq!(check(&both, &both).len(), 2, "{text}");
        }
    }
}
