//! Reading payloads: one reading serves the check of a document and the attempt.
//!
//! In a document a string with a template in it can become anything, so a check lets it pass wherever it stands. A
//! payload that is to be performed has been rendered: there the same string is text.

use core314_domain::plan::Problem;
use serde_json::{Map, Value};

/// When a payload is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// In a document, before its templates are rendered.
    Document,
    /// For an attempt.
    Rendered,
}

/// Reads the members of a payload and collects what is wrong with them.
pub struct Reader<'a> {
    map: &'a Map<String, Value>,
    reading: Reading,
    pub problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// A reader of an object; anything else is the one problem that is returned.
    pub fn new(payload: &'a Value, reading: Reading) -> Result<Self, Vec<Problem>> {
        match payload {
            Value::Object(map) => Ok(Self { map, reading, problems: Vec::new() }),
            other if reading == Reading::Document && is_template(other) => Err(Vec::new()),
            other => Err(vec![Problem::new("", format!("must be an object, is {}", kind(other)))]),
        }
    }

    /// Notes a problem with a member, or with something below it.
    pub fn problem(&mut self, path: &[&str], message: impl Into<String>) {
        let pointer = path
            .iter()
            .fold(String::new(), |pointer, part| pointer + "/" + &part.replace('~', "~0").replace('/', "~1"));
        self.problems.push(Problem::new(pointer, message));
    }

    /// Refuses keys that nobody reads.
    pub fn only(&mut self, known: &[&str]) {
        let map = self.map;
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            self.problem(&[key], format!("unknown key '{key}'; known: {}", known.join(", ")));
        }
    }

    /// A member that is there and can be read now: neither absent, nor null, nor a template.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null() && !self.is_open(value))
    }

    /// All members, in the order of their names.
    pub fn members(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        self.map.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Whether a member is there at all, be it as a template.
    pub fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    /// Whether a value will only be known once it is rendered.
    pub fn is_open(&self, value: &Value) -> bool {
        self.reading == Reading::Document && is_template(value)
    }

    /// A text.
    pub fn text(&mut self, key: &str) -> Option<&'a str> {
        let value = self.get(key)?;
        if value.as_str().is_none() {
            self.problem(&[key], format!("must be a text, is {}", kind(value)));
        }
        value.as_str()
    }

    /// A text that says something, of at most so many characters.
    pub fn said(&mut self, key: &str, max_chars: usize) -> Option<&'a str> {
        let text = self.text(key)?;
        let count = text.chars().count();
        let problem = if text.trim().is_empty() {
            "must not be empty".to_owned()
        } else if count > max_chars {
            format!("has {count} characters, at most {max_chars} are possible")
        } else if text.contains('\0') {
            "must not contain the NUL character".to_owned()
        } else {
            return Some(text);
        };
        self.problem(&[key], problem);
        None
    }

    /// The same where a longer text is better cut than not sent: one that stands in a document is refused, one that a
    /// template has made is cut.
    pub fn cut(&mut self, key: &str, max_chars: usize) -> Option<String> {
        let most = if self.reading == Reading::Rendered { usize::MAX } else { max_chars };
        self.said(key, most).map(|text| cut(text, max_chars))
    }

    /// A whole number within bounds, both of them included.
    pub fn whole(&mut self, key: &str, least: u64, most: u64) -> Option<u64> {
        let value = self.get(key)?;
        let number = value.as_u64().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.problem(&[key], format!("must be a whole number from {least} to {most}"));
        }
        number
    }

    /// A JSON pointer (RFC 6901); the example shows one that is meant.
    pub fn pointer(&mut self, key: &str, example: &str) -> Option<&'a str> {
        let text = self.text(key)?;
        if is_pointer(text) {
            return Some(text);
        }
        self.problem(&[key], format!("must be a JSON pointer, such as {example}"));
        None
    }

    /// A boolean.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        if !value.is_boolean() {
            self.problem(&[key], format!("must be a boolean, is {}", kind(value)));
        }
        value.as_bool()
    }

    /// An object.
    pub fn object(&mut self, key: &str) -> Option<&'a Map<String, Value>> {
        let value = self.get(key)?;
        if !value.is_object() {
            self.problem(&[key], format!("must be an object, is {}", kind(value)));
        }
        value.as_object()
    }

    /// A list of at most so many items, of which those are given that can be read now, each with its place. An item that
    /// is null is left out.
    pub fn list(&mut self, key: &str, max_items: usize) -> Vec<(String, &'a Value)> {
        let items = match self.get(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.problem(&[key], format!("must be a list, is {}", kind(other)));
                return Vec::new();
            }
        };
        if items.len() > max_items {
            self.problem(&[key], format!("has {} items, at most {max_items} are possible", items.len()));
            return Vec::new();
        }
        let readable = items.iter().enumerate().filter(|(_, item)| !item.is_null() && !self.is_open(item));
        readable.map(|(place, item)| (place.to_string(), item)).collect()
    }

    /// An object of scalars, or lists of them, as pairs of texts: headers, query, form. A member that is null is left
    /// out, so that a template can leave it out.
    pub fn pairs(&mut self, key: &str) -> Vec<(&'a str, String)> {
        let map = match self.get(key) {
            None => return Vec::new(),
            Some(Value::Object(map)) => map,
            Some(other) => {
                self.problem(&[key], format!("must be an object, is {}", kind(other)));
                return Vec::new();
            }
        };
        let mut pairs = Vec::new();
        for (name, value) in map {
            let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            for item in items {
                match scalar(item) {
                    None if item.is_null() => {}
                    Some(_) if self.is_open(item) => {}
                    Some(text) => pairs.push((name.as_str(), text)),
                    None => {
                        self.problem(&[key, name], format!("must be a text, a number or a boolean, is {}", kind(item)));
                    }
                }
            }
        }
        pairs
    }
}

/// Whether a value is a text with a template in it.
fn is_template(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("{{") || text.contains("{%"))
}

/// Whether a text is a JSON pointer (RFC 6901).
pub fn is_pointer(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}

/// A text of at most so many characters; one that had more ends with an ellipsis.
pub fn cut(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text.to_owned();
    }
    text.chars().take(max_chars - 1).chain(['…']).collect()
}

/// A text, a number or a boolean, as text.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A value's kind, for messages.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn messages(reader: Reader<'_>) -> Vec<String> {
        reader.problems.into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
    }

    #[test]
    fn pointers_are_escaped_and_unknown_keys_name_the_known() {
        let payload = json!({"a/b~c": 1, "url": 5, "query": {"x": {}}});
        let mut reader = Reader::new(&payload, Reading::Rendered).expect("an object");
        reader.only(&["url", "query"]);
        assert_eq!(reader.text("url"), None);
        assert!(reader.pairs("query").is_empty());
        assert_eq!(
            messages(reader),
            [
                "/a~1b~0c: unknown key 'a/b~c'; known: url, query",
                "/url: must be a text, is a number",
                "/query/x: must be a text, a number or a boolean, is an object",
            ]
        );
    }

    #[test]
    fn a_template_is_open_in_a_document_and_text_in_an_attempt() {
        let payload = json!({"headers": "{{ trigger.headers }}", "url": "{{ trigger.url }}"});
        let mut document = Reader::new(&payload, Reading::Document).expect("an object");
        assert_eq!((document.text("url"), document.has("url")), (None, true));
        assert!(document.pairs("headers").is_empty());
        assert!(messages(document).is_empty());
        let mut rendered = Reader::new(&payload, Reading::Rendered).expect("an object");
        assert_eq!(rendered.text("url"), Some("{{ trigger.url }}"));
        assert!(rendered.pairs("headers").is_empty());
        assert_eq!(messages(rendered), ["/headers: must be an object, is a text"]);
    }

    #[test]
    fn a_whole_payload_may_be_a_template() {
        assert_eq!(Reader::new(&json!("{{ trigger }}"), Reading::Document).err(), Some(vec![]));
        assert!(Reader::new(&json!([]), Reading::Document).is_err_and(|problems| problems.len() == 1));
    }

    #[test]
    fn what_a_template_makes_too_long_is_cut_and_what_is_written_so_is_refused() {
        let payload = json!({"text": "abcdef"});
        let mut rendered = Reader::new(&payload, Reading::Rendered).expect("an object");
        assert_eq!(rendered.cut("text", 4).as_deref(), Some("abc…"));
        assert!(messages(rendered).is_empty());
        let mut document = Reader::new(&payload, Reading::Document).expect("an object");
        assert_eq!(document.cut("text", 4), None);
        assert_eq!(messages(document), ["/text: has 6 characters, at most 4 are possible"]);
    }

    #[test]
    fn a_number_stays_within_its_bounds_and_a_pointer_leads_from_the_root() {
        let payload = json!({"a": 1, "b": 5, "c": 6, "d": 1.5, "at": "/x/0", "root": "", "off": "x"});
        let mut reader = Reader::new(&payload, Reading::Rendered).expect("an object");
        let numbers = ["a", "b", "c", "d", "none"].map(|key| reader.whole(key, 1, 5));
        assert_eq!(numbers, [Some(1), Some(5), None, None, None]);
        let pointers = ["at", "root", "off"].map(|key| reader.pointer(key, "/data"));
        assert_eq!(pointers, [Some("/x/0"), Some(""), None]);
        assert_eq!(
            messages(reader),
            [
                "/c: must be a whole number from 1 to 5",
                "/d: must be a whole number from 1 to 5",
                "/off: must be a JSON pointer, such as /data",
            ]
        );
    }

    #[test]
    fn pairs_take_scalars_and_lists_and_leave_null_out() {
        let payload = json!({"query": {"a": 1, "b": ["x", true, null], "c": null}});
        let mut reader = Reader::new(&payload, Reading::Rendered).expect("an object");
        let pairs = reader.pairs("query");
        assert_eq!(pairs, [("a", "1".to_owned()), ("b", "x".to_owned()), ("b", "true".to_owned())]);
    }
}
