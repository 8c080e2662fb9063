//! A CEL text: parsed, checked, evaluated, as an expression and as a condition.
#![no_main]

use core314_domain::expr::{Condition, Expression};
use core314_fuzz::{let_caught_panics_pass, names, scope};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(init: let_caught_panics_pass(), |text: &str| {
    if let Ok(expression) = Expression::parse(text, &names()) {
        let first = expression.evaluate(&scope());
        assert_eq!(first, expression.evaluate(&scope()), "the same expression gives the same value");
    }
    if let Ok(condition) = Condition::parse(&Value::from(text), &names()) {
        let failing = condition.failing_clause(&scope()).map(|clause| clause.is_none());
        assert_eq!(condition.holds(&scope()), failing);
    }
});
