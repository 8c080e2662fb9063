//! A JSON matcher: parsed, and held against a trigger.
#![no_main]

use core314_domain::expr::Condition;
use core314_domain::json::parse_json;
use core314_fuzz::{let_caught_panics_pass, names, scope};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: let_caught_panics_pass(), |text: &[u8]| {
    let Ok(document) = parse_json(text) else { return };
    if document.is_string() {
        return;
    }
    if let Ok(condition) = Condition::parse(&document, &names()) {
        let failing = condition.failing_clause(&scope()).map(|clause| clause.is_none());
        assert_eq!(condition.holds(&scope()), failing);
    }
});
