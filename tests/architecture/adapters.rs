//! Adapters never import each other; only the composition root `src/app.rs` names them.
//!
//! Each adapter can then be replaced, or tested with fakes around it, without the others. What two
//! of them share is a port of the core, or a module beside them that is no adapter.

use crate::source::Source;
use crate::tree::Violation;

const ADAPTERS: &[&str] = &["store", "http", "executors", "analyst", "probes", "recoverers", "telemetry"];

/// The top-level module of a file of the shell.
fn module(path: &str) -> Option<&str> {
    let first = path.strip_prefix("src/")?.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

fn check(source: &Source) -> Vec<Violation> {
    let Some(own) = module(&source.path).filter(|own| *own != "app") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (at, name) in named_modules(source, own) {
        if name != own && ADAPTERS.contains(&name) {
            let message = if ADAPTERS.contains(&own) {
                format!("adapter {own} imports adapter {name}: go through a port, or hand it over in src/app.rs")
            } else {
                format!("{own} names adapter {name}: only src/app.rs does; take what it builds")
            };
            found.push(Violation::new(&source.path, source.line(at), message));
        }
    }
    found
}

/// Top-level modules that a file names, with the index of the token that does.
fn named_modules<'a>(source: &'a Source, own: &str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for root in ["crate::", "core314::"] {
        for at in source.find(root) {
            found.extend(first_segments(source, at + 2));
        }
    }
    // `super::super::x` in a file two modules deep is `crate::x`.
    let depth = depth(&source.path);
    for at in source.find("super::") {
        let climbs = (0..source.len()).take_while(|i| source.token(at + 2 * i) == "super").count();
        let is_first = at < 2 || source.token(at - 2) != "super";
        if is_first && climbs >= depth {
            found.extend(first_segments(source, at + 2 * climbs));
        }
    }
    // In the crate's root file no prefix is needed.
    if matches!(own, "main" | "lib") {
        for name in ADAPTERS {
            let paths = source.find(&format!("{name}::")).into_iter();
            found.extend(paths.filter(|&at| at == 0 || source.token(at - 1) != "::").map(|at| (at, *name)));
        }
    }
    found
}

/// The first segment at `at`, or each branch's when a group in braces stands there.
fn first_segments(source: &Source, at: usize) -> Vec<(usize, &str)> {
    if source.token(at) != "{" {
        return vec![(at, source.token(at))];
    }
    let close = source.closing(at);
    let mut found = vec![];
    let mut here = at + 1;
    while here < close {
        found.push((here, source.token(here)));
        while here < close && source.token(here) != "," {
            here = if source.token(here) == "{" { source.closing(here) + 1 } else { here + 1 };
        }
        here += 1;
    }
    found
}

/// How many `super::` lead from a file's module to the crate's root.
fn depth(path: &str) -> usize {
    let below = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    match below {
        "main" | "lib" => 0,
        _ => below.split('/').count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_none, sources};

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_tree_keeps_adapters_apart() {
        let own: Vec<&Source> = sources().iter().filter(|source| source.path.starts_with("src/")).collect();
        let found: Vec<Violation> = own.iter().flat_map(|source| check(source)).collect();
        assert_none(own.len(), &found);
    }

    #[test]
    fn an_adapter_that_imports_another_is_found() {
        let message = "src/http/runs.rs:2: adapter http imports adapter store";
        for import in [
            "use crate::store::Sqlite;",
            "use crate::{config::Config, http::{self, store}, store};",
            "let s = crate::store::open();",
            "use super::super::store;",
            "use core314::store::Sqlite;",
        ] {
            let found = found("src/http/runs.rs", &format!("\n{import}"));
            assert_eq!(found.len(), 1, "{import}: {found:?}");
            assert!(found[0].starts_with(message), "{}", found[0]);
        }
    }

    #[test]
    fn an_adapter_may_name_itself_and_what_is_no_adapter() {
        let text = "use crate::http::{Problem, store};\nuse crate::config::Config;\nuse super::executors;\n\
            use core314_actors::ports::store::Store;";
        assert_eq!(found("src/http/runs.rs", text), Vec::<String>::new());
    }

    #[test]
    fn only_the_composition_root_names_adapters() {
        assert_eq!(found("src/app.rs", "use crate::{http, store};"), Vec::<String>::new());
        assert_eq!(found("src/cli/serve.rs", "use crate::app::App;"), Vec::<String>::new());
        for path in ["src/cli/serve.rs", "src/config.rs"] {
            let found = found(path, "use crate::store::Sqlite;");
            assert!(found[0].contains("names adapter store: only src/app.rs does"), "{}", found[0]);
        }
        assert_eq!(found("src/main.rs", "mod store;\nfn main() { store::open(); app::run(); }").len(), 1);
    }
}
