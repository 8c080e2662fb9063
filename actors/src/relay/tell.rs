//! Telling people of a run that has ended badly: an action for each channel that its flow names.

use std::sync::Arc;

use core314_domain::document::channels;
use core314_domain::ids::{FlowId, RunId};
use core314_domain::words::TriggerType;
use serde_json::{Value, json};

use super::Starter;
use crate::ingress::{IdempotencyRequest, Target, Trigger, TriggerError};
use crate::ports::signal::Occurrence;

/// Channels take titles and messages of some length.
const MAX_TITLE_CHARS: usize = 200;
const MAX_MESSAGE_CHARS: usize = 2_000;

impl Starter {
    /// What tells the channels of a run's flow. `None`: there is nobody to tell any more. The outer error is one that
    /// passes.
    pub(super) async fn telling(
        &self,
        occurrence: &Occurrence,
        run: &Value,
    ) -> Result<Result<Option<Trigger>, TriggerError>, TriggerError> {
        let flow = run["orchestration_flow_id"].as_str().and_then(|id| id.parse().ok()).map(FlowId);
        let Some((flow, version)) = flow.zip(run["flow_version"].as_i64()) else { return Ok(Ok(None)) };
        let Some(stored) = self.runtime.catalog.flow_version(flow, version).await? else { return Ok(Ok(None)) };
        let document = match channels::telling(&stored.document) {
            Ok(Some(document)) => document,
            Ok(None) => return Ok(Ok(None)),
            Err(error) => return Ok(Err(TriggerError::Failed(error.to_string()))),
        };
        Ok(Ok(Some(Trigger {
            owner: occurrence.owner,
            target: Target::Action(Arc::new(document)),
            trigger_type: TriggerType::Manual,
            source: occurrence.kind.as_str().into(),
            context: Arc::new(context(occurrence, run)),
            webhook: Arc::default(),
            triggered_by: occurrence.by.as_str().into(),
            decision_event_id: None,
            recommendation_id: None,
            parent_run_id: Some(RunId(occurrence.subject)),
            run_key: None,
            // A client's own key cannot hold a space.
            idempotency: Some(IdempotencyRequest { key: format!("occurrence {}", occurrence.id), body_hash: [0; 32] }),
        })))
    }
}

/// What the channels are told.
fn context(occurrence: &Occurrence, run: &Value) -> Value {
    // As it ended then: it may have been taken up again since.
    let status = occurrence.context["run_status"].as_str().unwrap_or("failed");
    let flow = run["flow_name"].as_str().unwrap_or_default();
    let error = run["error"].as_str().filter(|error| !error.trim().is_empty());
    let message =
        error.map_or_else(|| format!("Run {} says no more.", run["id"].as_str().unwrap_or_default()), str::to_owned);
    json!({
        "run_id": run["id"], "flow_id": run["orchestration_flow_id"], "flow_name": flow, "run_status": status,
        "title": cut(&format!("{flow}: {}", status.replace('_', " ")), MAX_TITLE_CHARS),
        "message": cut(&message, MAX_MESSAGE_CHARS),
    })
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_where_characters_end() {
        assert_eq!((cut("abc", 3), cut("äöüß", 3)), ("abc".to_owned(), "äö…".to_owned()));
    }
}
