//! JSON as this system keeps it: read strictly, written canonically, and fit for both stores.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a text is not the JSON or YAML document it should be. The message names line and column where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

/// Reads JSON; a duplicate key or a NUL character is an error.
pub fn parse_json(text: &[u8]) -> Result<Value, ParseError> {
    serde_json::from_slice::<Strict>(text).map(|s| s.0).map_err(|e| ParseError(e.to_string()))
}

/// Reads YAML (of which JSON is a part); a duplicate key is an error.
pub fn parse_yaml(text: &str) -> Result<Value, ParseError> {
    serde_norway::from_str::<Strict>(text).map(|s| s.0).map_err(|e| ParseError(e.to_string()))
}

/// Deeper documents are refused: no reader of ours recurses further.
pub const MAX_DEPTH: usize = 64;

/// Whether the value nests deeper than [`MAX_DEPTH`].
pub fn too_deep(value: &Value) -> bool {
    fn over(value: &Value, left: usize) -> bool {
        match value {
            Value::Array(items) => left == 0 || items.iter().any(|v| over(v, left - 1)),
            Value::Object(map) => left == 0 || map.values().any(|v| over(v, left - 1)),
            _ => false,
        }
    }
    over(value, MAX_DEPTH)
}

/// Writes JSON with sorted keys and no white space: the form that digests are taken of.
pub fn canonical(value: &Value, out: &mut Vec<u8>) {
    // serde_json's own map is sorted by key (the workspace does not switch `preserve_order` on; a test holds that).
    serde_json::to_writer(out, value).expect("a JSON value always serialises into memory");
}

/// Replaces NUL characters, which PostgreSQL's `jsonb` cannot hold, by U+FFFD, in values that come from outside.
pub fn without_nul(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains('\0') => Value::String(text.replace('\0', "\u{fffd}")),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nul).collect()),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(k, v)| (k.replace('\0', "\u{fffd}"), without_nul(v))).collect())
        }
        other => other,
    }
}

/// RFC 7396: what `patch` makes of `target`. Null removes a member.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let map = target.as_object_mut().expect("made an object just above");
    for (key, change) in changes {
        if change.is_null() {
            map.remove(key);
        } else {
            merge_patch(map.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

/// A value whose objects have no key twice. serde keeps the last one in silence, and a reader would never know.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Value, E> {
        if v.contains('\0') {
            return Err(E::custom("a text must not contain the NUL character (\\u0000)"));
        }
        Ok(Value::String(v.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if key.contains('\0') {
                return Err(A::Error::custom("a key must not contain the NUL character (\\u0000)"));
            }
            let Strict(value) = access.next_value()?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key '{key}'")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_duplicate_key_names_its_line() {
        let error = parse_json(b"{\"a\": 1,\n \"b\": {\"c\": 1, \"c\": 2}}").expect_err("duplicate");
        assert_eq!(error.0, "duplicate key 'c' at line 2 column 22");
        assert!(parse_yaml("a: 1\na: 2\n").expect_err("duplicate").0.contains("duplicate"));
        assert!(parse_json(br#"{"a": "\u0000"}"#).is_err());
    }

    #[test]
    fn canonical_json_sorts_keys() {
        let mut out = Vec::new();
        canonical(&json!({"b": 1, "a": {"d": [1.0, null], "c": "x"}}), &mut out);
        assert_eq!(String::from_utf8(out).expect("utf-8"), r#"{"a":{"c":"x","d":[1.0,null]},"b":1}"#);
    }

    #[test]
    fn a_merge_patch_follows_its_rfc() {
        let mut target = json!({"a": "b", "c": {"d": "e", "f": "g"}});
        merge_patch(&mut target, &json!({"a": "z", "c": {"f": null}}));
        assert_eq!(target, json!({"a": "z", "c": {"d": "e"}}));
    }

    #[test]
    fn depth_is_bounded() {
        let mut value = json!(1);
        for _ in 0..MAX_DEPTH {
            value = json!([value]);
        }
        assert!(!too_deep(&value));
        assert!(too_deep(&json!([value])));
    }
}
