//! The configuration: embedded defaults, under a file, the environment, short names, and flags.
//!
//! `config/default.toml` is the only home of defaults, so it also says which keys there are; `rules` says what each may
//! hold. Everything is checked by key before anything is read into a type, so that a message can name the key, where its
//! value came from, and what is allowed. Sections of adapters are read by the composition root, into the adapters' own
//! types; this module knows none of them.
//!
//! Invariants: a `Config` holds every key of the defaults and no other, each within its rule; no message and no listing
//! shows a secret.

mod layers;
pub mod local;
pub mod rights;
mod rules;
mod safety;
mod show;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::value::Value;
use serde::de::DeserializeOwned;

pub use safety::Mode;
pub use show::Shown;

/// The manual and the only home of defaults.
const DEFAULTS: &str = include_str!("../config/default.toml");

/// What the configuration is made from.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Values that a command prefers to the defaults; below the file.
    pub presets: Vec<Setting>,
    /// `--config`; else `CORE314_CONFIG` of the environment names the file.
    pub file: Option<PathBuf>,
    /// The process environment.
    pub environment: Vec<(String, String)>,
    /// Flags of the command line.
    pub flags: Vec<Setting>,
}

impl Inputs {
    /// The configuration file, where one is named.
    pub fn named_file(&self) -> Option<PathBuf> {
        layers::file(self)
    }
}

/// One value that is given as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Such as `server.listen`.
    pub key: String,
    /// Lists are separated by commas.
    pub text: String,
    /// Where it was said, such as `flag --listen`.
    pub source: String,
}

impl Setting {
    pub fn new(key: &str, text: impl Into<String>, source: impl Into<String>) -> Self {
        Self { key: key.to_owned(), text: text.into(), source: source.into() }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub source: String,
    /// What is wrong with it and what is allowed.
    pub message: String,
}

/// The configuration cannot be used: mend what is named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used")?;
        for Problem { key, source, message } in &self.0 {
            write!(f, "\n  {key} ({source}): {message}")?;
        }
        Ok(())
    }
}

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Config {
    inputs: Inputs,
    figment: Figment,
    /// Every key with its value.
    values: BTreeMap<String, Value>,
    notes: Vec<String>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Reads, lays over each other and checks.
    pub fn load(inputs: &Inputs) -> Result<Self, ConfigError> {
        let (figment, notes) = layers::figment(inputs)?;
        let merged = layers::dictionary(&figment)?;
        let values = layers::flatten(&merged);
        let config = Self { inputs: inputs.clone(), figment, values, notes };
        let wrong: Vec<Problem> = rules::RULES
            .iter()
            .filter_map(|(key, rule)| {
                let message = rule.check(config.value(key)).err()?;
                Some(config.problem(key, message))
            })
            .collect();
        if wrong.is_empty() { Ok(config) } else { Err(ConfigError(wrong)) }
    }

    /// Reads the same places again: the file may have been changed.
    pub fn reread(&self) -> Result<Self, ConfigError> {
        Self::load(&self.inputs)
    }

    /// The keys whose values differ from those of an earlier reading.
    pub fn changed_since(&self, earlier: &Self) -> Vec<String> {
        let differs = |(key, value): &(&String, &Value)| show::plain(value) != show::plain(earlier.value(key));
        self.values.iter().filter(differs).map(|(key, _)| key.clone()).collect()
    }

    /// Whether this may be run in this mode: unsafe combinations are refused.
    pub fn check_safety(&self, mode: Mode) -> Result<(), ConfigError> {
        let problems = safety::check(self, mode);
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }

    /// What is worth a warning at the start.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// A section in the type of whoever owns it.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<T, ConfigError> {
        self.section_with(name, &[])
    }

    /// The same for a type that has members which the configuration says elsewhere.
    pub fn section_with<T: DeserializeOwned>(&self, name: &str, more: &[(&str, u64)]) -> Result<T, ConfigError> {
        let add = |figment: Figment, (key, value): &(&str, u64)| figment.merge((format!("{name}.{key}"), value));
        let whole = more.iter().fold(self.figment.clone(), add);
        whole.extract_inner(name).map_err(|error| ConfigError(vec![self.problem(name, error.kind.to_string())]))
    }

    /// Where the HTTP API listens.
    pub fn listen(&self) -> SocketAddr {
        self.text("server.listen").parse().expect("its rule is an address with a port")
    }

    /// The directory of what is kept on this machine.
    pub fn data_dir(&self) -> PathBuf {
        PathBuf::from(self.text("data.dir"))
    }

    /// Which database: the configured one, or the file in the data directory.
    pub fn database_url(&self) -> String {
        let configured = self.text("store.database_url");
        if configured.is_empty() {
            return format!("sqlite:{}", self.data_dir().join("core314.db").display());
        }
        configured.to_owned()
    }

    /// How long a drain may take.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.number("shutdown.grace_seconds"))
    }

    /// How much longer a store is waited for that is away.
    pub fn store_patience(&self) -> Duration {
        Duration::from_secs(self.number("shutdown.store_seconds"))
    }

    /// How log lines are written.
    pub fn log_format(&self) -> LogFormat {
        if self.text("log.format") == "json" { LogFormat::Json } else { LogFormat::Text }
    }

    /// A text by its key.
    pub fn text(&self, key: &str) -> &str {
        self.value(key).as_str().expect("its rule is a text")
    }

    /// A secret, or `None` where it is not set.
    pub fn secret(&self, key: &str) -> Option<&str> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    /// A number by its key.
    pub fn number(&self, key: &str) -> u64 {
        rules::number(self.value(key)).and_then(|n| u64::try_from(n).ok()).expect("its rule is a number from 0 on")
    }

    /// A yes or no by its key.
    pub fn flag(&self, key: &str) -> bool {
        self.value(key).to_bool().expect("its rule is true or false")
    }

    /// Whether a list has nothing in it.
    pub fn is_empty(&self, key: &str) -> bool {
        self.value(key).as_array().expect("its rule is a list").is_empty()
    }

    /// A list of texts by its key.
    pub fn texts(&self, key: &str) -> Vec<&str> {
        self.value(key).as_array().expect("its rule is a list").iter().filter_map(Value::as_str).collect()
    }

    /// Every key with its value and source, secrets masked.
    pub fn shown(&self) -> Vec<Shown> {
        self.values.iter().map(|(key, value)| show::shown(key, value, self.source(key))).collect()
    }

    fn value(&self, key: &str) -> &Value {
        self.values.get(key).expect("the key stands in config/default.toml")
    }

    fn source(&self, key: &str) -> String {
        layers::source(&self.figment, key)
    }

    /// What is wrong with a key, and where its value was said.
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        Problem { key: key.to_owned(), source: self.source(key), message: message.into() }
    }
}

/// A path for people: as it was given.
fn display(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
