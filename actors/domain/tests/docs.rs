//! The examples of the user's pages on flows and runs are flows: each one is read, and compiles.

use core314_domain::audit::AuditEvent;
use core314_domain::document::{FlowDocument, parameters};
use core314_domain::plan::{FlowPlan, PlanLimits};
use core314_domain::run::Waiting;
use core314_domain::words::{ExecutionStatus, RunStatus};
use core314_domain::{schedule, trial};

const PAGES: [(&str, &str); 7] = [
    ("docs/flow-files.md", include_str!("../../../docs/flow-files.md")),
    ("docs/flows.md", include_str!("../../../docs/flows.md")),
    ("docs/limits.md", include_str!("../../../docs/limits.md")),
    ("docs/running-again.md", include_str!("../../../docs/running-again.md")),
    ("docs/runs.md", include_str!("../../../docs/runs.md")),
    ("docs/schedules.md", include_str!("../../../docs/schedules.md")),
    ("docs/steps.md", include_str!("../../../docs/steps.md")),
];
const ACTION_TYPES: &[&str] = &["api_call", "run_command", "send_notification", "trigger_webhook", "transform"];

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
            let template = document.clone();
            assert_eq!(parameters::problems(&template), [], "{page}, line {line}");
            let document = parameters::sample(&template).unwrap_or_else(|e| panic!("{page}, line {line}: {e}"));
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
fn declared_test_cases_pass() {
    let mut count = 0;
    for (page, text) in PAGES {
        for (line, text) in blocks(text).iter().filter(|(_, text)| text.contains("flow_name")) {
            let document = FlowDocument::from_text(text).unwrap_or_else(|e| panic!("{page}, line {line}: {e}"));
            for case in trial::declared(&document).unwrap_or_else(|e| panic!("{page}, line {line}: {e}")) {
                let report = trial::perform(&document, &case).expect("it compiles");
                assert_eq!(report.failures, [""; 0], "{page}, line {line}: {}", case.name);
                count += 1;
            }
        }
    }
    assert!(count >= 2, "the page of files has cases");
}

#[test]
fn a_block_is_what_stands_between_its_fences() {
    assert_eq!(blocks("a\n```yaml\nx: 1\n\ny: 2\n```\nb\n```json\n{}\n```\n"), [(3, "x: 1\n\ny: 2\n".to_owned())]);
}

#[test]
fn every_word_that_rows_show_is_on_a_page() {
    let (runs, data) = (include_str!("../../../docs/runs.md"), include_str!("../../../docs/data.md"));
    for (page, words) in
        [(runs, Waiting::WORDS), (runs, RunStatus::WORDS), (runs, ExecutionStatus::WORDS), (data, AuditEvent::WORDS)]
    {
        let missing: Vec<&&str> = words.iter().filter(|word| !page.contains(&format!("`{word}`"))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
