//! Committing a batch of writes: one transaction, one answer for each write.
//!
//! ```text
//! begin ─► leases ─► idempotency keys ─► new runs ─► versions of known runs ─► definitions
//!              │             │                              │                       │
//!              ▼             ▼                              ▼                       ▼
//!           Fenced       Duplicate                       Conflict          Conflict, Rejected, Stale
//!                                   the survivors ─► log, audit, heads, checkpoint, the rest ─► commit
//! ```
//!
//! On PostgreSQL the first try takes leases and versions for granted, as it does the ends of chains in memory: they are looked at
//! in the statement that writes the rows, which for a batch of runs is mostly the only one, begin and commit included. Where
//! one of them is otherwise that statement fails, and the second try looks first, as drawn above.
//!
//! A row that the database refuses aborts the whole transaction on PostgreSQL. The batch is then halved until the write
//! that brought it stands alone and is rejected; all others commit. Halves are tried in order, so that writes keep theirs.
//!
//! How someone could get this wrong: to write a survivor's rows before everybody's fate is known; to remember the new
//! end of a chain before COMMIT has answered; to use a connection again that may still be inside a transaction.

pub(super) mod batch;
mod check;
pub(super) mod connections;
pub(super) mod definitions;
pub(super) mod effects;
pub(super) mod escalations;
pub(super) mod events;
pub(super) mod gather;
mod history;
mod keys;
pub(super) mod limits;
pub(super) mod people;
mod reuse;
pub(super) mod rollouts;
pub(super) mod runs;
pub(super) mod schedules;
mod settlements;
pub(super) mod signals;
pub(super) mod statistics;
mod transitions;
pub(super) mod webhooks;

use core314_actors::ports::StoreError;
use core314_actors::ports::store::{Outcome, RejectCode, Write};

use super::SqlStore;
use super::failure::{Failure, Violation};
use batch::Batch;

/// How often a transaction is tried again that took for granted what is not so. The second time it looks, and holds the ends
/// of chains that it reads; only a chain's very first row may still come from somebody else then.
const RETRIES: usize = 3;

/// Commits the batch, as [`core314_actors::ports::store::Store::commit`] promises.
pub(super) async fn commit(store: &SqlStore, writes: Vec<Write>) -> Result<Vec<Outcome>, StoreError> {
    let mut outcomes = check::refusals(&writes);
    let sound: Vec<usize> = (0..writes.len()).filter(|i| outcomes[*i].is_none()).collect();
    let mut parts = vec![sound];
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        let of_part: Vec<&Write> = part.iter().map(|i| &writes[*i]).collect();
        match transact(store, &of_part).await {
            Ok(of_part) => part.iter().zip(of_part).for_each(|(i, outcome)| outcomes[*i] = Some(outcome)),
            Err(Failure::Violation(violation)) if part.len() == 1 => outcomes[part[0]] = Some(refused(&violation)),
            Err(Failure::Violation(_)) => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.push(second.to_vec());
                parts.push(first.to_vec());
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(outcomes.into_iter().map(|outcome| outcome.expect("every write is decided by now")).collect())
}

/// Runs one transaction, again when another writer was there first.
async fn transact(store: &SqlStore, writes: &[&Write]) -> Result<Vec<Outcome>, Failure> {
    for retry in 0..RETRIES {
        match attempt(store, writes, retry > 0).await {
            Err(Failure::Stale) => {}
            settled => return settled,
        }
    }
    attempt(store, writes, true).await
}

async fn attempt(store: &SqlStore, writes: &[&Write], fresh: bool) -> Result<Vec<Outcome>, Failure> {
    let mut connection = store.writers()?.lend().await?;
    connection.begin_write_late().await?;
    let done = Batch::new(writes, &mut connection, store.proof()).run(store.heads(), fresh, store.inline_bytes).await;
    let (outcomes, appender) = match done {
        Ok(done) => done,
        // The transaction failed as a whole and its connection is sound.
        Err(failure @ (Failure::Violation(_) | Failure::Stale)) => {
            connection.rollback().await?;
            connection.give_back();
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    };
    connection.commit().await?;
    store.committed(writes.len());
    store.heads().put_back(appender);
    connection.give_back();
    Ok(outcomes)
}

/// What a write gets whose row was refused.
fn refused(violation: &Violation) -> Outcome {
    const EXISTS: [&str; 6] = [
        "runs_pkey",
        "runs.id",
        "flows_pkey",
        "flows.id",
        "flow_versions_pkey",
        "flow_versions.flow_id, flow_versions.flow_version",
    ];
    const NAMES: [&str; 14] = [
        "flows_tenant_id_flow_name_key",
        "flows.tenant_id, flows.flow_name",
        "webhooks_tenant_id_name_key",
        "webhooks.tenant_id, webhooks.name",
        "connections_tenant_id_name_key",
        "connections.tenant_id, connections.name",
        "sealed_secrets_tenant_id_name_key",
        "sealed_secrets.tenant_id, sealed_secrets.name",
        "members_tenant_id_user_id_key",
        "members.tenant_id, members.user_id",
        "members_tenant_id_email_key",
        "members.tenant_id, members.email",
        "contacts_tenant_id_user_id_kind_address_key",
        "contacts.tenant_id, contacts.user_id, contacts.kind, contacts.address",
    ];
    if violation.is_of(&EXISTS) {
        return Outcome::Conflict;
    }
    let code = if violation.is_of(&NAMES) { RejectCode::NameTaken } else { RejectCode::Constraint };
    Outcome::Rejected { code, message: violation.message.clone() }
}
