//! Service keys of the store in memory.

use super::memory_store::Rows;
use crate::ports::catalog::ServiceKey;
use crate::ports::store::{KeyWrite, Outcome, RejectCode};

impl Rows {
    pub(super) fn service_key(&mut self, write: KeyWrite) -> Outcome {
        let live =
            |key: &&mut (ServiceKey, [u8; 32]), tenant| key.0.owner.tenant == tenant && key.0.revoked_at_ms.is_none();
        match write {
            KeyWrite::Create { key, key_hash, limit } => {
                let count = self.service_keys.values_mut().filter(|other| live(other, key.owner.tenant)).count();
                if count >= limit {
                    let message = "the tenant has too many keys".to_owned();
                    return Outcome::Rejected { code: RejectCode::LimitReached, message };
                }
                self.service_keys.insert(key.id, (key, key_hash));
            }
            KeyWrite::Rename { tenant, id, name, .. } => {
                let Some(key) = self.service_keys.get_mut(&id).filter(|key| live(key, tenant)) else {
                    return Outcome::Conflict;
                };
                key.0.name = name;
            }
            KeyWrite::Revoke { tenant, id, at_ms } => {
                let Some(key) = self.service_keys.get_mut(&id).filter(|key| live(key, tenant)) else {
                    return Outcome::Conflict;
                };
                key.0.revoked_at_ms = Some(at_ms);
            }
        }
        Outcome::Committed { log_seq: None }
    }
}
