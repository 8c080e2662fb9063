//! The example of the specification, the round trip, and what is refused.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

use super::*;
use crate::document::{ActionDocument, FlowDocument, StepDocument, UndoDocument};

const SHORT: &str = r#"
flow_name: incident-response
trigger: {webhook: alerts, verification: github}
when: trigger.severity in ["high", "critical"]
flow_steps:
  - tell: {notify: slack, text: "{{ trigger.host }} is down"}
  - drain: {post: "lb/drain/{{ trigger.host }}", priority: 2, after: [tell]}
  - restart: {run: "ops/restart-host", args: ["{{ trigger.host }}"], timeout_seconds: 30, payload: {when: now}}
  - look: {get: "https://status.example.com/x"}
"#;

fn read(text: &str) -> FlowDocument {
    FlowDocument::from_text(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn the_short_form_is_written_out() {
    let flow = read(SHORT).to_value();
    assert_eq!(flow["trigger_type"], "webhook");
    assert_eq!(flow["trigger_config"], json!({"webhook": "alerts", "verification": "github"}));
    assert_eq!(flow["conditions"], "trigger.severity in [\"high\", \"critical\"]");
    assert_eq!(flow["execution_mode"], "mixed");
    let step = |no: usize, key: &str| flow["flow_steps"][no][key].clone();
    let config = |no: usize, key: &str| step(no, "config")[key].clone();
    assert_eq!(
        (step(0, "id"), config(0, "action_type"), config(0, "action_target"), config(0, "action_payload")),
        ("tell".into(), "send_notification".into(), "slack".into(), json!({"text": "{{ trigger.host }} is down"}))
    );
    assert_eq!((config(1, "action_type"), config(1, "action_target")), ("api_call".into(), "lb".into()));
    assert_eq!(config(1, "action_payload"), json!({"method": "POST", "path": "/drain/{{ trigger.host }}"}));
    assert_eq!((config(1, "priority"), step(1, "connections")["inputs"].clone()), (2.into(), json!(["tell"])));
    assert_eq!(
        config(2, "action_payload"),
        json!({"program": "restart-host", "args": ["{{ trigger.host }}"], "when": "now"})
    );
    assert_eq!((step(2, "timeout_seconds"), step(2, "when")), (30.0.into(), Value::Null));
    assert_eq!(config(3, "action_payload"), json!({"method": "GET", "url": "https://status.example.com/x"}));
}

#[test]
fn an_undo_is_an_action_too() {
    let value = json!({"trigger": "manual", "flow_name": "x", "flow_steps": [
        {"drain": {"post": "lb/drain", "undo": {"post": "lb/undrain", "force": true}}}]});
    let long = expand(value).expect("valid").document;
    let undo = json!({"action_type": "api_call", "action_target": "lb",
        "action_payload": {"method": "POST", "path": "/undrain", "force": true}});
    assert_eq!(long["flow_steps"][0]["undo"], undo);
    assert_eq!(long.get("execution_mode"), None);
}

/// How it is done stands beside what it does, and not in what is sent; a probe has no such say.
#[test]
fn an_undo_has_keys_of_its_own() {
    let own = json!({"retry": {"max_attempts": 5}, "timeout_seconds": 3, "requires_approval": true});
    let mut undo = json!({"post": "lb/undrain"});
    undo.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    let value = json!({"trigger": "manual", "flow_name": "x", "flow_steps": [
        {"drain": {"post": "lb/drain", "undo": undo, "on_unknown_outcome": "verify", "verify": {"get": "lb/state", "retry": 1}}}]});
    let Expanded { document, places } = expand(value.clone()).expect("valid");
    let mut wanted = json!({"action_type": "api_call", "action_target": "lb",
        "action_payload": {"method": "POST", "path": "/undrain"}});
    wanted.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    assert_eq!(document["flow_steps"][0]["undo"], wanted);
    assert_eq!(document["flow_steps"][0]["verify"]["action_payload"]["retry"], 1);
    let place = places.in_text("/flow_steps/0/undo/retry/max_attempts");
    assert_eq!(place, "/flow_steps/0/drain/undo/retry/max_attempts");
    let document = FlowDocument::from_value(value).expect("it is read");
    let short = shorten(&document);
    let undo = &short["flow_steps"][0]["drain"]["undo"];
    assert_eq!((&undo["post"], &undo["requires_approval"]), (&"lb/undrain".into(), &true.into()), "{undo}");
    assert_eq!((&undo["timeout_seconds"], &undo["retry"]["max_attempts"]), (&json!(3.0), &json!(5)), "{undo}");
}

#[test]
fn steps_inside_steps_are_written_out() {
    let value = json!({"flow_name": "x", "trigger_type": "manual", "flow_steps": [
        {"each": {"type": "for_each", "collection": "trigger.hosts", "steps": [{"stop": {"post": "lb/stop"}}]}},
        {"id": "pick", "type": "branch", "config": {"cases": [{"when": "true", "steps": [{"a": {"get": "x/y"}}]}]}}]});
    assert!(is_short(&value));
    let Expanded { document, places } = expand(value).expect("valid");
    let inner = &document["flow_steps"][0]["config"]["steps"][0];
    assert_eq!((&inner["id"], &inner["config"]["action_payload"]["path"]), (&"stop".into(), &"/stop".into()));
    assert_eq!(document["flow_steps"][1]["config"]["cases"][0]["steps"][0]["config"]["action_target"], "x");
    assert_eq!(
        places.in_text("/flow_steps/0/config/steps/0/config/action_payload/path"),
        "/flow_steps/0/each/steps/0/stop/post"
    );
}

#[test]
fn what_is_wrong_names_its_place_in_the_short_text() {
    let with = |step: &str| format!("flow_name: x\ntrigger: manual\nflow_steps:\n  - {step}\n");
    for (text, place, words) in [
        (with("a: {post: 1}"), "/flow_steps/0/a/post", "TARGET/REST"),
        (with("a: {post: x/y, get: x/y}"), "/flow_steps/0/a/post", "one verb"),
        (with("a: {post: x/y, method: PUT}"), "/flow_steps/0/a/method", "keep one"),
        (with("a: {post: x/y, payload: {method: PUT}}"), "/flow_steps/0/a/payload/method", "keep one"),
        (with("a: {post: x/y, payload: 3}"), "/flow_steps/0/a/payload", "must be an object"),
        (with("a: {text: x}"), "/flow_steps/0/a", "notify, get, post"),
        (with("a: 3"), "/flow_steps/0/a", "must be an object"),
        (with("a: {config: {action_type: transform}, text: x}"), "/flow_steps/0/a/text", "into 'config'"),
        (with("a: {post: x/y, after: [b], connections: {inputs: []}}"), "/flow_steps/0/a/after", "connections"),
        (with("a: {post: x/y, priority: high}"), "/flow_steps/0/a/priority", "u8"),
        (with("a: {post: x/y, retry: [1]}"), "/flow_steps/0/a/retry", "must be an object"),
        ("flow_name: x\ntrigger: {manual: 1}\nflow_steps: []\n".to_owned(), "/trigger/manual", "trigger: manual"),
        ("flow_name: x\ntrigger: soon\nflow_steps: []\n".to_owned(), "/trigger", "not one of"),
        ("flow_name: x\ntrigger: {webhook: a, event: b}\nflow_steps: []\n".to_owned(), "/trigger", "it has 2"),
        ("flow_name: x\ntrigger: manual\ntrigger_type: manual\nflow_steps: []\n".to_owned(), "/trigger", "keep one"),
        ("flow_name: x\ntrigger: manual\nwhen: a\nconditions: b\nflow_steps: []\n".to_owned(), "/when", "keep one"),
    ] {
        let error = FlowDocument::from_text(&text).expect_err(&text);
        assert_eq!(error.pointer, place, "{error}\n{text}");
        assert!(error.message.contains(words), "{error}\n{text}");
    }
}

#[test]
fn a_document_is_short_by_its_form() {
    let long = json!({"flow_steps": [{"id": "x", "config": {}}]});
    assert!(!is_short(&long));
    // A step that forgot its id is a mistake, not a step called `config`.
    assert!(!is_short(&json!({"flow_steps": [{"config": {"action_type": "transform"}}]})));
    assert!(!is_short(&json!([1])) && !is_short(&Value::Null));
    assert!(is_short(&json!({"flow_steps": [{"x": {}}]})));
}

#[test]
fn a_shortened_document_reads_like_one_that_was_typed() {
    let short = shorten(&read(SHORT));
    assert_eq!(short["trigger"], json!({"webhook": "alerts", "verification": "github"}));
    let steps = &short["flow_steps"];
    assert_eq!(steps[0], json!({"tell": {"notify": "slack", "text": "{{ trigger.host }} is down"}}));
    assert_eq!(steps[1], json!({"drain": {"post": "lb/drain/{{ trigger.host }}", "priority": 2, "after": ["tell"]}}));
    assert_eq!(steps[2]["restart"]["payload"], json!({"args": ["{{ trigger.host }}"], "when": "now"}));
    assert_eq!(steps[3], json!({"look": {"get": "https://status.example.com/x"}}));
    let keys: Vec<&String> = short.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["flow_name", "flow_steps", "trigger", "when"]);
}

#[test]
fn every_key_of_a_step_is_known_here() {
    let schema = schemars::schema_for!(StepDocument);
    let keys = schema.get("properties").and_then(Value::as_object).expect("a step has properties");
    for key in keys.keys().filter(|key| !["id", "type", "config"].contains(&key.as_str())) {
        assert!(STEP_KEYS.contains(&key.as_str()), "put '{key}' into STEP_KEYS");
    }
    let of = |schema: schemars::Schema| -> BTreeSet<String> {
        let keys = schema.get("properties").and_then(Value::as_object).expect("it has properties");
        keys.keys().cloned().collect()
    };
    let (undo, action) = (of(schemars::schema_for!(UndoDocument)), of(schemars::schema_for!(ActionDocument)));
    let own: Vec<&str> = undo.difference(&action).map(String::as_str).collect();
    let mut known = UNDO_KEYS.to_vec();
    known.sort_unstable();
    assert_eq!(own, known, "UNDO_KEYS are the keys of an undo beside those of an action");
    assert!(action.is_subset(&undo), "an undo has all that an action has");
}

/// A word of a small set, so that collisions with our own words happen.
fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a",
        "b",
        "text",
        "when",
        "post",
        "payload",
        "config",
        "path",
        "method",
        "url",
        "http:",
        "x/y",
        "{{ trigger.a }}",
        "retry",
        "",
    ])
    .prop_map(str::to_owned)
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0i64..9).prop_map(Value::from),
        word().prop_map(Value::from)
    ]
}

fn payload() -> impl Strategy<Value = Value> {
    let fields =
        || prop::collection::btree_map(word(), leaf(), 0..4).prop_map(|map| Value::Object(map.into_iter().collect()));
    let method = prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "post"]);
    let place = prop::sample::select(vec!["/", "/x", "//x", "x", "http://h/p", "https://h", "{{ trigger.url }}"]);
    let call = (method, prop::sample::select(vec!["path", "url", "program"]), place, fields()).prop_map(
        |(method, key, place, more)| {
            let mut call = more;
            call["method"] = method.into();
            call[key] = place.into();
            call
        },
    );
    prop_oneof![fields(), call, leaf(), prop::collection::vec(leaf(), 0..3).prop_map(Value::from)]
}

fn config() -> impl Strategy<Value = Value> {
    let kinds = prop::sample::select(vec!["api_call", "send_notification", "run_command", "transform", "ask_ai"]);
    let target = prop::sample::select(vec!["", "lb", "a/b", "http:", "https:"]);
    (kinds, target, payload(), 1u8..=10, prop::option::of(1u64..9)).prop_map(
        |(kind, target, payload, priority, expires)| {
            let mut config =
                json!({"action_type": kind, "action_target": target, "action_payload": payload, "priority": priority});
            if let Some(seconds) = expires {
                config["expires_in_seconds"] = seconds.into();
            }
            config
        },
    )
}

fn step() -> impl Strategy<Value = Value> {
    let id = prop::sample::select(vec!["tell", "when", "config", "undo", "x-1", "post"]);
    let outputs = prop::collection::vec(word(), 0..2);
    let more = (prop::option::of(config()), prop::option::of(1u32..9), prop::collection::vec(config(), 0..3));
    let inputs = prop::collection::vec(word(), 0..2);
    (id, config(), prop::option::of(word()), inputs, outputs, any::<(bool, bool)>(), more).prop_map(
        |(id, config, when, inputs, outputs, (approval, drawn), (undo, phase, nested))| {
            let mut step = json!({"id": id, "config": config, "requires_approval": approval,
                "connections": {"inputs": inputs, "outputs": outputs}});
            if let Some(mut undo) = undo {
                if approval {
                    undo["requires_approval"] = true.into();
                }
                if drawn {
                    undo["retry"] = json!({"max_attempts": 2});
                    undo["timeout_seconds"] = json!(1.5);
                }
                step["undo"] = undo;
            }
            if let Some(phase) = phase {
                step["phase"] = phase.into();
            }
            if !nested.is_empty() {
                let nested: Vec<Value> = nested.into_iter().map(|c| json!({"id": "in", "config": c})).collect();
                let (kind, config) = match nested.len() {
                    1 => ("for_each", json!({"collection": "trigger.a", "steps": nested})),
                    _ => ("branch", json!({"cases": [{"when": "true", "steps": nested}], "default": nested})),
                };
                step["type"] = kind.into();
                step["config"] = config;
            }
            if let Some(when) = when {
                step["when"] = when.into();
            }
            if drawn {
                step["position"] = json!({"x": 1});
            }
            step
        },
    )
}

fn document() -> impl Strategy<Value = Value> {
    let trigger = prop::sample::select(TriggerType::ALL.to_vec());
    let mode = prop::sample::select(vec!["sequential", "parallel", "mixed"]);
    let trigger_config = prop::collection::btree_map(
        prop::sample::select(vec!["webhook", "cron", "type", "schedule", "flow_name", "zone"]).prop_map(str::to_owned),
        leaf(),
        0..3,
    );
    let steps = prop::collection::vec(step(), 0..4);
    (trigger, mode, trigger_config, prop::option::of(payload()), steps, any::<bool>()).prop_map(
        |(trigger, mode, config, conditions, steps, active)| {
            let mut flow = json!({"format": 1, "flow_name": "x", "trigger_type": trigger, "execution_mode": mode,
                "trigger_config": config, "flow_steps": steps, "is_active": active});
            if let Some(conditions) = conditions {
                flow["conditions"] = conditions;
            }
            flow
        },
    )
}

#[test]
fn expanding_what_was_shortened_gives_the_document_back() {
    let seed = match std::env::var("CORE314_SEED") {
        Ok(text) => text.parse().expect("CORE314_SEED is a number"),
        Err(_) => 314_u64,
    };
    println!("seed: {seed} (CORE314_SEED)");
    let bytes: Vec<u8> = seed.to_le_bytes().repeat(4);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::with_cases(2_000) }, rng);
    let result = runner.run(&document(), |value| {
        let document = FlowDocument::from_value(value).expect("a generated document can be read");
        let short = shorten(&document);
        let again = FlowDocument::from_value(short.clone());
        prop_assert_eq!(again, Ok(document), "by {}", short);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
}
