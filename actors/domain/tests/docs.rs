//! The examples of the user's pages on flows and runs are flows: each one is read, and compiles.

use core314_domain::document::FlowDocument;
use core314_domain::plan::{FlowPlan, PlanLimits};
use core314_domain::schedule;

const PAGES: [(&str, &str); 3] = [
    ("docs/flows.md", include_str!("../../../docs/flows.md")),
    ("docs/runs.md", include_str!("../../../docs/runs.md")),
    ("docs/schedules.md", include_str!("../../../docs/schedules.md")),
];
const ACTION_TYPES: &[&str] = &["api_call", "trigger_webhook", "transform"];

/// The YAML blocks of a page, each with the number of its first line.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(page.lines()) {
        match line {
            "```yaml" => {
                open = true;
                blocks.push((number + 1, String::new()));
            }
            "```" => open = false,
            _ if open => {
                let (_, text) = blocks.last_mut().expect("a block is open");
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    blocks
}

#[test]
fn every_example_compiles() {
    let mut names = std::collections::BTreeSet::new();
    for (page, text) in PAGES {
        for (line, text) in blocks(text).iter().filter(|(_, text)| text.contains("flow_name")) {
            let document = FlowDocument::from_text(text).unwrap_or_else(|e| panic!("{page}, line {line}: {e}"));
            if let Err(problems) = FlowPlan::compile(&document, ACTION_TYPES, &PlanLimits::default()) {
                panic!("{page}, line {line}: {problems:#?}");
            }
            assert_eq!(schedule::check(&document), [], "{page}, line {line}");
            assert!(
                names.insert(document.flow_name.clone()),
                "line {line}: '{}' stands there twice",
                document.flow_name
            );
        }
    }
    assert!(names.len() >= 10, "the pages have their examples: {names:?}");
}

#[test]
fn a_block_is_what_stands_between_its_fences() {
    assert_eq!(blocks("a\n```yaml\nx: 1\n\ny: 2\n```\nb\n```json\n{}\n```\n"), [(3, "x: 1\n\ny: 2\n".to_owned())]);
}
