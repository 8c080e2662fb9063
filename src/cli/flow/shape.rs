//! Everything that is wrong with the shape of a document, not only what its reader meets first.
//!
//! Reading stops at the first mistake. So that is mended in a copy, as well as may be without knowing what was meant, and the copy is
//! read again, until it can be read or a mistake cannot be mended. What is wrong with a stand-in is not the author's, and is not told.

use core314_domain::document::{FlowDocument, ShapeError};
use core314_domain::json::{parse_json, parse_yaml};
use serde_json::{Value, json};

/// Mistakes of one document that are told.
const MOST_FOUND: usize = 100;
/// Readings of one document.
const MOST_READINGS: usize = 300;
/// How often the same place is mended: a stand-in may need one itself.
const MOST_TRIES: usize = 3;

/// All mistakes of a text that is no document, `first` being the one that its reader has told.
pub fn faults(text: &str, first: ShapeError) -> Vec<ShapeError> {
    let is_json = text.trim_start().starts_with('{');
    let parsed = if is_json { parse_json(text.as_bytes()) } else { parse_yaml(text) };
    let Ok(mut copy) = parsed else { return vec![first] };
    let (mut found, mut mended): (Vec<ShapeError>, Vec<String>) = (Vec::new(), Vec::new());
    for _ in 0..MOST_READINGS {
        let Err(error) = FlowDocument::from_value(copy.clone()) else { break };
        let place = place(&error);
        let tries = mended.iter().filter(|known| **known == place).count();
        let stand_in = mend(&mut copy, &error);
        if !mended.iter().any(|known| is_within(&place, known)) {
            found.push(error);
        }
        let Some(stand_ins) = stand_in else { break };
        if tries >= MOST_TRIES || found.len() >= MOST_FOUND {
            break;
        }
        mended.push(place);
        mended.extend(stand_ins);
    }
    // The text may say what the value does not, such as that another file has the same name.
    if found.is_empty() { vec![first] } else { found }
}

/// What is wrong: of a member that is missing, where it should stand.
fn place(error: &ShapeError) -> String {
    match missing(error) {
        Some(key) => format!("{}/{key}", error.pointer),
        None => error.pointer.clone(),
    }
}

fn missing(error: &ShapeError) -> Option<&str> {
    error.message.strip_prefix("missing field `")?.split('`').next()
}

fn is_within(place: &str, known: &str) -> bool {
    place.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Mends one mistake, and says what else of the document is a stand-in then; absent where it cannot be mended.
fn mend(document: &mut Value, error: &ShapeError) -> Option<Vec<String>> {
    if let Some(key) = missing(error) {
        document.pointer_mut(&error.pointer)?.as_object_mut()?.insert(key.to_owned(), json!("x"));
        return Some(Vec::new());
    }
    let (parent, key) = error.pointer.rsplit_once('/')?;
    let key = key.replace("~1", "/").replace("~0", "~");
    let meant = error.message.rsplit_once("did you mean `").and_then(|(_, rest)| rest.split('`').next());
    if error.message.contains("unknown field `") {
        let object = document.pointer_mut(parent)?.as_object_mut()?;
        let value = object.remove(&key)?;
        let Some(meant) = meant.filter(|meant| !object.contains_key(*meant)) else { return Some(Vec::new()) };
        // Perhaps it was not meant so.
        object.insert(meant.to_owned(), value);
        return Some(vec![format!("{parent}/{meant}")]);
    }
    let value = document.pointer_mut(&error.pointer)?;
    if error.message.contains("unknown variant `") {
        let word = meant.or_else(|| error.message.split('`').nth(3))?;
        // A step of another type has another config: what it says is no mistake of the author's.
        let is_guessed = meant.is_none() && key == "type";
        *value = json!(word);
        return Some(is_guessed.then(|| parent.to_owned()).into_iter().collect());
    }
    *value = stand_in(&error.message)?;
    Some(Vec::new())
}

/// A value of the type that was expected.
fn stand_in(message: &str) -> Option<Value> {
    if message == "must be an object" {
        return Some(json!({}));
    }
    let (_, expected) = message.rsplit_once("expected ")?;
    let has = |words: &[&str]| words.iter().any(|word| expected.contains(word));
    if has(&["sequence"]) {
        Some(json!([]))
    } else if has(&["map", "struct", "object"]) {
        Some(json!({}))
    } else if has(&["string"]) {
        Some(json!("x"))
    } else if has(&["boolean"]) {
        Some(json!(true))
    } else if has(&["u8", "u16", "u32", "u64", "usize", "i32", "i64", "f64", "integer", "number"]) {
        Some(json!(1))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn told(text: &str) -> Vec<String> {
        let first = FlowDocument::from_text(text).expect_err(text);
        faults(text, first).into_iter().map(|fault| fault.to_string()).collect()
    }

    #[test]
    fn every_mistake_is_told_and_none_of_a_stand_in() {
        let text = "flow_name: 7\ntriger_type: manual\nis_active: maybe\nflow_steps:\n\
                    \x20 - {id: a, config: {action_type: transform, priority: high}}\n\
                    \x20 - {id: b, speed: 3, config: [transform]}\n\
                    \x20 - {id: c, type: branchh, config: {nothing: 1}}\n\
                    \x20 - {config: {action_type: transform}}\n";
        let told = told(text);
        for place in [
            "/flow_name: ",
            "/triger_type: ",
            "/is_active: ",
            "/flow_steps/0/config/priority: ",
            "/flow_steps/1/config: must be an object",
            "/flow_steps/1/speed: ",
            "/flow_steps/2/type: ",
            "/flow_steps/3: missing field `id`",
        ] {
            assert!(told.iter().any(|told| told.starts_with(place)), "{place} is missing in {told:#?}");
        }
        let is_a_stand_in = |told: &&String| told.contains("`trigger_type`") && told.contains("missing");
        assert_eq!(told.iter().find(is_a_stand_in), None);
        let different: BTreeSet<&String> = told.iter().collect();
        assert_eq!(different.len(), told.len(), "each once: {told:#?}");
    }

    #[test]
    fn what_is_missing_is_told_together_and_what_cannot_be_parsed_as_it_is() {
        let found = told("flow_name: a\n");
        assert!(found.iter().any(|told| told.contains("`trigger_type`")), "{found:?}");
        assert!(found.iter().any(|told| told.contains("`flow_steps`")), "{found:?}");
        assert_eq!(told("{\"flow_name\": ").len(), 1);
        assert_eq!(told("- a\n").len(), 1);
    }
}
