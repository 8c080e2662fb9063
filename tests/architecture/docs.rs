//! Links in the documentation lead somewhere, and decisions are numbered without a gap.

use crate::tree::Violation;

/// Links of a page to files that `exists` denies. Web addresses are not followed: a test must not
/// depend on somebody else's server.
fn check_links(path: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in targets(line) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            if !resolve(path, file).is_some_and(|file| exists(&file)) {
                let message = format!("the link to {target} leads nowhere: correct it, or write what it promises");
                found.push(Violation::new(path, index + 1, message));
            }
        }
    }
    found
}

/// What a line links to: `[text](target "title")`, `![picture](target)` and `[name]: target`.
fn targets(line: &str) -> Vec<&str> {
    // Every second part stands between backticks.
    let prose = line.split('`').step_by(2);
    let inline = prose.flat_map(|part| part.split("](").skip(1)).filter_map(|rest| rest.split([')', ' ']).next());
    let reference = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    inline.chain(reference.and_then(|(_, target)| target.split(' ').next())).collect()
}

/// The path from the repository's root of a link in the page `from`; none when it leaves the repository.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    if link.starts_with('/') {
        parts.clear();
    }
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Decisions are `docs/adr/NNN-title.md`, from 001.
fn check_decisions(paths: &[String]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let expected = format!("docs/adr/{:03}-", index + 1);
        if !path.starts_with(&expected) {
            let message = format!("a name that begins with {expected} belongs here: numbers have no gap and no double");
            found.push(Violation::new(path, 1, message));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_none, files, read, root};

    #[test]
    fn the_trees_links_lead_somewhere() {
        let pages = files("", ".md");
        let exists = |path: &str| root().join(path).exists();
        let found: Vec<Violation> = pages.iter().flat_map(|path| check_links(path, &read(path), &exists)).collect();
        assert_none(pages.len(), &found);
    }

    #[test]
    fn the_trees_decisions_are_numbered() {
        let decisions = files("docs/adr", ".md");
        assert_none(decisions.len(), &check_decisions(&decisions));
    }

    #[test]
    fn a_dead_link_is_found() {
        let page = "[a](b.md)\n[here](../src/app.rs#L3) and [gone](../src/gone.rs \"title\")\n\
            `[not](a-link)` <https://example.com> [web](https://example.com/x) [anchor](#below)\n\
            ```\n[not](a-link)\n```\n![picture](picture.png)\n[name]: ../LICENSE\n[up](../../x)";
        let exists = |path: &str| ["docs/b.md", "src/app.rs", "LICENSE"].contains(&path);
        let found = check_links("docs/a.md", page, &exists);
        let lines: Vec<usize> = found.iter().map(|violation| violation.line).collect();
        assert_eq!(lines, [2, 7, 9]);
        assert!(
            found[0].to_string().starts_with("docs/a.md:2: the link to ../src/gone.rs leads nowhere"),
            "{}",
            found[0]
        );
    }

    #[test]
    fn gaps_and_doubles_in_decisions_are_found() {
        let paths = |names: &[&str]| names.iter().map(|name| format!("docs/adr/{name}.md")).collect::<Vec<_>>();
        assert_eq!(check_decisions(&paths(&["001-one", "002-two"])), []);
        assert_eq!(check_decisions(&paths(&["001-one", "003-three"])).len(), 1);
        assert_eq!(check_decisions(&paths(&["001-one", "001-two"])).len(), 1);
        assert_eq!(check_decisions(&paths(&["README"])).len(), 1);
    }
}
