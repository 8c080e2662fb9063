//! Whether a value fits a schema of the description: the part of JSON Schema 2020-12 that the description is made of.
//!
//! A keyword that is not understood here is a misfit, so that nothing passes because it was not looked at.

use serde_json::{Map, Value};

/// Keywords that say nothing of whether a value fits.
const NOTES: [&str; 4] = ["description", "default", "title", "examples"];

/// The schema behind a reference, or the schema itself.
pub fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("references stay within the document");
            root.pointer(pointer).unwrap_or_else(|| panic!("nothing at {reference}"))
        }
        None => schema,
    }
}

/// What does not fit, with its place; `None` where all does.
pub fn misfit(root: &Value, schema: &Value, value: &Value, place: &str) -> Option<String> {
    let keywords = match schema {
        Value::Bool(true) => return None,
        Value::Object(keywords) => keywords,
        _ => return Some(format!("{place}: nothing fits the schema {schema}")),
    };
    keywords
        .iter()
        .find_map(|(keyword, rule)| match keyword.as_str() {
            "$ref" => misfit(root, resolve(root, schema), value, place),
            "properties" | "items" | "prefixItems" => below(root, keyword, rule, value, place),
            "additionalProperties" => others(root, keywords, rule, value, place),
            "anyOf" | "oneOf" | "allOf" => combined(root, keyword, rule, value, place),
            "if" => match keywords.get("then") {
                Some(then) if misfit(root, rule, value, place).is_none() => misfit(root, then, value, place),
                _ => None,
            },
            "then" => None,
            _ if NOTES.contains(&keyword.as_str()) => None,
            _ => (!holds(keyword, rule, value)?).then(|| format!("{place}: {} is not {keyword} {rule}", short(value))),
        })
        .or_else(|| unknown(keywords, place))
}

/// The first keyword that nothing here looks at.
fn unknown(keywords: &Map<String, Value>, place: &str) -> Option<String> {
    const LOOKED_AT: [&str; 9] =
        ["$ref", "properties", "items", "prefixItems", "additionalProperties", "anyOf", "oneOf", "if", "then"];
    let is_known = |keyword: &str| {
        LOOKED_AT.contains(&keyword)
            || keyword == "allOf"
            || NOTES.contains(&keyword)
            || holds(keyword, &keywords[keyword], &Value::Null).is_some()
    };
    let odd = keywords.keys().find(|keyword| !is_known(keyword))?;
    Some(format!("{place}: the keyword {odd} is not understood here"))
}

fn below(root: &Value, keyword: &str, rule: &Value, value: &Value, place: &str) -> Option<String> {
    match (keyword, value) {
        ("properties", Value::Object(fields)) => fields.iter().find_map(|(name, field)| {
            let schema = rule.get(name)?;
            misfit(root, schema, field, &format!("{place}/{name}"))
        }),
        ("items", Value::Array(items)) => {
            items.iter().enumerate().find_map(|(at, item)| misfit(root, rule, item, &format!("{place}/{at}")))
        }
        ("prefixItems", Value::Array(items)) => {
            let schemas = rule.as_array().expect("a list of schemas");
            let pairs = schemas.iter().zip(items).enumerate();
            pairs.into_iter().find_map(|(at, (schema, item))| misfit(root, schema, item, &format!("{place}/{at}")))
        }
        _ => None,
    }
}

fn others(root: &Value, keywords: &Map<String, Value>, rule: &Value, value: &Value, place: &str) -> Option<String> {
    let known = keywords.get("properties");
    let is_known = |name: &str| known.is_some_and(|known| known.get(name).is_some());
    let others = value.as_object()?.iter().filter(|(name, _)| !is_known(name));
    others.into_iter().find_map(|(name, field)| misfit(root, rule, field, &format!("{place}/{name}")))
}

fn combined(root: &Value, keyword: &str, rule: &Value, value: &Value, place: &str) -> Option<String> {
    let schemas = rule.as_array().expect("a list of schemas");
    let fitting = schemas.iter().filter(|schema| misfit(root, schema, value, place).is_none()).count();
    let is_right = match keyword {
        "anyOf" => fitting > 0,
        "oneOf" => fitting == 1,
        _ => fitting == schemas.len(),
    };
    (!is_right).then(|| format!("{place}: {} fits {fitting} of {keyword}", short(value)))
}

/// Whether a simple keyword holds; `None` where it is not known.
fn holds(keyword: &str, rule: &Value, value: &Value) -> Option<bool> {
    let count = |n: Option<usize>, fits: fn(u64, u64) -> bool| {
        n.is_none_or(|n| fits(n as u64, rule.as_u64().expect("a whole number")))
    };
    let number =
        |fits: fn(f64, f64) -> bool| value.as_f64().is_none_or(|number| fits(number, rule.as_f64().expect("a number")));
    let chars = value.as_str().map(|text| text.chars().count());
    let items = value.as_array().map(Vec::len);
    Some(match keyword {
        "type" => match rule {
            Value::Array(types) => types.iter().any(|one| is_of(one, value)),
            one => is_of(one, value),
        },
        "enum" => rule.as_array().expect("a list of values").contains(value),
        "const" => rule == value,
        "required" => value.as_object().is_none_or(|fields| {
            rule.as_array().expect("a list of names").iter().all(|n| fields.contains_key(n.as_str().expect("a name")))
        }),
        "minimum" => number(|have, bound| have >= bound),
        "maximum" => number(|have, bound| have <= bound),
        "minLength" => count(chars, |have, bound| have >= bound),
        "maxLength" => count(chars, |have, bound| have <= bound),
        "minItems" => count(items, |have, bound| have >= bound),
        "maxItems" => count(items, |have, bound| have <= bound),
        "format" => has_format(rule.as_str()?, value)?,
        _ => return None,
    })
}

fn is_of(word: &Value, value: &Value) -> bool {
    match word.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

fn has_format(format: &str, value: &Value) -> Option<bool> {
    let text = value.as_str();
    Some(match format {
        "uuid" => text.is_none_or(|text| text.parse::<uuid::Uuid>().is_ok()),
        "date-time" => text.is_none_or(|text| chrono::DateTime::parse_from_rfc3339(text).is_ok()),
        "double" => value.is_number() || value.is_null(),
        "int64" => value.is_i64() || value.is_null(),
        "uint" | "uint8" | "uint16" | "uint32" | "uint64" => value.is_u64() || value.is_null(),
        _ => return None,
    })
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

#[test]
fn what_fits_passes_and_what_does_not_is_named() {
    use serde_json::json;
    let root = json!({"components": {"schemas": {"A": {"type": "string", "enum": ["x"]}}}});
    let schema = json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {
            "a": {"$ref": "#/components/schemas/A"}, "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 9},
            "ids": {"type": "array", "items": {"type": "string", "format": "uuid"}},
        },
    });
    let of = |value: Value| misfit(&root, &schema, &value, "").unwrap_or_default();
    assert_eq!(of(json!({"a": "x", "n": null, "ids": ["0190a000-0000-7000-8000-000000000007"]})), "");
    for (value, words) in [
        (json!({}), "required"),
        (json!({"a": "y"}), "/a: \"y\" is not enum"),
        (json!({"a": "x", "n": 10}), "/n: 10 is not maximum 9"),
        (json!({"a": "x", "n": 1.5}), "/n: 1.5 is not type"),
        (json!({"a": "x", "ids": ["7"]}), "/ids/0: \"7\" is not format"),
        (json!({"a": "x", "b": 1}), "/b: nothing fits"),
        (json!([]), "is not type"),
    ] {
        assert!(of(value.clone()).contains(words), "{value}");
    }
    let by_type = json!({"if": {"properties": {"t": {"const": "a"}}}, "then": {"required": ["n"]}});
    let fits = |value: Value| misfit(&root, &by_type, &value, "").is_none();
    assert_eq!([json!({"t": "a"}), json!({"t": "a", "n": 1}), json!({"t": "b"})].map(fits), [false, true, true]);
    assert!(misfit(&root, &json!({"pattern": "x"}), &json!("x"), "").expect("refused").contains("pattern"));
}
