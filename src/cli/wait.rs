//! Waiting for the end of a run or an execution, by looking at it again and again.
//!
//! The server could hold the request instead; looking works through every proxy, outlives a short restart of the server,
//! and shows what happens meanwhile.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::outcome::{Exit, Failure};
use super::progress::Progress;
use super::session::Session;

/// The first looks follow each other closely, because most runs are short; the later ones spare the server.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A server that restarts is away for some seconds; one that is away for longer is not coming back by itself.
const ABSENCE: Duration = Duration::from_secs(20);

/// What is waited for.
pub struct Watched<'a> {
    /// For messages, such as `run`.
    pub noun: &'a str,
    /// The list it is in, such as `runs`.
    pub resource: &'a str,
    pub id: &'a str,
    /// The member that tells how it is.
    pub status: &'a str,
    pub is_terminal: fn(&str) -> bool,
}

/// The row, once it has ended. `look` sees each state of it on the way, the last one included.
pub async fn until_ended(
    session: &Session<'_>,
    watched: &Watched<'_>,
    patience: Duration,
    mut look: impl AsyncFnMut(&Value, &Progress) -> Result<(), Failure>,
) -> Result<Value, Failure> {
    let Watched { noun, resource, id, status, is_terminal } = *watched;
    let progress = Progress::new();
    let since = Instant::now();
    let mut seen_at = since;
    let mut pause = FIRST_PAUSE;
    let mut now = String::new();
    loop {
        let seen = async {
            let row = session.client.get(&[resource, id], &[]).await?;
            look(&row, &progress).await.map(|()| row)
        };
        match seen.await {
            Ok(row) => {
                seen_at = Instant::now();
                now = row[status].as_str().unwrap_or_default().to_owned();
                if is_terminal(&now) {
                    return Ok(row);
                }
            }
            Err(failure) if is_passing(&failure) && seen_at.elapsed() < ABSENCE => {}
            Err(failure) => return Err(failure),
        }
        let waited = since.elapsed();
        let Some(left) = patience.checked_sub(waited) else {
            let message = format!("the {noun} is {now} after {} s; it goes on", patience.as_secs());
            return Err(
                Failure::new(Exit::Failed, message).hint(format!("`core314 {noun} show {id}` shows what it does"))
            );
        };
        progress.say(&format!("{noun} {id}: {now}, {} s", waited.as_secs()));
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// Whether the server may answer the same question soon: it restarts, or has too much to do.
fn is_passing(failure: &Failure) -> bool {
    failure.exit == Exit::Unreachable || matches!(failure.problem["status"].as_u64(), Some(429 | 503))
}
