//! Files of documents that are no flows: escalation rules, on-call schedules, silences, integrations, preferences. They are read
//! as the server reads them, so that a mistake has its line before the first request.

use std::path::{Path, PathBuf};

use core314_domain::document::ShapeError;
use core314_domain::json::{parse_json, parse_yaml};
use core314_domain::plan::Problem;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::args::read_text;
use super::outcome::{Exit, Failure};

/// A file, and the value that it holds.
pub struct Written {
    path: PathBuf,
    /// What is in it: only the text knows the lines of what is wrong.
    text: String,
    pub value: Value,
}

impl Written {
    /// Reads a file of JSON or YAML, or the standard input for `-`.
    pub fn of(path: &Path) -> Result<Self, Failure> {
        let text = read_text(path).map_err(|error| in_file(path, &error.to_string()))?;
        let is_json = text.trim_start().starts_with('{');
        let parsed = if is_json { parse_json(text.as_bytes()) } else { parse_yaml(&text) };
        let value = parsed.map_err(|error| in_file(path, &error.to_string()))?;
        Ok(Self { path: path.to_owned(), text, value })
    }

    /// The document as its type says.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        if !self.value.is_object() {
            return Err(in_file(&self.path, "must be an object"));
        }
        core314_domain::document::read(self.value.clone()).map_err(|error| self.misshapen("", error))
    }

    /// What is wrong with the part of the document that stands at this place.
    pub fn misshapen(&self, at: &str, error: ShapeError) -> Failure {
        self.refused(vec![Problem::new(format!("{at}{}", error.pointer), error.message)])
    }

    /// What is wrong with the document, with lines.
    pub fn refused(&self, mut problems: Vec<Problem>) -> Failure {
        Problem::locate(&mut problems, &self.text);
        let said = problems.iter().map(|problem| {
            let line = problem.line.map_or_else(String::new, |line| format!("line {line}: "));
            format!("{line}{}: {}", problem.pointer, problem.message)
        });
        in_file(&self.path, &said.collect::<Vec<_>>().join("\n"))
    }
}

/// The file is not what it should be.
pub fn in_file(path: &Path, message: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{}: {message}", path.display()))
}

/// The same failure, with the file that it is about.
pub fn about(path: &Path, failure: Failure) -> Failure {
    if failure.exit == Exit::Unreachable {
        return failure;
    }
    Failure { message: format!("{}: {}", path.display(), failure.message), ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core314_domain::escalation::OnCallDocument;

    #[test]
    fn a_mistake_has_its_file_and_line() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("primary.yaml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Written::of(&path).and_then(|written| written.read::<OnCallDocument>())
        };
        assert_eq!(read("name: primary\ntime_zone: UTC\nlayers: []\n").expect("it is one").name, "primary");
        assert_eq!(read("{\"name\": \"x\", \"time_zone\": \"UTC\", \"layers\": []}").expect("JSON too").name, "x");
        for (text, words) in [
            ("name: primary\ntime_zone: UTC\nlayers: []\nmembers: []\n", "members"),
            ("name: a\nname: b\n", "duplicate"),
            ("- primary\n", "must be an object"),
        ] {
            let failure = read(text).expect_err(text);
            assert_eq!(failure.exit, Exit::Usage, "{text}");
            assert!(
                failure.message.contains("primary.yaml: ") && failure.message.contains(words),
                "{}",
                failure.message
            );
        }
        assert_eq!(Written::of(&scratch.path().join("none")).err().map(|failure| failure.exit), Some(Exit::Usage));
    }
}
