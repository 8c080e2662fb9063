//! Values as the description's schemas ask for them.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Map, Value, json};

use super::schema::resolve;
use super::world::{Role, World};

/// Where values come from: the description, what is there, who asks, and chance.
pub struct Source<'a> {
    pub root: &'a Value,
    pub world: &'a World,
    pub role: Role,
    pub rng: &'a mut StdRng,
}

/// How deep optional members nest.
const DEPTH: u32 = 4;

impl Source<'_> {
    /// One of several.
    pub fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of.choose(self.rng).expect("there is at least one")
    }

    /// A value that fits the schema, for a member of this name.
    pub fn value(&mut self, schema: &Value, name: &str, depth: u32) -> Value {
        if let Some(word) = self.by_name(name) {
            return word;
        }
        let schema = resolve(self.root, schema);
        if let Some(values) = schema["enum"].as_array() {
            return values.choose(self.rng).expect("an enumeration has values").clone();
        }
        if let Some(value) = schema.get("const") {
            return value.clone();
        }
        if let Some(choices) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
            let choice = choices.choose(self.rng).expect("there is a choice").clone();
            return self.value(&choice, "", depth);
        }
        let word = match &schema["type"] {
            Value::Array(words) => words.choose(self.rng).and_then(Value::as_str).expect("a type"),
            Value::String(word) => word,
            _ => return self.anything(depth + 2),
        };
        match word {
            "object" => self.object(schema, depth),
            "array" => {
                let least = schema["minItems"].as_u64().unwrap_or(0);
                let count = if depth > DEPTH { least } else { least + self.rng.random_range(0..3) };
                (0..count).map(|_| self.value(&schema["items"], "", depth + 1)).collect()
            }
            "string" => self.text(schema),
            "integer" => self.integer(schema),
            "number" => json!(f64::from(self.rng.random_range(0..1_000)) / 4.0),
            "boolean" => json!(self.rng.random::<bool>()),
            _ => Value::Null,
        }
    }

    fn object(&mut self, schema: &Value, depth: u32) -> Value {
        let mut object = Map::new();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let is_required = required.iter().any(|known| known == name);
            if is_required || (depth <= DEPTH && self.rng.random_bool(0.3)) {
                object.insert(name.clone(), self.value(member, name, depth + 1));
            }
        }
        if schema["additionalProperties"] == true {
            for name in ["n", "größe 🦀"] {
                object.insert(name.to_owned(), self.anything(depth + 2));
            }
        }
        Value::Object(object)
    }

    fn text(&mut self, schema: &Value) -> Value {
        match schema["format"].as_str() {
            Some("uuid") => json!(self.id("")),
            Some("date-time") => {
                json!(self.one(&["2026-01-01T00:00:00Z", "2001-02-03T04:05:06.789+13:45", "2999-12-31T23:59:59Z"]))
            }
            _ => json!(format!("{} {}", self.role.mark(), self.rng.random::<u32>())),
        }
    }

    fn integer(&mut self, schema: &Value) -> Value {
        let least = schema["minimum"].as_f64().unwrap_or(-9e15) as i64;
        let most = schema["maximum"].as_f64().map_or(i64::MAX, |most| most as i64);
        match self.rng.random_range(0..4) {
            0 => json!(least),
            1 => json!(most),
            _ => json!(self.rng.random_range(least..=most.min(least.saturating_add(100)))),
        }
    }

    /// An id: mostly one that exists, of this collection.
    pub fn id(&mut self, kind: &str) -> String {
        let world = self.world;
        let of_kind: Vec<_> = world.known.iter().filter(|known| known.kind == kind).collect();
        let own: Vec<_> = of_kind.iter().filter(|known| known.mark == self.role.mark()).copied().collect();
        match self.rng.random_range(0..10) {
            0..6 if !own.is_empty() => own.choose(self.rng).expect("not empty").id.clone(),
            6..8 if !of_kind.is_empty() => of_kind.choose(self.rng).expect("not empty").id.clone(),
            8 => world.known.choose(self.rng).expect("the world is furnished").id.clone(),
            _ => uuid::Uuid::from_u128(self.rng.random()).to_string(),
        }
    }

    /// Members that make sense only with words of their own.
    fn by_name(&mut self, name: &str) -> Option<Value> {
        Some(match name {
            "action_type" => json!("transform"),
            "type" => json!("action"),
            "id" => json!(format!("step_{}", self.rng.random_range(0..20))),
            "format" => json!(1),
            "wait_seconds" => json!(self.rng.random_range(0..=1)),
            "priority" => json!(self.rng.random_range(1..=10)),
            "dependency_mode" => self.one(&[&json!("all"), &json!("any"), &json!(1)]).clone(),
            "conditions" | "when" => self.one(&[&json!("true"), &json!("trigger.n == 1"), &json!({"n": 1})]).clone(),
            "inputs" => json!([]),
            "verification" => json!("url_secret"),
            "scheduled_for" => json!("2999-01-01T00:00:00Z"),
            "user_id" => self.role.user().map_or(Value::Null, |user| json!(user)),
            _ => return None,
        })
    }

    /// Any value at all.
    pub fn anything(&mut self, depth: u32) -> Value {
        match self.rng.random_range(0..if depth > DEPTH { 5 } else { 7 }) {
            0 => Value::Null,
            1 => json!(self.rng.random::<bool>()),
            2 => json!(self.rng.random::<i64>()),
            3 => json!(self.rng.random::<f64>() * 1e300),
            4 => json!(format!("{} {{{{ trigger.n }}}}", self.role.mark())),
            5 => (0..self.rng.random_range(0..4)).map(|_| self.anything(depth + 1)).collect(),
            _ => {
                let members = (0..self.rng.random_range(0..4)).map(|n| (format!("m{n}"), self.anything(depth + 1)));
                Value::Object(members.collect())
            }
        }
    }
}
