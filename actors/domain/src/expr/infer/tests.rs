//! What is refused, what is not, and at which character.

use serde_json::json;

use super::super::tests::{NAMES, scope};
use super::super::{Condition, ExprError, Expression, Names, Suspect};
use super::*;
use crate::words::TriggerType;

fn types() -> Types {
    Types {
        input: Type::of_schema(&json!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "host": {"type": "string"}, "limit": {"type": "integer"}, "dry": {"type": "boolean"},
                "tags": {"type": "array", "items": {"type": "string"}}, "note": {"type": ["string", "null"]},
            },
        })),
        run: Type::object([("id", Type::Text), ("trigger_type", Type::Word(TriggerType::WORDS))]),
        outputs: [(
            "tell".to_owned(),
            Type::object([("status", Type::Int), ("headers", Type::Dyn), ("body", Type::Dyn)]),
        )]
        .into(),
        executions: ["tell".to_owned()].into(),
        ..Types::default()
    }
}

fn parsed(source: &str) -> Result<Expression, ExprError> {
    let types = types();
    let roots = [NAMES.roots, &["loop"]].concat();
    Expression::parse(source, &Names::new(&roots, NAMES.steps).typed(&types))
}

fn condition(source: &str) -> Result<Condition, ExprError> {
    Condition::parse(&json!(source), &NAMES.typed(&types()))
}

/// Refused, at the character of `^` in the second line.
fn refused(source: &str, mark: &str, message: &str) {
    let error = parsed(source).expect_err(source);
    assert!(error.message.contains(message), "{source}: {error}");
    assert_eq!(error.position, mark.find('^'), "{source}\n{error}");
}

#[test]
#[rustfmt::skip]
fn operands_have_the_types_that_operators_apply_to() {
    refused("trigger.a && 'x'",
            "             ^", "a side of `&&` must be true or false: expected bool, found string");
    refused("!input.host",
            " ^", "what `!` negates must be true or false: expected bool, found string");
    refused("input.limit ? 1 : 2",
            "^", "before `?`");
    refused("input.host + 1",
            "           ^", "`+` does not apply to string and int; convert one of them: string(…)");
    refused("1 + 1.5",
            "  ^", "`+` does not apply to int and double; convert one of them: double(…)");
    refused("now + 1",
            "    ^", "`+` does not apply to timestamp and int");
    refused("now > '2026-01-01'",
            "    ^", "`>` does not apply to timestamp and string; convert one of them: timestamp(…)");
    refused("trigger.x - true",
            "          ^", "`-` does not apply to dyn and bool");
    refused("null < trigger.x",
            "     ^", "`<` does not apply to null and dyn");
    refused("-input.host",
            " ^", "`-` needs an int or a double, found string");
    refused("input.tags[true]",
            "           ^", "a list is indexed by an int, found bool");
    refused("[1, 2][-1]",
            "        ^", "a list begins at 0");
    refused("1[0]",
            "^", "only lists and maps are indexed, found int");
    refused("{[1]: 2}",
            " ^", "a key is a string, an int, a uint or a bool, found list<int>");
    refused("{'a': 1, 'a': 2}",
            "         ^", "twice");
}

#[test]
#[rustfmt::skip]
fn what_can_never_be_equal_is_refused() {
    refused("input.host == 1",
            "           ^", "`==` compares string with int: that is never true");
    refused("now != null",
            "    ^", "`!=` compares timestamp with null: that is always true");
    refused("steps.tell.status == 'succeded'",
            "                     ^", "it is never 'succeded', but one of pending");
    refused("steps.tell.status == 'complete'",
            "                     ^", "did you mean `completed`?");
    refused("steps.tell.status in ['completed', 'skiped']",
            "                                   ^", "did you mean `skipped`?");
    refused("run.trigger_type == 'webhok'",
            "                    ^", "did you mean `webhook`?");
    refused("1 in ['a']",
            "  ^", "that is never true");
    refused("'a' in input.host",
            "       ^", "text.contains(part)");
    refused("'a' in 7",
            "       ^", "`in` needs a list or a map, found int");
}

#[test]
#[rustfmt::skip]
fn members_that_cannot_be_there_are_refused() {
    refused("run.idd == 'x'",
            "    ^", "`run` has no member `idd`; did you mean `id`?");
    refused("input['hots']",
            "      ^", "did you mean `host`?");
    refused("steps.tell.output.boddy",
            "                  ^", "`steps.tell.output` has no member `boddy`; did you mean `body`?");
    refused("[steps.tell].exists(s, s.execution_id == 'x')",
            "                         ^", "`s` has no member `execution_id`");
    refused("steps.tell.execution_id + 1",
            "                        ^", "`+` does not apply to string and int");
    refused("input.host.name",
            "           ^", "`input.host` is a string and has no member `name`");
    refused("has(run.nope)",
            "    ^", "has no member `nope`");
    refused("loop.itm",
            "     ^", "`loop` has no member `itm`; did you mean `item`?");
}

#[test]
#[rustfmt::skip]
fn functions_are_called_as_they_are() {
    refused("input.tags.contains('a')",
            "^", "`contains` needs string, found list<string>; for lists write `value in list`");
    refused("input.host.startsWith(1)",
            "                      ^", "`startsWith` needs string, found int");
    refused("size(1)",
            "     ^", "`size` needs string|bytes|list|map, found int");
    refused("size('a', 'b')",
            "    ^", "`size` is called as `size(string|bytes|list|map)` or `string|bytes|list|map.size()`");
    refused("contains('a', 'b')",
            "        ^", "`contains` is called as `string.contains(string)`");
    refused("input.host.getHours()",
            "^", "make a time of it: timestamp(…)");
    refused("trigger.x.lenght()",
            "                ^", "unknown function `lenght`; known: bool, ");
    refused("trigger.x.sise()",
            "              ^", "did you mean `size`?");
    refused("trigger.xs.exists(x)",
            "                 ^", "as a macro it is written `list.exists(x, condition)`");
    refused("input.limit.exists(x, x)",
            "^", "a macro goes over a list or a map, found number");
    refused("input.tags.exists(t, t > 1)",
            "                       ^", "`>` does not apply to string and int");
    refused("input.tags.filter(t, t)",
            "                     ^", "expected bool, found string");
    refused("input.tags.map(t, size(t)).exists(n, n == 'a')",
            "                                       ^", "compares int with string");
}

#[test]
#[rustfmt::skip]
fn constants_are_computed_when_they_are_saved() {
    refused("trigger.x / 0",
            "            ^", "division by zero");
    refused("trigger.x % 0u",
            "            ^", "division by zero");
    refused("now < timestamp('2026-13-01T00:00:00Z')",
            "               ^", "");
    refused("now - duration('5 parsecs') > now",
            "              ^", "");
    refused("int('seven') == trigger.x",
            "   ^", "");
    refused("9223372036854775807 + 1",
            "                    ^", "overflow");
    refused("'a'.matches('(')",
            "            ^", "unclosed group");
}

#[test]
fn a_condition_is_true_or_false() {
    for (source, found) in [("input.host", "string"), ("trigger.a && size(trigger.b)", "int"), ("[true]", "list<bool>")]
    {
        let error = condition(source).expect_err(source);
        assert!(error.message.contains(&format!("expected bool, found {found}")), "{error}");
    }
    assert!(condition("trigger.a").is_ok() && condition("input.dry").is_ok());
}

/// Of data nothing is known, so nothing is said; and what is known is right.
#[test]
fn there_are_no_false_alarms() {
    for source in [
        "vars.x + 1 > 2 && event.data.x == 'y'",
        "trigger.a + trigger.b == trigger.c",
        "trigger.count > 1 && trigger.count < 2.5",
        "trigger.a == null || trigger.a == 1 || trigger.a == 'x'",
        "steps.drain.error == null || steps.drain.error.contains('timeout')",
        "steps.drain.status == 'completed' && steps.drain.status in ['failed', 'skipped', trigger.word]",
        "steps.tell.output.status == 200 && steps.tell.output.body.a.b[0] == 'x'",
        "steps.drain.output.anything > 3",
        "steps.tell.execution_id.startsWith('e') || steps['tell']['execution_id'] != '' || has(steps.tell.execution_id)",
        "input.limit + 1 > 2 && input.limit + 1.5 > 2.0 && input.limit < 3u",
        "input.note == null || input.note.startsWith('a')",
        "input.tags.exists(t, t == input.host) || input.host in input.tags",
        "input.tags == [] || input.tags + ['x'] == trigger.tags",
        "(trigger.a ? 1 : 'x') == 'x'",
        "(trigger.a ? null : 'x') == null",
        "{'a': 1, 'b': 'x'}.a == 1 && {1: 2}[trigger.n] == 2",
        "[1, 'a', null].exists(x, x == trigger.y)",
        "trigger.labels.all(key, key.startsWith('x')) && trigger.labels.exists_one(k, k == 'y')",
        "now - timestamp(trigger.at) > duration('5m') && (now + duration('1h')).getHours('Europe/Berlin') > 8",
        "now.getHours() >= 8 && int(now) > 0 && string(now) != ''",
        "type(trigger.a) == int || type(1) == type(trigger.a)",
        "size(trigger.a) > 0 && trigger.a.size() > 0 && dyn(1) == 'x'",
        "duration('1h').getSeconds() == 3600 && timestamp(0) < now",
        "trigger.a.map(x, x.b).filter(y, y > 1)[0] == 2",
        "trigger.text.matches('^a') && matches(input.host, 'b')",
        "-trigger.x < -1 && !trigger.y",
        "has(trigger.a.b) && has(steps.later)",
        "run.trigger_type == 'webhook' && run.id + '/' + flow.name == ''",
        "[] + [1] == [1] && [[1], []][0] == [1]",
        "b'a' + b'b' == bytes('ab')",
        "loop.index + 1 > 0 && loop.item.host == 'x'",
    ] {
        if let Err(error) = parsed(source) {
            panic!("{source}: {error}");
        }
    }
}

#[test]
fn a_loops_pass_is_named_by_a_word_that_cel_reserves() {
    let value = |source: &str| parsed(source).unwrap().evaluate(&scope()).unwrap();
    assert_eq!(value("loop.item.host + string(loop.index)"), json!("web-21"));
    assert_eq!(value("{'a': loop.index}"), json!({"a": 1}));
    assert_eq!(value("'loop' + trigger.host"), json!("loopweb-1"));
    assert!(Expression::parse("loop.index", &NAMES).unwrap_err().message.contains("body of a loop"));
    assert!(parsed("l__p.index").is_err() && parsed("[1].map(loop, loop)").is_err());
}

#[test]
fn what_is_suspicious_is_a_warning() {
    let warnings = |source: &str| {
        let found = condition(source).unwrap().warnings();
        found.into_iter().map(|warning| (warning.position.unwrap_or(99), warning.message)).collect::<Vec<_>>()
    };
    assert_eq!(warnings("trigger.a == 1 && trigger.b > 0.5 && trigger.c == 2.0"), []);
    assert_eq!(warnings("trigger.a == 1 && 1 == 1")[0].1, "it names nothing of the run, so it never changes");
    let fraction = &warnings("trigger.score == 0.1")[0];
    assert!(fraction.0 == 14 && fraction.1.contains("rarely exactly equal"), "{fraction:?}");
    assert!(warnings("trigger.a.b == trigger.a.b")[0].1.contains("both sides"));
    assert_eq!(warnings("trigger.a.b == trigger.a.c"), []);
}

/// Whatever the checker lets pass or refuses, the interpreter's own opinion is the measure: over pairs of values that are
/// written out, an operator is refused exactly where it fails.
#[test]
fn the_checker_and_the_interpreter_agree_on_constants() {
    let values = ["null", "true", "1", "2u", "1.5", "'a'", "b'a'", "[1]", "{'a': 1}", "now", "now - now", "int"];
    for left in values {
        for right in values {
            for sign in ["+", "-", "*", "/", "%", "<", ">=", "in"] {
                let source = format!("({left}) {sign} ({right})");
                let run = Expression::parse(&source, &NAMES).unwrap().evaluate(&scope());
                let fails = run.as_ref().is_err_and(|error| !error.message.contains("no form in JSON"));
                let refused = parsed(&source).is_err();
                // Membership that is possible and never true is refused too.
                let never = sign == "in" && run == Ok(json!(false));
                assert!(refused == fails || (refused && never), "{source}: {run:?}, {:?}", parsed(&source));
            }
        }
    }
}
