//! Templates, as documents write them.

use serde_json::json;

use super::super::tests::{NAMES, scope};
use super::*;

fn render(doc: &Value) -> Result<Value, ExprError> {
    Template::parse(doc, &NAMES)?.render(&scope())
}

fn refused(text: &str) -> ExprError {
    Template::parse(&json!({"a/b": [text]}), &NAMES).unwrap_err()
}

#[test]
fn one_expression_keeps_its_type() {
    let doc = json!({
        "n": "{{ trigger.count }}", "l": " {{ trigger.tags }}", "t": "{{trigger.tags}}",
        "o": "{{ trigger.labels }}",
        "f": "{{ trigger.score }}",
        "z": "{{ steps.drain.error }}", "c": "{{ trigger.count + 1 }}",
        "m": "{{ {'a': {'b': trigger.tags}} }}", "big": "{{ trigger.big }}",
        "s": "{{ steps['restart-host'].status }}",
    });
    assert_eq!(
        render(&doc).unwrap(),
        json!({
            "n": 3, "l": " [\"web\",\"eu\"]", "t": ["web", "eu"], "o": {"region": "eu"}, "f": 0.9,
            "z": null, "c": 4,
            "m": {"a": {"b": ["web", "eu"]}}, "big": u64::MAX, "s": "failed",
        })
    );
}

#[test]
fn text_is_put_together() {
    let doc = json!([
        "{{ trigger.host }} is {{ trigger.severity|upper }}!",
        "{ {{ trigger.count }} }",
        "{{ '}}{{' }}",
        "{{ now }}"
    ]);
    assert_eq!(render(&doc).unwrap(), json!(["web-1 is HIGH!", "{ 3 }", "}}{{", "2026-01-02T03:04:05Z"]));
    let doc = json!("{{ trigger.tags|map('upper')|join(', ') }} {{ 'x' if trigger.count > 2 else 'y' }}");
    assert_eq!(render(&doc).unwrap(), json!("WEB, EU x"));
    assert_eq!(render(&json!("{{ trigger.nope|default('-') }}{{ true }}")).unwrap(), json!("-true"));
}

#[test]
fn what_is_missing_is_an_error_with_its_place() {
    let error = render(&json!({"a": ["x {{ trigger.nope }}"]})).unwrap_err();
    assert_eq!((error.pointer.as_str(), error.expression.as_str()), ("/a/0", "trigger.nope"));
    assert_eq!(error.message, "`trigger` has no member `nope`");
    for text in
        ["{{ trigger.nope|upper }}", "{{ trigger.nope.more|default(1) }}", "{{ trigger.nope ~ 'x' }}", "{{ 1 / 0 }}"]
    {
        assert!(render(&json!(text)).is_err(), "{text}");
    }
}

#[test]
fn names_are_checked_when_it_is_parsed() {
    let error = refused("a {{ nope.x }}");
    assert_eq!((error.pointer.as_str(), error.position), ("/a~1b/0", Some(5)));
    assert!(refused("{{ secrets.key }}").message.contains("payload of an action"));
    assert!(refused("{{ secrets.key|upper }}").message.contains("payload of an action"));
    for text in [
        "{{ steps.nope.output }}",
        "{{ steps.nope.output|upper }}",
        "{{ steps|length }}",
        "{{ x|upper }}",
        "{{ steps.drain.outptu|d }}",
        "{{ trigger.x|nope }}",
        "{{ range(3) }}",
        "{% if x %}{% endif %}",
        "{{ x",
        "{{ }}",
        "{{ a b }}",
        "{{ trigger.count * 2 }}",
        "{{ trigger.x(",
        "{{ 'a }}",
        "{{ include 'x' }}",
        "{{ secrets.x }}",
        "{{ self }}",
        "{{ trigger.host is nope }}",
        "{{ trigger.host is not nope }}",
        "{{- now }}",
        "{{ now -}}",
    ] {
        assert!(Template::parse(&json!(text), &NAMES).is_err(), "{text}");
    }
}

#[test]
fn a_secret_is_named_alone_and_never_rendered() {
    let names = Names { roots: &["trigger", "secrets"], ..NAMES };
    let doc = json!({"key": "{{ secrets.KEY }}", "auth": "Bearer {{ secrets.TOKEN }} {{ trigger.host }}", "c": "x"});
    let template = Template::parse(&doc, &names).expect("secrets may be named here");
    assert_eq!(template.secrets().iter().map(|name| &**name).collect::<Vec<_>>(), ["KEY", "TOKEN"]);
    let shown = json!({"key": "{{ secrets.KEY }}", "auth": "Bearer {{ secrets.TOKEN }} web-1", "c": "x"});
    assert_eq!(template.render(&scope()).expect("renders"), shown);
    let mut hostile = scope();
    hostile.trigger = Arc::new(json!({"host": secret::mark("KEY")}));
    let marked = template.render_marked(&hostile).expect("renders").expect("it names some");
    let filled = marked.fill(|name| Some(if name == "KEY" { "k-value" } else { "t-value" })).expect("filled");
    let forged = "\u{fffd}KEY\u{fffd}";
    assert_eq!(filled, json!({"key": "k-value", "auth": format!("Bearer t-value {forged}"), "c": "x"}));
    assert!(Template::parse(&json!("{{ trigger.x }}"), &names).unwrap().render_marked(&hostile).unwrap().is_none());
    for text in [
        "{{ secrets }}",
        "{{ secrets.a.b }}",
        "{{ secrets.a|upper }}",
        "{{ secrets.a ~ 'x' }}",
        "{{ secrets[0] }}",
        "{{ trigger[secrets.a] }}",
        "{{ secrets['a-b'] }}",
        "{{ 'x' if secrets.a else 'y' }}",
    ] {
        let error = Template::parse(&json!(text), &names).expect_err(text);
        assert!(error.message.contains("stands alone"), "{text}: {error}");
    }
}

#[test]
fn bounds() {
    assert!(refused(&format!("{{{{ {} 1 }}}}", "not ".repeat(1_000))).message.contains("deep"));
    assert!(refused(&format!("{{{{ trigger{} }}}}", ".a".repeat(50))).message.contains("32"));
    assert!(refused(&format!("{{{{ '{}' }}}}", "a".repeat(5_000))).message.contains("4096"));
    assert!(refused(&format!("{{{{ {} 'a' }}}}", "'a' ~ ".repeat(17))).message.contains("16"));
    assert!(refused(&"{{ now }}".repeat(1_001)).message.contains("1000"));
    let deep = (0..80).fold(json!("{{ now }}"), |inner, _| json!([inner]));
    assert!(Template::parse(&deep, &NAMES).unwrap_err().message.contains("64"));
    let mut large = scope();
    large.trigger = Arc::new(json!({"x": "a".repeat(600_000)}));
    let once = Template::parse(&json!(["{{ trigger.x }}"]), &NAMES).unwrap();
    assert!(once.render(&large).is_ok());
    let twice = Template::parse(&json!(["{{ trigger.x }}", "{{ trigger.x }}"]), &NAMES).unwrap();
    assert!(twice.render(&large).unwrap_err().message.contains("1048576"));
    let concatenated = Template::parse(&json!("{{ trigger.x ~ trigger.x }}"), &NAMES).unwrap();
    assert!(concatenated.render(&large).is_err());
}

#[test]
fn constants_are_known() {
    for doc in [json!(null), json!({"a": [1, "x", "{a}", "} {", "{#x#}"], "{{k}}": true})] {
        let template = Template::parse(&doc, &NAMES).unwrap();
        assert!(template.is_constant());
        assert_eq!(template.source(), &doc);
        assert_eq!(template.render(&scope()).unwrap(), doc);
    }
    assert!(!Template::parse(&json!(["{{ now }}"]), &NAMES).unwrap().is_constant());
}

#[test]
fn a_text_from_outside_is_no_template() {
    let read = |text: &str| render(&json!({"text": literal(text)})).unwrap()["text"].clone();
    for text in ["plain", "{{ secrets.TOKEN }}", "{% for x in y %}", "a {{{ b }}} {", "{{", "}}", "{ {", "ü{{ü", ""] {
        assert_eq!(read(text), json!(text));
    }
    let many = "{{ x }}".repeat(1_000);
    assert_eq!(read(&many), json!("{ { x }}".repeat(1_000)));
}
