//! Results on the standard output, in the form that was asked for; what goes wrong on the standard error.
//!
//! A table is for people and shows a choice of columns; JSON and YAML are for programs and show everything. Colours are
//! for terminals, and `NO_COLOR` turns them off there too.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use clap::ValueEnum;
use serde_json::Value;

use super::outcome::Failure;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
    Yaml,
}

/// Columns of a table: heading and JSON key.
pub type Columns<'a> = &'a [(&'a str, &'a str)];

/// Longer cells are cut in tables.
const CELL_CHARACTERS: usize = 80;

/// Prints in one form.
#[derive(Debug)]
pub struct Printer {
    output: Output,
    bold: bool,
}

impl Printer {
    pub fn new(output: Output) -> Self {
        Self { output, bold: is_coloured(&io::stdout()) }
    }

    /// Whether a person reads.
    pub fn is_table(&self) -> bool {
        self.output == Output::Table
    }

    /// Prints rows: a table of these columns, or the whole rows.
    pub fn rows(&self, columns: Columns<'_>, rows: &[Value]) -> Result<(), Failure> {
        match self.output {
            Output::Table => put(&table(columns, rows, self.bold)),
            Output::Json | Output::Yaml => self.value(&Value::Array(rows.to_vec())),
        }
    }

    /// Prints one value whole.
    pub fn value(&self, value: &Value) -> Result<(), Failure> {
        match self.output {
            Output::Json => put(&format!("{}\n", escaped(&format!("{value:#}")))),
            Output::Table | Output::Yaml => put(&serde_norway::to_string(value)
                .map_err(|error| anyhow::anyhow!("the result has no YAML form: {error}"))?),
        }
    }

    /// Prints lines for people; programs get nothing of it.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        if self.is_table() { put(&format!("{}\n", harmless_lines(text))) } else { Ok(()) }
    }

    /// Prints a heading for people.
    pub fn heading(&self, text: &str) -> Result<(), Failure> {
        if !self.is_table() {
            return Ok(());
        }
        let text = harmless(text);
        put(&if self.bold { format!("\n\x1b[1m{text}\x1b[0m\n") } else { format!("\n{text}\n") })
    }

    /// Prints a document as it is, such as an exported flow.
    pub fn document(text: &str) -> Result<(), Failure> {
        put(text)
    }

    /// Says what went wrong, whatever form results have.
    pub fn failure(failure: &Failure) {
        let (on, off) = if is_coloured(&io::stderr()) { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
        let mut text = format!("{on}error:{off} {}\n", harmless_lines(&failure.message));
        if let Some(hint) = &failure.hint {
            let _ = writeln!(text, "       {}", harmless_lines(hint));
        }
        warn(&text);
    }
}

/// Says something beside the result, on the standard error.
pub fn aside(text: &str) {
    warn(&format!("{}\n", harmless_lines(text)));
}

/// Writes to the standard error. Whoever has closed it reads nothing; the result and the exit code stay what they are, where the
/// macro would panic.
fn warn(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Colours are for terminals, unless `NO_COLOR` (no-color.org) says something.
fn is_coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether a character steers the terminal or reorders what is read: control characters, and Unicode's invisible marks of
/// direction and joining. Whoever may name a flow or make an action fail chooses such text.
fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

/// One line of text that cannot steer the terminal.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if is_steering(c) { ' ' } else { c }).collect()
}

/// The same for text whose line ends are our own.
fn harmless_lines(text: &str) -> String {
    text.chars().map(|c| if is_steering(c) && c != '\n' { ' ' } else { c }).collect()
}

/// JSON that a terminal can show: what steers stands as an escape, which reads back as the same text. The serialiser
/// itself escapes only what the format demands.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        // Such a character can stand in a JSON string only, except for line ends, which stand between tokens.
        if is_steering(c) && c != '\n' {
            // All that steers is in the first plane, so that four digits suffice.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

/// Writes to the standard output. A reader that has gone away, such as `head`, is no failure.
fn put(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// A table with a line of headings.
fn table(columns: Columns<'_>, rows: &[Value], bold: bool) -> String {
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|(_, key)| cell(&row[*key])).collect()).collect();
    let width = |at: usize| {
        let longest = cells.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        longest.max(columns[at].0.chars().count())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |texts: Vec<&str>| {
        let padded: Vec<String> = texts.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let headings = line(columns.iter().map(|(heading, _)| *heading).collect());
    let mut text = if bold { format!("\x1b[1m{headings}\x1b[0m\n") } else { format!("{headings}\n") };
    for row in &cells {
        let _ = writeln!(text, "{}", line(row.iter().map(String::as_str).collect()));
    }
    text
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text = harmless(&text);
    if text.chars().count() <= CELL_CHARACTERS {
        return text;
    }
    text.chars().take(CELL_CHARACTERS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_aligns_and_keeps_the_terminal_safe() {
        let rows =
            [json!({"name": "a", "n": 12, "more": [1]}), json!({"name": "long\x1b[2J\nname", "n": null, "more": ""})];
        let text = table(&[("NAME", "name"), ("N", "n"), ("MORE", "more")], &rows, false);
        assert_eq!(text, "NAME           N   MORE\na              12  [1]\nlong [2J name  -   -\n");
        assert!(table(&[("NAME", "name")], &[], true).starts_with("\x1b[1mNAME\x1b[0m"));
    }

    #[test]
    fn nothing_that_is_printed_steers_the_terminal() {
        let hostile = "a\x1b[2J\u{9b}31m\u{202e}b\u{feff}\r\nc";
        assert_eq!(harmless(hostile), "a [2J 31m b   c");
        assert_eq!(harmless_lines(hostile), "a [2J 31m b  \nc");
        let value = json!({"name": hostile});
        let json = escaped(&format!("{value:#}"));
        assert!(json.chars().all(|c| c == '\n' || !is_steering(c)), "{json:?}");
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value, "it reads back as it was");
        let yaml = serde_norway::to_string(&value).unwrap();
        assert!(!yaml.contains(['\x1b', '\u{9b}', '\r']), "{yaml:?}");
    }

    #[test]
    fn a_long_cell_is_cut() {
        let text = cell(&json!("ü".repeat(200)));
        assert_eq!((text.chars().count(), text.chars().last()), (80, Some('…')));
    }
}
