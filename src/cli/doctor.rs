//! `core314 doctor`: looks at everything an installation stands on, and says what to mend.
//!
//! Each check is a line: it is well, or what is wrong and what to do; of the configuration and the secrets each problem has its
//! own. A warning is no problem: the server works with it. A check that another one's finding makes pointless is skipped, so
//! that one cause is said once. Nothing is changed.

mod machine;
mod server;

use std::fmt::Display;

use serde_json::{Value, json};

use super::Global;
use super::client::{self, Client};
use super::outcome::{Exit, Failure};
use super::print::Printer;
use crate::app;
use crate::config::Config;
pub use machine::refused;

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    /// What is well.
    Well(String),
    /// What is wrong, and what to do.
    Wrong { problem: String, mend: String },
    /// What should not be so, and what to do.
    Doubtful { doubt: String, mend: String },
    /// Why it could not be looked at.
    Skipped(String),
}

impl Finding {
    fn well(what: impl Into<String>) -> Self {
        Self::Well(what.into())
    }

    fn wrong(problem: impl Display, mend: impl Into<String>) -> Self {
        Self::Wrong { problem: problem.to_string(), mend: mend.into() }
    }

    fn doubtful(doubt: impl Display, mend: impl Into<String>) -> Self {
        Self::Doubtful { doubt: doubt.to_string(), mend: mend.into() }
    }
}

/// The name of a check, and what it found.
type Checked = (&'static str, Finding);

pub fn doctor(global: &Global, printer: &Printer) -> Result<Exit, Failure> {
    let found = look(global);
    for (name, finding) in &found {
        printer.line(&line(name, finding))?;
    }
    if !printer.is_table() {
        printer.value(&found.iter().map(|(name, finding)| shown(name, finding)).collect::<Value>())?;
    }
    let wrong = found.iter().filter(|(_, finding)| matches!(finding, Finding::Wrong { .. })).count();
    match wrong {
        0 => Ok(Exit::Done),
        1 => Err(Failure::new(Exit::Failed, "1 problem has been found")),
        _ => Err(Failure::new(Exit::Failed, format!("{wrong} problems have been found"))),
    }
}

fn look(global: &Global) -> Vec<Checked> {
    let config = match global.load() {
        Ok(config) => config,
        Err(failure) => {
            let mend = failure.hint.unwrap_or_default();
            let rest = ["secrets", "user", "data directory", "store", "server", "key"];
            let skipped = rest.map(|name| (name, Finding::Skipped("the configuration cannot be used".to_owned())));
            return [("configuration", Finding::wrong(failure.message, mend)), ("clock", machine::clock())]
                .into_iter()
                .chain(skipped)
                .collect();
        }
    };
    let mut found: Vec<Checked> =
        machine::configuration(&config).into_iter().map(|finding| ("configuration", finding)).collect();
    found.extend(machine::secrets(&config).into_iter().map(|finding| ("secrets", finding)));
    found.push(("user", machine::user(&config.data_dir())));
    found.push(("data directory", machine::data_directory(&config.data_dir())));
    match Client::new(global) {
        Ok(client) => found.extend(with_server(&config, &client)),
        Err(failure) => {
            found.push(("store", store(&config)));
            found.push(("clock", machine::clock()));
            found.push(("server", Finding::wrong(failure.message, failure.hint.unwrap_or_default())));
        }
    }
    // Last, because what they mean depends on whether a server goes on with what they held.
    let is_answered = found.iter().any(|(name, finding)| *name == "server" && matches!(finding, Finding::Well(_)));
    found.extend(machine::files(&config, is_answered).into_iter().map(|finding| ("files", finding)));
    found
}

fn with_server(config: &Config, client: &Client) -> Vec<Checked> {
    let answers = client::block_on(async {
        let probe = client.probe("readyz").await;
        let key = match &probe {
            Ok(_) => server::key(client).await,
            Err(_) => Finding::Skipped("there is no server to ask".to_owned()),
        };
        Ok((probe, key))
    });
    let (probe, key) = match answers {
        Ok(answers) => answers,
        Err(failure) => return vec![("server", Finding::wrong(failure.message, failure.hint.unwrap_or_default()))],
    };
    let (store, clock, promises) = match &probe {
        Ok(probe) => (server::store(probe), server::clock(probe, machine::clock()), server::promises(probe)),
        Err(_) => (store(config), machine::clock(), Finding::Skipped("there is no server to ask".to_owned())),
    };
    let server = server::reached(client, probe);
    vec![("store", store), ("clock", clock), ("server", server), ("promises", promises), ("key", key)]
}

/// The store as it is found without a server: opened for reading only.
fn store(config: &Config) -> Finding {
    match app::store_schema(config) {
        Ok(schema) if schema.applied == schema.known => Finding::well(format!("reachable, schema {}", schema.applied)),
        Ok(schema) if schema.applied < schema.known => Finding::well(format!(
            "reachable, schema {}; the next start of the server brings it to {}",
            schema.applied, schema.known
        )),
        Ok(schema) => Finding::well(format!(
            "reachable, schema {} of a newer release than this one ({})",
            schema.applied, schema.known
        )),
        Err(error) if config.database_url().starts_with("sqlite:") => Finding::wrong(
            format!("{error:#}"),
            "start the server once, which makes it, or name the right directory with --data-dir",
        ),
        Err(error) => Finding::wrong(
            format!("{error:#}"),
            "check that PostgreSQL runs and --database-url leads to it; the first start of the server makes roles and tables",
        ),
    }
}

/// One line, whatever the finding's words are.
fn line(name: &str, finding: &Finding) -> String {
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    match finding {
        Finding::Well(what) => format!("ok       {name}: {}", flat(what)),
        Finding::Wrong { problem, mend } => format!("problem  {name}: {}; {}", flat(problem), flat(mend)),
        Finding::Doubtful { doubt, mend } => format!("warning  {name}: {}; {}", flat(doubt), flat(mend)),
        Finding::Skipped(why) => format!("skipped  {name}: {}", flat(why)),
    }
}

fn shown(name: &str, finding: &Finding) -> Value {
    match finding {
        Finding::Well(what) => json!({"check": name, "result": "ok", "finding": what, "what_to_do": null}),
        Finding::Wrong { problem, mend } => {
            json!({"check": name, "result": "problem", "finding": problem, "what_to_do": mend})
        }
        Finding::Doubtful { doubt, mend } => {
            json!({"check": name, "result": "warning", "finding": doubt, "what_to_do": mend})
        }
        Finding::Skipped(why) => json!({"check": name, "result": "skipped", "finding": why, "what_to_do": null}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_one_line() {
        let wrong = Finding::wrong("a\n  b", "mend it");
        assert_eq!(line("clock", &wrong), "problem  clock: a b; mend it");
        assert_eq!(shown("clock", &wrong)["what_to_do"], "mend it");
        assert_eq!(line("key", &Finding::well("fine")), "ok       key: fine");
        let doubtful = Finding::doubtful("as root", "do not");
        assert_eq!(line("user", &doubtful), "warning  user: as root; do not");
        assert_eq!(shown("user", &doubtful)["result"], "warning");
        assert_eq!(line("key", &Finding::Skipped("why".to_owned())), "skipped  key: why");
    }
}
