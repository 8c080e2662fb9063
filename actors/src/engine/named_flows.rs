//! Flows that a document names and that are not there yet, or not in the version that it wants.

use core314_domain::document::FlowDocument;
use core314_domain::document::warnings::{NamedFlow, named_flows};
use core314_domain::ids::{FlowId, TenantId};
use core314_domain::plan::Problem;

use super::Engine;
use crate::ports::{Scope, StoreError};

impl Engine {
    /// What to tell whoever saved such a document. `id` is absent for a flow that is new. A flow may name itself.
    pub(super) async fn missing_flows(
        &self,
        tenant: TenantId,
        id: Option<FlowId>,
        document: &FlowDocument,
    ) -> Result<Vec<Problem>, StoreError> {
        let catalog = &self.inner.runtime.catalog;
        let mut found = Vec::new();
        for NamedFlow { pointer, flow, version } in named_flows(document) {
            // A name never looks like an id.
            let named = flow.parse::<FlowId>().ok();
            if flow == document.flow_name || (named.is_some() && named == id) {
                continue;
            }
            let stored = match named {
                Some(named) => catalog.flow(Scope::Tenant(tenant), named).await?,
                None => catalog.flow_by_name(tenant, flow.clone()).await?,
            };
            let Some(stored) = stored else {
                found.push(Problem::new(pointer, format!("there is no flow '{flow}' yet")));
                continue;
            };
            if let Some(version) = version.filter(|version| *version > stored.version) {
                let newest = stored.version;
                let pointer = pointer.rsplit_once('/').map_or("", |(config, _)| config);
                let message = format!("flow '{flow}' has no version {version} yet: its newest is {newest}");
                found.push(Problem::new(format!("{pointer}/version"), message));
            }
        }
        Ok(found)
    }
}
