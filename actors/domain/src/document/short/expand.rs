//! From the short form to the long one.

use serde_json::{Map, Value};

use super::{ACTION_KEYS, ACTIONS, NESTED, Places, STEP_KEYS, UNDO_KEYS, VERBS, main_key, named, segment, single};
use crate::document::ShapeError;
use crate::words::TriggerType;

/// A document written out, and where its parts stood.
#[derive(Debug, Clone, PartialEq)]
pub struct Expanded {
    pub document: Value,
    pub places: Places,
}

/// Writes a document out. What is long already stays as it is. Errors name the place in the short form.
pub fn expand(document: Value) -> Result<Expanded, ShapeError> {
    let mut places = Places::default();
    let Value::Object(mut document) = document else { return Ok(Expanded { document, places }) };
    trigger(&mut document, &mut places)?;
    if let Some(when) = document.remove("when") {
        put(&mut document, "conditions", when, "/when")?;
        places.note("/conditions", "/when");
    }
    if let Some(Value::Array(steps)) = document.get_mut("flow_steps") {
        let has_after = steps.iter().any(|step| named(step).is_some_and(|(_, body)| body.get("after").is_some()));
        step_list(steps, "/flow_steps", "/flow_steps", &mut places)?;
        if has_after {
            document.entry("execution_mode").or_insert_with(|| "mixed".into());
        }
    }
    // Said, so that nobody takes the document for one of the platform that this system continues.
    document.entry("format").or_insert_with(|| 1.into());
    Ok(Expanded { document: Value::Object(document), places })
}

fn wrong(pointer: impl Into<String>, message: impl Into<String>) -> ShapeError {
    ShapeError { pointer: pointer.into(), message: message.into() }
}

/// Puts a member where none may be yet; `at` is where it was written.
fn put(object: &mut Map<String, Value>, key: &str, value: Value, at: &str) -> Result<(), ShapeError> {
    if object.contains_key(key) {
        return Err(wrong(at, format!("says the same as '{key}', which is given too: keep one of them")));
    }
    object.insert(key.to_owned(), value);
    Ok(())
}

/// `trigger: manual`, or `trigger: {webhook: alerts, …}`.
fn trigger(document: &mut Map<String, Value>, places: &mut Places) -> Result<(), ShapeError> {
    let Some(trigger) = document.remove("trigger") else { return Ok(()) };
    let (kind, config) = match trigger {
        Value::String(word) => {
            let kind: TriggerType = word.parse().map_err(|unknown| wrong("/trigger", format!("{unknown}")))?;
            places.note("/trigger_type", "/trigger");
            (kind, Map::new())
        }
        Value::Object(mut given) => {
            let known: Vec<TriggerType> =
                TriggerType::ALL.iter().copied().filter(|kind| given.contains_key(kind.as_str())).collect();
            let [kind] = known[..] else {
                let names = TriggerType::WORDS.join(", ");
                return Err(wrong(
                    "/trigger",
                    format!("must have exactly one of the keys {names}; it has {}", known.len()),
                ));
            };
            let at = format!("/trigger/{kind}");
            let Some(key) = main_key(kind) else {
                let message = format!("write `trigger: {kind}`, or trigger_type and trigger_config");
                return Err(wrong(at, message));
            };
            let value = given.remove(kind.as_str()).expect("it was just found");
            put(&mut given, key, value, &at)?;
            places.note("/trigger_type", &at);
            places.note("/trigger_config", "/trigger");
            places.note(format!("/trigger_config/{key}"), &at);
            (kind, given)
        }
        _ => return Err(wrong("/trigger", "must be a trigger's name, or an object with the name as a key")),
    };
    put(document, "trigger_type", kind.as_str().into(), "/trigger")?;
    if !config.is_empty() {
        put(document, "trigger_config", config.into(), "/trigger")?;
    }
    Ok(())
}

fn step_list(steps: &mut [Value], long: &str, short: &str, places: &mut Places) -> Result<(), ShapeError> {
    for (no, step) in steps.iter_mut().enumerate() {
        let (long, short) = (format!("{long}/{no}"), format!("{short}/{no}"));
        if let Some((id, body)) = named(step) {
            let short = format!("{short}/{}", segment(id));
            places.note(&long, &short);
            *step = one_step(id, body, &long, &short, places)?;
        }
        if let Some(Value::Object(config)) = step.get_mut("config") {
            nested(config, &format!("{long}/config"), places)?;
        }
    }
    Ok(())
}

/// The steps inside a step, written out in their turn.
fn nested(config: &mut Map<String, Value>, long: &str, places: &mut Places) -> Result<(), ShapeError> {
    for (key, inner) in NESTED {
        let Some(Value::Array(items)) = config.get_mut(*key) else { continue };
        let at = format!("{long}/{key}");
        let short = places.in_text(&at);
        match inner {
            None => step_list(items, &at, &short, places)?,
            Some(inner) => {
                for (no, item) in items.iter_mut().enumerate() {
                    if let Some(Value::Array(steps)) = item.get_mut(*inner) {
                        let (long, short) = (format!("{at}/{no}/{inner}"), format!("{short}/{no}/{inner}"));
                        step_list(steps, &long, &short, places)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// A step from its id and body.
fn one_step(id: &str, body: &Value, long: &str, short: &str, places: &mut Places) -> Result<Value, ShapeError> {
    let Value::Object(body) = body else {
        return Err(wrong(short, "must be an object that says what the step does, such as {post: lb/drain}"));
    };
    let mut body = body.clone();
    let mut step = Map::from_iter([("id".to_owned(), Value::from(id))]);
    for key in STEP_KEYS {
        if let Some(value) = body.remove(*key) {
            step.insert((*key).to_owned(), value);
        }
    }
    if let Some(after) = body.remove("after") {
        let at = format!("{short}/after");
        places.note(format!("{long}/connections/inputs"), &at);
        put(&mut step, "connections", single("inputs", after), &at)?;
    }
    for key in ACTIONS {
        if let Some(Value::Object(given)) = step.get(*key).filter(|a| a.as_object().is_some_and(|a| verb(a).is_some()))
        {
            let mut given = given.clone();
            let own = UNDO_KEYS.iter().filter(|_| *key == "undo").filter_map(|own| given.remove_entry(*own));
            let own: Vec<(String, Value)> = own.collect();
            let mut long = action(given, &format!("{long}/{key}"), &format!("{short}/{key}"), places)?;
            if let Value::Object(fields) = &mut long {
                fields.extend(own);
            }
            step.insert((*key).to_owned(), long);
        }
    }
    let kind = body.remove("type");
    let config = body.remove("config");
    let is_action = kind.as_ref().is_none_or(|kind| kind == "action");
    step.extend(kind.map(|kind| ("type".to_owned(), kind)));
    let config = match config {
        Some(config) => {
            if let Some(key) = body.keys().next() {
                let message = "beside 'config' there are only the keys of a step: put it into 'config'";
                return Err(wrong(format!("{short}/{}", segment(key)), message));
            }
            config
        }
        None if is_action => action(body, &format!("{long}/config"), short, places)?,
        None => {
            places.note(format!("{long}/config"), short);
            Value::Object(body)
        }
    };
    step.insert("config".to_owned(), config);
    Ok(Value::Object(step))
}

/// The words that stand for an action, among these keys.
fn verb(given: &Map<String, Value>) -> Option<(&'static str, &'static str, Option<&'static str>)> {
    VERBS.iter().copied().find(|(word, ..)| given.contains_key(*word))
}

/// An action's config: a verb and its target, keys that keep their places, and the payload's.
fn action(given: Map<String, Value>, long: &str, short: &str, places: &mut Places) -> Result<Value, ShapeError> {
    let mut given = given;
    places.note(long, short);
    places.note(format!("{long}/action_payload"), short);
    let (mut config, mut payload) = (Map::new(), Map::new());
    if let Some((word, action_type, method)) = verb(&given) {
        let at = format!("{short}/{word}");
        let target = given.remove(word);
        let Some(text) = target.as_ref().and_then(Value::as_str) else {
            return Err(wrong(at, "must be a text: TARGET or TARGET/REST"));
        };
        if let Some((other, ..)) = verb(&given) {
            return Err(wrong(format!("{short}/{other}"), format!("a step has one verb; it has '{word}' too")));
        }
        aim(word, text, method, &mut config, &mut payload);
        config.insert("action_type".to_owned(), action_type.into());
        for key in ["action_type", "action_target"] {
            places.note(format!("{long}/{key}"), &at);
        }
        for key in payload.keys() {
            places.note(format!("{long}/action_payload/{}", segment(key)), &at);
        }
    }
    for key in ACTION_KEYS {
        if let Some(value) = given.remove(*key) {
            put(&mut config, key, value, &format!("{short}/{key}"))?;
        }
    }
    if !config.contains_key("action_type") {
        let verbs: Vec<&str> = VERBS.iter().map(|(word, ..)| *word).collect();
        let message = format!("says nothing of what it does: give a verb ({}), action_type, or type", verbs.join(", "));
        return Err(wrong(short, message));
    }
    let whole = given.remove("payload");
    for (key, value) in given {
        put(&mut payload, &key, value, &format!("{short}/{}", segment(&key)))?;
    }
    add_payload(&mut config, payload, whole, short)?;
    Ok(Value::Object(config))
}

/// What a verb and its text say: the target, and what of the payload.
fn aim(
    word: &str,
    text: &str,
    method: Option<&str>,
    config: &mut Map<String, Value>,
    payload: &mut Map<String, Value>,
) {
    let mut target = text;
    if let Some(method) = method {
        payload.insert("method".to_owned(), method.into());
        if is_url(text) {
            payload.insert("url".to_owned(), text.into());
            return;
        }
        if let Some(slash) = text.find('/') {
            target = &text[..slash];
            payload.insert("path".to_owned(), text[slash..].into());
        }
    } else if word == "run"
        && let Some((machine, program)) = text.split_once('/')
    {
        target = machine;
        payload.insert("program".to_owned(), program.into());
    }
    config.insert("action_target".to_owned(), target.into());
}

/// `payload` holds what the keys of a step would hide, or the whole of a payload that is no object.
fn add_payload(
    config: &mut Map<String, Value>,
    mut payload: Map<String, Value>,
    whole: Option<Value>,
    short: &str,
) -> Result<(), ShapeError> {
    let at = format!("{short}/payload");
    let value = match whole {
        None if payload.is_empty() => return Ok(()),
        None => Value::Object(payload),
        Some(Value::Object(more)) => {
            for (key, value) in more {
                put(&mut payload, &key, value, &format!("{at}/{}", segment(&key)))?;
            }
            Value::Object(payload)
        }
        Some(other) if payload.is_empty() => other,
        Some(_) => return Err(wrong(at, "must be an object where other keys belong to the payload too")),
    };
    put(config, "action_payload", value, &at)
}

/// Whether a text is a URL and not a target: it says so, or it begins with a template, which no target can.
fn is_url(text: &str) -> bool {
    ["http://", "https://", "{{"].iter().any(|start| text.starts_with(start))
}
