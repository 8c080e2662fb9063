//! `core314 flow test`: runs the test cases that documents declare, here and now, without a server. Actions are mocked.

use std::fmt::Write as _;

use clap::Args;
use core314_domain::document::FlowDocument;
use core314_domain::plan::Problem;
use core314_domain::trial::{self, Report, Trial};
use serde_json::{Map, Value, json};

use super::documents::Paths;
use crate::cli::args;
use crate::cli::outcome::{Exit, Failure};
use crate::cli::print::Printer;

#[derive(Debug, Args)]
pub struct TestArgs {
    #[command(flatten)]
    files: Paths,
    /// Try this trigger in place of the declared cases, and show what each step would be given: a JSON object, or @FILE.
    #[arg(long, value_name = "JSON|@FILE")]
    trigger: Option<String>,
    /// With --trigger: what steps answer, such as {"build": {"output": 1}, "deploy": {"error": "no"}}.
    #[arg(long, value_name = "JSON|@FILE", requires = "trigger")]
    mocks: Option<String>,
}

pub fn test(printer: &Printer, args: &TestArgs) -> Result<Exit, Failure> {
    let (mut reports, mut failed, mut cases) = (Vec::new(), 0, 0);
    for (path, document) in args.files.documents()? {
        let in_file = |message: String| Failure::new(Exit::Usage, format!("{}: {message}", path.display()));
        let trials = trials(args, &document).map_err(|failure| in_file(failure.message))?;
        if trials.is_empty() {
            printer.line(&format!("none     {}: it declares no cases in metadata.tests", path.display()))?;
        }
        for trial in trials {
            let report = trial::perform(&document, &trial).map_err(|problems| in_file(told(&problems)))?;
            cases += 1;
            failed += usize::from(!report.failures.is_empty());
            printer.line(&lines(&path.display().to_string(), &report, args.trigger.is_some()))?;
            let mut row = serde_json::to_value(&report).map_err(anyhow::Error::from)?;
            row["file"] = json!(path.display().to_string());
            reports.push(row);
        }
    }
    if !printer.is_table() {
        printer.value(&Value::Array(reports))?;
    }
    if failed == 0 {
        return Ok(Exit::Done);
    }
    Err(Failure::new(Exit::Failed, format!("{failed} of {cases} cases failed")))
}

/// The cases of a document: those that it declares, or the one of the command line.
fn trials(args: &TestArgs, document: &FlowDocument) -> Result<Vec<Trial>, Failure> {
    let Some(trigger) = &args.trigger else {
        return trial::declared(document).map_err(|error| Failure::new(Exit::Usage, error.to_string()));
    };
    let mocks = args.mocks.as_deref().map_or(Ok(json!({})), |given| args::object("--mocks", given))?;
    let case = Map::from_iter([
        ("name".to_owned(), json!("--trigger")),
        ("trigger".to_owned(), args::object("--trigger", trigger)?),
        ("mocks".to_owned(), mocks),
    ]);
    let read = serde_json::from_value(Value::Object(case));
    Ok(vec![read.map_err(|error| Failure::new(Exit::Usage, format!("--mocks: {error}")))?])
}

fn told(problems: &[Problem]) -> String {
    let one = |problem: &Problem| format!("{}: {}", problem.pointer, problem.message);
    problems.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// A case for people.
fn lines(file: &str, report: &Report, is_shown: bool) -> String {
    let word = if report.failures.is_empty() { "passed" } else { "FAILED" };
    let mut text = format!("{word:<8} {file}: {}", report.name);
    for failure in &report.failures {
        let _ = write!(text, "\n         {failure}");
    }
    if is_shown {
        for step in &report.steps {
            let _ = write!(text, "\n         {:<20} {:<10} {}", step.id, step.status.as_str(), step.payload);
        }
        let _ = write!(text, "\n         output: {}", report.output);
    }
    text
}
