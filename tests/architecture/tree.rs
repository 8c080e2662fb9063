//! The repository's files, and how a rule reports what it found.

use crate::source::Source;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    pub path: String,
    /// From 1.
    pub line: usize,
    /// What is wrong, and what to do instead.
    pub message: String,
}

impl Violation {
    pub fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Fails with the whole list. `checked` is how much the rule looked at: a rule that finds nothing to
/// look at has lost its subject, and passing would hide that.
#[track_caller]
pub fn assert_none(checked: usize, found: &[Violation]) {
    assert!(checked > 0, "nothing was checked: has a folder been renamed?");
    let list: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{} violation(s)\n{}\n", found.len(), list.join("\n"));
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file that must exist.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Paths of all files below `folder` (the root when empty) that end in `suffix`, sorted.
pub fn files(folder: &str, suffix: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(folder, suffix, &mut found);
    found.sort();
    found
}

fn walk(folder: &str, suffix: &str, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(root().join(folder)) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("{folder}: {error}"));
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if entry.path().is_dir() {
            // What is built, downloaded or hidden is not ours to judge.
            let foreign = ["target", "node_modules", "dist", "data"].contains(&name.as_str());
            if !foreign && !name.starts_with('.') {
                walk(&path, suffix, found);
            }
        } else if name.ends_with(suffix) {
            found.push(path);
        }
    }
}

/// Every Rust file of the repository.
pub fn sources() -> &'static [Source] {
    static ALL: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let mut all: Vec<Source> = files("", ".rs").iter().map(|path| Source::new(path, &read(path))).collect();
        mark_test_modules(&mut all);
        all
    });
    &ALL
}

/// Carries `#[cfg(test)] mod name;` over to the file or folder `name`.
fn mark_test_modules(all: &mut [Source]) {
    let declared: Vec<String> = all
        .iter()
        .flat_map(|source| {
            let folder = module_folder(&source.path);
            source.test_modules().into_iter().map(move |name| format!("{folder}/{name}"))
        })
        .collect();
    for source in all {
        let is_declared = |module: &String| {
            source.path.strip_prefix(module.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        if declared.iter().any(is_declared) {
            source.mark_as_test();
        }
    }
}

/// The folder in which the modules that a file declares are found.
fn module_folder(path: &str) -> &str {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    match stem.rsplit_once('/') {
        Some((folder, "mod" | "lib" | "main")) => folder,
        _ => stem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "src/x.rs:7: too long")]
    fn a_violation_names_its_place() {
        assert_none(1, &[Violation::new("src/x.rs", 7, "too long")]);
    }

    #[test]
    #[should_panic(expected = "nothing was checked")]
    fn a_rule_without_a_subject_fails() {
        assert_none(0, &[]);
    }

    #[test]
    fn a_test_module_in_a_file_of_its_own_is_test_code() {
        let mut all = [
            Source::new("src/store/mod.rs", "#[cfg(test)]\nmod histories;"),
            Source::new("src/store/histories.rs", "fn a() {}"),
            Source::new("src/store/histories/draw.rs", "fn a() {}"),
            Source::new("src/histories.rs", "fn a() {}"),
        ];
        mark_test_modules(&mut all);
        let tests: Vec<bool> = all.iter().map(|source| source.is_test(1)).collect();
        assert_eq!(tests[1..], [true, true, false]);
    }
}
