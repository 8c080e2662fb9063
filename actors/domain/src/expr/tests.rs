//! A scope for the tests of this folder, and those that try to break it as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{TimeZone, Utc};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

use super::*;

pub(super) const NAMES: Names<'static> = Names::new(
    &["trigger", "webhook", "input", "steps", "vars", "event", "flow", "run", "tenant", "now"],
    &["tell", "drain", "restart-host", "later"],
);

pub(super) fn scope() -> Scope {
    let step = |status, output, error: Option<&str>| StepView {
        status,
        output: Output::from(output),
        error: error.map(Arc::from),
    };
    let steps = BTreeMap::from([
        (Arc::from("tell"), step("succeeded", json!({"status": 200}), None)),
        (Arc::from("drain"), step("succeeded", json!({"state": "drained", "items": [1, 2, 3]}), None)),
        (Arc::from("restart-host"), step("failed", json!(null), Some("refused"))),
    ]);
    Scope {
        trigger: Arc::new(json!({
            "host": "web-1", "severity": "high", "score": 0.9, "count": 3, "big": u64::MAX, "tags": ["web", "eu"],
            "labels": {"region": "eu"}, "alerts": [{"name": "a", "value": 1}, {"name": "b", "value": 2}], "empty": [],
        })),
        webhook: Arc::new(json!({"headers": {"x-id": "7"}})),
        input: Arc::new(json!({"limit": 2})),
        steps: StepViews::of_flow(Arc::new(steps)).with_executions(Arc::new(BTreeMap::from([
            (Arc::from("tell"), "e-1".into()),
            (Arc::from("consent"), "e-2".into()),
        ]))),
        vars: Arc::new(json!({"seen": 3})),
        round: Arc::new(json!({"item": {"host": "web-2"}, "index": 1})),
        event: Arc::default(),
        flow: Arc::new(json!({"name": "incident-response"})),
        run: Arc::new(json!({"id": "r1", "attempt": 1})),
        tenant: Arc::new(json!({"name": "acme"})),
        now: Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).unwrap(),
        secrets: Arc::default(),
    }
}

fn evaluate(source: &str) -> Result<Value, String> {
    Expression::parse(source, &NAMES)
        .map_err(|error| error.to_string())?
        .evaluate(&scope())
        .map_err(|error| error.message)
}

fn refused(source: &str) -> ExprError {
    Expression::parse(source, &NAMES).expect_err(source)
}

#[test]
fn cel_over_the_scope() {
    for (source, expected) in [
        (r#"trigger.severity in ["high", "critical"]"#, json!(true)),
        ("trigger.score > 0.8 && trigger.count >= 3", json!(true)),
        ("steps.drain.output.state == 'drained'", json!(true)),
        ("steps['restart-host'].status", json!("failed")),
        ("steps['restart-host'].error", json!("refused")),
        ("steps.tell.error == null", json!(true)),
        ("steps.tell.execution_id", json!("e-1")),
        // Before its end, and before this place.
        ("steps['consent'].execution_id + '!'", json!("e-2!")),
        ("steps.drain.output.items[1]", json!(2)),
        ("steps.drain.output.items[input.limit]", json!(3)),
        ("has(trigger.nope)", json!(false)),
        ("has(trigger.labels.region)", json!(true)),
        ("has(steps.later) || has(steps.tell)", json!(true)),
        ("trigger.alerts.exists(a, a.value > 1 && a.name == 'b')", json!(true)),
        ("trigger.alerts.map(a, a.value * 2)", json!([2, 4])),
        ("trigger.alerts.filter(a, a.value > 1).map(a, a.name)", json!(["b"])),
        ("trigger.alerts.map(a, a.value > 1, a.name)", json!(["b"])),
        ("trigger.tags.exists_one(t, t == 'eu')", json!(true)),
        ("trigger.empty.all(x, x == 1)", json!(true)),
        ("trigger.labels.all(k, k == 'region')", json!(true)),
        ("{'d': 1, 'a': 2, 'c': 3, 'b': 4}.map(k, k)", json!(["a", "b", "c", "d"])),
        ("{'d': 1, 'a': 2, 'c': 3, 'b': 4}.filter(k, k != 'c')", json!(["a", "b", "d"])),
        ("'region' in trigger.labels && 'eu' in trigger.tags", json!(true)),
        ("{'region': 'eu'} == trigger.labels && trigger.labels == {'region': 'eu'}", json!(true)),
        ("['web', 'eu'] == trigger.tags", json!(true)),
        ("trigger.host.matches('^web-[0-9]+$') && matches(trigger.host, 'web')", json!(true)),
        ("size(trigger.tags) + trigger.count", json!(5)),
        ("now.getFullYear() == 2026 && now > timestamp('2025-01-01T00:00:00Z')", json!(true)),
        ("type(trigger.count) == int", json!(true)),
        ("trigger['host'] + '/' + run.id", json!("web-1/r1")),
        ("trigger.big == 18446744073709551615u", json!(true)),
        ("{'flow': flow.name, 'now': now}", json!({"flow": "incident-response", "now": "2026-01-02T03:04:05+00:00"})),
        ("trigger.count > 2 ? 'many' : 'few'", json!("many")),
        (
            "steps.drain",
            json!({"status": "succeeded", "output": {"state": "drained", "items": [1, 2, 3]}, "error": null}),
        ),
        ("webhook.headers['x-id'] == '7'", json!(true)),
    ] {
        assert_eq!(evaluate(source), Ok(expected), "{source}");
    }
}

#[test]
fn failures_say_what_failed() {
    for (source, message) in [
        ("trigger.nope == 1", "`trigger` has no member `nope`"),
        ("trigger.tags[7]", "`trigger.tags` has no element 7"),
        ("has(trigger.nope.x)", "`trigger` has no member `nope`"),
        ("has(trigger.host.x)", "`trigger.host` has no members"),
        ("steps.later.output.x", "step `later` has not run"),
        ("trigger.alerts.map(a, a.nope)", "No such key: nope"),
        ("trigger.count.matches('a')", "matches"),
        ("1 / 0", "division by zero"),
        ("9223372036854775807 + trigger.count", "overflow in `add`"),
        ("1.0 / 0.0", "finite"),
        ("trigger.host < 1", "overload"),
        ("trigger.tags[-1]", "out of bounds"),
        ("trigger.tags + trigger.host", "`add` does not apply to list and string"),
        ("trigger.count.all(x, x)", "iterable"),
    ] {
        let error = evaluate(source).unwrap_err();
        assert!(error.contains(message), "{source}: {error}");
    }
}

#[test]
fn parse_refuses_what_cannot_work() {
    for (source, position, message) in [
        ("trigger.a ==", Some(12), "syntax error"),
        ("trigger.a = 1", Some(10), "syntax error"),
        ("1 == nope.x", Some(5), "unknown name `nope`; known here: trigger"),
        ("secrets.key == ''", Some(0), "payload of an action"),
        ("steps.nope.output", None, "no step `nope`"),
        ("steps.drain.outptu", None, "output, status, error"),
        ("steps[input.limit]", None, "followed by the id"),
        ("size(steps)", None, "followed by the id"),
        ("foo(1)", None, "unknown function `foo`"),
        ("trigger.x.foo()", None, "unknown function `foo`"),
        ("trigger.x.all(y)", None, "unknown function `all`"),
        ("'a'.matches(trigger.x)", None, "must be written out"),
        ("'a'.matches('(')", None, "unclosed group"),
        ("'a'.matches('((a{100}){100}){100}')", None, "too large"),
        ("[1].map(trigger, 1)", None, "another name"),
        ("Foo{a: 1}", None, "unknown type"),
        ("[1].map(a, [1].map(b, [1].map(c, 1)))", None, "nested more than 2"),
        ("now.x", None, "no members"),
        ("trigger.?a", None, "unsupported"),
        ("99999999999999999999", None, ""),
        ("", None, "empty"),
        ("// nothing", None, "empty"),
    ] {
        let error = refused(source);
        assert!(error.message.contains(message), "{source}: {error}");
        assert!(position.is_none() || error.position == position, "{source}: {error}");
        assert_eq!(error.expression, source);
    }
}

/// What fuzzing has found (CONTRIBUTING.md), each with what was wrong.
#[test]
fn findings_of_the_fuzzer_stay_mended() {
    // The keys of a map that is added to a list came in an order of their own each time.
    for _ in 0..20 {
        let keys = evaluate("trigger.empty + trigger").unwrap();
        let sorted = ["alerts", "big", "count", "empty", "host", "labels", "score", "severity", "tags"];
        assert_eq!(keys, json!(sorted));
    }
}

/// Repeated, each of these is as deep, as long or as broken as a text of its length can be.
#[rustfmt::skip]
const HOSTILE: &[&str] = &[
    "(", "[", "{", "!", "-", "- ", "!(", "a.", "a[", "a[0]", "f(", "f(a,", "a?", "a?b:", "a?b:c?", "a+", "a==", "a in ",
    "a||", "a&&", "trigger.a || ", "trigger.a && ", "{'a':", "[[]],", "'", "\"", "'''", "\\", "`", "r'", "b'", "//",
    "\n",
    "0x", "1e", "9", "..", ".", "@", "trigger.all(x,", "[1].map(x,", "a|f", "|", "not ", "a if b else ", "a is b and ",
    "{{", "}}", "{%", "{{ a", "~a", "**a", "\u{0}", "ü", "\u{202e}", "a,", "1,", "a:b,", "{},", "a{", "a.b(c).",
    "has(a.b)||", "x!=y?", "a<b<", "a%", "''||", "\"\"+", "}", ")", "]",
];

/// Hostile texts, each near the longest that is looked at: neither parser may overflow its stack or
/// take long. They run on a small stack, so that what passes here has room to spare elsewhere.
#[test]
fn hostile_texts_end_soon_on_a_small_stack() {
    let run = || {
        for unit in HOSTILE {
            let filled = unit.repeat(limits::EXPRESSION_BYTES / unit.len());
            let half = unit.repeat(limits::EXPRESSION_BYTES / unit.len() / 2);
            let nested = unit.repeat(30);
            let bare = format!("{nested}1{}", ")".repeat(30));
            for text in [filled, half, nested, bare] {
                let started = Instant::now();
                let _ = Expression::parse(&text, &NAMES);
                let _ = Condition::parse(&json!(text), &NAMES);
                let _ = Template::parse(&json!(format!("{{{{ {text} }}}}")), &NAMES);
                let _ = Template::parse(&json!(text), &NAMES);
                let took = started.elapsed();
                assert!(took < Duration::from_secs(5), "{unit:?} took {took:?}");
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(run).unwrap();
    thread.join().unwrap();
}

/// Work over large data is refused before it takes long.
#[test]
fn large_data_cannot_make_an_evaluation_long() {
    let mut scope = scope();
    let items: Vec<Value> = (0..10_000).map(|at| json!({"id": at, "text": "x".repeat(20)})).collect();
    scope.trigger = Arc::new(json!({"items": items, "text": "x".repeat(500_000)}));
    let run = |source: &str| {
        let expression = Expression::parse(source, &NAMES).unwrap();
        let started = Instant::now();
        let result = expression.evaluate(&scope).map_err(|error| error.message);
        assert!(started.elapsed() < Duration::from_secs(5), "{source} took {:?}", started.elapsed());
        result
    };
    assert_eq!(run("trigger.items.exists(i, i.id == 9999)"), Ok(json!(true)));
    assert_eq!(run("size(trigger.items.filter(i, i.id % 2 == 0))"), Ok(json!(5000)));
    for source in [
        "trigger.items.all(a, trigger.items.all(b, a.id >= 0 || b.id >= 0))",
        "trigger.items.exists(a, trigger.items.exists(b, a.id + b.id < 0))",
        "trigger.items.map(a, trigger.items.map(b, a.id + b.id)) == []",
        "trigger.items.map(a, trigger.text + trigger.text) == []",
        "[trigger.text].map(t, trigger.items.map(i, t + t)) == []",
        "trigger.items.exists_one(a, trigger.items.exists_one(b, a == b))",
        "trigger.items.map(a, trigger.items) == []",
    ] {
        let error = run(source).unwrap_err();
        assert!(error.contains("too much"), "{source}: {error}");
    }
}

#[test]
fn everything_is_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<Condition>();
    shared::<Expression>();
    shared::<Template>();
    shared::<Scope>();
}

/// `cargo test --release -- --nocapture costs` prints what an evaluation costs; the bound is a
/// hundredfold of it, so that it holds on any machine and in any build.
#[test]
fn costs() {
    let mut scope = scope();
    let mut trigger = (*scope.trigger).clone();
    trigger["padding"] =
        json!((0..30).map(|at| (format!("key{at}"), json!("x".repeat(20)))).collect::<serde_json::Map<_, _>>());
    scope.trigger = Arc::new(trigger);
    let time = |name: &str, run: &dyn Fn()| {
        let rounds = 2_000_u32;
        let started = Instant::now();
        (0..rounds).for_each(|_| run());
        let each = started.elapsed() / rounds;
        println!("{name}: {each:?}");
        assert!(each < Duration::from_micros(500), "{name} took {each:?}");
    };
    let cel = Condition::parse(&json!(r#"trigger.severity in ["high", "critical"]"#), &NAMES).unwrap();
    let both = Condition::parse(&json!("trigger.severity == 'high' && trigger.score > 0.8"), &NAMES).unwrap();
    let some = Condition::parse(&json!("trigger.alerts.exists(a, a.value > 1)"), &NAMES).unwrap();
    let pattern = Condition::parse(&json!("trigger.host.matches('^web-[0-9]+$')"), &NAMES).unwrap();
    let matcher = Condition::parse(&json!({"severity": ["high", "critical"]}), &NAMES).unwrap();
    let path = Template::parse(&json!({"text": "{{ trigger.host }} is {{ trigger.severity }}"}), &NAMES).unwrap();
    let filter = Template::parse(&json!({"text": "{{ trigger.host|upper }}"}), &NAMES).unwrap();
    let constant = Template::parse(&json!({"text": "hello"}), &NAMES).unwrap();
    for (name, condition) in
        [("in list", &cel), ("two clauses", &both), ("exists", &some), ("pattern", &pattern), ("matcher", &matcher)]
    {
        time(name, &|| assert_eq!(condition.holds(&scope), Ok(true)));
    }
    for (name, template) in [("path template", &path), ("filter template", &filter), ("constant template", &constant)] {
        time(name, &|| assert!(template.render(&scope).is_ok()));
    }
}

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-3.0_f64..3.0).prop_map(Value::from),
        "[ab{} ]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[ab]{1,2}", inner, 0..4).prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

/// The meaning of an equality matcher, written by hand once more.
fn by_hand(matcher: &Value, trigger: &Value) -> bool {
    matcher.as_object().unwrap().iter().all(|(key, expected)| {
        let field = key.split('.').try_fold(trigger, |here, key| here.as_object()?.get(key));
        let alike = |field: &Value, value: &Value| {
            field == value || (field.is_number() && value.is_number() && field.as_f64() == value.as_f64())
        };
        field.is_some_and(|field| match expected {
            Value::Array(values) => values.iter().any(|value| alike(field, value)),
            value => alike(field, value),
        })
    })
}

/// Seeded, so that a failure comes back.
fn config() -> ProptestConfig {
    ProptestConfig { cases: 256, failure_persistence: None, rng_seed: RngSeed::Fixed(314), ..ProptestConfig::default() }
}

const CLAUSES: &[&str] = &["true", "false", "trigger.nope", "(1 == 1)", "trigger.host == 'web-1'", "1"];

/// Pieces of both languages, to be put together at random.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "trigger", ".", "host", "(", ")", "[", "]", "{", "}", "{{", "}}", "&&", "||", "!", "-", "?", ":", ",", "==", "<",
    "in", "1", "1.5", "2u", "'a'", "\"b\"", "steps.drain.output", "has(", "size(", "all(x,", "map(x,", "x", "now", "|",
    "upper", "join", "not", "if", "else", "is", "~", "+", " ", "null", "true", "r'\\'", "'\\x41'", "b'\\377'", "%", "/",
    "trigger.tags",
    "trigger.count", "trigger.alerts", ".exists(a,", ".matches(",
];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = Expression::parse(&text, &NAMES);
        let _ = Condition::parse(&json!(text), &NAMES);
        let _ = Template::parse(&json!(format!("{{{{{text}}}}}")), &NAMES);
    }

    #[test]
    fn texts_of_the_language_never_panic(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..24)
    ) {
        let text = words.concat();
        let scope = scope();
        if let Ok(expression) = Expression::parse(&text, &NAMES) {
            let _ = expression.evaluate(&scope);
        }
        if let Ok(condition) = Condition::parse(&json!(text), &NAMES) {
            let failing = condition.failing_clause(&scope).map(|clause| clause.is_none());
            prop_assert_eq!(condition.holds(&scope), failing);
        }
        if let Ok(template) = Template::parse(&json!(format!("a{{{{{text}}}}}b")), &NAMES) {
            let _ = template.render(&scope);
        }
    }

    /// The clauses of a condition together mean what the text means as one expression.
    #[test]
    fn clauses_mean_what_the_whole_means(
        parts in prop::collection::vec(prop::sample::select(CLAUSES), 1..5)
    ) {
        let text = parts.join(" && ");
        let split = Condition::parse(&json!(text), &NAMES).unwrap().holds(&scope());
        let whole = Condition::parse(&json!(format!("({text})")), &NAMES).unwrap().holds(&scope());
        prop_assert_eq!(split.ok(), whole.ok());
    }

    #[test]
    fn matchers_mean_what_a_reader_expects(
        matcher in prop::collection::btree_map("[ab](\\.[ab])?", json_values(), 1..3), trigger in json_values()
    ) {
        let matcher: Value = matcher.into_iter().collect();
        // The reader's model is flat: what is within objects and within lists of lists is not in it.
        let nested = |value: &Value| value.is_array() || value.is_object();
        let flat = |value: &Value| match value {
            Value::Array(items) => !items.iter().any(nested),
            value => !value.is_object(),
        };
        prop_assume!(matcher.as_object().unwrap().values().all(flat));
        let scope = Scope { trigger: Arc::new(trigger), ..scope() };
        let condition = Condition::parse(&matcher, &NAMES).unwrap();
        prop_assert_eq!(condition.holds(&scope), Ok(by_hand(&matcher, &scope.trigger)));
    }

    #[test]
    fn constants_render_to_themselves(doc in json_values()) {
        prop_assume!(!doc.to_string().contains("{{"));
        let template = Template::parse(&doc, &NAMES).unwrap();
        prop_assert!(template.is_constant());
        prop_assert_eq!(template.render(&scope()).unwrap(), doc);
    }

    /// A value that passes through either language unchanged is the same value.
    #[test]
    fn values_pass_unchanged(value in json_values()) {
        let scope = Scope { trigger: Arc::new(json!({"x": value})), ..scope() };
        let template = Template::parse(&json!("{{ trigger.x }}"), &NAMES).unwrap();
        prop_assert_eq!(&template.render(&scope).unwrap(), &value);
        let template = Template::parse(&json!("{{ [trigger.x]|first }}"), &NAMES).unwrap();
        prop_assert_eq!(&template.render(&scope).unwrap(), &value);
        let expression = Expression::parse("[trigger.x][0]", &NAMES).unwrap();
        prop_assert_eq!(&expression.evaluate(&scope).unwrap(), &value);
    }
}
