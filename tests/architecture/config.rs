//! Every key of `config/default.toml` is explained, above or beside it.
//!
//! The file is the only home of defaults and the manual of the configuration: a key without its
//! unit and meaning is undocumented.

use crate::tree::Violation;

/// Keys without a comment, as violations, and how many keys there are.
fn check(path: &str, text: &str) -> (usize, Vec<Violation>) {
    let (mut keys, mut found) = (0, Vec::new());
    let mut explained = false;
    let mut value = Value::default();
    for (index, line) in text.lines().enumerate() {
        let inside = value.is_open();
        let has_comment = value.read(line);
        let line = line.trim();
        if inside || line.starts_with('[') || line.is_empty() {
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else {
            keys += 1;
            if !explained && !has_comment {
                let key = line.split('=').next().unwrap_or_default().trim();
                let message = format!("key {key} has no comment: say above or beside it what it does, and its unit");
                found.push(Violation::new(path, index + 1, message));
            }
            // One comment explains one key.
            explained = false;
        }
    }
    (keys, found)
}

/// Where in a value the reader is, as values may span lines.
#[derive(Default)]
struct Value {
    brackets: usize,
    multi_line: Option<&'static str>,
}

impl Value {
    fn is_open(&self) -> bool {
        self.brackets > 0 || self.multi_line.is_some()
    }

    /// Reads a line and tells whether a comment stands in it.
    fn read(&mut self, line: &str) -> bool {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            if let Some(end) = self.multi_line {
                let Some((_, after)) = rest.split_once(end) else {
                    return false;
                };
                self.multi_line = None;
                rest = after;
                continue;
            }
            let triple = ["\"\"\"", "'''"].into_iter().find(|quotes| rest.starts_with(quotes));
            match c {
                '#' => return true,
                '"' | '\'' if triple.is_some() => {
                    self.multi_line = triple;
                    rest = &rest[3..];
                    continue;
                }
                '"' | '\'' => {
                    rest = after_string(rest, c);
                    continue;
                }
                '[' | '{' => self.brackets += 1,
                ']' | '}' => self.brackets = self.brackets.saturating_sub(1),
                _ => {}
            }
            rest = &rest[c.len_utf8()..];
        }
        false
    }
}

/// What follows the string that begins `text`. Only double quotes know escapes.
fn after_string(text: &str, quote: char) -> &str {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return &text[at + 1..];
        }
        escaped = c == '\\' && quote == '"' && !escaped;
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_none, read};

    const PATH: &str = "config/default.toml";

    #[test]
    fn the_trees_keys_are_explained() {
        let (keys, found) = check(PATH, &read(PATH));
        assert_none(keys, &found);
    }

    #[test]
    fn comments_above_and_beside_count() {
        let text = "# The server.\n[server]\n# Address and port.\nlisten = \"127.0.0.1:3140\"\n\
            body_limit_bytes = 1048576 # Larger bodies are refused.\n\n# Origins\n# that may call.\norigins = [\n  \"a#b\",\n]\n";
        assert_eq!(check(PATH, text), (3, vec![]));
    }

    #[test]
    fn a_key_without_a_comment_is_found() {
        let text = "# The server.\n[server]\nlisten = \"#1\"\n# First.\na = 1\nb = 2\n# Far above.\n\nc = '''\nx = 1\n'''\nd = { e = 1 }\n";
        let (keys, found) = check(PATH, text);
        let lines: Vec<usize> = found.iter().map(|violation| violation.line).collect();
        assert_eq!((keys, lines), (5, vec![3, 6, 9, 12]));
        assert!(found[0].to_string().starts_with("config/default.toml:3: key listen has no comment"), "{}", found[0]);
    }
}
