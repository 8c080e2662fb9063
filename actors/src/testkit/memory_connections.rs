//! Integrations and secrets of the store in memory.

use core314_domain::audit::AuditEntry;
use core314_domain::ids::{RowId, TenantId};

use super::memory_store::Rows;
use crate::ports::integration::{ConnectionWrite, Integration, KeptBreakers, TenantConnections};
use crate::ports::store::{Outcome, RejectCode};

/// What there is of a row before it is written.
struct Before {
    version: i64,
    is_name_taken: bool,
    count: usize,
}

impl Before {
    fn refuses(&self, version: i64, limit: usize) -> Option<Outcome> {
        let rejected = |code, message: &str| Some(Outcome::Rejected { code, message: message.to_owned() });
        if self.is_name_taken {
            return rejected(RejectCode::NameTaken, "the name is taken");
        }
        if self.version + 1 != version {
            return Some(Outcome::Conflict);
        }
        if version == 1 && self.count >= limit {
            return rejected(RejectCode::LimitReached, "there are too many");
        }
        None
    }
}

impl Rows {
    pub(super) fn connection(&mut self, write: ConnectionWrite) -> Outcome {
        let audit: AuditEntry = write.audit().clone();
        let refusal = match write {
            ConnectionWrite::Integration { integration, limit, .. } => {
                let tenant = integration.owner.tenant;
                let of_tenant = || self.integrations.values().filter(move |other| other.owner.tenant == tenant);
                let before = Before {
                    version: self.integrations.get(&integration.id).map_or(0, |found| found.version),
                    is_name_taken: of_tenant().any(|o| o.name == integration.name && o.id != integration.id),
                    count: of_tenant().count(),
                };
                let refusal = before.refuses(integration.version, limit);
                if refusal.is_none() {
                    self.integrations.insert(integration.id, integration);
                }
                refusal
            }
            ConnectionWrite::Secret { secret, limit, .. } => {
                let tenant = secret.owner.tenant;
                let of_tenant = || self.secrets.values().filter(move |other| other.owner.tenant == tenant);
                let before = Before {
                    version: self.secrets.get(&secret.id).map_or(0, |found| found.version),
                    is_name_taken: of_tenant().any(|o| o.name == secret.name && o.id != secret.id),
                    count: of_tenant().count(),
                };
                let refusal = before.refuses(secret.version, limit);
                if refusal.is_none() {
                    self.secrets.insert(secret.id, secret);
                }
                refusal
            }
            ConnectionWrite::RemoveIntegration { tenant, id, .. } => {
                let is_there = self.integrations.get(&id).is_some_and(|found| found.owner.tenant == tenant);
                self.integrations.retain(|other, _| *other != id || !is_there);
                (!is_there).then_some(Outcome::Conflict)
            }
            ConnectionWrite::Reseal { secrets, webhooks, .. } => {
                for new in secrets {
                    let found = self.secrets.get_mut(&new.id).filter(|found| found.sealed == new.before);
                    if let Some(found) = found {
                        (found.sealed, found.previous) = (new.after, new.previous);
                    }
                }
                for new in webhooks {
                    let found = self.webhooks.get_mut(&new.id).filter(|found| found.version == new.version);
                    found.into_iter().for_each(|found| found.secrets.clone_from(&new.secrets));
                }
                None
            }
            ConnectionWrite::Breakers { tenant, id, kept, .. } => {
                let is_there = self.integrations.get(&id).is_some_and(|found| found.owner.tenant == tenant);
                if is_there {
                    self.breakers.insert(id, kept);
                }
                (!is_there).then_some(Outcome::Conflict)
            }
            ConnectionWrite::RemoveSecret { tenant, id, .. } => {
                let is_there = self.secrets.get(&id).is_some_and(|found| found.owner.tenant == tenant);
                self.secrets.retain(|other, _| *other != id || !is_there);
                (!is_there).then_some(Outcome::Conflict)
            }
        };
        refusal.unwrap_or_else(|| {
            self.audit.push(audit);
            Outcome::Committed { log_seq: None }
        })
    }

    pub(super) fn integrations_after(&self, after: Option<RowId>, limit: usize) -> Vec<(Integration, KeptBreakers)> {
        let behind = self.integrations.values().filter(|found| after.is_none_or(|after| found.id > after));
        let kept = |id: &RowId| self.breakers.get(id).cloned().unwrap_or_default();
        behind.take(limit).map(|found| (found.clone(), kept(&found.id))).collect()
    }

    pub(super) fn connections_of(&self, tenant: TenantId) -> TenantConnections {
        TenantConnections {
            integrations: self.integrations.values().filter(|found| found.owner.tenant == tenant).cloned().collect(),
            secrets: self.secrets.values().filter(|found| found.owner.tenant == tenant).cloned().collect(),
        }
    }
}
