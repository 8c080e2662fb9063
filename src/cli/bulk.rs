//! `core314 run retry --filter …`, the same with `rerun` and `restart`, and `core314 run bulk`: many runs at once, carefully.

use std::str::FromStr;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::args::Id;
use super::outcome::{Exit, Failure};
use super::print::Columns;
use super::session::Session;

const JOBS: Columns<'_> = &[
    ("JOB", "id"),
    ("VERB", "verb"),
    ("STATUS", "status"),
    ("RUNS", "total"),
    ("DONE", "done"),
    ("REFUSED", "refused"),
    ("WELL", "succeeded"),
    ("BADLY", "failed"),
    ("REASON", "reason"),
];
const PREVIEW: Columns<'_> = &[("RUNS", "total"), ("MORE", "more")];

/// Which runs, and how carefully.
#[derive(Debug, Args)]
pub struct ManyArgs {
    /// All runs in which this column has this value, such as `run_status=failed`; several must all hold.
    #[arg(long, value_name = "COLUMN=VALUE")]
    filter: Vec<Column>,
    /// Only say how many runs there are.
    #[arg(long, requires = "filter")]
    preview: bool,
    /// So many first; the others only when these have ended, and few of them badly.
    #[arg(long, value_name = "N", requires = "filter")]
    canary: Option<u32>,
    /// How fast, in runs a second: at first, and after doubling every ten seconds at most.
    #[arg(long, value_name = "FIRST[:MOST]", requires = "filter")]
    ramp: Option<Pace>,
    /// Stop once more than this part of them has refused or ended badly: 0 to 1.
    #[arg(long, value_name = "PART", requires = "filter")]
    stop_above: Option<f64>,
    /// At most so many runs, the newest first.
    #[arg(long, value_name = "N", requires = "filter")]
    limit: Option<usize>,
}

/// A column and what it must equal.
#[derive(Debug, Clone)]
pub struct Column(pub String, pub String);

impl FromStr for Column {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("must be COLUMN=VALUE, such as run_status=failed")?;
        Ok(Self(name.to_owned(), value.to_owned()))
    }
}

/// What runs must have, as the body of a request.
pub fn columns(filter: Vec<Column>) -> Value {
    Value::Object(filter.into_iter().map(|Column(name, value)| (name, value.into())).collect())
}

/// Runs a second: at first and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace(u32, u32);

impl FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, most) = text.split_once(':').unwrap_or((text, text));
        let number = |text: &str| text.parse().map_err(|_| format!("'{text}' is no number: such as 5 or 5:50"));
        Ok(Self(number(first)?, number(most)?))
    }
}

impl ManyArgs {
    /// Makes the job, or says how many runs it would have.
    pub async fn start(self, session: &Session<'_>, verb: &str, more: Map<String, Value>) -> Result<Exit, Failure> {
        let is_preview = self.preview;
        let columns = if is_preview { PREVIEW } else { JOBS };
        session.act(&["bulk"], &self.body(verb, more), columns).await
    }

    fn body(self, verb: &str, more: Map<String, Value>) -> Value {
        let filter = columns(self.filter);
        let mut body = Value::Object(more);
        body["verb"] = verb.into();
        body["filter"] = filter;
        body["preview"] = self.preview.into();
        let settings = [
            ("canary", self.canary.map(Value::from)),
            ("ramp", self.ramp.map(|Pace(first, most)| json!({"per_second": first, "max_per_second": most}))),
            ("stop_above_error_rate", self.stop_above.map(Value::from)),
            ("limit", self.limit.map(Value::from)),
        ];
        for (name, value) in settings {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        body
    }
}

#[derive(Debug, Subcommand)]
pub enum BulkCommand {
    /// List jobs, the newest first.
    List,
    /// Show a job and how far it is.
    Show(Id),
    /// Begin nothing more until it is resumed.
    Pause(Id),
    /// Let a paused job go on.
    Resume(Id),
    /// Begin nothing more.
    Cancel(Id),
}

impl BulkCommand {
    pub async fn perform(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let act = async |job: Id, verb: &str| session.act(&["bulk", &job.id.to_string(), verb], &json!({}), JOBS).await;
        match self {
            Self::List => session.list(&["bulk"], &Vec::new(), 100, JOBS).await,
            Self::Show(job) => {
                let job = session.client.get(&["bulk", &job.id.to_string()], &[]).await?;
                if session.printer.is_table() {
                    session.printer.rows(JOBS, std::slice::from_ref(&job))?;
                } else {
                    session.printer.value(&job)?;
                }
                Ok(Exit::Done)
            }
            Self::Pause(job) => act(job, "pause").await,
            Self::Resume(job) => act(job, "resume").await,
            Self::Cancel(job) => act(job, "cancel").await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        many: ManyArgs,
    }

    fn body(flags: &str) -> Result<Value, String> {
        let line = Line::try_parse_from(std::iter::once("x").chain(flags.split(' ')));
        line.map(|line| line.many.body("retry", Map::new())).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_the_job() {
        assert_eq!(
            body("--filter run_status=failed --filter flow_name=a=b --canary 10 --ramp 5:50 --stop-above 0.2").unwrap(),
            json!({"verb": "retry", "filter": {"run_status": "failed", "flow_name": "a=b"}, "preview": false,
                "canary": 10, "ramp": {"per_second": 5, "max_per_second": 50}, "stop_above_error_rate": 0.2})
        );
        assert_eq!("7".parse(), Ok(Pace(7, 7)));
        assert!(body("--filter failed").unwrap_err().contains("COLUMN=VALUE"));
        assert!(body("--filter a=b --ramp fast").unwrap_err().contains("no number"));
        assert!(body("--canary 3").is_err(), "a canary of nothing");
    }
}
