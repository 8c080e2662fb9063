//! JSON as it is stored: a text that both databases give back as the same text once it is parsed and written again.
//!
//! Digests of the hash chains are taken of this text, so a value must survive PostgreSQL's `jsonb`, which keeps numbers
//! as decimals: it forgets the sign of zero and the exponent of a whole number. Both are therefore left out before
//! storing. Keys are sorted, because `serde_json`'s map is.

use std::io;

use core314_domain::chain::Hash;
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use sha2::{Digest, Sha256};

/// Whole numbers from here on are written with an exponent by `serde_json`.
const EXPONENT_FROM: f64 = 1e16;
/// From here on (2^64) a whole number is read as a float again, and so keeps its form.
const INTEGERS_END: f64 = 18_446_744_073_709_551_616.0;
/// Below this (−2^63) too.
const NEGATIVE_INTEGERS_END: f64 = -9_223_372_036_854_775_808.0;

/// The text of a value as it is stored.
pub(super) fn text_of(value: &Value) -> String {
    let mut out = Vec::with_capacity(256);
    value.serialize(&mut Serializer::with_formatter(&mut out, Stored)).expect("a JSON value serialises into memory");
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// The digest with which a JSON column enters its row's hash; all zero when the column is empty.
pub(super) fn digest(text: Option<&str>) -> Hash {
    text.map_or([0; 32], |text| Sha256::digest(text.as_bytes()).into())
}

/// Whether a text of the value holds a NUL character, which PostgreSQL cannot store.
pub(super) fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

struct Stored;

impl Formatter for Stored {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        if value == 0.0 {
            return writer.write_all(b"0.0");
        }
        let becomes_integer =
            (EXPONENT_FROM..INTEGERS_END).contains(&value) || (NEGATIVE_INTEGERS_END..=-EXPONENT_FROM).contains(&value);
        if becomes_integer {
            // The shortest digits that mean this number, filled up with zeros.
            return write!(writer, "{value}");
        }
        CompactFormatter.write_f64(writer, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_read_back_is_written_the_same() {
        let values = [
            json!(0.1 + 0.2),
            json!(-0.0),
            json!(1e16),
            json!(-1e16),
            json!(1.234_567_890_123_456_8e17),
            json!(1e19),
            json!(-9e18),
            json!(-9.3e18),
            json!(1.9e19),
            json!(1e300),
            json!(-1e-7),
            json!(5e-324),
            json!(f64::MAX),
            json!(100.0),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(9_007_199_254_740_993_i64),
        ];
        for value in values {
            let text = text_of(&value);
            let again: Value = serde_json::from_str(&text).expect("valid JSON");
            assert_eq!(text_of(&again), text, "{value:?}");
        }
    }

    #[test]
    fn a_nul_is_found_wherever_it_hides() {
        assert!(has_nul(&json!({"a": [{"b": "x\0"}]})));
        assert!(has_nul(&json!({"a\0": 1})));
        assert!(!has_nul(&json!({"a": "\\u0000"})));
    }
}
