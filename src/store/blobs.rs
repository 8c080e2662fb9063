//! Large JSON of the log, kept once and beside it.
//!
//! A result or payload whose text is longer than the store's limit goes into `blobs`; the log's row says
//! `{"$blob": ID, "bytes": N, "sha256": HEX}` in its place, and that is what its hash covers: a blob that was altered is
//! told from the one that was logged. The id follows from run and content, so that the same text in a run, such as the
//! payload of a step that is retried, is stored once, and a write that is tried again changes nothing.
//!
//! Invariants:
//! - What begins like a reference in the log is one: a value of a step that would look like it is put aside, too.
//! - A blob is written with the first row that refers to it, and lives for as long as the log has rows of its run.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use core314_actors::ports::store::RunWrite;
use core314_actors::ports::{BoxFuture, Scope, StoreError};
use core314_domain::Json;
use core314_domain::hex::hex;
use core314_domain::ids::{RowId, RunId, StepNo};
use core314_domain::log::LogEntry;
use core314_domain::run::Kept;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::SqlStore;
use super::cell::{Cell, Rows, parse};
use super::connection::Bulk;
use super::failure::Failure;
use super::json::text_of;

pub(super) const BLOBS: Bulk = Bulk {
    before: "INSERT INTO blobs (id, tenant_id, run_id, content, created_at_ms) ",
    after: " ON CONFLICT (id) DO NOTHING",
};
/// How many columns a new blob has.
pub(super) const WIDTH: usize = 5;
/// The last result of each of a run's steps that are asked for.
pub(super) const RESULTS: Bulk = Bulk {
    before: "WITH u (run_id, step_no) AS (",
    after: ") SELECT l.step_no, l.result FROM u CROSS JOIN log l WHERE l.run_id = u.run_id AND l.step_no = u.step_no \
            AND NOT EXISTS (SELECT 1 FROM log m WHERE m.run_id = l.run_id AND m.step_no = l.step_no \
            AND m.attempt > l.attempt)",
};
/// What a run took over from another, for steps that have no attempts of their own.
pub(super) const TAKEN_OVER: Bulk = Bulk {
    before: "WITH u (run_id, step_no) AS (",
    after: ") SELECT t.step_no, t.result FROM u CROSS JOIN reused_results t WHERE t.run_id = u.run_id AND t.step_no = u.step_no",
};
/// Blobs of a run, by their ids.
pub(super) const OF_RUN: Bulk = Bulk {
    before: "WITH u (id, run_id) AS (",
    after: ") SELECT b.id, b.content FROM u CROSS JOIN blobs b WHERE b.id = u.id AND b.run_id = u.run_id",
};
const PAGE: &str = "SELECT id FROM blobs WHERE id > $1 ORDER BY id LIMIT $2";
const DROP: &str = "DELETE FROM blobs WHERE id > $1 AND id <= $2 \
    AND NOT EXISTS (SELECT 1 FROM log l WHERE l.run_id = blobs.run_id) RETURNING id";

/// The key of a reference.
const KEY: &str = "$blob";

/// What stands in the log in place of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub id: Uuid,
    pub bytes: usize,
    digest: String,
}

impl Reference {
    /// The reference that a value is, if it is one.
    pub fn of(value: &Value) -> Option<Self> {
        let members = value.as_object().filter(|members| members.len() == 3)?;
        Some(Self {
            id: members.get(KEY)?.as_str()?.parse().ok()?,
            bytes: usize::try_from(members.get("bytes")?.as_u64()?).ok()?,
            digest: members.get("sha256")?.as_str()?.to_owned(),
        })
    }

    fn to(run: RunId, text: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(run.0.as_bytes());
        hash.update(text.as_bytes());
        // The time of the run, so that its blobs stand together, and what the content makes of the rest.
        let mut bytes: [u8; 16] = hash.finalize()[..16].try_into().expect("a digest has 32 bytes");
        bytes[..6].copy_from_slice(&run.0.as_bytes()[..6]);
        let id = uuid::Builder::from_bytes(bytes)
            .with_version(uuid::Version::SortRand)
            .with_variant(uuid::Variant::RFC4122)
            .into_uuid();
        Self { id, bytes: text.len(), digest: hex(&Sha256::digest(text.as_bytes())) }
    }

    fn text(&self) -> String {
        text_of(&json!({KEY: self.id, "bytes": self.bytes, "sha256": self.digest}))
    }

    /// The value, out of the blob's bytes.
    pub fn read(&self, content: &[u8]) -> Result<Value, Failure> {
        let text =
            std::str::from_utf8(content).ok().filter(|text| hex(&Sha256::digest(text.as_bytes())) == self.digest);
        parse(text.ok_or_else(|| Failure::Corrupt(format!("blob {} is not what the log says of it", self.id)))?)
    }
}

/// The two large columns of a log row.
pub(super) struct Texts {
    pub payload: String,
    pub result: Option<String>,
}

/// What of a batch goes into blobs.
pub(super) struct Parking {
    inline_bytes: usize,
    rows: Rows<'static>,
    /// Those that the batch has already.
    known: HashSet<Uuid>,
}

impl Parking {
    pub fn new(inline_bytes: usize) -> Self {
        Self { inline_bytes, rows: Rows::new(WIDTH), known: HashSet::new() }
    }

    /// The texts of a row, with large ones put aside.
    pub fn texts(&mut self, run: &RunWrite, entry: &LogEntry) -> Texts {
        Texts {
            payload: self.text(run, entry.completed_at_ms, &entry.payload),
            result: entry.result.as_ref().map(|result| self.text(run, entry.completed_at_ms, result)),
        }
    }

    fn text(&mut self, run: &RunWrite, at_ms: i64, value: &Value) -> String {
        let text = text_of(value);
        if text.len() <= self.inline_bytes && value.get(KEY).is_none() {
            return text;
        }
        let reference = Reference::to(run.id, &text);
        if self.known.insert(reference.id) {
            let content = Cell::Bytes(Some(text.into_bytes().into()));
            self.rows.push([reference.id.into(), run.tenant.0.into(), run.id.0.into(), content, at_ms.into()]);
        }
        reference.text()
    }

    /// The rows to write.
    pub fn rows(self) -> (Bulk, Rows<'static>) {
        (BLOBS, self.rows)
    }
}

/// A result as whoever loads its run gets it.
pub(super) fn kept(result: Value) -> Kept {
    match Reference::of(&result) {
        Some(reference) => Kept::Away { bytes: reference.bytes },
        None => Kept::Here(Arc::new(result)),
    }
}

/// The results of steps of a run, wherever they are kept.
pub(super) async fn results(store: &SqlStore, run: RunId, steps: &[StepNo]) -> Result<Vec<(StepNo, Json)>, StoreError> {
    let mut connection = store.read(Scope::Platform).await?;
    let mut rows = Rows::new(2);
    steps.iter().for_each(|step| rows.push([run.0.into(), i64::from(*step).into()]));
    let mut found = Vec::with_capacity(steps.len());
    let mut away = Rows::new(2);
    for row in connection.bulk(RESULTS, &rows).await? {
        let mut fields = row.fields();
        let (step, value): (StepNo, Value) = (fields.small()?, fields.maybe_json()?.unwrap_or_default());
        if let Some(reference) = Reference::of(&value) {
            away.push([reference.id.into(), run.0.into()]);
        }
        found.push((step, value));
    }
    if found.len() < steps.len() {
        let mut rows = Rows::new(2);
        let is_missing = |step: &&StepNo| !found.iter().any(|(other, _)| other == *step);
        steps.iter().filter(is_missing).for_each(|step| rows.push([run.0.into(), i64::from(*step).into()]));
        for row in connection.bulk(TAKEN_OVER, &rows).await? {
            let mut fields = row.fields();
            found.push((fields.small()?, fields.maybe_json()?.unwrap_or_default()));
        }
    }
    let mut contents = HashMap::new();
    for row in connection.bulk(OF_RUN, &away).await? {
        let mut fields = row.fields();
        contents.insert(fields.uuid()?, fields.bytes()?);
    }
    if found.len() < steps.len() {
        return Err(StoreError::Corrupt(format!("the log lacks results of run {run}")));
    }
    let whole = found.into_iter().map(|(step, value)| {
        let Some(reference) = Reference::of(&value) else { return Ok((step, Arc::new(value))) };
        let missing = || Failure::Corrupt(format!("blob {} of run {run} is missing", reference.id));
        let content = contents.get(&reference.id).ok_or_else(missing)?;
        Ok((step, Arc::new(reference.read(content)?)))
    });
    Ok(whole.collect::<Result<Vec<_>, Failure>>()?)
}

/// Drops blobs of a stretch of them that nothing refers to any more. Gives the end of the stretch, where there was one.
pub(super) fn collect(
    store: &SqlStore,
    after: Option<RowId>,
    limit: usize,
) -> BoxFuture<'_, Result<Option<RowId>, StoreError>> {
    Box::pin(async move {
        let after = after.map_or(Uuid::nil(), |id| id.0);
        let page = {
            let mut connection = store.read(Scope::Platform).await?;
            connection.fetch(PAGE, &[after.into(), (limit as i64).into()]).await?
        };
        let Some(last) = page.last() else { return Ok(None) };
        let until = last.fields().uuid()?;
        let mut connection = store.begin().await?;
        let dropped = connection.fetch(DROP, &[after.into(), until.into()]).await?.len();
        connection.commit().await?;
        connection.give_back();
        if dropped > 0 {
            tracing::info!(dropped, "blobs that nothing refers to any more were dropped");
        }
        Ok(Some(RowId(until)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_as_it_was_written_and_finds_an_altered_blob() {
        let run = RunId::new(1_700_000_000_000, 7 << 40);
        let text = text_of(&json!({"a": "x".repeat(100)}));
        let reference = Reference::to(run, &text);
        assert_eq!(reference, Reference::to(run, &text), "the same content of the same run is the same blob");
        assert_ne!(reference.id, Reference::to(RunId::new(1_700_000_000_000, 8 << 40), &text).id);
        assert_eq!(reference.id.get_version_num(), 7);
        assert_eq!(reference.id.as_bytes()[..6], run.0.as_bytes()[..6]);
        assert_eq!(Reference::of(&serde_json::from_str(&reference.text()).unwrap()).as_ref(), Some(&reference));
        assert_eq!(reference.read(text.as_bytes()).unwrap()["a"], "x".repeat(100));
        assert!(matches!(reference.read(b"{\"a\":\"y\"}"), Err(Failure::Corrupt(_))));
        assert_eq!(Reference::of(&json!({"$blob": "no id", "bytes": 1, "sha256": ""})), None);
    }
}
