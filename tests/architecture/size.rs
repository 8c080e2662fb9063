//! Files of at most 500 lines, functions of at most 70, tests included.
//!
//! What fits on a few screens is read as a whole and has one concern. A file over the limit holds a
//! second thing; a function over it holds a step that has a name.

use crate::source::Source;
use crate::tree::Violation;

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// A function's name, the line of its `fn` and the number of lines to its closing brace.
struct Function<'a> {
    name: &'a str,
    line: usize,
    lines: usize,
}

fn check(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    if source.lines > FILE_LINES {
        let message = format!(
            "the file has {} lines, {FILE_LINES} are allowed: move its second concern to a file of its own",
            source.lines
        );
        found.push(Violation::new(&source.path, FILE_LINES + 1, message));
    }
    for Function { name, line, lines } in functions(source) {
        if lines > FUNCTION_LINES {
            let message = format!(
                "function {name} has {lines} lines, {FUNCTION_LINES} are allowed: give one of its steps a name"
            );
            found.push(Violation::new(&source.path, line, message));
        }
    }
    found
}

/// Functions that have a body; a type such as `fn(u8)` has no name and no body.
fn functions(source: &Source) -> Vec<Function<'_>> {
    let mut found = Vec::new();
    for at in source.find("fn") {
        if source.token(at + 1) == "(" {
            continue;
        }
        let mut here = at + 1;
        while here < source.len() {
            match source.token(here) {
                ";" => break,
                "(" | "[" => here = source.closing(here) + 1,
                "{" => {
                    let line = source.line(at);
                    let lines = source.line(source.closing(here)) - line + 1;
                    found.push(Function { name: source.token(at + 1), line, lines });
                    break;
                }
                _ => here += 1,
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_none, sources};

    fn measured(text: &str) -> Vec<(String, usize, usize)> {
        let source = Source::new("src/x.rs", text);
        functions(&source).into_iter().map(|f| (f.name.to_owned(), f.line, f.lines)).collect()
    }

    #[test]
    fn the_tree_keeps_to_the_limits() {
        let found: Vec<Violation> = sources().iter().flat_map(check).collect();
        assert_none(sources().len(), &found);
    }

    #[test]
    fn braces_in_strings_and_comments_do_not_count() {
        let text = "fn a() {\n    let s = \"}}}\"; // }\n    let c = '}';\n}\nfn b() {}";
        assert_eq!(measured(text), [("a".to_owned(), 1, 4), ("b".to_owned(), 5, 1)]);
    }

    #[test]
    fn signatures_count_and_declarations_do_not() {
        let text = "trait T {\n    fn a(&self) -> [u8; 4];\n    fn b<F>(\n        f: fn(u8) -> u8,\n    )\n    where\n        F: Fn(),\n    {\n    }\n}";
        assert_eq!(measured(text), [("b".to_owned(), 3, 7)]);
    }

    #[test]
    fn a_nested_function_is_measured_too() {
        let text = "fn a() {\n    fn b() {\n    }\n}";
        assert_eq!(measured(text), [("a".to_owned(), 1, 4), ("b".to_owned(), 2, 2)]);
    }

    #[test]
    fn limits_are_inclusive() {
        let function = |lines: usize| format!("fn a() {{\n{}}}\n", "x();\n".repeat(lines - 2));
        assert!(check(&Source::new("src/x.rs", &function(70))).is_empty());
        let found = check(&Source::new("src/x.rs", &function(71)));
        assert!(found[0].to_string().starts_with("src/x.rs:1: function a has 71 lines"), "{}", found[0]);
        assert!(check(&Source::new("src/x.rs", &"\n".repeat(500))).is_empty());
        let found = check(&Source::new("src/x.rs", &"\n".repeat(501)));
        assert!(found[0].to_string().starts_with("src/x.rs:501: the file has 501 lines"), "{}", found[0]);
    }
}
