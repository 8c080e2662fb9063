//! How an integration of a target is tested: by a question that changes nothing there, where the service has one; by a message
//! that says that it is a test, where all that is known is the address of a channel.

use core314_actors::ports::executor::{Attempt, Connection, Performed, Trial};
use core314_actors::ports::integration::Integration;
use core314_domain::log::Failure;
use serde_json::json;

use super::{no_integration, pagerduty, sendgrid, slack_api, smtp, twilio};
use crate::executors::client::{HttpClient, invalid, performed};
use crate::executors::redact::Redactor;
use crate::executors::service::{self, Inquiry};

/// How this one is tested; `None` for a kind that is no target's.
pub fn of(integration: &Integration) -> Option<Trial> {
    let has_bot = integration.definition.credentials.contains_key(slack_api::TOKEN);
    match integration.kind.as_str() {
        "slack" if has_bot => Some(Trial::Probe),
        "smtp" | "sendgrid" | "twilio" | "pagerduty" => Some(Trial::Probe),
        "slack" | "teams" | "discord" => {
            // Those who read the channel see that it was tried.
            let text = format!("Core314 reaches this channel: a test of the integration {}.", integration.name);
            Some(Trial::Action(json!({"text": text})))
        }
        _ => None,
    }
}

/// Asks the service of an attempt's integration what changes nothing there.
pub async fn probe(http: &HttpClient, attempt: &Attempt) -> Performed {
    if attempt.connection.as_deref().is_some_and(|connection| connection.kind.word == smtp::KIND.word) {
        let mut redactor = Redactor::of(attempt);
        let outcome = smtp::probe(http, attempt, &mut redactor).await;
        return performed(outcome, &redactor, None);
    }
    service::probe(http, attempt, question(attempt)).await
}

/// The integration of an attempt, and what it is asked.
fn question(attempt: &Attempt) -> Result<(&Connection, Inquiry), Failure> {
    let none = || invalid(&no_integration(&attempt.action_target));
    let connection = attempt.connection.as_deref().ok_or_else(none)?;
    let question: Inquiry = match connection.kind.word {
        "slack" => slack_api::probe,
        "sendgrid" => sendgrid::probe,
        "twilio" => twilio::probe,
        "pagerduty" => pagerduty::probe,
        _ => return Err(none()),
    };
    Ok((connection, question))
}

#[cfg(test)]
mod tests {
    use super::super::KINDS;
    use super::*;
    use core314_domain::ids::{Owner, RowId, UserId};
    use core314_domain::integration::Definition;
    use serde_json::Value;
    use uuid::Uuid;

    fn of_kind(kind: &str, credentials: &Value) -> Option<Trial> {
        let definition: Definition = serde_json::from_value(json!({"credentials": credentials})).expect("a definition");
        of(&Integration {
            id: RowId(Uuid::nil()),
            owner: Owner::new(UserId(Uuid::nil()), None),
            name: "it".to_owned(),
            kind: kind.to_owned(),
            definition,
            is_active: true,
            version: 1,
            created_at_ms: 0,
            updated_at_ms: 0,
        })
    }

    #[test]
    fn every_kind_has_a_trial() {
        for kind in KINDS {
            assert!(of_kind(kind.word, &json!({})).is_some(), "{}", kind.word);
        }
        assert_eq!(of_kind("slack", &json!({"bot_token": "secrets.BOT"})), Some(Trial::Probe));
        assert!(matches!(of_kind("slack", &json!({"webhook_url": "secrets.HOOK"})), Some(Trial::Action(_))));
        assert_eq!(of_kind("pagerduty", &json!({})), Some(Trial::Probe));
        assert_eq!(of_kind("http", &json!({})), None);
    }
}
