//! The walk through one append-only table.

use core314_domain::chain::{Content, Hash, Head};

use super::Proof;
use crate::store::cell::{Cell, Row};
use crate::store::failure::Failure;
use crate::store::heads::Chain;
use crate::store::rows::{AuditRow, LogRow, Place};
use uuid::Uuid;

/// Rows carry payloads, so a page is small.
const PAGE: i64 = 256;

/// As [`LogRow::read`] reads it. JSON comes as text, which is hashed once it is written as the store writes it.
const LOG: &str = "SELECT id, partition, seq, row_hash, tenant_id, run_id, step_no, attempt, action_type, \
    action_target, CAST(payload AS text), execution_status, is_final, success, CAST(result AS text), error, \
    error_code, CAST(error_details AS text), started_at_ms, completed_at_ms, duration_ms, queue_wait_ms, http_method, \
    http_endpoint, http_status_code, http_time_ms, http_request_bytes, http_response_bytes \
    FROM log WHERE id > $1 ORDER BY id LIMIT $2";
/// As [`AuditRow::read`] reads it.
const AUDIT: &str = "SELECT id, partition, seq, row_hash, tenant_id, user_id, organization_id, event_type, actor, \
    subject_type, subject_id, decision_event_id, summary, CAST(details AS text), at_ms \
    FROM audit WHERE id > $1 ORDER BY id LIMIT $2";

/// What the walk needs of a row.
struct Link {
    place: Place,
    hash: Hash,
    content: Content,
}

/// Follows every partition's chain of this table.
pub(super) async fn walk(proof: &mut Proof<'_>, chain: Chain) -> Result<(), Failure> {
    let sql = match chain {
        Chain::Log => LOG,
        Chain::Audit => AUDIT,
    };
    let mut after = Uuid::nil();
    loop {
        let cells: [Cell<'_>; 2] = [after.into(), PAGE.into()];
        let rows = proof.connection.fetch(sql, &cells).await?;
        for row in &rows {
            after = row.fields().uuid()?;
            match link(chain, row) {
                Ok(link) => check(proof, chain, link),
                // A value that cannot even be read: the walk goes on behind it, and finds the gap too.
                Err(Failure::Corrupt(message)) => proof.find((chain, 0), 0, Some(after), format!("altered: {message}")),
                Err(failure) => return Err(failure),
            }
        }
        if rows.len() < PAGE as usize {
            return Ok(());
        }
    }
}

fn link(chain: Chain, row: &Row) -> Result<Link, Failure> {
    let mut fields = row.fields();
    Ok(match chain {
        Chain::Log => {
            let (row, hash) = LogRow::read(&mut fields)?;
            Link { place: row.place, hash, content: row.content() }
        }
        Chain::Audit => {
            let (row, hash) = AuditRow::read(&mut fields)?;
            Link { place: row.place, hash, content: row.content() }
        }
    })
}

fn check(proof: &mut Proof<'_>, chain: Chain, link: Link) {
    proof.report.rows += 1;
    let Link { place: Place { id, partition, seq }, hash, content } = link;
    let key = (chain, partition);
    let end = *proof.ends.entry(key).or_insert(Head::EMPTY);
    if seq <= end.seq {
        let message = format!("inserted: the chain has come to row {} already", end.seq);
        return proof.find(key, seq, Some(id), message);
    }
    if seq > end.seq + 1 {
        let message = format!("removed: rows {} to {} are missing before this one", end.seq + 1, seq - 1);
        proof.find(key, end.seq + 1, Some(id), message);
    } else if content.after(&end.hash) != hash {
        let message = "altered: this row, or the one before it, is not what was written".to_owned();
        proof.find(key, seq, Some(id), message);
    }
    proof.ends.insert(key, Head { seq, hash });
}
