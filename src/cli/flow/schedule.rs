//! `core314 flow schedule`: when a flow starts by itself, why it did not, and what to do about it.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Named;
use crate::cli::args::Query;
use crate::cli::outcome::{Exit, Failure};
use crate::cli::print::{Columns, aside};
use crate::cli::session::Session;

const SCHEDULE: Columns<'_> = &[
    ("STATUS", "schedule_status"),
    ("SCHEDULE", "schedule"),
    ("TIMEZONE", "timezone"),
    ("FIRED", "fired_count"),
    ("MISSED", "missed_count"),
    ("LAST FIRED", "last_fired_at"),
    ("FLOW", "flow_id"),
];
const INSTANTS: Columns<'_> = &[("SCHEDULED FOR", "scheduled_for"), ("LOCAL", "local")];
const BACKFILLED: Columns<'_> = &[
    ("SCHEDULED FOR", "scheduled_for"),
    ("LOCAL", "local"),
    ("RESULT", "result"),
    ("RUN", "run_id"),
    ("DETAIL", "detail"),
];

#[derive(Debug, Args)]
pub struct ScheduleArgs {
    #[command(flatten)]
    flow: Named,
    /// Without one, the schedule as it stands.
    #[command(subcommand)]
    command: Option<ScheduleCommand>,
}

#[derive(Debug, Subcommand)]
enum ScheduleCommand {
    /// Fire nothing until it is resumed; the flow can be started by hand.
    Pause,
    /// Fire again, from now on.
    Resume,
    /// List the next instants.
    Next(NextArgs),
    /// Start the runs of instants that have passed.
    Backfill(BackfillArgs),
}

#[derive(Debug, Args)]
struct NextArgs {
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
}

#[derive(Debug, Args)]
struct BackfillArgs {
    /// The first time that belongs to the range (RFC 3339).
    #[arg(long, value_name = "TIME")]
    from: String,
    /// The last one; without it, now.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only say which instants would have runs.
    #[arg(long)]
    preview: bool,
    /// Refuse a range that holds more instants (100 unless this says otherwise, 1000 at most).
    #[arg(long, value_name = "N")]
    max: Option<u16>,
}

pub async fn schedule(session: &Session<'_>, args: &ScheduleArgs) -> Result<Exit, Failure> {
    let id = session.flow_id(&args.flow.name).await?;
    let path = ["flows", &id, "schedule"];
    match &args.command {
        None => session.show(&path, &Query::new()).await,
        Some(ScheduleCommand::Pause) => session.act(&["flows", &id, "schedule", "pause"], &json!({}), SCHEDULE).await,
        Some(ScheduleCommand::Resume) => session.act(&["flows", &id, "schedule", "resume"], &json!({}), SCHEDULE).await,
        Some(ScheduleCommand::Next(next)) => {
            let row = session.client.get(&path, &Query::new()).await?;
            let asked = json!({"trigger_config": row["trigger_config"], "count": next.limit});
            let answer = session.client.post(&["schedules", "preview"], &asked).await?;
            session.printer.rows(INSTANTS, rows(&answer["instants"]))?;
            match row["schedule_status"].as_str() {
                Some("scheduled" | "waiting") => {}
                status => aside(&format!("note: the schedule is {}: it does not fire", status.unwrap_or("unknown"))),
            }
            Ok(Exit::Done)
        }
        Some(ScheduleCommand::Backfill(range)) => backfill(session, &id, range).await,
    }
}

async fn backfill(session: &Session<'_>, id: &str, range: &BackfillArgs) -> Result<Exit, Failure> {
    let mut body =
        Map::from_iter([("from".to_owned(), json!(range.from)), ("preview".to_owned(), json!(range.preview))]);
    body.extend(range.to.as_ref().map(|to| ("to".to_owned(), json!(to))));
    body.extend(range.max.map(|max| ("max".to_owned(), json!(max))));
    let answer = session.client.post(&["flows", id, "schedule", "backfill"], &Value::Object(body)).await?;
    if !session.printer.is_table() {
        return session.printer.value(&answer).map(|()| Exit::Done);
    }
    session.printer.rows(BACKFILLED, rows(&answer["results"]))?;
    let (count, started) = (&answer["count"], &answer["started"]);
    session.printer.line(&format!("instants: {count}, runs started: {started}"))?;
    Ok(Exit::Done)
}

fn rows(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}
