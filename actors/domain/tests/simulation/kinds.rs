//! A shape for every type of step that is no action, for steps in steps, and for phases and what takes them back.

use serde_json::{Value, json};

use super::shapes::{Shape, after, flow, step};

/// A step that is no action.
pub fn kind(id: &str, kind: &str, config: &Value) -> Value {
    json!({"id": id, "type": kind, "config": config})
}

/// An action that can be taken back.
pub fn undoable(id: &str, more: &Value) -> Value {
    let mut step = step(id, &json!({"undo": {"action_type": "noop", "action_payload": {"undo": id}}}));
    core314_domain::json::merge_patch(&mut step, more);
    step
}

/// An action in a loop: what it is given must be its round's.
pub fn of_round(id: &str) -> Value {
    step(id, &json!({"config": {"action_payload": {"index": "{{ loop.index }}", "item": "{{ loop.item }}"}}}))
}

fn sequence(name: &str, steps: &[Value]) -> Shape {
    Shape::new(name, flow("sequential", steps, &json!({})))
}

/// Every shape.
pub fn all() -> Vec<Shape> {
    let mut shapes = people();
    shapes.extend(branches());
    shapes.extend(loops());
    shapes.extend(lanes());
    shapes.extend(waits());
    shapes.extend(values());
    shapes.extend(errors());
    shapes.extend(caches());
    shapes
}

fn a(id: &str) -> Value {
    step(id, &json!({}))
}

fn people() -> Vec<Shape> {
    let approval = |more: &Value| {
        let mut config = json!({"required": 2, "approvers": ["role:operator"]});
        core314_domain::json::merge_patch(&mut config, more);
        [a("x"), kind("ok", "approval", &config), a("y")]
    };
    let late = |word: &str| approval(&json!({"timeout_seconds": 30, "on_timeout": word}));
    vec![
        sequence("approval by two", &approval(&json!({}))),
        sequence("approval rejected in time", &late("reject")).timed(),
        sequence("approval given in time", &late("approve")).timed(),
        sequence("approval failed in time", &late("fail")).timed(),
    ]
}

fn branches() -> Vec<Shape> {
    let branch = |first: &str, inner: Vec<Value>| {
        let cases = json!([{"when": first, "steps": inner}, {"when": "trigger.yes", "steps": [a("c1"), a("c2")]}]);
        [a("x"), kind("b", "branch", &json!({"cases": cases, "default": [a("d")]})), a("y")]
    };
    let nested = kind("n", "branch", &json!({"cases": [{"when": "trigger.no", "steps": [a("n1")]}]}));
    let failing = branch("trigger.missing == 1", vec![a("f1")]);
    vec![
        sequence("branch, first case", &branch("trigger.yes", vec![a("f1"), a("f2")])),
        sequence("branch, second case", &branch("trigger.no", vec![a("f1")])),
        sequence("branch in a branch", &branch("trigger.yes", vec![a("f1"), nested, a("f2")])),
        sequence("branch whose condition fails", &failing),
    ]
}

fn loops() -> Vec<Shape> {
    let each = |more: &Value, steps: Vec<Value>| {
        let mut config = json!({"collection": "trigger.items", "steps": steps});
        core314_domain::json::merge_patch(&mut config, more);
        kind("each", "for_each", &config)
    };
    let body =
        || vec![of_round("i"), step("j", &json!({"config": {"action_payload": {"i": "{{ steps.i.output.step }}"}}}))];
    let inner =
        kind("inner", "for_each", &json!({"collection": "[10, 20]", "concurrency": 2, "steps": [of_round("k")]}));
    let last = step("y", &json!({"config": {"action_payload": {"count": "{{ steps.each.output.count }}"}}}));
    let turn = |condition: &str, most: u32| {
        kind(
            "turn",
            "while",
            &json!({"condition": condition, "max_iterations": most, "steps": [of_round("t"), a("u")]}),
        )
    };
    let by_result = "loop.index == 0 || steps.t.output.step >= 0 && loop.index < 3";
    vec![
        sequence("for_each, one at a time", &[a("x"), each(&json!({}), body()), last.clone()]),
        sequence("for_each, two at a time", &[a("x"), each(&json!({"concurrency": 2}), body()), last.clone()]),
        sequence(
            "for_each, all at once",
            &[each(&json!({"concurrency": 9, "on_error": "continue"}), body()), last.clone()],
        ),
        sequence(
            "for_each in batches",
            &[each(&json!({"batch_size": 2, "concurrency": 2}), vec![of_round("i")]), last.clone()],
        ),
        sequence("for_each over nothing", &[each(&json!({"collection": "[]"}), body()), last.clone()]),
        sequence("for_each over no list", &[each(&json!({"collection": "trigger.missing"}), body()), last]),
        sequence(
            "for_each in for_each",
            &[each(&json!({"collection": "[10, 20, 30]", "concurrency": 2}), vec![of_round("i"), inner])],
        ),
        sequence("while", &[a("x"), turn("loop.index < 3", 10), a("y")]),
        sequence("while, by what it gave", &[turn(by_result, 10), a("y")]),
        sequence("while without an end", &[turn("true", 2), a("y")]),
    ]
}

fn lanes() -> Vec<Shape> {
    let parallel = |join: Value| {
        let lanes = json!([
            {"id": "l", "steps": [a("l1"), a("l2")]},
            {"id": "m", "steps": [a("m1")]},
            {"id": "n", "steps": [a("n1"), a("n2"), a("n3")]},
        ]);
        [a("x"), kind("p", "parallel", &json!({"branches": lanes, "join": join})), a("y")]
    };
    vec![
        sequence("parallel, all", &parallel(json!("all"))),
        sequence("parallel, any", &parallel(json!("any"))).timed(),
        sequence("parallel, two", &parallel(json!(2))).timed(),
    ]
}

fn waits() -> Vec<Shape> {
    let wait = |config: Value| [a("x"), kind("w", "wait", &config), a("y")];
    let event = |more: &Value| {
        let mut config = json!({"event": {"type": "paid", "key": "trigger.items[0]", "match": "event.data.fits"}});
        core314_domain::json::merge_patch(&mut config, more);
        config
    };
    let sub = |waits: bool| [a("x"), kind("s", "sub_flow", &json!({"flow_name": "other", "wait": waits})), a("y")];
    let in_loop = kind(
        "each",
        "for_each",
        &json!({"collection": "[10, 20]", "concurrency": 2, "steps": [
            kind("s", "sub_flow", &json!({"flow_name": "other"})),
            kind("w", "wait", &json!({"signal": "go"})),
            kind("v", "wait", &json!({"event": {"type": "paid", "key": "loop.item"}})),
            of_round("i"),
        ]}),
    );
    vec![
        sequence("wait for seconds", &wait(json!({"seconds": 45}))),
        sequence("wait until", &wait(json!({"until": "{{ trigger.in_5m }}"}))),
        sequence("wait for a signal", &wait(json!({"signal": "go"}))),
        sequence("wait for a signal, for a time", &wait(json!({"signal": "go", "timeout_seconds": 20}))).timed(),
        sequence(
            "wait for a signal or not",
            &wait(json!({"signal": "go", "timeout_seconds": 20, "on_timeout": "continue"})),
        )
        .timed(),
        sequence("wait for an event", &wait(event(&json!({})))),
        sequence("wait for an event, for a time", &wait(event(&json!({"timeout_seconds": 20})))).timed(),
        sequence("wait for an event without a key", &wait(event(&json!({"event": {"key": "trigger.items"}})))),
        sequence("sub_flow", &sub(true)),
        sequence("sub_flow, let go", &sub(false)),
        sequence("waits in a loop", &[in_loop, a("y")]),
    ]
}

fn values() -> Vec<Shape> {
    let set = kind("s", "set", &json!({"values": {"n": "trigger.items[1]"}}));
    let made = kind("t", "transform", &json!({"values": {"n": "vars.n + 1"}}));
    let uses = step("y", &json!({"config": {"action_payload": {"n": "{{ steps.t.output.n }}"}}}));
    let wrong = kind("t", "transform", &json!({"values": {"n": "trigger.missing"}}));
    let stop = |status: &str| kind("end", "stop", &json!({"status": status, "output": {"why": "enough"}}));
    let beside = |last: Value| {
        let mut first = last;
        first["connections"] = json!({"inputs": ["x"]});
        flow("mixed", &[after("x", &[], &json!({})), after("z", &[], &json!({})), first], &json!({}))
    };
    let in_loop = kind(
        "each",
        "for_each",
        &json!({"collection": "trigger.items", "concurrency": 2, "steps": [of_round("i"), stop("completed")]}),
    );
    vec![
        sequence("set and transform", &[set, made, uses]),
        sequence("transform fails", &[a("x"), wrong, a("y")]),
        sequence("raise", &[a("x"), kind("r", "raise", &json!({"error": "wrong", "message": "no"})), a("y")]),
        sequence("stop", &[a("x"), stop("completed"), a("y")]),
        Shape::new("stop beside another", beside(stop("completed"))).timed(),
        Shape::new("stop as failed", beside(stop("failed"))).timed(),
        Shape::new("stop as cancelled", beside(stop("cancelled"))).timed(),
        sequence("stop in a loop", &[in_loop, a("y")]).timed(),
    ]
}

fn errors() -> Vec<Shape> {
    let pause = [a("x"), step("p", &json!({"on_error": "pause"})), a("y")];
    let falls_back = [a("x"), step("f", &json!({"on_error": "fallback"})), a("y")];
    let fallback = json!({"fallback_flow_id": super::shapes::FALLBACK, "on_error_action": "continue"});
    let raises = kind("r", "raise", &json!({"message": "no"}));
    let mut tolerated = raises.clone();
    tolerated["on_error"] = "continue".into();
    let mut paused = raises;
    paused["on_error"] = "pause".into();
    vec![
        sequence("on_error pause", &pause),
        Shape::new("on_error fallback", flow("parallel", &falls_back, &fallback)),
        sequence("raise and go on", &[a("x"), tolerated, a("y")]),
        sequence("raise and pause", &[a("x"), paused, a("y")]),
    ]
}

/// Steps that take the result of an earlier execution. Each says which execution gave it.
fn caches() -> Vec<Shape> {
    let cached = |id: &str, key: &str| step(id, &json!({"cache": {"key": key, "seconds": 3_600}}));
    let each = |concurrency: u32| {
        let body = [cached("c", "loop.index / 2"), a("d")];
        kind("each", "for_each", &json!({"collection": "trigger.items", "concurrency": concurrency, "steps": body}))
    };
    vec![
        sequence("cached in a loop", &[each(1), a("y")]),
        sequence("cached in a loop, all at once", &[each(9), a("y")]).timed(),
        sequence("cached under no key", &[a("x"), cached("c", "trigger.missing"), a("y")]),
    ]
}

/// Flows that take back what they did when a step fails: what fails is the script's business.
pub fn rolling_back() -> Vec<Shape> {
    let pipeline = |name: &str, rollback: Value| {
        let steps: Vec<Value> = (1..=7).map(|n| undoable(&format!("p{n}"), &json!({"phase": n}))).collect();
        Shape::new(name, flow("parallel", &steps, &json!({"rollback": rollback})))
    };
    let two = |name: &str, rollback: Value| {
        let phased = |id: &str, inputs: &[&str], phase: u32| {
            undoable(id, &json!({"phase": phase, "connections": {"inputs": inputs}}))
        };
        let steps = [
            phased("a1", &[], 1),
            phased("a2", &["a1"], 1),
            phased("b1", &[], 2),
            phased("b2", &[], 2),
            phased("c", &["b1"], 3),
        ];
        Shape::new(name, flow("mixed", &steps, &json!({"rollback": rollback})))
    };
    let between = |name: &str, rollback: Value| {
        let of = |id: &str, phase: u32| undoable(id, &json!({"phase": phase}));
        let free = |id: &str| undoable(id, &json!({}));
        let steps = [of("a", 1), free("u"), of("b", 2), free("w"), of("c", 2), free("z")];
        Shape::new(name, flow("sequential", &steps, &json!({"rollback": rollback})))
    };
    let then_retry = |to: &str| json!({"to": to, "then": "retry", "retries": 2});
    let mut shapes = vec![
        pipeline("to the phase before", json!({"to": "previous"})),
        pipeline("to the start", json!({"to": "start"})),
        pipeline("to the second phase", json!({"to": 2})),
        pipeline("never back", json!({"to": "off"})),
        pipeline("to the phase before, and again", then_retry("previous")),
        pipeline("to the start, and again", then_retry("start")),
        between("steps of no phase, to the phase before", json!({"to": "previous"})),
        between("steps of no phase, and again", then_retry("previous")),
        // How far one is when the other fails depends on how long things take.
        two("two steps a phase, to the start", json!({"to": "start"})).timed(),
        two("two steps a phase, and again", then_retry("start")).timed(),
    ];
    shapes.extend(inner_undos());
    shapes
}

fn inner_undos() -> Vec<Shape> {
    let round = |id: &str| undoable(id, &json!({"config": {"action_payload": {"index": "{{ loop.index }}"}}}));
    let each = kind(
        "each",
        "for_each",
        &json!({"collection": "trigger.items", "concurrency": 2, "steps": [round("i"), round("j")]}),
    );
    let turn = kind("turn", "while", &json!({"condition": "loop.index < 3", "steps": [round("t")]}));
    let inner = kind("inner", "for_each", &json!({"collection": "[loop.item, loop.item]", "steps": [round("n")]}));
    let nested = kind("outer", "for_each", &json!({"collection": "[1, 2]", "steps": [inner]}));
    let lanes = json!([{"id": "l", "steps": [undoable("l1", &json!({})), undoable("l2", &json!({}))]}, {"id": "m", "steps": [undoable("m1", &json!({}))]}]);
    let parallel = kind("p", "parallel", &json!({"branches": lanes}));
    let probe = json!({"on_unknown_outcome": "verify", "verify": {"action_type": "noop"}});
    let of = |phase: u32, mut step: Value| {
        step["phase"] = phase.into();
        step
    };
    let back = json!({"on_error_action": "rollback"});
    let steps = [of(1, each.clone()), of(2, turn.clone()), of(3, parallel.clone()), of(4, undoable("z", &probe))];
    let start = json!({"rollback": {"to": "start"}});
    let again = json!({"rollback": {"to": "start", "then": "retry"}});
    let compensates = [undoable("x", &json!({})), undoable("y", &json!({"on_error": "compensate"}))];
    // What a probe finds decides how the last step ends.
    vec![
        Shape::new("steps in steps, to the start", flow("sequential", &steps, &start)).timed(),
        Shape::new("steps in steps, and again", flow("sequential", &steps, &again)).timed(),
        Shape::new("without phases", flow("sequential", &[each, turn, parallel, undoable("z", &probe)], &back)).timed(),
        Shape::new("one step compensates", flow("sequential", &compensates, &json!({}))),
        Shape::new("a loop in a loop", flow("sequential", &[nested, undoable("z", &json!({}))], &back)).timed(),
    ]
}
