//! Random flows: any graph, any policy, small enough to be read when one fails.

use serde_json::{Value, json};

use super::rng::Rng;
use super::shapes::{Shape, after, flow, step};
use core314_domain::json::merge_patch;

/// A flow of 1 to 9 steps.
pub fn shape(rng: &mut Rng) -> Shape {
    let mode = rng.pick(&["sequential", "parallel", "mixed", "mixed", "mixed"]);
    let count = 1 + rng.below(9);
    let ids: Vec<String> = (0..count).map(|i| format!("s{i}")).collect();
    let steps: Vec<Value> = (0..count)
        .map(|i| {
            // The document's order is not the graph's (7 and the count have no common divisor, but for 7 itself).
            let own = if count == 7 { i } else { (i * 7 + 3) % count };
            let inputs: Vec<&str> = if mode == "mixed" { inputs(rng, &ids[..own]) } else { Vec::new() };
            let extra = options(rng, inputs.len(), mode == "mixed");
            if mode == "mixed" { after(&ids[own], &inputs, &extra) } else { step(&ids[own], &extra) }
        })
        .collect();
    let mut head = json!({"retry_policy": policy(rng)});
    if rng.chance(150) {
        merge_patch(&mut head, &json!({"requires_approval": true}));
    }
    if rng.chance(250) {
        merge_patch(&mut head, &json!({"max_execution_time_seconds": rng.pick(&[1, 5, 60, 600])}));
    }
    if rng.chance(400) {
        merge_patch(&mut head, &json!({"on_error_action": "continue"}));
    }
    Shape::new("random", flow(mode, &steps, &head))
}

fn inputs<'a>(rng: &mut Rng, before: &'a [String]) -> Vec<&'a str> {
    before.iter().filter(|_| rng.chance(350)).map(String::as_str).collect()
}

fn policy(rng: &mut Rng) -> Value {
    json!({
        "max_attempts": 1 + rng.below(4),
        "backoff_seconds": rng.pick(&[0.0, 0.5, 2.0, 60.0]),
        "jitter": rng.pick(&["none", "equal", "full"]),
        "deadline_seconds": rng.pick(&[json!(null), json!(null), json!(30.0)]),
    })
}

fn options(rng: &mut Rng, inputs: usize, mixed: bool) -> Value {
    let mut options = json!({"config": {
        "priority": 1 + rng.below(10),
        "urgency": rng.pick(&["low", "medium", "high", "critical"]),
    }});
    let mut add = |rng: &mut Rng, permille: usize, patch: &Value| {
        if rng.chance(permille) {
            merge_patch(&mut options, patch);
        }
    };
    let number = 1 + rng.below(inputs.max(1));
    let mode = if inputs > 0 { rng.pick(&[json!("any"), json!("all"), json!(number)]) } else { json!("any") };
    add(rng, if mixed { 300 } else { 0 }, &json!({"dependency_mode": mode}));
    let when = rng.pick(&["trigger.yes", "trigger.no", "trigger.no", "trigger.missing == 1"]);
    add(rng, 250, &json!({"when": when}));
    add(rng, 150, &json!({"requires_approval": true}));
    add(rng, 300, &json!({"on_error": "continue"}));
    add(rng, 250, &json!({"on_unknown_outcome": "park"}));
    let at = rng.pick(&["{{ trigger.in_30s }}", "{{ trigger.in_5m }}", "{{ trigger.past }}", "{{ 'soon' }}"]);
    add(rng, 200, &json!({"config": {"scheduled_for": at}}));
    let seconds = rng.pick(&[1, 20, 45, 400]);
    add(rng, 200, &json!({"config": {"expires_in_seconds": seconds}}));
    add(rng, 60, &json!({"config": {"action_payload": {"x": "{{ trigger.missing }}"}}}));
    let own = policy(rng);
    add(rng, 200, &json!({"retry": own}));
    options
}
