//! SQL lives in `src/store` and `migrations`, nowhere else.
//!
//! Statements in one place can be reviewed together for tenant isolation, kept equal on both
//! databases, and changed with the schema. Test code may look at tables directly.

use crate::source::Source;
use crate::tree::Violation;

const MEND: &str = "SQL belongs to the store: add a method to a port and implement it in src/store";

fn applies_to(path: &str) -> bool {
    let in_store = path.starts_with("src/store/") || path == "src/store.rs";
    (path.starts_with("src/") && !in_store) || path.starts_with("actors/")
}

fn check(source: &Source) -> Vec<Violation> {
    let library = ["sqlx::", "use sqlx"].into_iter().flat_map(|pattern| source.find(pattern));
    let library = library.map(|at| (source.line(at), "the sqlx library".to_owned()));
    let literals = source.literals.iter();
    let statements = literals.filter_map(|literal| verb(&literal.text).map(|verb| (literal.line, verb.to_owned())));
    let mut found: Vec<(usize, String)> = library.chain(statements).collect();
    found.sort();
    // `use sqlx::x` matches both patterns.
    found.dedup();
    found.retain(|(line, _)| !source.is_test(*line));
    found
        .into_iter()
        .map(|(line, what)| Violation::new(&source.path, line, format!("{what} outside the store: {MEND}")))
        .collect()
}

/// The statement that a string begins or contains, if it reads like SQL.
fn verb(text: &str) -> Option<&'static str> {
    // A line that is continued in the source ends in a backslash.
    let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "\\").collect();
    let follows = |first: &str, second: &str| {
        words
            .windows(2)
            .any(|pair| pair[0].trim_start_matches('(') == first && (second.is_empty() || pair[1] == second))
    };
    if follows("SELECT", "") {
        Some("SELECT")
    } else if follows("INSERT", "INTO") {
        Some("INSERT INTO")
    } else if follows("DELETE", "FROM") {
        Some("DELETE FROM")
    } else if follows("CREATE", "TABLE") {
        Some("CREATE TABLE")
    } else if words.windows(3).any(|three| three[0] == "UPDATE" && three[2] == "SET") {
        Some("UPDATE")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_none, sources};

    #[test]
    fn the_tree_keeps_sql_in_the_store() {
        let own: Vec<&Source> = sources().iter().filter(|source| applies_to(&source.path)).collect();
        let found: Vec<Violation> = own.iter().flat_map(|source| check(source)).collect();
        assert_none(own.len(), &found);
    }

    #[test]
    fn statements_and_the_library_are_found() {
        let text = "use sqlx::Row;\nconst A: &str = \"SELECT 1\";\nconst B: &str = \"\n  UPDATE runs\n  SET x = 1\";\n\
            const C: &str = \"INSERT \\\n  INTO runs\";\nconst D: &str = r\"DELETE FROM runs\";";
        let lines: Vec<usize> = check(&Source::new("src/http/x.rs", text)).iter().map(|v| v.line).collect();
        assert_eq!(lines, [1, 2, 3, 6, 8]);
    }

    #[test]
    fn prose_and_tests_pass() {
        let text = "// SELECT 1\nconst A: &str = \"select a flow, then delete from the list; UPDATED\";\n\
            #[cfg(test)]\nmod tests {\n    const B: &str = \"SELECT 1\";\n}";
        assert!(check(&Source::new("src/http/x.rs", text)).is_empty());
    }

    #[test]
    fn the_store_alone_is_exempt() {
        assert!(!applies_to("src/store/runs.rs"));
        assert!(applies_to("src/storefront.rs"));
        assert!(applies_to("actors/src/ports/store.rs"));
    }
}
