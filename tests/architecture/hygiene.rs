//! What never stays in the tree: unfinished code, ignored tests, panics on the happy path, silenced
//! lints, and tests that wait by sleeping.

use crate::source::Source;
use crate::tree::Violation;

/// Files in which a test may let real time pass, each with its reason.
const SLEEPERS: &[(&str, &str)] = &[
    ("actors/src/supervision/tests/mod.rs", PAUSED),
    ("actors/tests/cluster/node.rs", PAUSED),
    ("actors/tests/cluster/wire.rs", PAUSED),
    ("actors/tests/cluster/workshop.rs", PAUSED),
];

const PAUSED: &str = "its clock is paused: sleeping moves simulated time, and no real time passes";

/// Where a pattern is forbidden.
#[derive(Clone, Copy)]
enum Scope {
    Everywhere,
    Code,
    Tests,
}

struct Rule {
    pattern: &'static str,
    scope: Scope,
    mend: &'static str,
}

const UNFINISHED: &str = "finish it, or leave the feature out";
const SILENCED: &str = "use #[expect(..., reason = \"...\")], which fails once it is no longer needed";
const SLEEPING: &str = "wait for what is to happen (a message, a simulated clock), or name the file with its \
                        reason in SLEEPERS of tests/architecture/hygiene.rs";

const RULES: &[Rule] = &[
    Rule { pattern: "todo!", scope: Scope::Everywhere, mend: UNFINISHED },
    Rule { pattern: "unimplemented!", scope: Scope::Everywhere, mend: UNFINISHED },
    Rule {
        pattern: "#[ignore",
        scope: Scope::Everywhere,
        mend: "a test that does not run proves nothing: mend or delete it",
    },
    Rule { pattern: "#[allow(", scope: Scope::Everywhere, mend: SILENCED },
    Rule { pattern: "#![allow(", scope: Scope::Everywhere, mend: SILENCED },
    Rule { pattern: ".unwrap()", scope: Scope::Code, mend: "return the error, or expect(\"why it cannot fail\")" },
    Rule { pattern: "sleep(", scope: Scope::Tests, mend: SLEEPING },
    Rule { pattern: "sleep_until(", scope: Scope::Tests, mend: SLEEPING },
    Rule { pattern: "sleep_ms(", scope: Scope::Tests, mend: SLEEPING },
];

fn check(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for rule in RULES {
        for at in source.find(rule.pattern) {
            let line = source.line(at);
            let applies = match rule.scope {
                Scope::Everywhere => true,
                Scope::Code => !source.is_test(line),
                Scope::Tests => source.is_test(line) && is_sleep(source, at),
            };
            if applies {
                found.push(Violation::new(&source.path, line, format!("{}: {}", rule.pattern, rule.mend)));
            }
        }
    }
    found
}

/// A method of that name belongs to a clock of ours, and a definition is no call.
fn is_sleep(source: &Source, at: usize) -> bool {
    let before = if at == 0 { "" } else { source.token(at - 1) };
    before != "." && before != "fn" && !SLEEPERS.iter().any(|(path, _)| *path == source.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_none, root, sources};

    fn found(path: &str, text: &str) -> Vec<usize> {
        check(&Source::new(path, text)).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn the_tree_is_clean() {
        let found: Vec<Violation> = sources().iter().flat_map(check).collect();
        assert_none(sources().len(), &found);
    }

    #[test]
    fn exceptions_are_still_there() {
        let stale: Vec<&str> =
            SLEEPERS.iter().map(|(path, _)| *path).filter(|path| !root().join(path).exists()).collect();
        assert!(stale.is_empty(), "SLEEPERS names files that are gone: {stale:?}");
    }

    #[test]
    fn unfinished_ignored_and_silenced_are_found_even_in_tests() {
        for text in [
            "fn a() { todo!() }",
            "fn a() { unimplemented!(\"x\") }",
            "#[test]\n#[ignore = \"slow\"]\nfn a() {}",
            "#[allow(dead_code)]\nfn a() {}",
            "#![allow(dead_code)]",
        ] {
            assert_eq!(found("src/x.rs", text).len(), 1, "{text}");
            assert_eq!(found("tests/it/x.rs", text).len(), 1, "{text}");
        }
        assert!(found("src/x.rs", "#[expect(dead_code, reason = \"x\")]\nfn a() {} // todo!()").is_empty());
    }

    #[test]
    fn unwrap_is_for_tests() {
        let text = "fn a() { b().unwrap() }\n#[cfg(test)]\nmod tests {\n    fn c() { b().unwrap() }\n}";
        assert_eq!(found("src/x.rs", text), [1]);
        assert!(found("tests/it/x.rs", text).is_empty());
        assert!(found("src/x.rs", "fn a() { b().unwrap_or_default() }").is_empty());
    }

    #[test]
    fn tests_that_sleep_are_found() {
        for call in ["std::thread::sleep(d)", "tokio::time::sleep(d).await", "sleep(d).await", "sleep_until(t).await"] {
            let text =
                format!("async fn a() {{ {call} }}\n#[cfg(test)]\nmod tests {{\n    async fn b() {{ {call} }}\n}}");
            assert_eq!(found("src/x.rs", &text), [4], "{call}");
            assert_eq!(found("tests/it/x.rs", &text), [1, 4], "{call}");
        }
        assert!(found("tests/it/x.rs", "fn sleep() {}\nfn a() { clock.sleep(d) }").is_empty());
    }
}
