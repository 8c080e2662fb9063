//! What would fail in every run is refused when it is saved; what was saved before anybody looked goes on.

use super::*;

fn each(collection: &str) -> Value {
    let config = json!({"collection": collection, "steps": [step("in", &json!({}))]});
    json!({"id": "each", "type": "for_each", "config": config})
}

fn wait(until: &str) -> Value {
    json!({"id": "w", "type": "wait", "config": {"until": until}})
}

fn taken(document: Value) {
    let shown = document.to_string();
    let result = compiled(document);
    assert!(result.is_ok(), "{shown}: {:?}", result.err());
}

#[test]
fn a_loop_goes_over_a_list() {
    let schema = json!({"input_schema": {"type": "object", "properties": {
        "n": {"type": "integer"}, "all": {"type": "array"}, "some": {"type": ["array", "null"]}}}});
    for (collection, found) in [("'abc'", "string"), ("input.n", "number"), ("{'a': 1}", "map"), ("now", "timestamp")] {
        let message =
            format!("a loop goes over a list, and this never is one: found {found}, in `{collection}` (character 1)");
        refused(flow("sequential", &[each(collection)], &schema), "/flow_steps/0/config/collection", &message);
    }
    for collection in ["[1, 2]", "input.all", "input.some", "trigger.hosts", "trigger.hosts.map(h, h.name)"] {
        taken(flow("sequential", &[each(collection)], &schema));
    }
}

#[test]
fn a_time_that_is_written_out_is_one() {
    let message = "'tomorrow at nine' is not an RFC 3339 time, such as 2030-01-31T08:00:00Z, nor a template";
    refused(flow("sequential", &[wait("tomorrow at nine")], &json!({})), "/flow_steps/0/config/until", message);
    let delay = json!({"config": {"action_type": "delay", "action_payload": {"until": "tomorrow at nine"}}});
    step_refused(&delay, "/config/action_payload/until", message);
    for until in ["2030-01-31T08:00:00Z", "{{ trigger.at }}"] {
        taken(flow("sequential", &[wait(until)], &json!({})));
    }
}

#[test]
fn what_steps_give_has_the_names_that_it_has() {
    let steps = [
        each("[1]"),
        json!({"id": "made", "type": "transform", "config": {"values": {"x": "1"}}}),
        json!({"id": "kept", "type": "set", "config": {"values": {"x": "1"}}}),
        step("put", &json!({"config": {"action_type": "set_variable", "action_payload": {"name": "x", "value": 1}}})),
        json!({"id": "sub", "type": "sub_flow", "config": {"flow_name": "other"}}),
        json!({"id": "off", "type": "sub_flow", "config": {"flow_name": "other", "wait": false}}),
        json!({"id": "until", "type": "wait", "config": {"signal": "go"}}),
        json!({"id": "both", "type": "parallel", "config": {"branches": [{"id": "l", "steps": [step("in-l", &json!({}))]}]}}),
        json!({"id": "way", "type": "branch", "config": {"cases": [{"when": "trigger.a", "steps": []}]}}),
    ];
    let uses = |of: &str| {
        let last = json!({"id": "last", "type": "transform", "config": {"values": {"v": format!("steps.{of}")}}});
        flow("sequential", &[&steps[..], &[last]].concat(), &json!({}))
    };
    for (given, wrong) in [
        ("each.output.count", "each.output.countt"),
        ("each.output.results[0].x", "each.output.result"),
        ("made.output.x", "made.output.y"),
        ("kept.output.x", "kept.output.y"),
        ("put.output.x", "put.output.y"),
        ("sub.output.output.n", "sub.output.outputt"),
        ("off.output.run_id", "off.output.output"),
        ("until.output.payload.n", "until.output.n"),
        ("both.output.l", "both.output.r"),
        ("way.output.output", "way.output.cases"),
    ] {
        taken(uses(given));
        let found = problems(uses(wrong));
        assert_eq!((found.len(), found[0].0.as_str()), (1, "/flow_steps/9/config/values/v"), "{found:?}");
        assert!(found[0].1.contains("has no member"), "{found:?}");
    }
}

#[test]
fn what_was_saved_before_anybody_looked_is_loaded() {
    for last in [each("'abc'"), wait("tomorrow at nine")] {
        let document = FlowDocument::from_value(flow("sequential", &[last], &json!({}))).unwrap();
        assert!(FlowPlan::load(&document, ACTIONS, &PlanLimits::default()).is_ok());
    }
}
