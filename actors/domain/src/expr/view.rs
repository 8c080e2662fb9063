//! The scope as the template engine sees it: objects that look up members when they are asked.
//!
//! The engine wants values that own themselves, so a view holds the shared root and the keys that
//! lead to its place; nothing is copied until a template touches a number or a text.

use std::sync::Arc;

use chrono::SecondsFormat;
use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr, ValueKind};
use serde_json::Value as Json;

use super::path::{Key, walk};
use super::scope::{EXECUTION, ROOTS, STEP_MEMBERS, Scope, StepView, StepViews};

/// The root of all names.
pub(super) fn of_scope(scope: &Scope) -> Value {
    Value::from_object(ScopeView(scope.clone()))
}

#[derive(Debug)]
struct ScopeView(Scope);

impl Object for ScopeView {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let scope = &self.0;
        let json = match key.as_str()? {
            "trigger" => &scope.trigger,
            "webhook" => &scope.webhook,
            "input" => &scope.input,
            "flow" => &scope.flow,
            "run" => &scope.run,
            "tenant" => &scope.tenant,
            "vars" => &scope.vars,
            "loop" => &scope.round,
            "event" => &scope.event,
            "secrets" => &scope.secrets,
            "steps" => return Some(Value::from_object(StepsView(scope.steps.clone()))),
            "now" => return Some(Value::from(scope.now.to_rfc3339_opts(SecondsFormat::AutoSi, true))),
            _ => return None,
        };
        Some(JsonView::root(json))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(ROOTS)
    }
}

#[derive(Debug)]
struct StepsView(StepViews);

impl Object for StepsView {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let id = key.as_str()?;
        let (ended, execution) = (self.0.get(id).cloned(), self.0.execution(id).map(Value::from));
        (ended.is_some() || execution.is_some()).then(|| Value::from_object(OneStepView { ended, execution }))
    }
}

#[derive(Debug)]
struct OneStepView {
    /// What it has come to; absent before its end.
    ended: Option<StepView>,
    execution: Option<Value>,
}

impl Object for OneStepView {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let (key, ended) = (key.as_str()?, self.ended.as_ref());
        match key {
            EXECUTION => self.execution.clone(),
            "output" => Some(match ended?.output.get() {
                Ok(output) => JsonView::root(output),
                // Whatever the text does with it fails with these words.
                Err(words) => Value::from(minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, words)),
            }),
            "status" => Some(Value::from(ended?.status)),
            "error" => {
                Some(ended?.error.as_ref().map_or_else(|| Value::from(()), |error| Value::from(Arc::clone(error))))
            }
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(STEP_MEMBERS)
    }
}

/// An object or a list somewhere in a shared document.
#[derive(Debug)]
pub(super) struct JsonView {
    root: Arc<Json>,
    keys: Vec<Key>,
}

impl JsonView {
    fn root(root: &Arc<Json>) -> Value {
        scalar(root).unwrap_or_else(|| Value::from_object(Self { root: Arc::clone(root), keys: Vec::new() }))
    }

    /// The JSON that this is a view of.
    pub(super) fn json(&self) -> &Json {
        walk(&self.root, &self.keys).expect("a view is made only for a place that exists, and documents never change")
    }

    fn member(&self, key: Key) -> Option<Value> {
        let json = walk(self.json(), std::slice::from_ref(&key)).ok()?;
        Some(scalar(json).unwrap_or_else(|| {
            let mut keys = Vec::with_capacity(self.keys.len() + 1);
            keys.extend_from_slice(&self.keys);
            keys.push(key);
            Value::from_object(Self { root: Arc::clone(&self.root), keys })
        }))
    }
}

/// The engine's value of anything but an object or a list.
fn scalar(json: &Json) -> Option<Value> {
    match json {
        Json::Null => Some(Value::from(())),
        Json::Bool(truth) => Some(Value::from(*truth)),
        Json::String(text) => Some(Value::from(text.as_str())),
        Json::Number(number) => Some(match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::from(int),
            (None, Some(uint)) => Value::from(uint),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        }),
        Json::Array(_) | Json::Object(_) => None,
    }
}

impl Object for JsonView {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.json().is_array() { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match self.json() {
            Json::Array(_) => self.member(Key::Index(key.as_usize()?)),
            _ => self.member(Key::Name(key.as_str()?.into())),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.json() {
            Json::Array(items) => Enumerator::Seq(items.len()),
            Json::Object(members) => Enumerator::Values(members.keys().map(|key| Value::from(key.as_str())).collect()),
            _ => Enumerator::NonEnumerable,
        }
    }
}

/// The JSON of an engine's value, while it stays within `left` bytes.
pub(super) fn to_json(value: &Value, left: &mut usize) -> Result<Json, String> {
    if let Some(view) = value.downcast_object_ref::<JsonView>() {
        charge(size(view.json()), left)?;
        return Ok(view.json().clone());
    }
    charge(1, left)?;
    match value.kind() {
        ValueKind::Undefined => Err("the value is undefined".to_owned()),
        ValueKind::None => Ok(Json::Null),
        ValueKind::Bool => Ok(Json::Bool(value.is_true())),
        ValueKind::Number => number(value),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            charge(text.len(), left)?;
            Ok(Json::String(text.to_owned()))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().map_err(|error| error.to_string())?;
            items.map(|item| to_json(&item, left)).collect::<Result<Vec<_>, _>>().map(Json::Array)
        }
        ValueKind::Map => {
            let mut members = serde_json::Map::new();
            for key in value.try_iter().map_err(|error| error.to_string())? {
                let member = value.get_item(&key).map_err(|error| error.to_string())?;
                let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                charge(name.len(), left)?;
                members.insert(name, to_json(&member, left)?);
            }
            Ok(Json::Object(members))
        }
        _ => Err(format!("a value of kind {} has no form in JSON", value.kind())),
    }
}

fn number(value: &Value) -> Result<Json, String> {
    if value.is_integer() {
        if let Ok(int) = i64::try_from(value.clone()) {
            return Ok(int.into());
        }
        return u64::try_from(value.clone()).map(Json::from).map_err(|_| "the number is too large".to_owned());
    }
    let float = f64::try_from(value.clone()).map_err(|error| error.to_string())?;
    serde_json::Number::from_f64(float).map(Json::Number).ok_or_else(|| "the result is not a finite number".to_owned())
}

/// Takes bytes from what a rendered document may still have.
pub(super) fn charge(bytes: usize, left: &mut usize) -> Result<(), String> {
    *left = left
        .checked_sub(bytes)
        .ok_or_else(|| format!("the result is larger than {} bytes", super::limits::OUTPUT_BYTES))?;
    Ok(())
}

/// About the bytes of a JSON text, without writing it.
pub fn size(json: &Json) -> usize {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 1,
        Json::String(text) => 1 + text.len(),
        Json::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Json::Object(members) => 1 + members.iter().map(|(key, value)| key.len() + size(value)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn back(json: &Json) -> Json {
        to_json(&JsonView::root(&Arc::new(json.clone())), &mut 1_000).unwrap()
    }

    #[test]
    fn views_come_back_as_the_json_they_show() {
        for json in [json!(null), json!(u64::MAX), json!(i64::MIN), json!(1.5), json!("ü"), json!({"a": [1, {}, []]})]
        {
            assert_eq!(back(&json), json);
        }
    }

    #[test]
    fn members_are_looked_up_one_by_one() {
        let view = JsonView::root(&Arc::new(json!({"a": [{"b": 7}]})));
        let item = view.get_attr("a").unwrap().get_item_by_index(0).unwrap();
        assert_eq!(item.downcast_object_ref::<JsonView>().unwrap().keys.len(), 2);
        assert_eq!(item.get_attr("b").unwrap(), Value::from(7));
        assert!(item.get_attr("c").unwrap().is_undefined());
    }

    #[test]
    fn what_is_too_large_or_not_finite_is_refused() {
        let view = JsonView::root(&Arc::new(json!(["x".repeat(2_000)])));
        assert!(to_json(&view, &mut 1_000).is_err());
        assert!(to_json(&Value::from(f64::INFINITY), &mut 10).is_err());
        assert!(to_json(&Value::UNDEFINED, &mut 10).is_err());
        assert!(to_json(&Value::from(i128::MAX), &mut 10).is_err());
    }
}
