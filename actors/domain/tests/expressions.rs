//! The examples of the page on expressions: each computes what the page says, or is refused with the words it says.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{TimeZone, Utc};
use core314_domain::expr::{Condition, Expression, Names, Scope, StepViews, Template, Type, Types};
use core314_domain::run;
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../../docs/expressions.md");
const ROOTS: &[&str] = &["trigger", "webhook", "input", "steps", "vars", "flow", "run", "tenant", "now"];

/// The lines of all blocks of a language.
fn block(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}");
    let mut open = false;
    let mut lines = Vec::new();
    for line in PAGE.lines() {
        if line.starts_with("```") {
            open = line == fence;
        } else if open {
            lines.push(line);
        }
    }
    assert!(!lines.is_empty(), "the page has no block of {language}");
    lines
}

/// An example, and what the page says of it.
fn example(line: &'static str) -> (&'static str, &'static str) {
    let (source, said) = line.rsplit_once(" // ").unwrap_or_else(|| panic!("`{line}` says nothing"));
    (source.trim(), said.trim())
}

fn values() -> Value {
    serde_json::from_str(&block("json").join("\n")).expect("the page's values are JSON")
}

fn types() -> Types {
    let schema = json!({"type": "object", "properties": {"limit": {"type": "integer"}, "host": {"type": "string"}}});
    Types { input: Type::of_schema(&schema), ..run::known_types() }
}

fn scope() -> Scope {
    let values = values();
    let nothing: Arc<Value> = Arc::default();
    Scope {
        trigger: Arc::new(values["trigger"].clone()),
        webhook: nothing.clone(),
        input: Arc::new(values["input"].clone()),
        steps: StepViews::of_flow(Arc::new(BTreeMap::new())),
        vars: nothing.clone(),
        round: nothing.clone(),
        event: nothing.clone(),
        flow: nothing.clone(),
        run: nothing.clone(),
        tenant: nothing.clone(),
        now: Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).single().expect("one time"),
        secrets: nothing,
    }
}

#[test]
fn every_expression_computes_what_the_page_says() {
    let types = types();
    let names = Names::new(ROOTS, &["look"]).typed(&types);
    for (source, said) in block("cel").into_iter().map(example) {
        let expression = Expression::parse(source, &names).unwrap_or_else(|e| panic!("{e}"));
        let expected: Value = serde_json::from_str(said).unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(expression.evaluate(&scope()), Ok(expected), "{source}");
    }
    for (source, said) in block("jinja").into_iter().map(example) {
        let template = Template::parse(&json!(source), &names).unwrap_or_else(|e| panic!("{e}"));
        let expected: Value = serde_json::from_str(said).unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(template.render(&scope()), Ok(expected), "{source}");
    }
}

#[test]
fn every_mistake_is_refused_in_the_words_of_the_page() {
    let types = types();
    let names = Names::new(ROOTS, &["look"]).typed(&types);
    let refused = |line, parsed: &dyn Fn(&str) -> Result<(), core314_domain::expr::ExprError>| {
        let (source, said) = example(line);
        let error = parsed(source).expect_err(source);
        assert!(error.message.contains(said), "{error}\nis not: {said}");
        assert!(error.excerpt().is_some(), "{error}: no character");
    };
    for line in block("cel-refused") {
        refused(line, &|source| Condition::parse(&json!(source), &names).map(drop));
    }
    for line in block("jinja-refused") {
        refused(line, &|source| Template::parse(&json!(source), &names).map(drop));
    }
}

/// The page's lists of filters, tests and functions are complete: one that is missing there is proposed by nobody.
#[test]
fn the_page_lists_every_filter_test_and_function() {
    let names = Names::new(ROOTS, &[]);
    let lists = |unknown: Result<(), core314_domain::expr::ExprError>, words: usize| {
        let message = unknown.expect_err("unknown").message;
        // Long lists are cut where they are shown.
        let list = message.trim_end_matches('…').split_once("known: ").expect("the list").1.to_owned();
        let known: Vec<&str> = list.split(", ").collect();
        assert!(known.len() >= words, "{known:?}");
        for word in &known[..known.len() - 1] {
            let written = [format!("`{word}`"), format!("`{word}("), format!(".{word}("), format!(" {word},")];
            assert!(written.iter().any(|form| PAGE.contains(form.as_str())), "the page does not name {word}");
        }
    };
    lists(Template::parse(&json!("{{ trigger.x|zzzzzzzz }}"), &names).map(drop), 30);
    lists(Template::parse(&json!("{{ trigger.x is zzzzzzzz }}"), &names).map(drop), 20);
    lists(Expression::parse("zzzzzzzz()", &names).map(drop), 20);
}
