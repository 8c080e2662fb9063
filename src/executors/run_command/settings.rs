//! What the configuration says about commands: section `[executors.commands]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use core314_domain::ids::TenantId;
use serde::Deserialize;

use crate::executors::tenants::Tenants;

/// What may be run, by whom, and within which bounds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSettings {
    /// Each as `TARGET/NAME=PATH`. None: nothing is run.
    pub programs: Vec<String>,
    /// Ids of tenants that may run them; `*` for all.
    pub tenants: Vec<String>,
    /// Whether `*` is meant. Asked at the start of a server for production, before there are executors.
    pub allow_all_tenants: bool,
    /// Variables that a payload may set.
    pub allowed_environment: Vec<String>,
    /// Variables of this server that programs get.
    pub pass_environment: Vec<String>,
    /// Where programs run.
    pub directory: String,
    /// Programs that run at once; more wait, within their time.
    pub max_running: usize,
    /// Of stdout and of stderr, in bytes; the rest is read and dropped.
    pub max_output_bytes: usize,
    /// Of stdin, in bytes.
    pub max_input_bytes: usize,
}

/// What the configuration says cannot be: stop the start and say so.
#[derive(Debug, thiserror::Error)]
#[error("executors.commands.{key}: '{entry}' {problem}")]
pub struct ProgramsError {
    key: &'static str,
    entry: String,
    problem: &'static str,
}

/// The programs by `TARGET/NAME`.
#[derive(Debug)]
pub struct Programs {
    paths: BTreeMap<String, PathBuf>,
    tenants: Tenants,
}

impl Programs {
    pub fn new(settings: &CommandSettings) -> Result<Self, ProgramsError> {
        let mut paths = BTreeMap::new();
        for entry in &settings.programs {
            let wrong = |problem| ProgramsError { key: "programs", entry: entry.clone(), problem };
            let (name, path) = entry.split_once('=').ok_or_else(|| wrong("must be TARGET/NAME=PATH"))?;
            let is_pair = name.split_once('/').is_some_and(|(target, program)| is_name(target) && is_name(program));
            if !is_pair {
                return Err(wrong("must begin with TARGET/NAME: letters, digits, `_`, `-` and `.`"));
            }
            if !Path::new(path).is_absolute() {
                return Err(wrong("must end with a path that begins with /"));
            }
            if paths.insert(name.to_owned(), PathBuf::from(path)).is_some() {
                return Err(wrong("has a name that stands there twice"));
            }
        }
        let wrong = |entry| ProgramsError { key: "tenants", entry, problem: "is neither `*` nor an id" };
        let tenants = Tenants::new(&settings.tenants).map_err(wrong)?;
        Ok(Self { paths, tenants })
    }

    /// Whether this tenant may run any.
    pub fn may(&self, tenant: TenantId) -> bool {
        self.tenants.has(tenant)
    }

    /// Where a program is; else why it is not run. Which others there are is not for everybody to know.
    pub fn path(&self, target: &str, program: &str) -> Result<&Path, String> {
        if self.paths.is_empty() {
            return Err(
                "this server runs no programs: executors.commands.programs of its configuration names none".to_owned()
            );
        }
        let name = format!("{target}/{program}");
        let none =
            || format!("'{name}' is no program that executors.commands.programs of this server's configuration names");
        self.paths.get(&name).map(PathBuf::as_path).ok_or_else(none)
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(entries: &[&str], tenants: &[&str]) -> Result<Programs, String> {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let settings = CommandSettings {
            programs: texts(entries),
            tenants: texts(tenants),
            allow_all_tenants: false,
            allowed_environment: vec![],
            pass_environment: vec![],
            directory: "/".to_owned(),
            max_running: 1,
            max_output_bytes: 1,
            max_input_bytes: 1,
        };
        Programs::new(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn programs_are_found_by_target_and_name() {
        let found = programs(&["ops/restart-host=/usr/local/sbin/restart=host"], &["*"]).expect("good");
        assert_eq!(found.path("ops", "restart-host"), Ok(Path::new("/usr/local/sbin/restart=host")));
        for (target, program) in
            [("ops", "other"), ("", "restart-host"), ("ops", "../restart-host"), ("OPS", "restart-host")]
        {
            assert!(found.path(target, program).is_err(), "{target}/{program}");
        }
        let none = programs(&[], &["*"]).expect("good").path("ops", "x").map(Path::to_path_buf);
        assert!(none.is_err_and(|why| why.contains("runs no programs")));
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (entry, problem) in [
            ("restart", "must be TARGET/NAME=PATH"),
            ("restart=/bin/x", "must begin with TARGET/NAME"),
            ("ops/a/b=/bin/x", "must begin with TARGET/NAME"),
            ("ops/a=bin/x", "must end with a path"),
        ] {
            let said = programs(&[entry], &["*"]).map(drop).expect_err(entry);
            assert!(said.starts_with("executors.commands.programs: ") && said.contains(problem), "{said}");
        }
        assert!(programs(&["a/b=/x", "a/b=/y"], &[]).is_err());
        assert!(programs(&[], &["everybody"]).is_err_and(|said| said.contains("executors.commands.tenants")));
    }
}
