//! Where in the text of a document a JSON pointer leads: line and column, for those who wrote it in an editor.
//!
//! A document is checked as values, which know no lines. What is found wrong with one is found again in its text: in
//! JSON by walking over the tokens, in YAML by reading it once more with a visitor that descends along the pointer and
//! fails on purpose where it ends, because the parser's errors are where it says its position. A pointer to what is not
//! there (a missing key) leads to what it would stand in.
//!
//! Cost: one pass over the text for each pointer, so only so many are looked for ([`MOST`]).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::json;

/// Pointers of one document that are looked for.
const MOST: usize = 100;

/// A place in a text. Both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// A text whose places can be asked for.
#[derive(Debug)]
pub struct Lines<'t> {
    text: &'t str,
    value: Value,
    is_json: bool,
}

impl<'t> Lines<'t> {
    /// The text of a document; `None` where it is neither JSON nor YAML.
    pub fn of(text: &'t str) -> Option<Self> {
        let is_json = super::is_json(text);
        let value = if is_json { json::parse_json(text.as_bytes()) } else { json::parse_yaml(text) }.ok()?;
        Some(Self { text, value, is_json })
    }

    /// Where a pointer (RFC 6901) leads.
    pub fn place(&self, pointer: &str) -> Option<Place> {
        let mut keys: Vec<String> = pointer.split('/').skip(1).map(unescaped).collect();
        let present = present(&self.value, &keys);
        keys.truncate(present);
        if self.is_json { in_json(self.text, &keys) } else { in_yaml(self.text, &keys) }
    }

    /// The places of many pointers, as far as they are looked for.
    pub fn places<'p>(&self, pointers: impl Iterator<Item = &'p str>) -> Vec<Option<Place>> {
        pointers.enumerate().map(|(no, pointer)| if no < MOST { self.place(pointer) } else { None }).collect()
    }
}

fn unescaped(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

/// How many of the keys lead to something that is there.
fn present(value: &Value, keys: &[String]) -> usize {
    let mut here = value;
    for (at, key) in keys.iter().enumerate() {
        let next = match here {
            Value::Object(members) => members.get(key),
            Value::Array(items) => key.parse::<usize>().ok().and_then(|no| items.get(no)),
            _ => None,
        };
        let Some(next) = next else { return at };
        here = next;
    }
    keys.len()
}

/// The text has been parsed before, so that what is not as JSON has it cannot come up; then there is no place.
fn in_json(text: &str, keys: &[String]) -> Option<Place> {
    let mut scan = Scan { text, at: 0 };
    for key in keys {
        match scan.next()? {
            '{' => loop {
                let name: String = serde_json::from_str(scan.token()?).ok()?;
                scan.expect(':')?;
                if name == *key {
                    break;
                }
                scan.value()?;
                scan.expect(',')?;
            },
            '[' => {
                for _ in 0..key.parse::<usize>().ok()? {
                    scan.value()?;
                    scan.expect(',')?;
                }
            }
            _ => return None,
        }
    }
    scan.blanks();
    Some(place_of(text, scan.at))
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scan<'t> {
    fn blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    /// The next character that is no white space.
    fn next(&mut self) -> Option<char> {
        self.blanks();
        let found = self.text[self.at..].chars().next()?;
        self.at += found.len_utf8();
        Some(found)
    }

    fn expect(&mut self, expected: char) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    /// A text with its quotes, a number or a word.
    fn token(&mut self) -> Option<&'t str> {
        self.blanks();
        let rest = &self.text[self.at..];
        let end = if let Some(inner) = rest.strip_prefix('"') {
            let mut escaped = false;
            1 + inner.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            })? + 1
        } else {
            rest.find([',', ':', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(rest.len())
        };
        self.at += end;
        Some(&rest[..end])
    }

    /// Skips a value, however deep.
    fn value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            self.blanks();
            match self.text[self.at..].chars().next()? {
                '{' | '[' => {
                    depth += 1;
                    self.at += 1;
                }
                '}' | ']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                ',' | ':' if depth > 0 => self.at += 1,
                ',' | ':' => return None,
                _ => drop(self.token()?),
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

fn place_of(text: &str, at: usize) -> Place {
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place { line: 1 + before.matches('\n').count(), column: 1 + before[start..].chars().count() }
}

fn in_yaml(text: &str, keys: &[String]) -> Option<Place> {
    let stopped = Descend(keys).deserialize(serde_norway::Deserializer::from_str(text)).err()?;
    let found = stopped.location()?;
    Some(Place { line: found.line(), column: found.column() })
}

/// Goes down along the keys and fails where they end.
struct Descend<'k>(&'k [String]);

/// What the failure says; nobody reads it.
const HERE: &str = "here";

impl<'de> DeserializeSeed<'de> for Descend<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Descend<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HERE)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((key, rest)) = self.0.split_first() else { return Err(A::Error::custom(HERE)) };
        let wanted: usize = key.parse().map_err(A::Error::custom)?;
        for _ in 0..wanted {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(Descend(rest)).map(drop)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Some((key, rest)) = self.0.split_first() else { return Err(A::Error::custom(HERE)) };
        while let Some(found) = members.next_key::<String>()? {
            if found == *key {
                return members.next_value_seed(Descend(rest));
            }
            members.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, pointer: &str) -> (usize, usize) {
        let found = Lines::of(text).expect("a document").place(pointer).expect(pointer);
        (found.line, found.column)
    }

    const YAML: &str = "flow_name: a
flow_steps:
  - id: x
    when: trigger.a == 1
    config:
      action_type: transform
      action_payload: {\"a/b\": [1, {deep: \"ü {{ x }}\"}], \"k~\": 2}
  - id: y
    when: |
      trigger.b
";

    #[test]
    fn yaml_values_are_found_where_they_begin() {
        for (pointer, expected) in [
            ("", (1, 1)),
            ("/flow_name", (1, 12)),
            ("/flow_steps/0/id", (3, 9)),
            ("/flow_steps/0/when", (4, 11)),
            ("/flow_steps/0/config/action_type", (6, 20)),
            ("/flow_steps/0/config/action_payload", (7, 23)),
            ("/flow_steps/0/config/action_payload/a~1b/1/deep", (7, 42)),
            ("/flow_steps/0/config/action_payload/k~0", (7, 63)),
            ("/flow_steps/1/when", (9, 11)),
            ("/flow_steps/1", (8, 5)),
            // What is not there is placed at what it would stand in.
            ("/flow_steps/1/config/action_type", (8, 5)),
            ("/flow_steps/7", (3, 3)),
        ] {
            assert_eq!(place(YAML, pointer), expected, "{pointer}");
        }
    }

    #[test]
    fn json_values_are_found_where_they_begin() {
        let text = "{\n\t\"a\": {\"x\\u0031\": [true, -1.5e3, \"}]\\\"\\\\\", {\"ü\": null}]},\n  \"b\":\n[ ] , \"ä\": 1, \"c/d\": {}\n}";
        for (pointer, expected) in [
            ("", (1, 1)),
            ("/a", (2, 7)),
            ("/a/x1", (2, 19)),
            ("/a/x1/1", (2, 26)),
            ("/a/x1/2", (2, 34)),
            ("/a/x1/3/ü", (2, 50)),
            ("/b", (4, 1)),
            ("/ä", (4, 12)),
            ("/c~1d", (4, 22)),
            ("/c~1d/missing/more", (4, 22)),
            ("/a/x1/9", (2, 19)),
        ] {
            assert_eq!(place(text, pointer), expected, "{pointer}");
        }
    }

    #[test]
    fn every_pointer_leads_somewhere_and_only_so_many_are_looked_for() {
        let lines = Lines::of("[1, 2]").expect("a document");
        for pointer in ["x", "/", "//", "/0/0", "/-1", "/~", "/18446744073709551616"] {
            assert!(lines.place(pointer).is_some(), "{pointer}");
        }
        assert!(Lines::of("{").is_none() && Lines::of("a: [").is_none());
        let many = lines.places(std::iter::repeat_n("/0", MOST + 5));
        assert_eq!((many.len(), many.iter().flatten().count()), (MOST + 5, MOST));
    }

    #[test]
    fn deep_and_long_documents_are_walked_in_one_pass() {
        let deep = format!("{{\"a\": {}1{}, \"b\": 2}}", "[".repeat(60), "]".repeat(60));
        assert_eq!(place(&deep, "/b"), (1, 135));
        let long = (0..20_000).map(|no| format!("k{no}: [{{a: 1}}]")).collect::<Vec<_>>().join("\n");
        assert_eq!(place(&long, "/k19999/0/a"), (20_000, 14));
    }
}
