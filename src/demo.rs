//! The demonstration: sample flows, and a webhook that starts one of them.
//!
//! The documents are ordinary flow files that act on the receiver of `core314 dev --demo`. What is there already is left
//! as it is, found by its name or id, so that a restart doubles nothing and keeps what somebody has changed; only the
//! receiver's address follows the receiver.

use anyhow::Context;
use core314_actors::engine::{Engine, FlowDraft};
use core314_actors::ports::catalog::StoredFlow;
use core314_actors::ports::webhook::{Kept, Webhook, WebhookSecret, WebhookTarget};
use core314_domain::audit::AuditEvent;
use core314_domain::document::FlowDocument;
use core314_domain::ids::{Owner, WebhookId};
use core314_domain::words::TriggerType;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The receiver's address in the documents, as files of their own.
const RECEIVER: &str = "http://127.0.0.1:3141";
/// Where a document says which receiver it acts on.
const RECEIVER_MEMBER: &str = "receiver";
const WEBHOOK_NAME: &str = "demo";

const FLOWS: &[&str] = &[
    include_str!("demo/incident-response.yaml"),
    include_str!("demo/nightly-checks.yaml"),
    include_str!("demo/unreliable-target.yaml"),
];

/// Makes what is missing. `webhook` is its id and secret.
pub async fn set_up(engine: &Engine, owner: Owner, receiver: &str, webhook: (WebhookId, &str)) -> anyhow::Result<()> {
    for text in FLOWS {
        set_up_flow(engine, owner, receiver, text).await?;
    }
    let (id, secret) = webhook;
    if engine.webhook(id).await?.is_none() {
        let webhook = Webhook {
            id,
            owner,
            name: WEBHOOK_NAME.to_owned(),
            verification: "url_secret".to_owned(),
            options: json!({}),
            secrets: vec![WebhookSecret {
                kept: Kept::Digest(Sha256::digest(secret.as_bytes()).into()),
                ends_at_ms: None,
            }],
            target: WebhookTarget::Trigger(TriggerType::Webhook),
            dedup_key: None,
            respond: None,
            is_active: true,
            version: 1,
            created_at_ms: engine.now_ms(),
            updated_at_ms: engine.now_ms(),
        };
        let saved = engine.save_webhook(webhook, by(owner), AuditEvent::WebhookCreated).await;
        saved.context("the demonstration's webhook cannot be made")?;
    }
    Ok(())
}

async fn set_up_flow(engine: &Engine, owner: Owner, receiver: &str, text: &str) -> anyhow::Result<()> {
    let document = document(text, receiver)?;
    let name = document.flow_name.clone();
    let failed = || format!("the demonstration's flow '{name}' cannot be saved");
    let stored = engine.runtime().catalog.flow_by_name(owner.tenant, name.clone()).await?;
    match stored {
        None => {
            engine.create_flow(FlowDraft { owner, document, by: by(owner) }).await.with_context(failed)?;
        }
        Some(stored) => {
            if let Some(document) = follow(&stored, receiver)? {
                let draft = FlowDraft { owner: stored.owner, document, by: by(owner) };
                engine.update_flow(stored.id, stored.version, draft).await.with_context(failed)?;
            }
        }
    }
    Ok(())
}

fn by(owner: Owner) -> String {
    format!("user:{}", owner.user)
}

/// A sample that acts on this receiver.
fn document(text: &str, receiver: &str) -> anyhow::Result<FlowDocument> {
    FlowDocument::from_text(&text.replace(RECEIVER, receiver))
        .map_err(|error| anyhow::anyhow!("a sample flow: {error}"))
}

/// The stored flow with the receiver's new address; `None` where it has it, or acts on none.
fn follow(stored: &StoredFlow, receiver: &str) -> anyhow::Result<Option<FlowDocument>> {
    let before = stored.document.metadata.get(RECEIVER_MEMBER).and_then(Value::as_str);
    let Some(before) = before.filter(|before| !before.is_empty() && *before != receiver) else {
        return Ok(None);
    };
    let text = stored.document.to_value().to_string().replace(before, receiver);
    let moved = FlowDocument::from_text(&text)
        .map_err(|error| anyhow::anyhow!("flow '{}': {error}", stored.document.flow_name))?;
    Ok(Some(moved))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core314_domain::ids::{FlowId, UserId};
    use core314_domain::plan::{FlowPlan, PlanLimits};
    use core314_domain::words::ExecutionMode;

    const MOVED: &str = "http://127.0.0.1:4999";

    #[test]
    fn the_samples_are_sound_and_act_on_the_receiver_alone() {
        for text in FLOWS {
            let document = document(text, MOVED).unwrap();
            let plan =
                FlowPlan::compile(&document, &["api_call", "transform", "trigger_webhook"], &PlanLimits::default());
            assert_eq!(plan.err(), None, "{}", document.flow_name);
            let text = document.to_value().to_string();
            assert!(!text.contains(RECEIVER) && text.contains(MOVED), "{}", document.flow_name);
            for url in text.split("\"url\":\"").skip(1) {
                assert!(url.starts_with(MOVED), "{url}");
            }
        }
    }

    #[test]
    fn one_sample_waits_for_the_webhook_and_one_runs_in_parallel() {
        let documents: Vec<FlowDocument> = FLOWS.iter().map(|text| document(text, RECEIVER).unwrap()).collect();
        let incident = documents.iter().find(|d| d.trigger_type == TriggerType::Webhook).unwrap();
        assert!(!incident.conditions.is_null() && incident.flow_steps.len() == 3);
        let is_parallel =
            |d: &&FlowDocument| d.trigger_type == TriggerType::Manual && d.execution_mode == ExecutionMode::Parallel;
        assert_eq!(documents.iter().filter(is_parallel).count(), 1);
    }

    #[test]
    fn a_changed_flow_follows_the_receiver_and_keeps_its_changes() {
        let mut changed = document(FLOWS[0], RECEIVER).unwrap();
        changed.flow_description = "mine".to_owned();
        let owner = Owner::new(UserId(uuid::Uuid::from_u128(1)), None);
        let stored = StoredFlow { id: FlowId::new(1, 1), owner, version: 4, document: changed, created_at_ms: 1 };
        assert!(follow(&stored, RECEIVER).unwrap().is_none(), "it is where it was");
        let moved = follow(&stored, MOVED).unwrap().expect("another address");
        assert_eq!(moved.flow_description, "mine");
        assert_eq!(moved.metadata[RECEIVER_MEMBER], MOVED);
        assert!(!moved.to_value().to_string().contains(RECEIVER));
    }
}
