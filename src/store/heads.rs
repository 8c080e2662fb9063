//! The ends of the hash chains, in memory, and how rows are appended to them.
//!
//! Whoever commits takes the ends that it needs *out* of the memory and puts the new ones back after COMMIT has
//! succeeded. So an end that is in memory is a committed one: when a commit fails, is abandoned or has an unknown
//! outcome, its ends are simply gone and the next commit reads them from `chain_heads`. Two lanes that append to one
//! chain at once cannot fork it either: the row in `chain_heads` is moved from the number that was read, or the whole
//! transaction is given up ([`Failure::Stale`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use core314_domain::chain::{Content, Hash, Head, merkle_root};
use core314_domain::ids::{RowId, uuid_ms};
use serde_json::json;
use uuid::Uuid;

use super::cell::{Cell, Fields, Rows};
use super::connection::{Bulk, Connection};
use super::failure::Failure;
use super::json;
use super::rows::Place;

/// The append-only tables that have chains. The order is that of the leaves in a checkpoint's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Chain {
    Log,
    Audit,
}

impl Chain {
    pub const ALL: [Self; 2] = [Self::Log, Self::Audit];

    /// The word in tables: the contract's name of the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "execution_log",
            Self::Audit => "decision_audit_log",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|chain| chain.as_str() == word)
    }
}

/// A chain of one partition.
pub(super) type Key = (Chain, u16);

/// The end of a chain, and the id of its last row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tip {
    pub head: Head,
    pub last_id: Uuid,
}

impl Tip {
    const EMPTY: Self = Self { head: Head::EMPTY, last_id: Uuid::nil() };
}

/// The committed ends that are known.
#[derive(Debug, Default)]
pub(super) struct Heads {
    tips: Mutex<HashMap<Key, Tip>>,
    /// The id of the last checkpoint, so that checkpoints too are in the order of their commits.
    checkpoint: Mutex<Option<Uuid>>,
}

const EVERY_HEAD: &str = "SELECT chain, partition, seq, hash, last_id FROM chain_heads";
pub(super) const HEADS: Bulk = Bulk {
    before: "WITH u (chain, partition) AS (",
    after: ") SELECT h.chain, h.partition, h.seq, h.hash, h.last_id FROM u CROSS JOIN chain_heads h \
            WHERE h.chain = u.chain AND h.partition = u.partition",
};
/// Held until the commit, so that whoever reads an end is the next to move it.
pub(super) const HEADS_HELD: Bulk = Bulk {
    before: "WITH u (chain, partition) AS (",
    after: ") SELECT h.chain, h.partition, h.seq, h.hash, h.last_id FROM u CROSS JOIN chain_heads h \
            WHERE h.chain = u.chain AND h.partition = u.partition ORDER BY h.chain, h.partition FOR UPDATE OF h",
};
const LAST_CHECKPOINT: &str = "SELECT id FROM log_checkpoints ORDER BY id DESC LIMIT 1";

const NEW_HEADS: Bulk = Bulk {
    before: "INSERT INTO chain_heads (chain, partition, seq, hash, last_id) ",
    after: " ON CONFLICT (chain, partition) DO NOTHING RETURNING partition",
};
pub(super) const MOVED_HEADS: Bulk = Bulk {
    before: "WITH u (chain, partition, seq, hash, last_id, old_seq) AS (",
    after: ") UPDATE chain_heads SET seq = u.seq, hash = u.hash, last_id = u.last_id FROM u \
            WHERE chain_heads.chain = u.chain AND chain_heads.partition = u.partition AND chain_heads.seq = u.old_seq \
            RETURNING chain_heads.partition",
};
const CHECKPOINT: Bulk = Bulk {
    before: "INSERT INTO log_checkpoints (id, merkle_root, row_count, heads, first_id, last_id, created_at_ms) ",
    after: "",
};

impl Heads {
    /// Takes the ends of these chains out, to append to them. Where those in memory proved wrong, `fresh` has all of them
    /// read.
    pub async fn take(
        &self,
        keys: &BTreeSet<Key>,
        fresh: bool,
        connection: &mut Connection,
    ) -> Result<Appender, Failure> {
        let mut taken = BTreeMap::new();
        {
            let mut tips = self.tips();
            taken.extend(keys.iter().filter_map(|key| Some((*key, tips.remove(key)?))));
            if fresh {
                taken.clear();
            }
        }
        let mut missing = Rows::new(2);
        for key in keys.iter().filter(|key| !taken.contains_key(key)) {
            missing.push([key.0.as_str().into(), key.1.into()]);
        }
        // Only who has the leases already may hold ends: the others get both by their last statement, leases first, and would wait
        // in a circle. An end that moves meanwhile is found out there.
        let ends = if fresh && connection.is_postgres() { HEADS_HELD } else { HEADS };
        for row in connection.bulk(ends, &missing).await? {
            let (key, tip) = end(row.fields())?;
            taken.insert(key, tip);
        }
        for key in keys {
            taken.entry(*key).or_insert(Tip::EMPTY);
        }
        let known = if fresh { None } else { *self.checkpoint.lock().expect("nobody panics while holding it") };
        let last_checkpoint = match known {
            Some(id) => id,
            None => match connection.fetch(LAST_CHECKPOINT, &[]).await?.first() {
                Some(row) => row.fields().uuid()?,
                None => Uuid::nil(),
            },
        };
        Ok(Appender { tips: taken, links: BTreeMap::new(), last_checkpoint })
    }

    /// Forgets what is known, because another node may have written in the meantime.
    pub fn forget(&self) {
        self.tips().clear();
        *self.checkpoint.lock().expect("nobody panics while holding it") = None;
    }

    /// Puts the ends back as a successful commit left them.
    pub fn put_back(&self, appender: Appender) {
        self.tips().extend(appender.tips);
    }

    /// An id behind every checkpoint so far.
    fn next_checkpoint(&self, stored: Uuid, at_ms: i64) -> Uuid {
        let mut last = self.checkpoint.lock().expect("nobody panics while holding it");
        let id = id_after(last.unwrap_or(stored).max(stored), at_ms, rand::random());
        *last = Some(id);
        id
    }

    fn tips(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Tip>> {
        self.tips.lock().expect("nobody panics while holding the map")
    }
}

/// The ends of all chains as they are stored.
pub(super) async fn stored(connection: &mut Connection) -> Result<BTreeMap<Key, Tip>, Failure> {
    let rows = connection.fetch(EVERY_HEAD, &[]).await?;
    rows.iter().map(|row| end(row.fields())).collect()
}

fn end(mut fields: Fields<'_>) -> Result<(Key, Tip), Failure> {
    let word = fields.text()?;
    let chain =
        Chain::from_word(&word).ok_or_else(|| Failure::Corrupt(format!("'{word}' is not the name of a chain")))?;
    let key = (chain, fields.small()?);
    let head = Head { seq: fields.int()?, hash: fields.hash()? };
    Ok((key, Tip { head, last_id: fields.uuid()? }))
}

/// Appends the rows of one transaction.
#[derive(Debug)]
pub(super) struct Appender {
    tips: BTreeMap<Key, Tip>,
    /// What was appended to each chain.
    links: BTreeMap<Key, Link>,
    last_checkpoint: Uuid,
}

#[derive(Debug)]
struct Link {
    first_id: Uuid,
    hashes: Vec<Hash>,
}

impl Appender {
    /// Gives the next row of a chain its place and its hash. `row` makes the row from its place.
    pub fn append<R>(
        &mut self,
        (chain, partition): Key,
        at_ms: i64,
        row: impl FnOnce(Place) -> R,
        content: impl FnOnce(&R) -> Content,
    ) -> (R, Hash) {
        let tip = self.tips.get_mut(&(chain, partition)).expect("the ends of all chains of the batch were taken");
        let id = id_after(tip.last_id, at_ms, rand::random());
        let row = row(Place { id, partition, seq: tip.head.seq + 1 });
        let hash = tip.head.append(content(&row)).hash;
        tip.last_id = id;
        let link = self.links.entry((chain, partition)).or_insert(Link { first_id: id, hashes: Vec::new() });
        link.hashes.push(hash);
        (row, hash)
    }

    /// What moves the stored ends from where they are thought to be: each of them, or the transaction is given up.
    pub fn moves(&self) -> [(Bulk, Rows<'static>); 2] {
        let (mut new, mut moved) = (Rows::new(5), Rows::new(6));
        for (key, link) in &self.links {
            let tip = &self.tips[key];
            let old_seq = tip.head.seq - link.hashes.len() as i64;
            let row: [Cell<'static>; 5] =
                [key.0.as_str().into(), key.1.into(), tip.head.seq.into(), tip.head.hash.into(), tip.last_id.into()];
            if old_seq == 0 {
                new.push(row);
            } else {
                let [chain, partition, seq, hash, last_id] = row;
                moved.push([chain, partition, seq, hash, last_id, old_seq.into()]);
            }
        }
        [(NEW_HEADS, new), (MOVED_HEADS, moved)]
    }

    /// The checkpoint of what was appended.
    pub fn checkpoints(&self, heads: &Heads, at_ms: i64) -> (Bulk, Rows<'static>) {
        let mut checkpoint = Rows::new(7);
        if !self.links.is_empty() {
            checkpoint.push(self.checkpoint(heads, at_ms));
        }
        (CHECKPOINT, checkpoint)
    }

    fn checkpoint(&self, heads: &Heads, at_ms: i64) -> [Cell<'static>; 7] {
        let ranges = |chain: Chain| -> Vec<[i64; 3]> {
            let links = self.links.iter().filter(|((of, _), _)| *of == chain);
            let range = |(key, link): (&Key, &Link)| {
                let last = self.tips[key].head.seq;
                [key.1.into(), last - link.hashes.len() as i64 + 1, last]
            };
            links.map(range).collect()
        };
        let of_each: serde_json::Map<_, _> = Chain::ALL
            .into_iter()
            .map(|chain| (chain.as_str().to_owned(), json!(ranges(chain))))
            .filter(|(_, ranges)| ranges.as_array().is_some_and(|r| !r.is_empty()))
            .collect();
        let leaves: Vec<Hash> = self.links.values().flat_map(|link| link.hashes.iter().copied()).collect();
        let first = self.links.values().map(|link| link.first_id).min().expect("something was appended");
        let last = self.links.keys().map(|key| self.tips[key].last_id).max().expect("something was appended");
        [
            heads.next_checkpoint(self.last_checkpoint, at_ms).into(),
            merkle_root(&leaves).into(),
            (leaves.len() as i64).into(),
            Cell::Json(Some(json::text_of(&of_each.into()).into())),
            first.into(),
            last.into(),
            at_ms.into(),
        ]
    }
}

/// An id that is greater than the last one, of this millisecond or of the last one's, whichever is later. Ids so have
/// the order of their chain, though the clock may go back; the steps between them are random, so that an id does not
/// tell how many others there are.
fn id_after(last: Uuid, at_ms: i64, random: u128) -> Uuid {
    let fresh = RowId::new(at_ms.max(uuid_ms(last)), random).0;
    if fresh > last {
        return fresh;
    }
    let next = Uuid::from_u128(last.as_u128() + 1 + (random & 0xffff_ffff));
    // When the low 62 bits run over into the variant, the next millisecond begins early.
    if next.get_variant() == uuid::Variant::RFC4122 { next } else { RowId::new(uuid_ms(last) + 1, random).0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_while_the_clock_stands_still_or_goes_back() {
        let mut last = Uuid::nil();
        for n in 0..10_000_i64 {
            let id = id_after(last, 1_700_000_000_000 - n / 100, u128::MAX - n as u128 * 0x1234_5678_9abc_def1);
            assert!(id > last, "{n}: {id} after {last}");
            assert_eq!(id.get_version_num(), 7);
            last = id;
        }
    }

    #[test]
    fn a_millisecond_that_is_full_gives_way_to_the_next() {
        let full = RowId::new(1_700_000_000_000, u128::MAX).0;
        let next = id_after(full, 1_700_000_000_000, 7);
        assert!(next > full);
        assert_eq!(uuid_ms(next), 1_700_000_000_001);
    }
}
