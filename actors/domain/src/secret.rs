//! Secrets: what they are called, where a payload names them, and how they are kept out of all that is shown.
//!
//! A payload names a secret as `{{ secrets.NAME }}`, alone. What is rendered of it holds a mark in that place, and the
//! value takes the mark's place at the last moment before the action, in memory. A mark is made of two noncharacters of
//! Unicode; wherever a payload names secrets they are taken out of everything else that is rendered into it, so that no
//! data from outside can ask for a secret.
//!
//! Invariants:
//! - A value of a secret is never part of a run's state, nor of a payload that is logged.
//! - A value is taken out of what an action gives back in each form in which it may come: as it is, in JSON, in a URL, in
//!   base64.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::Json;
use crate::expr::limits::OUTPUT_BYTES;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";
/// A shorter secret could not be told from other texts, and so not be kept out of results and errors, in characters.
pub const LEAST_CHARS: usize = 6;
/// Characters of a name.
const MAX_NAME_CHARS: usize = 64;
/// What a reference to a secret begins with.
const ROOT: &str = "secrets.";
const OPEN: char = '\u{fdd0}';
const CLOSE: char = '\u{fdd1}';

/// What is wrong with the name of a secret. It stands in expressions, and so is written like a variable.
pub fn name_problem(name: &str) -> Option<String> {
    let is_word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let is_sound = is_word && begins && name.len() <= MAX_NAME_CHARS;
    (!is_sound).then(|| {
        format!("must be a letter or underscore, then letters, digits and underscores; at most {MAX_NAME_CHARS}")
    })
}

/// The name in `secrets.NAME`; `None` where a text is no such reference.
pub fn referred(text: &str) -> Option<&str> {
    text.strip_prefix(ROOT).filter(|name| name_problem(name).is_none())
}

/// The mark that stands for a secret until its value is known.
pub(crate) fn mark(name: &str) -> String {
    format!("{OPEN}{name}{CLOSE}")
}

/// A secret's place in a payload that is shown: as the document says it.
pub(crate) fn shown(name: &str) -> String {
    format!("{{{{ {ROOT}{name} }}}}")
}

/// A value in which nothing can be taken for a mark.
pub(crate) fn without_marks(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text_without_marks(text)),
        Value::Array(items) => items.into_iter().map(without_marks).collect(),
        Value::Object(members) => members.into_iter().map(|(key, value)| (key, without_marks(value))).collect(),
        other => other,
    }
}

pub(crate) fn text_without_marks(text: String) -> String {
    if text.contains([OPEN, CLOSE]) { text.replace([OPEN, CLOSE], "\u{fffd}") } else { text }
}

/// A rendered payload in which secrets are marked.
#[derive(Debug, Clone, PartialEq)]
pub struct Marked {
    payload: Json,
    names: Arc<[Arc<str>]>,
}

/// Why the values could not be put in: the payload cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    #[error("there is no secret '{0}': make it with `core314 secret set {0}`")]
    Missing(Arc<str>),
    #[error("with its secrets the payload has more than {OUTPUT_BYTES} bytes")]
    TooLarge,
}

impl Marked {
    pub(crate) fn new(payload: Value, names: Arc<[Arc<str>]>) -> Self {
        Self { payload: payload.into(), names }
    }

    /// The secrets that it names.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The payload with the values in their places.
    pub fn fill<'v>(&self, value_of: impl Fn(&str) -> Option<&'v str>) -> Result<Value, FillError> {
        if let Some(missing) = self.names.iter().find(|name| value_of(name).is_none()) {
            return Err(FillError::Missing(missing.clone()));
        }
        let mut left = OUTPUT_BYTES;
        filled(&self.payload, &value_of, &mut left)
    }
}

fn filled<'v>(
    value: &Value,
    value_of: &impl Fn(&str) -> Option<&'v str>,
    left: &mut usize,
) -> Result<Value, FillError> {
    Ok(match value {
        Value::String(text) => {
            let mut out = String::new();
            for (at, part) in text.split(OPEN).enumerate() {
                let (name, rest) = if at == 0 { ("", part) } else { part.split_once(CLOSE).unwrap_or(("", part)) };
                if at > 0 {
                    out.push_str(value_of(name).ok_or_else(|| FillError::Missing(name.into()))?);
                }
                out.push_str(rest);
                if out.len() > *left {
                    return Err(FillError::TooLarge);
                }
            }
            *left -= out.len();
            Value::String(out)
        }
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| filled(item, value_of, left)).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            let mut out = Map::new();
            for (key, member) in members {
                out.insert(key.clone(), filled(member, value_of, left)?);
            }
            Value::Object(out)
        }
        other => other.clone(),
    })
}

/// The values of secrets that somebody has in hand, in all forms in which they may come back. Debugging it shows none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<Box<str>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} forms)", self.0.len())
    }
}

impl Secrets {
    /// Secrets of these values; those that are too short to be recognised are left out.
    pub fn new<'v>(values: impl IntoIterator<Item = &'v str>) -> Self {
        let mut found = Self::default();
        values.into_iter().for_each(|value| found.add(value));
        found
    }

    /// One more, such as a token that was got with another.
    pub fn add(&mut self, value: &str) {
        let trimmed = value.trim();
        if trimmed.chars().count() < LEAST_CHARS {
            return;
        }
        let forms = [
            value.to_owned(),
            trimmed.to_owned(),
            in_json(trimmed),
            in_json(&in_json(trimmed)),
            encoded(trimmed, "%20"),
            encoded(trimmed, "+"),
            // As forms are sent (WHATWG URL, application/x-www-form-urlencoded).
            encoded(trimmed, "+").replace('~', "%7E").replace("%2A", "*"),
        ];
        self.0.extend(in_base64(trimmed).map(Box::from));
        // Of a key in several lines each line is a secret too: logs are written line by line.
        let lines = trimmed.lines().map(str::trim).filter(|line| line.len() >= 16 && !line.starts_with("-----"));
        self.0.extend(forms.into_iter().chain(lines.map(str::to_owned)).map(Box::from));
        self.0.extend(address_parts(trimmed).map(Box::from));
        // The longest first: a secret may be part of another.
        self.0.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.0.dedup();
    }

    /// Those of both.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
        self.0.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.0.dedup();
    }

    /// Whether there is nothing to take out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A text without them.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut out = Cow::Borrowed(text);
        for form in &self.0 {
            if out.contains(&**form) {
                out = Cow::Owned(out.replace(&**form, REDACTED));
            }
        }
        out
    }

    /// A value without them, in keys as in texts.
    pub fn redact_value(&self, value: Value) -> Value {
        if self.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.redact(&text).into_owned()),
            Value::Array(items) => items.into_iter().map(|item| self.redact_value(item)).collect(),
            Value::Object(members) => {
                let clean = |(key, value): (String, Value)| (self.redact(&key).into_owned(), self.redact_value(value));
                members.into_iter().map(clean).collect()
            }
            // A number that is a secret would be shown as one.
            Value::Number(number) if self.0.iter().any(|form| **form == *number.to_string()) => REDACTED.into(),
            other => other,
        }
    }
}

/// As it stands between quotation marks in JSON.
fn in_json(text: &str) -> String {
    let json = Value::from(text).to_string();
    json[1..json.len() - 1].to_owned()
}

/// What of a text's base64 is the same whatever stands around it: for each of the three places that it can have in a group,
/// in both alphabets.
fn in_base64(text: &str) -> impl Iterator<Item = String> + '_ {
    (0..3_usize).flat_map(move |before| {
        let bytes = [&b"\0\0"[..before], text.as_bytes()].concat();
        let (from, to) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)].map(|all| all[from..to].to_owned())
    })
}

/// Of a secret that is an address, as that of a chat's webhook is: what comes after its host, and the long parts of that.
fn address_parts(text: &str) -> impl Iterator<Item = &str> {
    /// Shorter parts are words that stand in many addresses.
    const LEAST_PART_BYTES: usize = 16;
    let behind = text.split_once("://").and_then(|(_, rest)| rest.split_once(['/', '?'])).map_or("", |(_, rest)| rest);
    let parts = behind.split(['/', '?', '&', '=', '#']).filter(|part| part.len() >= LEAST_PART_BYTES);
    parts.chain(Some(behind).filter(|behind| behind.len() >= LEAST_PART_BYTES))
}

/// Percent-encoded as in URLs and forms: all but the unreserved characters of RFC 3986.
fn encoded(text: &str, space: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b' ' => out.push_str(space),
            _ => {
                let digits = [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
                out.push('%');
                out.extend(digits.map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_written_like_a_variable() {
        for name in ["SLACK_TOKEN", "a", "_x1"] {
            assert_eq!(name_problem(name), None, "{name}");
            assert_eq!(referred(&format!("secrets.{name}")), Some(name));
        }
        for name in ["", "1a", "a-b", "a b", "ä", &"x".repeat(65)] {
            assert!(name_problem(name).is_some(), "{name}");
        }
        assert_eq!(referred("SLACK_TOKEN"), None);
    }

    #[test]
    fn marks_are_filled_and_nothing_else_is() {
        let names: Arc<[Arc<str>]> = Arc::new(["A".into(), "B".into()]);
        let forged = without_marks(json!({"x": [mark("A")], "n": 1}));
        let payload = json!({"a": mark("A"), "t": format!("{}:{} {}", mark("A"), mark("B"), "x"), "f": forged});
        let marked = Marked::new(payload, names);
        let filled = marked.fill(|name| if name == "A" { Some("alpha") } else { Some("beta") }).expect("filled");
        assert_eq!(filled["a"], "alpha");
        assert_eq!(filled["t"], "alpha:beta x");
        assert_eq!(filled["f"], json!({"x": ["\u{fffd}A\u{fffd}"], "n": 1}));
        let missing = marked.fill(|name| (name == "A").then_some("alpha")).expect_err("no B");
        assert_eq!(missing, FillError::Missing("B".into()));
        let large = "x".repeat(OUTPUT_BYTES);
        assert_eq!(marked.fill(|_| Some(&large)), Err(FillError::TooLarge));
    }

    #[test]
    fn a_secret_is_taken_out_in_every_form() {
        let secrets =
            Secrets::new(["p\"lant ed/1", "short", "-----BEGIN KEY-----\nAAAABBBBCCCCDDDDEEEE\n-----END KEY-----\n"]);
        for text in [
            r#"p"lant ed/1"#,
            r#"{"a": "p\"lant ed/1"}"#,
            "?q=p%22lant%20ed%2F1",
            "p%22lant+ed%2F1",
            "cCJsYW50IGVkLzE=",
            "cCJsYW50IGVkLzE",
            "line AAAABBBBCCCCDDDDEEEE of it",
            r#"{"a": "{\"b\": \"p\\\"lant ed/1\"}"}"#,
        ] {
            assert!(secrets.redact(text).contains(REDACTED), "{text}: {}", secrets.redact(text));
        }
        assert_eq!(secrets.redact("short is not looked for"), "short is not looked for");
        let value = json!({"p\"lant ed/1": [1, "xp\"lant ed/1y"]});
        assert_eq!(secrets.redact_value(value), json!({"[redacted]": [1, "x[redacted]y"]}));
        assert_eq!(Secrets::new(["123456"]).redact_value(json!([123_456, 1])), json!(["[redacted]", 1]));
        assert!(!format!("{secrets:?}").contains("lant"));
    }

    #[test]
    fn a_secret_within_base64_is_taken_out_wherever_it_stands() {
        let secrets = Secrets::new(["planted-0001"]);
        for around in ["", "u:", "Bearer ", "user:", "x"] {
            let text = STANDARD_NO_PAD.encode(format!("{around}planted-0001{around}"));
            let clean = secrets.redact(&text);
            assert!(clean.contains(REDACTED) && clean.len() < text.len(), "{around}: {text} became {clean}");
        }
    }

    #[test]
    fn an_address_is_taken_out_in_its_parts() {
        let secrets = Secrets::new(["https://hooks.example/services/T0/B0/planted-token-0001?sig=planted-signature"]);
        for text in [
            "POST /services/T0/B0/planted-token-0001?sig=planted-signature HTTP/1.1",
            "no such hook: planted-token-0001",
            "bad planted-signature",
        ] {
            assert!(!secrets.redact(text).contains("planted"), "{}", secrets.redact(text));
        }
        assert_eq!(secrets.redact("https://hooks.example/services is up"), "https://hooks.example/services is up");
    }

    #[test]
    fn the_longer_of_two_secrets_goes_first() {
        let secrets = Secrets::new(["abcdef", "abcdef-ghijkl"]);
        assert_eq!(secrets.redact("abcdef-ghijkl abcdef"), "[redacted] [redacted]");
    }
}
