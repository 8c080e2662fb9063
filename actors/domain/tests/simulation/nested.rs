//! Random flows of every type of step, steps in steps, phases and undos: small enough to be read when one fails.

use serde_json::{Value, json};

use super::kinds::kind;
use super::rng::Rng;
use super::shapes::{Shape, flow, step};
use core314_domain::json::merge_patch;

/// How deep steps stand in steps.
const DEEPEST: usize = 3;

struct Maker<'r> {
    rng: &'r mut Rng,
    /// How many steps were made, and how many more may be.
    made: usize,
    left: usize,
    undoes: bool,
}

/// A flow of 1 to 14 steps, those in steps counted.
pub fn shape(rng: &mut Rng) -> Shape {
    let phases = if rng.chance(550) { 1 + rng.below(4) } else { 0 };
    let mode = rng.pick(&["sequential", "parallel", "mixed", "mixed"]);
    let left = 4 + rng.below(11);
    let undoes = phases > 0 || rng.chance(300);
    let mut maker = Maker { rng, made: 0, left, undoes };
    let count = (1 + maker.rng.below(5)).max(phases);
    let mut steps: Vec<Value> = (0..count).map(|_| maker.step(0, false)).collect();
    maker.place(&mut steps, mode, phases);
    let head = maker.head(phases, &steps);
    Shape::new("random, of every type", flow(mode, &steps, &head))
}

impl Maker<'_> {
    fn id(&mut self) -> String {
        self.made += 1;
        self.left = self.left.saturating_sub(1);
        format!("s{}", self.made)
    }

    fn list(&mut self, depth: usize, in_loop: bool) -> Vec<Value> {
        let count = 1 + self.rng.below(2);
        (0..count).map(|_| self.step(depth, in_loop)).collect()
    }

    fn step(&mut self, depth: usize, in_loop: bool) -> Value {
        let id = self.id();
        let is_plain = depth >= DEEPEST || self.left == 0 || self.rng.chance(400);
        let mut made = if is_plain { self.action(&id, in_loop) } else { self.other(&id, depth, in_loop) };
        let is_action = made.get("type").is_none();
        let undo = json!({"undo": {"action_type": "noop", "action_payload": {"undo": id}}});
        let mut add = |rng: &mut Rng, permille: usize, patch: &Value| {
            if rng.chance(permille) {
                merge_patch(&mut made, patch);
            }
        };
        let undoes = usize::from(self.undoes);
        // Where nothing is done there is nothing to take back: such a step has no undo.
        let is_cached = is_action && self.rng.chance(100);
        add(self.rng, 1_000 * usize::from(is_cached), &json!({"cache": {"key": "trigger.yes", "seconds": 60}}));
        add(self.rng, usize::from(!is_cached) * undoes * if is_action { 650 } else { 150 }, &undo);
        let when = self.rng.pick(&["trigger.yes", "trigger.no", "trigger.missing == 1"]);
        add(self.rng, 130, &json!({"when": when}));
        add(self.rng, 80, &json!({"requires_approval": true}));
        let on_error = self.rng.pick(&["continue", "continue", "compensate", "pause", "fallback"]);
        // A step that stands in another fails that one.
        let fits = depth == 0 || on_error == "continue";
        add(self.rng, 250 * usize::from(fits), &json!({"on_error": on_error}));
        made
    }

    fn action(&mut self, id: &str, in_loop: bool) -> Value {
        let payload = if in_loop { json!({"index": "{{ loop.index }}"}) } else { json!({}) };
        let mut made = step(id, &json!({"config": {"action_payload": payload}}));
        let probe = json!({"on_unknown_outcome": "verify", "verify": {"action_type": "noop"}});
        let unknown = self.rng.pick(&[json!({}), json!({}), json!({"on_unknown_outcome": "park"}), probe]);
        merge_patch(&mut made, &unknown);
        if self.rng.chance(80) {
            merge_patch(&mut made, &json!({"config": {"scheduled_for": "{{ trigger.in_30s }}"}}));
        }
        if self.rng.chance(80) {
            merge_patch(&mut made, &json!({"config": {"expires_in_seconds": self.rng.pick(&[1, 45, 400])}}));
        }
        made
    }

    fn other(&mut self, id: &str, depth: usize, in_loop: bool) -> Value {
        match self.rng.below(17) {
            0..=2 => self.for_each(id, depth),
            3 | 4 => self.turn(id, depth),
            5 | 6 => self.branch(id, depth, in_loop),
            7 | 8 => self.parallel(id, depth, in_loop),
            9 | 10 => self.wait(id),
            11 => kind(id, "sub_flow", &json!({"flow_name": "other", "wait": self.rng.chance(700)})),
            12 => self.approval(id),
            13 => {
                let value = self.rng.pick(&["trigger.items[0]", "now", "trigger.missing"]);
                let word = self.rng.pick(&["transform", "set"]);
                kind(id, word, &json!({"values": {"n": value}}))
            }
            14 => kind(id, "raise", &json!({"error": "raised", "message": "on purpose"})),
            15 if self.rng.chance(400) => {
                let status = self.rng.pick(&["completed", "failed", "cancelled"]);
                kind(id, "stop", &json!({"status": status, "output": {"n": 1}}))
            }
            _ => kind(id, "set", &json!({"values": {"last": "run.id"}})),
        }
    }

    fn for_each(&mut self, id: &str, depth: usize) -> Value {
        let collection = self.rng.pick(&["trigger.items", "[10, 20]", "[10]", "[]", "trigger.missing"]);
        let mut config = json!({
            "collection": collection,
            "concurrency": self.rng.pick(&[1, 2, 9]),
            "on_error": self.rng.pick(&["stop", "continue"]),
            "steps": self.list(depth + 1, true),
        });
        if self.rng.chance(150) {
            config["batch_size"] = 2.into();
        }
        kind(id, "for_each", &config)
    }

    fn turn(&mut self, id: &str, depth: usize) -> Value {
        let condition = self.rng.pick(&["loop.index < 2", "loop.index < 3", "true", "trigger.no", "trigger.missing"]);
        let most = self.rng.pick(&[2, 5]);
        kind(id, "while", &json!({"condition": condition, "max_iterations": most, "steps": self.list(depth + 1, true)}))
    }

    fn branch(&mut self, id: &str, depth: usize, in_loop: bool) -> Value {
        let first = self.rng.pick(&["trigger.yes", "trigger.no", "trigger.missing == 1"]);
        let mut config = json!({"cases": [{"when": first, "steps": self.list(depth + 1, in_loop)}]});
        if self.rng.chance(600) {
            config["default"] = self.list(depth + 1, in_loop).into();
        }
        kind(id, "branch", &config)
    }

    fn parallel(&mut self, id: &str, depth: usize, in_loop: bool) -> Value {
        let count = 1 + self.rng.below(3);
        let lanes: Vec<Value> =
            (0..count).map(|n| json!({"id": format!("lane{n}"), "steps": self.list(depth + 1, in_loop)})).collect();
        let some = json!(1 + self.rng.below(count));
        let join = self.rng.pick(&[json!("all"), json!("any"), some]);
        kind(id, "parallel", &json!({"branches": lanes, "join": join}))
    }

    fn wait(&mut self, id: &str) -> Value {
        let mut config = match self.rng.below(5) {
            0 => {
                return kind(
                    id,
                    "wait",
                    &json!({"seconds": self.rng.pick(&[json!(0), json!(20), json!("{{ 'soon' }}")])}),
                );
            }
            1 => return kind(id, "wait", &json!({"until": "{{ trigger.in_30s }}"})),
            2 => {
                let key = self.rng.pick(&["trigger.items[0]", "run.id", "trigger.missing"]);
                json!({"event": {"type": "paid", "key": key, "match": "event.data.fits"}})
            }
            _ => json!({"signal": self.rng.pick(&["go", "stay"])}),
        };
        if self.rng.chance(500) {
            let on_timeout = self.rng.pick(&["fail", "continue"]);
            merge_patch(&mut config, &json!({"timeout_seconds": 25, "on_timeout": on_timeout}));
        }
        kind(id, "wait", &config)
    }

    fn approval(&mut self, id: &str) -> Value {
        let mut config = json!({"required": 1 + self.rng.below(3)});
        if self.rng.chance(500) {
            let on_timeout = self.rng.pick(&["reject", "approve", "fail"]);
            merge_patch(&mut config, &json!({"timeout_seconds": 25, "on_timeout": on_timeout}));
        }
        kind(id, "approval", &config)
    }

    /// Edges and phases: no step waits for one of a later phase, and none of the phases is empty.
    fn place(&mut self, steps: &mut [Value], mode: &str, phases: usize) {
        let count = steps.len();
        let mut of_step: Vec<Option<usize>> = vec![None; count];
        for (no, phase) in of_step.iter_mut().enumerate().filter(|_| phases > 0) {
            let is_last = no + phases >= count;
            *phase = Some(if is_last { no + phases + 1 - count } else { 1 });
        }
        for no in 0..count {
            let must = phases > 0 && no + phases >= count;
            if !must && self.rng.chance(250) {
                of_step[no] = None;
            }
            if mode == "mixed" {
                let before: Vec<String> = (0..no)
                    .filter(|_| self.rng.chance(350))
                    .map(|other| steps[other]["id"].as_str().expect("an id").to_owned())
                    .collect();
                merge_patch(&mut steps[no], &json!({"connections": {"inputs": before}}));
                if !before.is_empty() && self.rng.chance(200) {
                    merge_patch(&mut steps[no], &json!({"dependency_mode": "any"}));
                }
            }
            if let Some(phase) = of_step[no] {
                merge_patch(&mut steps[no], &json!({"phase": phase}));
            }
        }
        // The document's order is not the order of phases.
        if mode != "sequential" && self.rng.chance(500) {
            steps.reverse();
        }
    }

    fn head(&mut self, phases: usize, steps: &[Value]) -> Value {
        let attempts = 1 + self.rng.below(3);
        let mut head = json!({"retry_policy": {"max_attempts": attempts, "backoff_seconds": 1.0, "jitter": "none"}});
        let action = self.rng.pick(&["stop", "stop", "continue", "pause", "rollback", "fallback"]);
        head["on_error_action"] = action.into();
        head["fallback_flow_id"] = super::shapes::FALLBACK.into();
        let compensates = steps.iter().any(|step| step["on_error"] == "compensate");
        if phases > 0 || action == "rollback" || compensates {
            let phase = json!(1 + self.rng.below(phases.max(1)));
            let back = [json!("previous"), json!("start"), json!("start"), json!("off"), phase];
            let to = if phases > 0 { self.rng.pick(&back) } else { json!("start") };
            head["rollback"] = json!({
                "to": to,
                "then": self.rng.pick(&["stop", "retry"]),
                "retries": 1 + self.rng.below(2),
            });
        }
        if self.rng.chance(120) {
            head["requires_approval"] = true.into();
        }
        if self.rng.chance(150) {
            head["max_execution_time_seconds"] = self.rng.pick(&[5, 60]).into();
        }
        head
    }
}
