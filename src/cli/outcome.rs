//! How a command ends: its exit code, and for a failure what is wrong and what to do next.

use std::process::ExitCode;

use serde_json::Value;

use crate::app::FilesError;
use crate::config::ConfigError;

/// Exit codes: a contract with scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    /// Wrong usage: words, files or configuration.
    Usage = 2,
    NotFound = 3,
    NotAllowed = 4,
    Unreachable = 5,
    /// The server's supervision has given up (`EX_SOFTWARE` of BSD's sysexits): whoever supervises the process starts it
    /// again.
    Software = 70,
    /// Another node has taken over from the server (`EX_TEMPFAIL`): started again, it stands by.
    Replaced = 75,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What went wrong, for a person.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The server's problem document (RFC 9457), where one is behind it.
    pub problem: Value,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, problem: Value::Null }
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, error.to_string())
            .hint("config/default.toml explains every key; `core314 config show` prints them")
    }
}

/// No wrong usage: whoever supervises the server tries again, and may find the files well.
impl From<FilesError> for Failure {
    fn from(error: FilesError) -> Self {
        Self::new(Exit::Failed, error.to_string())
            .hint("put the files right: the configuration may stay as it is, and another start may help")
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<ConfigError>() {
            Ok(error) => error.into(),
            Err(error) => Self::new(Exit::Failed, format!("{error:#}")),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Problem;

    #[test]
    fn a_bad_configuration_is_wrong_usage_however_it_comes() {
        let problem = || Problem { key: "a.b".to_owned(), source: "default".to_owned(), message: "must be".to_owned() };
        assert_eq!(Failure::from(ConfigError(vec![problem()])).exit, Exit::Usage);
        let wrapped = anyhow::Error::from(ConfigError(vec![problem()])).context("while starting");
        assert_eq!(Failure::from(wrapped).exit, Exit::Usage);
        assert_eq!(Failure::from(FilesError(vec![problem()])).exit, Exit::Failed, "another start may help");
        let other = Failure::from(anyhow::anyhow!("the disk is full").context("the store cannot be opened"));
        assert_eq!(
            (other.exit, other.message.as_str()),
            (Exit::Failed, "the store cannot be opened: the disk is full")
        );
    }

    #[test]
    fn exit_codes_are_frozen() {
        let codes = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::NotFound,
            Exit::NotAllowed,
            Exit::Unreachable,
            Exit::Software,
            Exit::Replaced,
        ];
        assert_eq!(codes.map(|code| code as u8), [0, 1, 2, 3, 4, 5, 70, 75]);
    }
}
