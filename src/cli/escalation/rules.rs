//! `core314 escalation rules`: rules as files, and the signal of a rule that waits for one.
//!
//! A file holds one rule, or a set of them under `rules`, as `core314 escalation test` takes it: what was tried out is what is
//! applied.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use core314_domain::document::ShapeError;
use core314_domain::escalation::RuleDocument;
use serde_json::{Map, Value, json};

use super::tried::{TestArgs, test};
use crate::cli::applied::{Applied, apply, done, unreadable};
use crate::cli::args::Limit;
use crate::cli::outcome::{Exit, Failure};
use crate::cli::print::Columns;
use crate::cli::session::{Session, id_of};
use crate::cli::written::Written;

const PATH: &str = "escalation-rules";
const RULES: Columns<'_> = &[
    ("PRIORITY", "priority"),
    ("NAME", "rule_name"),
    ("ACTIVE", "is_active"),
    ("ESCALATIONS", "total_escalations"),
    ("RESOLVED", "successful_resolutions"),
    ("HELD BACK", "suppressed_count"),
    ("RULE", "id"),
];
const BEAT: Columns<'_> = &[("NEXT SIGNAL BY", "due_at")];
/// What stands beside the rules of a set, and is not applied.
const OF_A_SET: [&str; 3] = ["rules", "cases", "silences"];
/// More rules than a tenant has.
const MOST_RULES: usize = 100_000;

#[derive(Debug, Args)]
pub struct RulesArgs {
    #[command(flatten)]
    page: Limit,
    /// Without one, the rules.
    #[command(subcommand)]
    command: Option<RulesCommand>,
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// Show a rule with its figures.
    Show(Named),
    /// Create the rules of these files, or change the ones of their names.
    Apply(ApplyArgs),
    /// Write rules as a document that `apply` takes.
    Export(ExportArgs),
    /// Delete a rule; its open escalations go on.
    Delete(Named),
    /// Tell a rule with a heartbeat that its signal has come.
    Heartbeat(Named),
    /// Ask the server's rules about a failure, past or made up, or have it run a file of cases; nothing is sent.
    Test(TestArgs),
}

#[derive(Debug, Args)]
struct Named {
    /// The rule's name or id.
    rule: String,
}

#[derive(Debug, Args)]
struct ApplyArgs {
    /// Files of one rule or of `rules`, YAML or JSON; `-` is the standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// The rule's name or id; one is written as it is, several under `rules`.
    #[arg(required_unless_present = "all", value_name = "RULE")]
    rules: Vec<String>,
    /// Every rule.
    #[arg(long, conflicts_with = "rules")]
    all: bool,
}

pub async fn rules(session: &Session<'_>, args: RulesArgs) -> Result<Exit, Failure> {
    match args.command {
        None => session.list(&[PATH], &Vec::new(), args.page.limit, RULES).await,
        Some(RulesCommand::Show(of)) => {
            let rule = find(session, &of.rule).await?;
            session.printer.value(&rule).map(|()| Exit::Done)
        }
        Some(RulesCommand::Apply(args)) => apply::<RuleDocument>(session, &args.files).await,
        Some(RulesCommand::Export(args)) => export(session, &args).await,
        Some(RulesCommand::Delete(of)) => {
            let rule = find(session, &of.rule).await?;
            session.delete(&[PATH, id_of(&rule)], &of.rule).await
        }
        Some(RulesCommand::Heartbeat(of)) => {
            let rule = find(session, &of.rule).await?;
            session.act(&[PATH, id_of(&rule), "heartbeat"], &json!({}), BEAT).await
        }
        Some(RulesCommand::Test(args)) => test(session, &args).await,
    }
}

/// A rule by its name or id.
pub async fn find(session: &Session<'_>, named: &str) -> Result<Value, Failure> {
    session.named(PATH, "rule_name", named, "escalation rule", "core314 escalation rules").await
}

impl Applied for RuleDocument {
    const NOUN: &'static str = "rule";

    fn name(&self) -> &str {
        &self.rule_name
    }

    fn read(written: &Written) -> Result<Vec<Self>, Failure> {
        documents(written)
    }

    async fn save(&self, session: &Session<'_>) -> Result<Value, Failure> {
        let client = &session.client;
        let value = self.to_value();
        let Some(row) = client.list(&[PATH], &[("rule_name", self.rule_name.clone())], 1).await?.pop() else {
            return Ok(done("created", client.post(&[PATH], &value).await?));
        };
        let known = stored(&row)?;
        if known == *self {
            return Ok(done("unchanged", row));
        }
        let version = row["version"].as_i64().unwrap_or_default();
        let changed = client.patch(&[PATH, id_of(&row)], version, &patch(&known.to_value(), &value)).await?;
        if stored(&changed)? == *self {
            return Ok(done("updated", changed));
        }
        let message = format!("rule '{}' is not as the file says: a change cannot set a key to null", self.rule_name);
        Err(Failure::new(Exit::Failed, message).hint("delete the rule and apply the file again"))
    }
}

/// The rules of a file.
fn documents(written: &Written) -> Result<Vec<RuleDocument>, Failure> {
    let Some(Value::Array(rules)) = written.value.get("rules") else {
        let rule = RuleDocument::from_value(written.value.clone());
        return rule.map(|rule| vec![rule]).map_err(|error| written.misshapen("", error));
    };
    let mut keys = written.value.as_object().into_iter().flat_map(Map::keys);
    if let Some(other) = keys.find(|key| !OF_A_SET.contains(&key.as_str())) {
        let message = format!("a set of rules has no `{other}`: it has `rules`, `cases` and `silences`");
        return Err(written.misshapen("", ShapeError { pointer: format!("/{other}"), message }));
    }
    let read = |(at, rule): (usize, &Value)| {
        RuleDocument::from_value(rule.clone()).map_err(|error| written.misshapen(&format!("/rules/{at}"), error))
    };
    rules.iter().enumerate().map(read).collect()
}

/// The document of a row.
fn stored(row: &Value) -> Result<RuleDocument, Failure> {
    RuleDocument::from_value(row["document"].clone()).map_err(|error| unreadable(RuleDocument::NOUN, &error))
}

/// The merge patch (RFC 7396) that makes the one the other. It has no way to set a key to null.
fn patch(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
    let gone = from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = to.iter().filter(|(key, value)| from.get(*key) != Some(*value));
    let changed =
        changed.map(|(key, value)| (key.clone(), from.get(key).map_or_else(|| value.clone(), |old| patch(old, value))));
    Value::Object(gone.chain(changed).collect())
}

async fn export(session: &Session<'_>, args: &ExportArgs) -> Result<Exit, Failure> {
    let rows = if args.all {
        session.client.list(&[PATH], &[], MOST_RULES).await?
    } else {
        let mut rows = Vec::new();
        for name in &args.rules {
            rows.push(find(session, name).await?);
        }
        rows
    };
    let documents = rows.iter().map(|row| stored(row).map(|rule| rule.to_value())).collect::<Result<Vec<_>, _>>()?;
    match documents.as_slice() {
        [one] if !args.all => session.printer.value(one)?,
        many => session.printer.value(&json!({"rules": many}))?,
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core314_domain::json::merge_patch;

    #[test]
    fn a_patch_makes_one_value_the_other() {
        let values = [
            json!({"a": 1, "b": {"c": [1, {"d": null}], "e": "x"}, "f": {"g": {"h": 1}}}),
            json!({"a": 2, "b": {"c": []}, "f": {"g": {}}}),
            json!({"b": "text", "f": {"g": {"i": 1}, "j": {"k": 1}}}),
            json!({"b": {"c": {"d": 1}}}),
            json!({}),
        ];
        for from in &values {
            for to in &values {
                let mut target = from.clone();
                merge_patch(&mut target, &patch(from, to));
                assert_eq!(target, *to, "from {from}");
            }
        }
        assert_eq!(patch(&values[0], &values[0]), json!({}), "nothing is to be changed");
    }

    #[test]
    fn a_file_has_one_rule_or_a_set() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("rules.yaml");
        let names = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let rules = Written::of(&path).and_then(|written| documents(&written));
            rules.map(|rules| rules.into_iter().map(|rule| rule.rule_name).collect::<Vec<_>>())
        };
        assert_eq!(names("rule_name: one\n").expect("a rule"), ["one"]);
        assert_eq!(names("rules: [{rule_name: a}, {rule_name: b}]\ncases: []\n").expect("a set"), ["a", "b"]);
        for (text, words) in [
            ("rules: [{rule_name: a}]\nrule: x\n", "has no `rule`"),
            ("rules:\n  - rule_name: a\n    priority: first\n", "line 3"),
            ("rule_nam: a\n", "rule_nam"),
        ] {
            let failure = names(text).expect_err(text);
            assert!(failure.exit == Exit::Usage && failure.message.contains(words), "{}", failure.message);
        }
    }
}
