//! Values in the text format of PostgreSQL's COPY (<https://www.postgresql.org/docs/current/sql-copy.html>): a line a row,
//! tabs between values, `\N` for none.

use serde_json::Value;

/// What a column takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Values of JSON.
    Json,
    /// Lists, as PostgreSQL writes arrays.
    List,
    /// What its type reads.
    Text,
}

/// Adds a row.
pub fn add(out: &mut String, row: &[Value], takes: &[Takes]) {
    for (at, value) in row.iter().enumerate() {
        if at > 0 {
            out.push('\t');
        }
        match (value, takes.get(at)) {
            (Value::Null, _) => out.push_str("\\N"),
            (value, Some(Takes::Json)) => escape(out, &value.to_string()),
            (Value::String(text), _) => escape(out, text),
            // A column of texts gets the word; one of booleans reads it.
            (Value::Bool(flag), _) => out.push_str(if *flag { "true" } else { "false" }),
            (Value::Array(items), Some(Takes::List)) => {
                let mut text = String::new();
                list(&mut text, items);
                escape(out, &text);
            }
            (other, _) => escape(out, &other.to_string()),
        }
    }
    out.push('\n');
}

fn escape(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '\n', '\r', '\t']) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            _ => "\\t",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

/// An array as PostgreSQL writes it, with every text in quotes.
fn list(out: &mut String, items: &[Value]) {
    out.push('{');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        match item {
            Value::Null => out.push_str("NULL"),
            Value::Array(items) => list(out, items),
            Value::String(text) => quote(out, text),
            other => quote(out, &other.to_string()),
        }
    }
    out.push('}');
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_is_a_line() {
        let row = [json!("a\\N\tb\nc"), json!(null), json!(true), json!({"a": "\"\n"}), json!(["x\"y\\", null, [1]])];
        let takes = [Takes::Text, Takes::Text, Takes::Text, Takes::Json, Takes::List];
        let mut out = String::new();
        add(&mut out, &row, &takes);
        let expected = "a\\\\N\\tb\\nc\t\\N\ttrue\t{\"a\":\"\\\\\"\\\\n\"}\t{\"x\\\\\"y\\\\\\\\\",NULL,{\"1\"}}\n";
        assert_eq!(out, expected);
        let mut text = String::new();
        add(&mut text, &[json!("plain")], &[Takes::Json]);
        assert_eq!(text, "\"plain\"\n");
    }
}
