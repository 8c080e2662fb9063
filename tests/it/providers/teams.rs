//! Microsoft Teams: the webhook of a workflow, and that of an Office 365 connector.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Posted, Provider, Reply};

const WORKFLOW: &str = "/workflows/0123456789abcdef0123456789abcdef/triggers/manual/paths/invoke";
/// A workflow's webhook.
pub const GOOD: &str = "/workflows/0123456789abcdef0123456789abcdef/triggers/manual/paths/invoke\
    ?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=planted-teams-signature-01";
/// The same with a signature that does not hold.
pub const FORGED: &str = "/workflows/0123456789abcdef0123456789abcdef/triggers/manual/paths/invoke\
    ?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=planted-teams-signature-02";
/// A connector's webhook.
pub const CONNECTOR: &str = "/webhookb2/11111111-1111@22222222-2222/IncomingWebhook/planted-teams-connector/3333";

pub fn start() -> Arc<Provider> {
    Provider::start(judge)
}

/// As Power Automate refuses a workflow that runs too often.
pub fn throttled(seconds: &'static str) -> Reply {
    error(429, "WorkflowTriggerRateLimitExceeded").retry_after(seconds)
}

/// A connector's answer where Teams itself refused the message behind it.
pub fn refused_behind(status: u16) -> Reply {
    let words = format!(
        "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error {status} with \
         ContextId tcid=0,server=DB3PEPF0000009A,cv=BmkbJ1NdTkv1EDoqr7n/rg.0.."
    );
    Reply::text(200, &words)
}

fn error(status: u16, code: &str) -> Reply {
    Reply::json(status, &json!({"error": {"code": code, "message": "See the documentation."}}))
}

fn judge(posted: &Posted) -> Result<(Value, Reply), Reply> {
    let is_connector = posted.path == CONNECTOR;
    if !is_connector && posted.path != WORKFLOW {
        return Err(error(404, "WorkflowNotFound"));
    }
    if !is_connector && !posted.query.contains("sig=planted-teams-signature-01") {
        return Err(error(401, "AuthorizationFailed"));
    }
    if posted.method != "POST" || !posted.content_type.starts_with("application/json") {
        return Err(error(400, "InvalidRequestContent"));
    }
    if posted.body.len() > 28 * 1024 {
        return Err(if is_connector { refused_behind(413) } else { error(413, "RequestEntityTooLarge") });
    }
    let message: Value = serde_json::from_slice(&posted.body).map_err(|_| error(400, "InvalidRequestContent"))?;
    match card(&message) {
        Some(card) if is_connector => Ok((card.clone(), Reply::text(200, "1"))),
        Some(card) => Ok((card.clone(), Reply::text(202, ""))),
        None => Err(error(400, "TriggerInputSchemaMismatch")),
    }
}

/// The card of a message, if both are as documented.
fn card(message: &Value) -> Option<&Value> {
    let attachments = message["attachments"].as_array().filter(|_| message["type"] == "message")?;
    let [attachment] = attachments.as_slice() else { return None };
    let is_card = attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
        && attachment.get("contentUrl").is_some_and(Value::is_null);
    let card = Some(&attachment["content"]).filter(|_| is_card)?;
    let version = ["1.0", "1.1", "1.2", "1.3", "1.4"].map(Value::from).contains(&card["version"]);
    let body = card["body"].as_array()?.iter().all(is_element);
    let actions = card.get("actions").is_none_or(|list| list.as_array().is_some_and(|a| a.iter().all(is_action)));
    Some(card).filter(|card| card["type"] == "AdaptiveCard" && version && body && actions)
}

fn is_element(element: &Value) -> bool {
    match element["type"].as_str() {
        Some("TextBlock") => element["text"].is_string() && element.get("wrap").is_none_or(Value::is_boolean),
        Some("FactSet") => element["facts"].as_array().is_some_and(|facts| {
            !facts.is_empty() && facts.iter().all(|fact| fact["title"].is_string() && fact["value"].is_string())
        }),
        Some("Container" | "ColumnSet" | "Image" | "RichTextBlock") => true,
        _ => false,
    }
}

fn is_action(action: &Value) -> bool {
    action["type"] == "Action.OpenUrl" && action["title"].is_string() && action["url"].is_string()
}
