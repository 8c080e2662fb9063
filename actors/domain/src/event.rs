//! CloudEvents as runs wait for them: how two of them are told apart, and by what a wait finds its own.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::hex::hex;

/// A key that is longer is known by its digest: keys stand in an index.
const MAX_KEY_CHARS: usize = 200;

/// An event's name: the first of those with one `source` and `id` alone counts. A client's own key cannot hold a space.
pub fn name(event: &Value) -> String {
    let part = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    let digest = Sha256::new().chain_update(part("source")).chain_update(b"\0").chain_update(part("id")).finalize();
    format!("event {}", hex(&digest))
}

/// What a wait's key is compared with: the event's `subject`; empty where it has none.
pub fn key_of(event: &Value) -> String {
    key(event.get("subject").and_then(Value::as_str).unwrap_or_default())
}

/// A key as it is stored and compared.
pub fn key(text: &str) -> String {
    if text.chars().count() > MAX_KEY_CHARS {
        return format!("sha256:{}", hex(&Sha256::digest(text.as_bytes())));
    }
    // PostgreSQL stores no NUL.
    text.replace('\0', "\u{fffd}")
}

/// The text that a wait's key stands for. Null, a list and an object are no keys.
pub fn key_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(key(text)),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_named_by_source_and_id() {
        let named = |source: &str, id: &str| name(&json!({"source": source, "id": id}));
        assert_eq!(named("a", "1"), named("a", "1"));
        assert_ne!(named("a", "1b"), named("a1", "b"));
    }

    #[test]
    fn a_key_is_a_short_text() {
        assert_eq!(key_text(&json!("o-1")).as_deref(), Some("o-1"));
        assert_eq!(key_text(&json!(4711)).as_deref(), Some("4711"));
        for wrong in [json!(null), json!([]), json!({})] {
            assert_eq!(key_text(&wrong), None);
        }
        assert_eq!(key_of(&json!({"subject": "4711"})), "4711");
        assert_eq!(key_of(&json!({})), "");
        assert_eq!(key(&"x".repeat(201)).len(), "sha256:".len() + 64);
        assert_eq!(key(&"x".repeat(200)).len(), 200);
    }
}
