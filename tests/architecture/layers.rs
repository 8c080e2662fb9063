//! The arrow `src -> actors -> actors/domain`, and the domain's purity.
//!
//! Cargo holds the arrow between the crates; this rule holds what Cargo does not know: which
//! packages would carry I/O, a clock or randomness into a crate that must decide the same thing
//! every time it is asked the same question.

use crate::source::Source;
use crate::tree::Violation;

/// Files that may name a forbidden path, each with its reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "actors/domain/src/expr/cel_value.rs",
    "HashMap",
    "the expression library builds its maps from this type alone; JSON sorts what comes back",
)];

/// One crate and what it must do without.
struct Layer {
    folder: &'static str,
    /// Names of packages; a trailing `*` stands for the whole family.
    packages: &'static [&'static str],
    /// Paths that the code must not contain.
    paths: &'static [&'static str],
    mend: &'static str,
}

const DOMAIN: Layer = Layer {
    folder: "actors/domain",
    packages: &[
        "actix*",
        "tokio*",
        "sqlx*",
        "reqwest*",
        "rand*",
        "dashmap",
        "tracing*",
        "metrics*",
        "core314",
        "core314-actors",
    ],
    paths: &[
        "actix::",
        "tokio::",
        "sqlx::",
        "reqwest::",
        "dashmap::",
        "tracing::",
        "core314_actors::",
        "SystemTime::now",
        "Instant::now",
        "Utc::now",
        "Local::now",
        "Uuid::now_v7",
        "Uuid::new_v4",
        "rand::",
        "HashMap",
        "HashSet",
        "std::fs",
        "std::net",
        "std::thread",
        "std::process",
        "std::env",
    ],
    mend: "the domain is pure: take time, ids and randomness as arguments, iterate over a BTreeMap, \
           and leave I/O to the caller",
};

const ACTORS: Layer = Layer {
    folder: "actors/src",
    packages: &["sqlx*", "reqwest*", "actix-web*", "core314"],
    paths: &["sqlx::", "reqwest::", "actix_web::", "core314::"],
    mend: "the reactive core knows ports, not adapters: put the trait into actors/src/ports and \
           what implements it into src",
};

fn check_source(layer: &Layer, source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    let is_excepted = |path: &str| EXCEPTIONS.iter().any(|(file, allowed, _)| *file == source.path && *allowed == path);
    for path in layer.paths.iter().filter(|path| !is_excepted(path)) {
        // Tests may measure, read their seed and use threads: what they must not do is be called.
        for at in source.find(path).into_iter().filter(|at| !source.is_test(source.line(*at))) {
            found.push(Violation::new(
                &source.path,
                source.line(at),
                format!("{path} in {}: {}", layer.folder, layer.mend),
            ));
        }
    }
    found
}

fn check_manifest(layer: &Layer, path: &str, text: &str) -> Vec<Violation> {
    let is_forbidden = |name: &str| {
        layer.packages.iter().any(|forbidden| match forbidden.strip_suffix('*') {
            Some(family) => name.starts_with(family),
            None => name == *forbidden,
        })
    };
    dependencies(text)
        .into_iter()
        .filter(|(_, name)| is_forbidden(name))
        .map(|(line, name)| Violation::new(path, line, format!("dependency {name} in {path}: {}", layer.mend)))
        .collect()
}

/// Line and package name of every dependency that a manifest declares, for whatever purpose.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_table = false;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut name = None;
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            in_table = section.ends_with("dependencies");
            // `[dependencies.name]` is a table of its own.
            name = section.rsplit_once("dependencies.").map(|(_, name)| name);
        } else if in_table && line.contains('=') {
            name = line.split(['.', '=', ' ']).next();
        }
        // A renamed package hides behind its new name.
        let renamed = line.split_once("package").and_then(|(_, rest)| rest.split('"').nth(1)).filter(|_| in_table);
        for name in [name, renamed].into_iter().flatten() {
            found.push((index + 1, name.trim_matches('"').replace('_', "-")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_none, read, sources};

    fn in_tree(layer: &Layer, manifest: &str) {
        let folder = format!("{}/", layer.folder);
        let own: Vec<&Source> = sources().iter().filter(|source| source.path.starts_with(&folder)).collect();
        let mut found = check_manifest(layer, manifest, &read(manifest));
        found.extend(own.iter().flat_map(|source| check_source(layer, source)));
        assert_none(own.len(), &found);
    }

    #[test]
    fn the_domain_is_pure() {
        in_tree(&DOMAIN, "actors/domain/Cargo.toml");
    }

    #[test]
    fn the_reactive_core_knows_no_adapter() {
        in_tree(&ACTORS, "actors/Cargo.toml");
    }

    #[test]
    fn exceptions_are_still_needed() {
        for (file, path, _) in EXCEPTIONS {
            let source = sources().iter().find(|source| source.path == *file);
            assert!(
                source.is_some_and(|source| !source.find(path).is_empty()),
                "EXCEPTIONS in tests/architecture/layers.rs still has {path} in {file}: remove the entry"
            );
        }
    }

    #[test]
    fn an_exception_is_for_one_path_in_one_file() {
        let (file, path, _) = EXCEPTIONS[0];
        let text = format!("use std::collections::{path};\nuse std::fs;");
        let lines =
            |file: &str| check_source(&DOMAIN, &Source::new(file, &text)).iter().map(|v| v.line).collect::<Vec<_>>();
        assert_eq!(lines(file), [2]);
        assert_eq!(lines("actors/domain/src/x.rs"), [1, 2]);
    }

    #[test]
    fn impure_code_is_found() {
        for (line, path) in [
            ("let now = chrono::Utc::now();", "Utc::now"),
            ("let now = std::time::Instant::now();", "Instant::now"),
            ("let id = uuid::Uuid::now_v7();", "Uuid::now_v7"),
            ("use std::collections::{BTreeMap, HashMap};", "HashMap"),
            ("use tokio::sync::mpsc;", "tokio::"),
            ("let x: u8 = rand::random();", "rand::"),
            ("use std::fs;", "std::fs"),
        ] {
            let found = check_source(&DOMAIN, &Source::new("actors/domain/src/x.rs", &format!("fn a() {{}}\n{line}")));
            assert_eq!(found.len(), 1, "{line}");
            assert!(found[0].to_string().starts_with(&format!("actors/domain/src/x.rs:2: {path} ")), "{}", found[0]);
        }
    }

    #[test]
    fn pure_code_passes() {
        let text = "// Utc::now is the caller's.\nfn f(now: DateTime<Utc>) -> BTreeMap<Key, DateTime<Utc>> {}";
        assert!(check_source(&DOMAIN, &Source::new("actors/domain/src/x.rs", text)).is_empty());
    }

    #[test]
    fn an_adapter_in_the_core_is_found() {
        let found = check_source(&ACTORS, &Source::new("actors/src/x.rs", "use actix_web::web;"));
        assert_eq!(found.len(), 1);
        assert!(check_source(&ACTORS, &Source::new("actors/src/x.rs", "use actix::Actor;")).is_empty());
    }

    #[test]
    fn forbidden_dependencies_are_found_however_they_are_written() {
        let manifest = "[package]\nname = \"tokio\"\n[dependencies]\nserde.workspace = true\ntokio-util.workspace = true\n\
            clock = { package = \"tokio\", version = \"1\" }\n[dev-dependencies]\nrand = \"0.9\"\n\
            [target.'cfg(unix)'.dependencies]\nsqlx = \"0\"\n[build-dependencies.reqwest]\nversion = \"1\"\n";
        let lines: Vec<usize> = check_manifest(&DOMAIN, "x", manifest).iter().map(|v| v.line).collect();
        assert_eq!(lines, [5, 6, 8, 10, 11]);
    }

    #[test]
    fn the_core_may_depend_on_the_domain_but_not_on_the_shell() {
        let manifest = "[dependencies]\ncore314-domain.workspace = true\ncore314.workspace = true\n";
        let found = check_manifest(&ACTORS, "actors/Cargo.toml", manifest);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 3);
    }
}
