//! A flow document as JSON: read, compiled, and written back as it was read.
#![no_main]

use core314_domain::document::FlowDocument;
use core314_domain::plan::{FlowPlan, PlanLimits, Problem};
use core314_fuzz::{ACTION_TYPES, let_caught_panics_pass};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: let_caught_panics_pass(), |text: &str| {
    if !text.trim_start().starts_with('{') {
        return;
    }
    if let Ok(document) = FlowDocument::from_text(text) {
        assert_eq!(FlowDocument::from_value(document.to_value()).as_ref(), Ok(&document));
        if let Err(mut problems) = FlowPlan::compile(&document, ACTION_TYPES, &PlanLimits::default()) {
            Problem::locate(&mut problems, text);
            // YAML has more line breaks than one.
            let lines = text.matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 1;
            assert!(problems.iter().all(|problem| problem.line.is_none_or(|line| (1..=lines).contains(&line))));
        }
    }
});
