//! The hash chain that makes append-only tables tamper-evident.
//!
//! Each partition has a chain per table. A row's hash covers the hash before it and the row's own content, in which JSON
//! columns enter as digests of their canonical form; so a row changed, removed or slipped in breaks the chain from there
//! on. Each commit adds one checkpoint with a Merkle root (RFC 6962 hashing) over the rows of its batch, so that a row
//! can be proven from a checkpoint alone. SHA-256 throughout.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::json;

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// The hash before a chain's first row.
pub const GENESIS: Hash = [0; 32];

/// Collects a row's fields, in a fixed order, each with its length, so that no two rows read the same.
pub struct Content(Sha256);

impl Content {
    /// Starts the content of a row of this table. The name keeps a row of one table from passing for another's.
    pub fn of(table: &str) -> Self {
        Self(Sha256::new()).bytes(table.as_bytes())
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a text, or its absence.
    #[must_use]
    pub fn text(mut self, text: Option<&str>) -> Self {
        self.0.update([u8::from(text.is_some())]);
        self.bytes(text.unwrap_or_default().as_bytes())
    }

    /// Adds a number, or its absence.
    #[must_use]
    pub fn int(mut self, number: Option<i64>) -> Self {
        self.0.update([u8::from(number.is_some())]);
        self.bytes(&number.unwrap_or_default().to_be_bytes())
    }

    /// Adds a JSON column as the digest of its canonical form.
    #[must_use]
    pub fn json(self, value: Option<&Value>) -> Self {
        let digest = value.map_or(GENESIS, digest_of);
        self.bytes(&digest)
    }

    /// The row's hash, behind the row before it.
    pub fn after(self, previous: &Hash) -> Hash {
        Sha256::new().chain_update(previous).chain_update(self.0.finalize()).finalize().into()
    }
}

/// The digest of a JSON value's canonical form.
pub fn digest_of(value: &Value) -> Hash {
    let mut text = Vec::with_capacity(256);
    json::canonical(value, &mut text);
    Sha256::digest(&text).into()
}

/// The end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The number of the last row, from 1; 0 before the first.
    pub seq: i64,
    pub hash: Hash,
}

impl Head {
    /// Before the first row.
    pub const EMPTY: Self = Self { seq: 0, hash: GENESIS };

    /// Appends a row, and gives its number and hash.
    #[expect(clippy::return_self_not_must_use, reason = "appending is the point, the copy a convenience")]
    pub fn append(&mut self, content: Content) -> Self {
        *self = Self { seq: self.seq + 1, hash: content.after(&self.hash) };
        *self
    }
}

/// The Merkle root over row hashes, as RFC 6962 section 2.1 computes it.
pub fn merkle_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => Sha256::new().chain_update([0]).chain_update(leaf).finalize().into(),
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(split);
            let node = Sha256::new().chain_update([1]).chain_update(merkle_root(left));
            node.chain_update(merkle_root(right)).finalize().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(n: i64) -> Content {
        Content::of("t").int(Some(n)).text(Some("x")).json(Some(&json!({"n": n})))
    }

    #[test]
    fn a_changed_removed_or_inserted_row_breaks_the_chain() {
        let chain = |rows: &[i64]| {
            let mut head = Head::EMPTY;
            for n in rows {
                head.append(row(*n));
            }
            head.hash
        };
        let whole = chain(&[1, 2, 3]);
        assert_eq!(whole, chain(&[1, 2, 3]));
        for other in [&[1, 9, 3][..], &[1, 3], &[1, 2, 2, 3], &[2, 1, 3]] {
            assert_ne!(whole, chain(other));
        }
    }

    #[test]
    fn absent_and_empty_differ_and_fields_do_not_run_together() {
        let hash = |content: Content| content.after(&GENESIS);
        assert_ne!(hash(Content::of("t").text(None)), hash(Content::of("t").text(Some(""))));
        assert_ne!(
            hash(Content::of("t").text(Some("ab")).text(Some("c"))),
            hash(Content::of("t").text(Some("a")).text(Some("bc")))
        );
        assert_ne!(hash(Content::of("t").int(None)), hash(Content::of("t").int(Some(0))));
    }

    #[test]
    fn the_merkle_tree_is_that_of_rfc_6962() {
        assert_eq!(merkle_root(&[])[..4], [0xe3, 0xb0, 0xc4, 0x42], "the RFC gives SHA-256 of nothing");
        let (a, b, c) = ([1; 32], [2; 32], [3; 32]);
        let leaf = |h: &Hash| -> Hash { Sha256::new().chain_update([0]).chain_update(h).finalize().into() };
        let node = |l: &Hash, r: &Hash| -> Hash {
            Sha256::new().chain_update([1]).chain_update(l).chain_update(r).finalize().into()
        };
        assert_eq!(merkle_root(&[a, b, c]), node(&node(&leaf(&a), &leaf(&b)), &leaf(&c)));
    }
}
