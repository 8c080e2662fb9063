//! Random flows of what a cluster has to carry over: attempts and retries, times, people, runs of runs, undos.

use core314_domain::json::merge_patch;
use serde_json::{Value, json};

use super::rng::Rng;
use super::workshop::ACTION;

/// What the steps that start runs start.
pub const CHILD: &str = "child";

/// The flow of that name.
pub fn child() -> Value {
    let steps = [step("a", &json!({"ms": 300, "fail_first": 1})), wait("w", 2), step("b", &json!({}))];
    json!({
        "flow_name": CHILD, "trigger_type": "manual", "execution_mode": "sequential", "flow_steps": steps,
        "retry_policy": {"max_attempts": 4, "backoff_seconds": 0.5},
    })
}

/// A flow of 1 to 5 steps, those in steps not counted.
pub fn random(rng: &mut Rng, name: &str) -> Value {
    let mode = rng.pick(&["sequential", "sequential", "parallel", "mixed"]);
    let undoes = rng.chance(300);
    let count = 1 + rng.below(5);
    let mut steps: Vec<Value> = Vec::new();
    for no in 0..count {
        let mut step = any(rng, &format!("s{no}"), undoes);
        if mode == "mixed" {
            let inputs: Vec<String> = (0..no).filter(|_| rng.chance(400)).map(|no| format!("s{no}")).collect();
            merge_patch(&mut step, &json!({"connections": {"inputs": inputs}}));
        }
        steps.push(step);
    }
    let mut document = json!({
        "flow_name": name, "trigger_type": "manual", "execution_mode": mode, "flow_steps": steps,
        "retry_policy": {
            "max_attempts": 2 + rng.below(5),
            "backoff_seconds": rng.pick(&[0.05, 0.5, 4.0]),
            "jitter": rng.pick(&["none", "full"]),
        },
        "on_error_action": rng.pick(&["stop", "continue"]),
    });
    if undoes {
        merge_patch(&mut document, &json!({"on_error_action": "rollback", "rollback": {"to": "start"}}));
    }
    if rng.chance(100) {
        merge_patch(&mut document, &json!({"requires_approval": true}));
    }
    if rng.chance(100) {
        merge_patch(&mut document, &json!({"max_execution_time_seconds": rng.pick(&[5, 40])}));
    }
    document
}

fn step(id: &str, payload: &Value) -> Value {
    json!({"id": id, "config": {"action_type": ACTION, "action_payload": payload}})
}

fn wait(id: &str, seconds: u32) -> Value {
    json!({"id": id, "type": "wait", "config": {"seconds": seconds}})
}

fn any(rng: &mut Rng, id: &str, undoes: bool) -> Value {
    match rng.below(12) {
        0 | 1 => wait(id, rng.pick(&[1, 6, 15, 30])),
        2 => {
            let on_timeout = rng.pick(&["reject", "approve", "fail"]);
            let (required, seconds) = (1 + rng.below(2), rng.pick(&[4, 12]));
            let config = json!({"required": required, "timeout_seconds": seconds, "on_timeout": on_timeout});
            json!({"id": id, "type": "approval", "config": config})
        }
        3 => json!({"id": id, "type": "sub_flow", "config": {"flow_name": CHILD, "wait": rng.chance(800)}}),
        4 => {
            let inner = action(rng, &format!("{id}i"), undoes);
            let config = json!({"collection": "trigger.items", "concurrency": 1 + rng.below(2), "steps": [inner]});
            json!({"id": id, "type": "for_each", "config": config})
        }
        5 => {
            let lanes: Vec<Value> = (0..2)
                .map(|no| json!({"id": format!("{id}l{no}"), "steps": [action(rng, &format!("{id}p{no}"), undoes)]}))
                .collect();
            json!({"id": id, "type": "parallel", "config": {"branches": lanes, "join": rng.pick(&["all", "any"])}})
        }
        _ => action(rng, id, undoes),
    }
}

fn action(rng: &mut Rng, id: &str, undoes: bool) -> Value {
    let payload = json!({
        "ms": rng.pick(&[0, 0, 5, 80, 700, 3_000, 8_000]),
        "fail_first": rng.pick(&[0, 0, 0, 1, 2]),
        "fatal": rng.chance(60),
    });
    let mut made = step(id, &payload);
    let mut add = |rng: &mut Rng, permille: usize, patch: &Value| {
        if rng.chance(permille) {
            merge_patch(&mut made, patch);
        }
    };
    add(rng, 80, &json!({"requires_approval": true}));
    add(rng, 80, &json!({"config": {"scheduled_for": "{{ trigger.soon }}"}}));
    add(rng, 80, &json!({"config": {"expires_in_seconds": 20}}));
    add(rng, 80, &json!({"on_unknown_outcome": "park"}));
    add(rng, 100, &json!({"on_error": "continue"}));
    let undo = json!({"undo": {"action_type": ACTION, "action_payload": {"ms": 40}}});
    add(rng, if undoes { 700 } else { 0 }, &undo);
    made
}
