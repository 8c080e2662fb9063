//! JSON as CEL values and back.
//!
//! Texts are borrowed from the scope, never copied; lists and maps are built, because the
//! interpreter compares them only with its own kinds. What is built is charged (`budget.rs`).

use std::collections::{BTreeMap, HashMap};

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelTimestamp, CelUInt,
};
use cel::common::value::Val;
use serde_json::Value;

use super::budget::text_units;
use super::path::Found;

/// A CEL value, its size in units, and the size of its largest element.
pub(super) struct Built<'s> {
    pub value: Box<dyn Val + 's>,
    pub size: u64,
    pub element: u64,
}

impl<'s> Built<'s> {
    fn leaf(value: impl Val + 's, size: u64) -> Self {
        Self { value: Box::new(value), size, element: size }
    }
}

/// An error where it leads to what is not at hand.
pub(super) fn build(found: Found<'_>) -> Result<Built<'_>, String> {
    Ok(match found {
        Found::Json(json) => from_json(json),
        Found::Text(text) => from_text(text),
        Found::Null => Built::leaf(CelNull, 1),
        Found::Time(time) => Built::leaf(CelTimestamp::from(time.fixed_offset()), 1),
        Found::Step(step) => map([
            ("status", from_text(step.status)),
            ("output", from_json(step.output.get()?)),
            ("error", step.error.as_deref().map_or_else(|| Built::leaf(CelNull, 1), from_text)),
        ]),
    })
}

fn from_text(text: &str) -> Built<'_> {
    Built::leaf(CelString::from(text), text_units(text))
}

/// Recursion is bounded by the depth of the JSON, which every reader of it bounds.
fn from_json(json: &Value) -> Built<'_> {
    match json {
        Value::Null => Built::leaf(CelNull, 1),
        Value::Bool(truth) => Built::leaf(CelBool::from(*truth), 1),
        Value::String(text) => from_text(text),
        Value::Number(number) => {
            if let Some(int) = number.as_i64() {
                Built::leaf(CelInt::from(int), 1)
            } else if let Some(uint) = number.as_u64() {
                Built::leaf(CelUInt::from(uint), 1)
            } else {
                Built::leaf(CelDouble::from(number.as_f64().unwrap_or(f64::NAN)), 1)
            }
        }
        Value::Array(items) => {
            let (mut size, mut element) = (1, 0);
            let items: Vec<_> = items.iter().map(from_json).map(|item| sum(item, &mut size, &mut element)).collect();
            Built { value: Box::new(CelList::from(items)), size, element }
        }
        Value::Object(members) => map(members.iter().map(|(key, value)| (key.as_str(), from_json(value)))),
    }
}

fn map<'s>(members: impl IntoIterator<Item = (&'s str, Built<'s>)>) -> Built<'s> {
    let (mut size, mut element) = (1, 0);
    let map: HashMap<CelMapKey<'s>, Box<dyn Val + 's>> = members
        .into_iter()
        .map(|(key, value)| {
            let units = text_units(key);
            size += units;
            element = element.max(units);
            (CelMapKey::String(CelString::from(key)), sum(value, &mut size, &mut element))
        })
        .collect();
    Built { value: Box::new(CelMap::from(map)), size, element }
}

fn sum<'s>(item: Built<'s>, size: &mut u64, element: &mut u64) -> Box<dyn Val + 's> {
    *size += item.size;
    *element = (*element).max(item.size);
    item.value
}

/// The JSON of a result; what JSON cannot hold is an error.
pub(super) fn to_json(value: &cel::Value) -> Result<Value, String> {
    match value {
        cel::Value::Float(float) if !float.is_finite() => Err("the result is not a finite number".to_owned()),
        cel::Value::List(items) => items.iter().map(to_json).collect::<Result<Vec<_>, _>>().map(Value::Array),
        cel::Value::Map(map) => {
            // Sorted, because JSON objects may keep the order in which they are filled.
            let members = map.map.iter().map(|(key, value)| Ok((key.to_string(), to_json(value)?)));
            members.collect::<Result<BTreeMap<_, _>, String>>().map(|members| members.into_iter().collect())
        }
        cel::Value::Opaque(_) | cel::Value::Struct(_) => Err("the result has no form in JSON".to_owned()),
        other => other.json().map_err(|_| "the result has no form in JSON".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn back(json: &Value) -> Value {
        let built = from_json(json);
        to_json(&cel::Value::try_from(built.value.as_ref()).unwrap()).unwrap()
    }

    #[test]
    fn json_comes_back_as_it_went() {
        for value in [
            json!(null),
            json!(true),
            json!(-7),
            json!(u64::MAX),
            json!(1.5),
            json!("text"),
            json!({"a": [1, {"b": null}], "c d": ""}),
        ] {
            assert_eq!(back(&value), value);
        }
    }

    #[test]
    fn sizes_follow_the_contents() {
        let list = json!(["x".repeat(640), 1]);
        let built = from_json(&list);
        assert_eq!((built.size, built.element), (1 + 11 + 1, 11));
    }

    #[test]
    fn what_json_cannot_hold_is_an_error() {
        assert!(to_json(&cel::Value::Float(f64::NAN)).is_err());
    }
}
