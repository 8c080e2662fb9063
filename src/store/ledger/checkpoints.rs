//! The walk through the checkpoints.

use std::collections::{BTreeMap, HashMap};

use core314_domain::chain::{Hash, merkle_root};
use serde_json::Value;
use uuid::Uuid;

use super::Proof;
use crate::store::cell::{Cell, Row};
use crate::store::failure::Failure;
use crate::store::heads::{Chain, Key};

/// Checkpoints looked at together: their rows' hashes are in memory at once.
const PAGE: i64 = 100;
const ROWS: i64 = 5_000;
const TABLE: &str = "log_checkpoints";

const CHECKPOINTS: &str = "SELECT id, merkle_root, row_count, heads, first_id, last_id FROM log_checkpoints \
    WHERE id > $1 ORDER BY id LIMIT $2";
const LOG_HASHES: &str = "SELECT id, partition, seq, row_hash FROM log WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3";
const AUDIT_HASHES: &str =
    "SELECT id, partition, seq, row_hash FROM audit WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3";

/// A checkpoint as stored.
struct Checkpoint {
    id: Uuid,
    root: Hash,
    row_count: i64,
    /// Each chain's first and last number in the batch, in the order of the leaves.
    ranges: Vec<(Key, i64, i64)>,
    first_id: Uuid,
    last_id: Uuid,
}

/// Recomputes every checkpoint. `ends` are the numbers at which the chains end.
pub(super) async fn walk(proof: &mut Proof<'_>, ends: BTreeMap<Key, i64>) -> Result<(), Failure> {
    let mut reached: BTreeMap<Key, i64> = BTreeMap::new();
    let mut after = Uuid::nil();
    loop {
        let cells: [Cell<'_>; 2] = [after.into(), PAGE.into()];
        let rows = proof.connection.fetch(CHECKPOINTS, &cells).await?;
        let mut page = Vec::with_capacity(rows.len());
        for row in &rows {
            after = row.fields().uuid()?;
            match checkpoint(row) {
                Ok(checkpoint) => page.push(checkpoint),
                Err(Failure::Corrupt(message)) => {
                    proof.find_in(TABLE, 0, 0, Some(after), format!("altered: {message}"));
                }
                Err(failure) => return Err(failure),
            }
        }
        let leaves = leaves(proof, &page).await?;
        for checkpoint in &page {
            check(proof, checkpoint, &leaves, &mut reached);
        }
        if rows.len() < PAGE as usize {
            break;
        }
    }
    for (key, end) in ends {
        let covered = reached.get(&key).copied().unwrap_or(0);
        if covered != end {
            let message = format!("removed: no checkpoint covers {} from row {} to {end}", key.0.as_str(), covered + 1);
            proof.find_in(TABLE, key.1, covered + 1, None, message);
        }
    }
    Ok(())
}

fn checkpoint(row: &Row) -> Result<Checkpoint, Failure> {
    let mut fields = row.fields();
    let (id, root, row_count) = (fields.uuid()?, fields.hash()?, fields.int()?);
    let ranges = ranges(&fields.json()?).ok_or_else(|| Failure::Corrupt("its heads cannot be read".to_owned()))?;
    Ok(Checkpoint { id, root, row_count, ranges, first_id: fields.uuid()?, last_id: fields.uuid()? })
}

fn ranges(heads: &Value) -> Option<Vec<(Key, i64, i64)>> {
    let mut ranges = Vec::new();
    for (word, list) in heads.as_object()? {
        let chain = Chain::from_word(word)?;
        for range in list.as_array()? {
            let [partition, first, last] = range.as_array()?.as_slice() else { return None };
            ranges.push(((chain, u16::try_from(partition.as_i64()?).ok()?), first.as_i64()?, last.as_i64()?));
        }
    }
    ranges.sort_unstable();
    Some(ranges)
}

/// The stored ids and hashes of rows, by their chain and number.
type Leaves = HashMap<(Key, i64), (Uuid, Hash)>;

/// The stored hashes of all rows that these checkpoints cover.
async fn leaves(proof: &mut Proof<'_>, page: &[Checkpoint]) -> Result<Leaves, Failure> {
    let mut found = Leaves::new();
    let mut wanted: BTreeMap<Key, (i64, i64)> = BTreeMap::new();
    for (key, first, last) in page.iter().flat_map(|checkpoint| &checkpoint.ranges) {
        let range = wanted.entry(*key).or_insert((*first, *last));
        *range = (range.0.min(*first), range.1.max(*last));
    }
    let (Some(first), Some(last)) = (page.iter().map(|c| c.first_id).min(), page.iter().map(|c| c.last_id).max())
    else {
        return Ok(found);
    };
    for (chain, sql) in [(Chain::Log, LOG_HASHES), (Chain::Audit, AUDIT_HASHES)] {
        let mut after = Uuid::from_u128(first.as_u128().saturating_sub(1));
        loop {
            let cells: [Cell<'_>; 3] = [after.into(), last.into(), ROWS.into()];
            let rows = proof.connection.fetch(sql, &cells).await?;
            for row in &rows {
                let mut fields = row.fields();
                after = fields.uuid()?;
                let (key, seq) = ((chain, fields.small()?), fields.int()?);
                let is_wanted = wanted.get(&key).is_some_and(|(first, last)| (*first..=*last).contains(&seq));
                // Of two rows with one number the first counts: the other was found to be inserted.
                if is_wanted && let Ok(hash) = fields.hash() {
                    found.entry((key, seq)).or_insert((after, hash));
                }
            }
            if rows.len() < ROWS as usize {
                break;
            }
        }
    }
    Ok(found)
}

fn check(proof: &mut Proof<'_>, checkpoint: &Checkpoint, leaves: &Leaves, reached: &mut BTreeMap<Key, i64>) {
    proof.report.checkpoints += 1;
    let mut rows = Vec::new();
    let mut is_whole = true;
    for (key, first, last) in &checkpoint.ranges {
        let before = reached.insert(*key, *last).unwrap_or(0);
        if *first != before + 1 {
            let message = format!("the checkpoint of {} before row {first} ended at row {before}", key.0.as_str());
            proof.find_in(TABLE, key.1, *first, Some(checkpoint.id), message);
        }
        for seq in *first..=*last {
            let Some(leaf) = leaves.get(&(*key, seq)) else {
                is_whole = false;
                break;
            };
            rows.push(*leaf);
        }
    }
    let hashes: Vec<Hash> = rows.iter().map(|(_, hash)| *hash).collect();
    let bounds = (rows.iter().map(|(id, _)| *id).min(), rows.iter().map(|(id, _)| *id).max());
    let is_right = is_whole
        && hashes.len() as i64 == checkpoint.row_count
        && merkle_root(&hashes) == checkpoint.root
        && bounds == (Some(checkpoint.first_id), Some(checkpoint.last_id));
    if !is_right {
        let (partition, seq) = checkpoint.ranges.first().map_or((0, 0), |(key, first, _)| (key.1, *first));
        let message = "altered: the checkpoint, or a row that it covers, is not what was written".to_owned();
        proof.find_in(TABLE, partition, seq, Some(checkpoint.id), message);
    }
}
