//! `core314 config show`: what is in force, and where each value comes from.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::{Value, json};

use super::outcome::{Exit, Failure};
use super::print::{Columns, Printer, aside};
use super::{Global, doctor};
use crate::config::{Problem, Shown};

const COLUMNS: Columns<'_> = &[("KEY", "key"), ("VALUE", "value"), ("SOURCE", "source")];

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Only this key, or the keys of this section, such as `server` or `http.workers`.
    #[arg(value_name = "KEY|SECTION")]
    key: Option<String>,
    /// Only what is not the default.
    #[arg(long)]
    changed: bool,
}

pub fn show(global: &Global, printer: &Printer, args: &ShowArgs) -> Result<Exit, Failure> {
    let config = global.load()?;
    let rows: Vec<Value> =
        config.shown().into_iter().filter(|shown| args.is_wanted(shown)).map(|shown| json!(shown)).collect();
    if let Some(key) = args.key.as_ref().filter(|_| rows.is_empty() && !args.changed) {
        return Err(Failure::new(Exit::NotFound, format!("there is no key or section '{key}'"))
            .hint("`core314 config show` prints them all; config/default.toml explains them"));
    }
    printer.rows(COLUMNS, &rows)?;
    for note in config.notes() {
        aside(&format!("note: {note}"));
    }
    aside_refused(&doctor::refused(&config));
    Ok(Exit::Done)
}

/// What is shown is in force, and may be no configuration to serve with.
fn aside_refused(problems: &[Problem]) {
    let keys: BTreeSet<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    if !keys.is_empty() {
        let keys = keys.into_iter().collect::<Vec<_>>().join(", ");
        aside(&format!("note: a server does not start with this, because of {keys}: `core314 doctor` says why"));
    }
}

impl ShowArgs {
    fn is_wanted(&self, shown: &Shown) -> bool {
        let is_named = self.key.as_ref().is_none_or(|key| {
            shown.key.strip_prefix(key.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        is_named && !(self.changed && shown.source == DEFAULT)
    }
}

/// The source of what nobody has said otherwise.
const DEFAULT: &str = "default";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_not_the_beginning_of_a_word() {
        let shown =
            |key: &str, source: &str| Shown { key: key.to_owned(), value: Value::Null, source: source.to_owned() };
        let args = |key: Option<&str>, changed| ShowArgs { key: key.map(str::to_owned), changed };
        assert!(args(Some("http"), false).is_wanted(&shown("http.workers", DEFAULT)));
        assert!(args(Some("http.workers"), false).is_wanted(&shown("http.workers", DEFAULT)));
        assert!(!args(Some("http.work"), false).is_wanted(&shown("http.workers", DEFAULT)));
        assert!(!args(None, true).is_wanted(&shown("http.workers", DEFAULT)));
        assert!(args(None, true).is_wanted(&shown("http.workers", "flag --workers")));
    }
}
