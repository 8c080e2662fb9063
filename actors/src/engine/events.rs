//! Events that runs wait for: kept, with a note for each that waits, before anybody is answered.

use core314_domain::event;
use core314_domain::words::TriggerType;
use serde_json::Value;

use super::{Engine, unexpected};
use crate::failpoint;
use crate::ingress::{Target, Trigger, TriggerError};
use crate::ports::event::NewEvent;
use crate::ports::signal::SignalWrite;
use crate::ports::store::{Outcome, Write};

/// Nobody looks for an event any more that is about to be removed.
const MARGIN_MS: i64 = 60_000;

impl Engine {
    /// Keeps an event that runs may wait for, durably; whether it is one. An event that came before does nothing again.
    pub async fn keep_event(&self, trigger: &Trigger) -> Result<bool, TriggerError> {
        if trigger.trigger_type != TriggerType::Event || !matches!(trigger.target, Target::Matching) {
            return Ok(false);
        }
        let (runtime, tenant) = (&self.inner.runtime, trigger.owner.tenant);
        // Whoever triggers by hand may say anything; only what has a type, a source and an id is an event.
        let text = |name: &str| trigger.context.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(kind), Some(_), Some(_)) = (text("type"), text("source"), text("id")) else { return Ok(false) };
        if !runtime.plans.waits_for(runtime.catalog.as_ref(), tenant, kind).await? {
            return Ok(false);
        }
        self.inner.ingress.check_size(trigger)?;
        let at_ms = self.now_ms();
        let new = NewEvent {
            id: self.row_id(),
            tenant,
            kind: kind.to_owned(),
            key: event::key_of(&trigger.context),
            name: event::name(&trigger.context),
            event: trigger.context.clone(),
            at_ms,
            oldest_ms: at_ms.saturating_sub(runtime.settings.kept_events_ms).saturating_sub(MARGIN_MS),
            most: runtime.settings.kept_events_per_subject,
        };
        match self.commit(Write::Signal(Box::new(SignalWrite::Event(new)))).await? {
            Outcome::Committed { .. } => {}
            other => return Err(unexpected(other).into()),
        }
        failpoint::hit("event.kept");
        runtime.events_wait();
        Ok(true)
    }
}
