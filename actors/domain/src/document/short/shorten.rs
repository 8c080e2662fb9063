//! From the long form to the short one.
//!
//! Whatever is shortened is written out again at once and compared: a step that would not come back as it was stays long.

use serde_json::{Map, Value};

use super::expand::expand;
use super::{ACTION_KEYS, ACTIONS, NESTED, STEP_KEYS, UNDO_KEYS, VERBS, main_key, single};
use crate::document::FlowDocument;
use crate::words::TriggerType;

/// The short form of a document, without what it says by default.
pub fn shorten(document: &FlowDocument) -> Value {
    let Value::Object(mut fields) = document.to_value() else { unreachable!("a document is an object") };
    let defaults = default_document();
    let steps = match fields.remove("flow_steps") {
        Some(Value::Array(steps)) => steps,
        _ => Vec::new(),
    };
    let kept = ["flow_name", "trigger_type"];
    fields.retain(|key, value| kept.contains(&key.as_str()) || defaults.get(key) != Some(value));
    let mode = fields.remove("execution_mode");
    let short: Vec<Value> = steps.into_iter().map(shorten_step).collect();
    // What the steps imply need not be said.
    let implied = if short.iter().any(is_after) { "mixed" } else { "sequential" };
    let mode = mode.unwrap_or_else(|| "sequential".into());
    if mode != implied {
        fields.insert("execution_mode".to_owned(), mode);
    }
    shorten_trigger(&mut fields);
    if let Some(conditions) = fields.remove("conditions") {
        fields.insert("when".to_owned(), conditions);
    }
    let is_drawn = short.iter().any(|step| step.get("position").is_some());
    fields.insert("flow_steps".to_owned(), short.into());
    let value = Value::Object(fields);
    if is_drawn || !super::is_short(&value) {
        let Value::Object(mut fields) = value else { unreachable!("it was just made") };
        fields.insert("format".to_owned(), document.format.into());
        return Value::Object(fields);
    }
    value
}

/// A document that says as little as one can: what stands in it stands in every one by default.
fn default_document() -> Value {
    let step = serde_json::json!({"id": "x", "config": {"action_type": "transform"}});
    let blank = serde_json::json!({"format": 1, "flow_name": "x", "trigger_type": "manual", "flow_steps": [step]});
    FlowDocument::from_value(blank).expect("a blank document can be read").to_value()
}

/// Whether a step in the short form says what it comes after.
fn is_after(step: &Value) -> bool {
    super::named(step).is_some_and(|(_, body)| body.get("after").is_some())
}

fn shorten_trigger(fields: &mut Map<String, Value>) {
    let Some(kind) = fields.get("trigger_type").and_then(Value::as_str).map(str::to_owned) else { return };
    let Ok(known) = kind.parse::<TriggerType>() else { return };
    let config = match fields.get("trigger_config") {
        None => Map::new(),
        Some(Value::Object(config)) => config.clone(),
        Some(_) => return,
    };
    let trigger = if config.is_empty() {
        Value::from(kind.as_str())
    } else {
        let Some(value) = main_key(known).and_then(|key| config.get(key)) else { return };
        let mut short = config.clone();
        short.remove(main_key(known).expect("it has just been found"));
        short.insert(kind.clone(), value.clone());
        Value::Object(short)
    };
    let probe = expand(single("trigger", trigger.clone())).map(|long| long.document);
    let comes_back = probe.is_ok_and(|long| {
        long["trigger_type"] == kind.as_str()
            && long.get("trigger_config").and_then(Value::as_object).cloned().unwrap_or_default() == config
    });
    if comes_back {
        fields.remove("trigger_type");
        fields.remove("trigger_config");
        fields.insert("trigger".to_owned(), trigger);
    }
}

/// A step in the shortest form that comes back as it is.
fn shorten_step(step: Value) -> Value {
    let Value::Object(mut long) = step else { return step };
    if let Some(Value::Object(config)) = long.get_mut("config") {
        nested(config);
    }
    let Some(id) = long.get("id").and_then(Value::as_str).map(str::to_owned) else { return Value::Object(long) };
    let Value::Object(blank) = default_document()["flow_steps"][0].take() else { unreachable!("a step is an object") };
    let lean: Map<String, Value> = long
        .iter()
        .filter(|(key, value)| blank.get(*key) != Some(*value) && *key != "id")
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let inline = single(&id, Value::Object(body(lean.clone(), true)));
    let explicit = single(&id, Value::Object(body(lean, false)));
    let wanted = filled(Value::Object(long.clone()), &blank);
    let comes_back = |short: &Value| {
        let steps = single("flow_steps", vec![short.clone()].into());
        // Nested steps were shortened before: they must be written out on both sides.
        let written = |steps: Value| expand(steps).map(|long| long.document["flow_steps"][0].clone());
        written(steps).is_ok_and(|found| {
            let wanted = written(single("flow_steps", vec![wanted.clone()].into()));
            wanted.is_ok_and(|wanted| filled(found, &blank) == wanted)
        })
    };
    [inline, explicit].into_iter().find(comes_back).unwrap_or(Value::Object(long))
}

/// A step with everything that it says by default.
fn filled(step: Value, blank: &Map<String, Value>) -> Value {
    let Value::Object(mut step) = step else { return step };
    for (key, value) in blank {
        match step.get_mut(key) {
            None => drop(step.insert(key.clone(), value.clone())),
            Some(Value::Object(given)) if key == "connections" => {
                given.entry("inputs").or_insert_with(|| Value::Array(Vec::new()));
            }
            Some(_) => {}
        }
    }
    let is_action = step.get("type").is_none_or(|kind| kind == "action");
    for key in ["config"].iter().filter(|_| is_action).chain(ACTIONS) {
        if let Some(Value::Object(config)) = step.get_mut(*key)
            && let Some(Value::Object(blank)) = blank.get("config")
        {
            for (key, value) in blank.iter().filter(|(key, _)| *key != "action_type") {
                config.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    Value::Object(step)
}

/// The body of a short step: `lean` is what the step says beyond its defaults.
fn body(mut lean: Map<String, Value>, is_inline: bool) -> Map<String, Value> {
    let mut short: Map<String, Value> = Map::new();
    let config = lean.remove("config");
    let kind = lean.remove("type");
    let is_action = kind.is_none();
    if let Some(connections) = lean.remove("connections") {
        match connections.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.get("inputs")) {
            Some(inputs) => short.insert("after".to_owned(), inputs.clone()),
            None => short.insert("connections".to_owned(), connections),
        };
    }
    for key in ACTIONS.iter().filter(|_| is_inline) {
        if let Some(Value::Object(given)) = lean.get_mut(*key) {
            *given = action(std::mem::take(given));
        }
    }
    short.extend(lean);
    short.extend(kind.map(|kind| ("type".to_owned(), kind)));
    match config {
        Some(Value::Object(config)) if is_inline => short.extend(if is_action { action(config) } else { config }),
        Some(config) => drop(short.insert("config".to_owned(), config)),
        None => {}
    }
    short
}

/// The short form of an action's config.
fn action(mut config: Map<String, Value>) -> Map<String, Value> {
    let defaults = default_document();
    let blank = &defaults["flow_steps"][0]["config"];
    config.retain(|key, value| key == "action_type" || blank.get(key) != Some(value));
    let mut short = Map::new();
    let mut payload = config.remove("action_payload");
    if let Some((verb, text)) = verb(&config, payload.as_mut()) {
        config.remove("action_type");
        config.remove("action_target");
        short.insert(verb.to_owned(), text.into());
        payload = payload.filter(|payload| payload.as_object().is_none_or(|fields| !fields.is_empty()));
    }
    short.extend(config);
    let is_reserved = |key: &String| {
        let own = ["id", "type", "config", "after", "payload"];
        let verbs = VERBS.iter().map(|(word, ..)| *word);
        let mut all = STEP_KEYS.iter().chain(ACTION_KEYS).chain(UNDO_KEYS).copied().chain(own).chain(verbs);
        all.any(|reserved| reserved == key)
    };
    match payload {
        Some(Value::Object(fields)) if !fields.is_empty() && !fields.keys().any(is_reserved) => short.extend(fields),
        Some(payload) => drop(short.insert("payload".to_owned(), payload)),
        None => {}
    }
    short
}

/// The verb for a config and its text. What they say is taken out of the payload.
fn verb(config: &Map<String, Value>, payload: Option<&mut Value>) -> Option<(&'static str, String)> {
    let kind = config.get("action_type")?.as_str()?;
    let target = config.get("action_target").and_then(Value::as_str).unwrap_or_default();
    let mut none = Map::new();
    let payload = payload.and_then(Value::as_object_mut).unwrap_or(&mut none);
    let method = payload.get("method").and_then(Value::as_str);
    let (word, _, needed) = VERBS
        .iter()
        .find(|(_, action_type, needed)| *action_type == kind && (needed.is_none() || *needed == method))?;
    let text = |payload: &Map<String, Value>, key: &str| payload.get(key).and_then(Value::as_str).map(str::to_owned);
    if needed.is_some() {
        if let (Some(url), true) = (text(payload, "url"), target.is_empty()) {
            payload.remove("method");
            payload.remove("url");
            return Some((word, url));
        }
        let path = text(payload, "path");
        payload.remove("method");
        if path.is_some() {
            payload.remove("path");
        }
        return Some((word, format!("{target}{}", path.unwrap_or_default())));
    }
    if *word == "run"
        && let Some(program) = text(payload, "program")
    {
        payload.remove("program");
        return Some((word, format!("{target}/{program}")));
    }
    Some((word, target.to_owned()))
}

/// The steps inside a step, shortened in their turn.
fn nested(config: &mut Map<String, Value>) {
    let shorten_all = |steps: &mut Value| {
        if let Value::Array(steps) = steps {
            steps.iter_mut().for_each(|step| *step = shorten_step(step.take()));
        }
    };
    for (key, inner) in NESTED {
        match (config.get_mut(*key), inner) {
            (Some(steps), None) => shorten_all(steps),
            (Some(Value::Array(items)), Some(inner)) => {
                items.iter_mut().filter_map(|item| item.get_mut(*inner)).for_each(shorten_all);
            }
            _ => {}
        }
    }
}
