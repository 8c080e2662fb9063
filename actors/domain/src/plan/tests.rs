//! What a document is refused for, and where; and what is taken.

mod certain;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::json::merge_patch;

/// A flow as the platform that this system continues exports it.
const PLATFORM_FLOW: &str = r##"{
  "flow_name": "notify-on-approved-decision",
  "flow_description": "Tell the team when a decision is approved, then open a task",
  "flow_category": "notifications",
  "flow_version": 1,
  "is_active": true,
  "is_template": false,
  "trigger_type": "decision_approved",
  "trigger_config": {},
  "flow_steps": [
    {
      "id": "step1",
      "type": "action",
      "config": {
        "action_type": "send_notification",
        "action_target": "slack",
        "action_payload": {"channel": "#ops", "text": "Decision approved"},
        "priority": 3,
        "urgency": "high"
      },
      "position": {"x": 100, "y": 100},
      "connections": {"inputs": [], "outputs": ["step2"]}
    },
    {
      "id": "step2",
      "type": "action",
      "config": {
        "action_type": "trigger_webhook",
        "action_target": "tasks",
        "action_payload": {"url": "http://127.0.0.1:9/hook", "title": "Follow up"},
        "priority": 5,
        "urgency": "medium"
      },
      "position": {"x": 300, "y": 100},
      "connections": {"inputs": ["step1"], "outputs": []}
    }
  ],
  "execution_mode": "mixed",
  "max_execution_time_seconds": 300,
  "retry_policy": {"max_attempts": 3, "backoff_seconds": 60},
  "requires_approval": false,
  "approval_threshold": 0.8,
  "conditions": {"severity": "high"},
  "on_error_action": "stop",
  "error_notification_channels": ["email"],
  "tags": ["ops"],
  "metadata": {}
}"##;

const ACTIONS: &[&str] = &["api_call", "transform"];

fn step(id: &str, more: &Value) -> Value {
    let mut step = json!({"id": id, "config": {"action_type": "transform"}});
    merge_patch(&mut step, more);
    step
}

fn after(id: &str, inputs: &[&str]) -> Value {
    step(id, &json!({"connections": {"inputs": inputs}}))
}

fn flow(mode: &str, steps: &[Value], extra: &Value) -> Value {
    let mut document = json!({"flow_name": "f", "trigger_type": "manual", "execution_mode": mode, "flow_steps": steps});
    merge_patch(&mut document, extra);
    document
}

fn compiled(document: Value) -> Result<FlowPlan, Vec<Problem>> {
    let document = FlowDocument::from_value(document).unwrap();
    FlowPlan::compile(&document, ACTIONS, &PlanLimits::default())
}

/// Pointers and messages of what is wrong.
fn problems(document: Value) -> Vec<(String, String)> {
    compiled(document).expect_err("it should be refused").into_iter().map(|p| (p.pointer, p.message)).collect()
}

/// The document has this one problem.
fn refused(document: Value, pointer: &str, message: &str) {
    assert_eq!(problems(document), [(pointer.to_owned(), message.to_owned())]);
}

/// A flow of one step with these fields has this one problem.
fn step_refused(more: &Value, pointer: &str, message: &str) {
    refused(flow("sequential", &[step("a", more)], &json!({})), &format!("/flow_steps/0{pointer}"), message);
}

/// A flow with these fields has this one problem.
fn head_refused(more: &Value, pointer: &str, message: &str) {
    refused(flow("sequential", &[step("a", &json!({}))], more), pointer, message);
}

#[test]
fn the_platforms_own_flow_compiles() {
    let document = FlowDocument::from_text(PLATFORM_FLOW).unwrap();
    let plan = FlowPlan::compile(&document, &["send_notification", "trigger_webhook"], &PlanLimits::default()).unwrap();
    assert_eq!((plan.name.as_str(), plan.deadline_ms, plan.width), ("notify-on-approved-decision", Some(300_000), 1));
    let [first, second] = &plan.steps[..] else { panic!("{plan:?}") };
    assert_eq!((&*first.action_type, &*first.action_target, first.priority), ("send_notification", "slack", 3));
    assert_eq!((first.urgency, second.urgency), (Urgency::High, Urgency::Medium));
    assert_eq!((&first.inputs[..], &first.dependents[..], &second.inputs[..]), (&[][..], &[1][..], &[0][..]));
    assert_eq!((second.retry.max_attempts, second.retry.backoff_seconds), (3, 60.0));
    assert_eq!(FlowDocument::from_value(document.to_value()).unwrap(), document);
}

#[test]
fn modes_make_the_edges() {
    let edges = |mode: &str, steps: &[Value]| {
        let plan = compiled(flow(mode, steps, &json!({}))).unwrap();
        let edges: Vec<(Vec<StepNo>, usize)> = plan.steps.iter().map(|s| (s.inputs.clone(), s.needed)).collect();
        (edges, plan.width)
    };
    let three = [step("a", &json!({})), step("b", &json!({})), step("c", &json!({}))];
    assert_eq!(edges("sequential", &three), (vec![(vec![], 0), (vec![0], 1), (vec![1], 1)], 1));
    assert_eq!(edges("parallel", &three), (vec![(vec![], 0), (vec![], 0), (vec![], 0)], 3));
    let any = step("c", &json!({"connections": {"inputs": ["b", "a"]}, "dependency_mode": "any"}));
    assert_eq!(
        edges("mixed", &[any, after("a", &["b"]), after("b", &[])]),
        (vec![(vec![1, 2], 1), (vec![2], 1), (vec![], 0)], 2)
    );
}

#[test]
fn the_execution_of_a_step_may_be_named_before_its_end() {
    let naming = |when: &str| flow("parallel", &[step("a", &json!({"when": when})), step("b", &json!({}))], &json!({}));
    let named = |when: &str| -> Vec<(String, StepNo)> {
        let plan = compiled(naming(when)).unwrap();
        plan.executions.iter().map(|(id, no)| (id.to_string(), *no)).collect()
    };
    let both = [("a".to_owned(), 0), ("b".to_owned(), 1)];
    assert_eq!(named("steps['b'].execution_id != '' && steps.a.execution_id != ''"), both);
    for none in ["trigger.x == 1", "trigger.x == 'b.execution_id'", "trigger.b.execution_id == 1"] {
        assert_eq!(named(none), [], "{none}");
    }
}

#[test]
fn a_cycle_names_the_steps_on_it_and_no_others() {
    let wait = |names: &str| format!("these steps wait for each other: {names}");
    let steps = [after("a", &[]), after("b", &["a", "d"]), after("c", &["b"]), after("d", &["c"]), after("e", &["d"])];
    refused(flow("mixed", &steps, &json!({})), "/flow_steps", &wait("b, c, d"));
    refused(flow("mixed", &[after("a", &["a"]), after("b", &["a"])], &json!({})), "/flow_steps", &wait("a"));
}

#[test]
fn ids_are_well_formed_unique_and_known() {
    let form = "must be a letter or _, then letters, digits, _ or -, at most 64 in all";
    let long = "x".repeat(65);
    for id in ["", "1a", "a b", "ä", "a.b", &long] {
        refused(flow("sequential", &[step(id, &json!({}))], &json!({})), "/flow_steps/0/id", form);
    }
    compiled(flow("sequential", &[step("_a-1", &json!({})), step(&"x".repeat(64), &json!({}))], &json!({}))).unwrap();
    let twice = [step("a", &json!({})), step("a", &json!({}))];
    refused(flow("sequential", &twice, &json!({})), "/flow_steps/1/id", "'a' is the id of another step too");
    let unknown = [after("a", &[]), after("b", &["a", "x"])];
    refused(flow("mixed", &unknown, &json!({})), "/flow_steps/1/connections/inputs/1", "there is no step 'x'");
    let repeated = [after("a", &[]), after("b", &["a", "a"])];
    refused(flow("mixed", &repeated, &json!({})), "/flow_steps/1/connections/inputs/1", "'a' stands here twice");
}

#[test]
fn outputs_say_what_inputs_say() {
    let with = |outputs: &[&str], inputs: &[&str]| {
        let a = step("a", &json!({"connections": {"outputs": outputs}}));
        flow("mixed", &[a, after("b", inputs), after("c", inputs)], &json!({}))
    };
    compiled(with(&["c", "b"], &["a"])).unwrap();
    compiled(with(&[], &["a"])).unwrap();
    refused(with(&["x"], &[]), "/flow_steps/0/connections/outputs/0", "there is no step 'x'");
    refused(with(&["b"], &[]), "/flow_steps/0/connections/outputs/0", "step 'b' does not name 'a' among its inputs");
    refused(with(&["b"], &["a"]), "/flow_steps/2/connections/inputs/0", "step 'a' does not name 'c' among its outputs");
}

#[test]
fn a_join_needs_what_it_can_have() {
    let join = |mode: Value| {
        let mut join = after("c", &["a", "b"]);
        merge_patch(&mut join, &json!({"dependency_mode": mode}));
        flow("mixed", &[after("a", &[]), after("b", &[]), join], &json!({}))
    };
    for (mode, needed) in [(json!(null), 2), (json!("all"), 2), (json!("any"), 1), (json!(1), 1), (json!(2), 2)] {
        assert_eq!(compiled(join(mode)).unwrap().steps[2].needed, needed);
    }
    for mode in [json!(0), json!(3), json!(1.5), json!(-1), json!("some"), json!(["all"])] {
        refused(join(mode), "/flow_steps/2/dependency_mode", "must be all, any or a number from 1 to 2");
    }
}

#[test]
fn expressions_name_what_is_there() {
    let known = "known here: trigger, webhook, tenant, now";
    head_refused(
        &json!({"conditions": "x.y"}),
        "/conditions",
        &format!("unknown name `x`; {known}, in `x.y` (character 1)"),
    );
    head_refused(
        &json!({"conditions": "steps.a.output"}),
        "/conditions",
        &format!("unknown name `steps`; {known}, in `steps.a.output` (character 1)"),
    );
    head_refused(&json!({"conditions": 7}), "/conditions", "a condition is a CEL text, a matcher, or true, in `7`");
    let pointers = |document| problems(document).into_iter().map(|(pointer, _)| pointer).collect::<Vec<_>>();
    let matcher = json!({"conditions": {"all": [{"field": "a", "operator": "~", "value": 1}]}});
    assert_eq!(pointers(flow("sequential", &[step("a", &json!({}))], &matcher)), ["/conditions/all/0"]);
    step_refused(
        &json!({"when": "secrets.x"}),
        "/when",
        "a secret can be named in the payload of an action alone, as `{{ secrets.NAME }}`, in `secrets.x` (character 1)",
    );
    let names_later = step("a", &json!({"when": "steps.b.output.x == 1"}));
    let later = "no step `b` before this place; steps before it: none, in `steps.b.output.x == 1` (character 1)";
    refused(flow("sequential", &[names_later.clone(), step("b", &json!({}))], &json!({})), "/flow_steps/0/when", later);
    refused(flow("parallel", &[names_later.clone(), step("b", &json!({}))], &json!({})), "/flow_steps/0/when", later);
    // In a graph only an ancestor is sure to have ended.
    let mixed = [
        after("a", &[]),
        after("b", &["a"]),
        step("c", &json!({"connections": {"inputs": ["a"]}, "when": "steps.b.output.x == 1"})),
    ];
    let beside = later.replace("it: none", "it: a");
    refused(flow("mixed", &mixed, &json!({})), "/flow_steps/2/when", &beside);
    compiled(flow("sequential", &[step("b", &json!({})), step("x", &json!({})), names_later], &json!({}))).unwrap();
}

#[test]
fn templates_are_checked_where_they_stand() {
    let payload = |payload: Value| json!({"config": {"action_payload": payload}});
    let pointers = |more: &Value| problems(flow("sequential", &[step("a", more)], &json!({})))[0].0.clone();
    step_refused(
        &payload(json!({"to": [{"text": "hi {{ steps.x.output }}"}]})),
        "/config/action_payload/to/0/text",
        "no step `x` before this place; steps before it: none, in `hi {{ steps.x.output }}` at /to/0/text (character 7)",
    );
    assert_eq!(pointers(&payload(json!({"a/b": "{{ trigger. }}"}))), "/flow_steps/0/config/action_payload/a~1b");
    assert_eq!(pointers(&payload(json!("{{ open"))), "/flow_steps/0/config/action_payload");
    assert_eq!(pointers(&payload(json!("{% if x %}"))), "/flow_steps/0/config/action_payload");
    assert_eq!(pointers(&json!({"config": {"scheduled_for": "{{ nobody }}"}})), "/flow_steps/0/config/scheduled_for");
}

#[test]
fn words_and_numbers_are_within_their_limits() {
    head_refused(&json!({"format": 2}), "/format", "this version reads format 1, the document says 2");
    head_refused(&json!({"flow_name": " "}), "/flow_name", "must have 1 to 200 characters");
    head_refused(&json!({"flow_name": "ä".repeat(201)}), "/flow_name", "must have 1 to 200 characters");
    head_refused(&json!({"approval_threshold": 1.1}), "/approval_threshold", "must be 0 to 1");
    for seconds in [0, 31_536_001, u64::MAX / 100, u64::MAX] {
        head_refused(
            &json!({"max_execution_time_seconds": seconds}),
            "/max_execution_time_seconds",
            "must be 1 to 31536000 (a year)",
        );
        step_refused(
            &json!({"config": {"expires_in_seconds": seconds}}),
            "/config/expires_in_seconds",
            "must be 1 to 31536000 (a year)",
        );
    }
    for seconds in [0.0, -1.0, 86_401.0] {
        step_refused(
            &json!({"timeout_seconds": seconds}),
            "/timeout_seconds",
            "must be more than 0 and at most 86400 (a day)",
        );
    }
    for priority in [0, 11] {
        step_refused(&json!({"config": {"priority": priority}}), "/config/priority", "must be 1 (first) to 10");
    }
    step_refused(
        &json!({"config": {"action_target": "x".repeat(201)}}),
        "/config/action_target",
        "must have at most 200 characters",
    );
    step_refused(
        &json!({"config": {"action_type": "run_comand"}}),
        "/config/action_type",
        "'run_comand' is not one of: api_call, transform, delay, set_variable",
    );
    let unknown = flow("sequential", &[step("a", &json!({"type": "loop"}))], &json!({}));
    let error = FlowDocument::from_value(unknown).unwrap_err();
    assert!(error.pointer == "/flow_steps/0/type" && error.message.contains("`for_each`"), "{error}");
}

#[test]
fn what_the_runtime_does_by_itself_is_an_action_too_and_is_checked() {
    let inside = |action_type: &str, payload: &Value| {
        let config = json!({"action_type": action_type, "action_target": "ops", "action_payload": payload});
        json!({"config": config})
    };
    let retried = json!({"retry": {"max_attempts": 2}, "timeout_seconds": 5.0});
    let steps = [
        step("a", &inside("delay", &json!({"seconds": 1.5}))),
        step("b", &inside("set_variable", &json!({"name": "n", "value": "{{ trigger.n }}"}))),
    ];
    let steps = steps.map(|mut step| {
        merge_patch(&mut step, &retried);
        step
    });
    let plan = compiled(flow("sequential", &steps, &json!({}))).unwrap();
    assert!(matches!(plan.steps[0].kind, StepKind::Wait(_)) && matches!(plan.steps[1].kind, StepKind::Assign(_)));
    assert_eq!((&*plan.steps[0].action_type, &*plan.steps[0].action_target), ("delay", ""));
    let both = "must have exactly one of seconds and until";
    step_refused(&inside("delay", &json!({})), "/config/action_payload", both);
    step_refused(&inside("delay", &json!({"seconds": 1, "until": "x"})), "/config/action_payload", both);
    step_refused(
        &inside("delay", &json!({"seconds": 1, "minutes": 1})),
        "/config/action_payload/minutes",
        "unknown key 'minutes'; known: seconds, until",
    );
    step_refused(&inside("delay", &json!(5)), "/config/action_payload", "must be an object, of: seconds, until");
    let number = "must be a number from 0 to 31536000 (a year), or a template that gives one";
    step_refused(&inside("delay", &json!({"seconds": -1})), "/config/action_payload/seconds", number);
    let named = "must have a name, which is a text, and a value; or values, each under its name";
    step_refused(&inside("set_variable", &json!({"name": "n"})), "/config/action_payload", named);
    let few = "must name 1 to 100 values";
    step_refused(&inside("set_variable", &json!({"values": {}})), "/config/action_payload/values", few);
    let undo = json!({"undo": {"action_type": "delay", "action_payload": {"seconds": 1}}});
    step_refused(
        &undo,
        "/undo/action_type",
        "'delay' is a step of its own: it takes nothing back and finds nothing out",
    );
    let mut cached = inside("delay", &json!({"seconds": 1}));
    cached["cache"] = json!({"key": "'k'", "seconds": 60});
    step_refused(&cached, "/cache", "only what an action gives is used again");
    for (word, payload) in [("delay", json!({"seconds": 1})), ("set_variable", json!({"name": "n", "value": 1}))] {
        let mut keyed = inside(word, &payload);
        keyed["idempotency_key"] = json!("trigger.n");
        step_refused(&keyed, "/idempotency_key", "only actions send one");
    }
    let secret = inside("set_variable", &json!({"name": "n", "value": "{{ secrets.TOKEN }}"}));
    let found = problems(flow("sequential", &[step("a", &secret)], &json!({})));
    assert!(found.len() == 1 && found[0].0 == "/flow_steps/0/config/action_payload/value", "{found:?}");
}

#[test]
fn policies_are_checked_once_and_where_they_stand() {
    for (policy, field, message) in [
        (json!({"max_attempts": 0}), "max_attempts", "must be 1 to 100, is 0"),
        (json!({"backoff_seconds": -1.0}), "backoff_seconds", "must be 0 to 86400, is -1"),
        (json!({"multiplier": 0.5}), "multiplier", "must be 1 to 100, is 0.5"),
        (json!({"max_backoff_seconds": 700_000.0}), "max_backoff_seconds", "must be 0 to 604800, is 700000"),
        (json!({"deadline_seconds": -2.0}), "deadline_seconds", "must be 0 to 31536000, is -2"),
    ] {
        head_refused(&json!({"retry_policy": policy}), &format!("/retry_policy/{field}"), message);
        step_refused(&json!({"retry": policy}), &format!("/retry/{field}"), message);
    }
}

/// An undo has a policy, a deadline and an approval of its own; a probe and a step's config have none there.
#[test]
fn how_a_step_is_taken_back_is_its_undo_s_to_say() {
    let undo = |more: Value| {
        let mut undo = json!({"action_type": "transform"});
        merge_patch(&mut undo, &more);
        json!({"undo": undo, "retry": {"max_attempts": 7}, "timeout_seconds": 9})
    };
    let own = json!({"retry": {"max_attempts": 2}, "timeout_seconds": 1.5, "requires_approval": true});
    for (more, wanted) in [(own, (2, Some(1_500), true)), (json!({}), (7, None, false))] {
        let plan = compiled(flow("sequential", &[step("a", &undo(more))], &json!({}))).unwrap();
        let undo = plan.steps[0].undo.as_deref().expect("it has one");
        assert_eq!((undo.retry.max_attempts, undo.timeout_ms, undo.requires_approval), wanted);
    }
    step_refused(&undo(json!({"retry": {"max_attempts": 0}})), "/undo/retry/max_attempts", "must be 1 to 100, is 0");
    let late = "must be more than 0 and at most 86400 (a day)";
    step_refused(&undo(json!({"timeout_seconds": 0})), "/undo/timeout_seconds", late);
    for place in ["config", "verify"] {
        let action = json!({"action_type": "transform", "requires_approval": true});
        let document = flow("sequential", &[step("a", &json!({(place): action}))], &json!({}));
        let error = FlowDocument::from_value(document).expect_err(place);
        assert!(error.message.contains("requires_approval"), "{error}");
    }
    let listed = flow("sequential", &[step("a", &undo(json!({"retry": [1]})))], &json!({}));
    assert_eq!(FlowDocument::from_value(listed).expect_err("a list").pointer, "/flow_steps/0/undo/retry");
}

#[test]
fn a_key_is_a_text_or_a_whole_number() {
    for (key, found) in [("now", "timestamp"), ("trigger.n > 1", "bool"), ("[trigger.n]", "list"), ("1.5", "double")] {
        let found_at = problems(flow("sequential", &[step("a", &json!({"idempotency_key": key}))], &json!({})));
        let words = format!("a key must be a text or a whole number: expected string or int, found {found}");
        assert_eq!(found_at.len(), 1, "{found_at:?}");
        assert!(found_at[0].0 == "/flow_steps/0/idempotency_key" && found_at[0].1.starts_with(&words), "{found_at:?}");
    }
    let set =
        json!({"type": "set", "config": {"action_type": null, "values": {"n": "1"}}, "idempotency_key": "trigger.n"});
    step_refused(&set, "/idempotency_key", "only actions send one");
    let round = |key: &str| {
        let body = step("in", &json!({"idempotency_key": key}));
        json!({"id": "each", "type": "for_each", "config": {"collection": "trigger.all", "steps": [body]}})
    };
    for (key, warned) in [("loop.item", 0), ("trigger.n", 1)] {
        let plan = compiled(flow("sequential", &[round(key)], &json!({}))).unwrap();
        assert_eq!(plan.warnings.len(), warned, "{:?}", plan.warnings);
        assert!(plan.warnings.iter().all(|w| w.pointer == "/flow_steps/0/config/steps/0/idempotency_key"));
    }
}

#[test]
fn what_stands_together_comes_together() {
    let unnamed = "fallback needs the flow's fallback_flow_id: the id of the flow that takes over";
    head_refused(&json!({"on_error_action": "fallback"}), "/on_error_action", unnamed);
    step_refused(&json!({"on_error": "fallback"}), "/on_error", unnamed);
    let undo = json!({"action_type": "transform"});
    step_refused(
        &json!({"cache": {"key": "1", "seconds": 5}, "undo": undo}),
        "/cache",
        "a result that is used again was not made by this run, and `undo` would take it back: leave one of them out",
    );
    step_refused(&json!({"cache": {"key": "1", "seconds": 0}}), "/cache/seconds", "must be 1 to 2592000 (30 days)");
    let verify = "is asked only with on_unknown_outcome: verify";
    step_refused(&json!({"verify": {"action_type": "transform"}}), "/verify", verify);
    let alone = step("a", &json!({"on_unknown_outcome": "verify"}));
    let plan = compiled(flow("sequential", &[alone], &json!({}))).unwrap();
    assert_eq!(plan.steps[0].on_unknown_outcome, OnUnknownOutcome::Park, "a person is asked");
    let [warning] = &plan.warnings[..] else { panic!("{:?}", plan.warnings) };
    assert_eq!(warning.pointer, "/flow_steps/0/on_unknown_outcome");
    assert!(warning.message.contains("waits for a person"), "{warning:?}");
}

/// A step in another only fails that one: what is to become of the run is said there.
#[test]
fn what_becomes_of_a_run_is_not_said_within_a_step() {
    let lanes = |word: &str| {
        let inner = step("in", &json!({"on_error": word}));
        let config = json!({"action_type": null, "branches": [{"id": "l", "steps": [inner]}]});
        let outer = step("p", &json!({"type": "parallel", "config": config}));
        flow("sequential", &[outer], &json!({"fallback_flow_id": uuid::Uuid::from_u128(1).to_string()}))
    };
    for word in ["pause", "compensate", "fallback"] {
        let message = format!("a step that stands in another fails that one: say {word} there");
        refused(lanes(word), "/flow_steps/0/config/branches/0/steps/0/on_error", &message);
    }
    compiled(lanes("continue")).unwrap();
    // One that an earlier release has saved still runs.
    let saved = FlowDocument::from_value(lanes("pause")).unwrap();
    FlowPlan::load(&saved, ACTIONS, &PlanLimits::default()).unwrap();
}

#[test]
fn all_problems_are_told_at_once() {
    let document =
        flow("mixed", &[step("1", &json!({"timeout_seconds": 0})), after("b", &["c"])], &json!({"flow_name": ""}));
    let pointers: Vec<String> = problems(document).into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(
        pointers,
        ["/flow_name", "/flow_steps/1/connections/inputs/0", "/flow_steps/0/id", "/flow_steps/0/timeout_seconds"]
    );
}

#[test]
fn a_thousand_steps_compile_fast_and_more_are_refused_faster() {
    let many = |count: usize| -> Vec<Value> {
        let from =
            |i: usize| json!({"config": {"action_payload": {"x": format!("{{{{ steps.s{}.output }}}}", i / 2)}}});
        (0..count).map(|i| step(&format!("s{i}"), &if i == 0 { json!({}) } else { from(i - 1) })).collect()
    };
    let begun = Instant::now();
    let plan = compiled(flow("sequential", &many(1_000), &json!({}))).unwrap();
    assert_eq!((plan.steps.len(), plan.steps[999].inputs.as_slice()), (1_000, &[998][..]));
    // A hundred times what it takes: a machine under load is no reason to fail, a cubic algorithm is.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    refused(flow("sequential", &many(1_001), &json!({})), "/flow_steps", "must have 1 to 1000 steps, has 1001");
    refused(flow("sequential", &[], &json!({})), "/flow_steps", "must have 1 to 1000 steps, has 0");
}

#[test]
fn a_document_is_bounded() {
    let document = FlowDocument::from_value(flow(
        "sequential",
        &[step("a", &json!({}))],
        &json!({"flow_description": "x".repeat(300)}),
    ))
    .unwrap();
    let limits = PlanLimits { max_document_bytes: 300, ..PlanLimits::default() };
    let found = FlowPlan::compile(&document, ACTIONS, &limits).unwrap_err();
    assert_eq!((found.len(), found[0].pointer.as_str()), (1, ""));
    assert!(found[0].message.ends_with("bytes, at most 300 are taken"), "{found:?}");
    let deep = (0..70).fold(json!(1), |inner, _| json!([inner]));
    head_refused(&json!({"metadata": {"deep": deep}}), "", "the document nests deeper than 64 levels");
}
