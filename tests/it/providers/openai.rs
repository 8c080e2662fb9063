//! Chat completions, as OpenAI's API has them (version 1). What is kept are the requests that were taken.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Posted, Provider, Reply};

pub const KEY: &str = "sk-planted-openai-key-0001";

pub fn start() -> Arc<Provider> {
    Provider::start(judge)
}

pub fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"message": message, "type": code, "param": null, "code": code}}))
}

/// An answer of the model with these words.
pub fn says(content: &str, finish_reason: &str) -> Reply {
    let message = json!({"role": "assistant", "content": content, "refusal": null});
    let choice = json!({"index": 0, "finish_reason": finish_reason, "logprobs": null, "message": message});
    let usage = json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18});
    let body = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "small-2025", "choices": [choice], "usage": usage});
    Reply::json(200, &body)
}

fn judge(posted: &Posted) -> Result<(Value, Reply), Reply> {
    if posted.header("authorization") != format!("Bearer {KEY}") {
        return Err(error(401, "invalid_api_key", "Incorrect API key provided."));
    }
    if (posted.method.as_str(), posted.path.as_str()) == ("GET", "/v1/models") {
        let model = json!({"id": "small", "object": "model", "created": 1, "owned_by": "octo"});
        return Err(Reply::json(200, &json!({"object": "list", "data": [model]})));
    }
    if (posted.method.as_str(), posted.path.as_str()) != ("POST", "/v1/chat/completions") {
        return Err(error(404, "unknown_url", "Unknown request URL"));
    }
    let invalid = |message: &str| error(400, "invalid_request_error", message);
    let asked = posted.json().ok_or_else(|| invalid("We could not parse the JSON body of your request."))?;
    if asked["model"] != "small" {
        return Err(error(404, "model_not_found", "The model does not exist or you do not have access to it."));
    }
    let is_message = |message: &Value| {
        ["system", "user"].contains(&message["role"].as_str().unwrap_or_default()) && message["content"].is_string()
    };
    if !asked["messages"].as_array().is_some_and(|list| !list.is_empty() && list.iter().all(is_message)) {
        return Err(invalid("Invalid type for 'messages'"));
    }
    if asked["max_completion_tokens"].as_u64().is_none_or(|tokens| tokens == 0) {
        return Err(invalid("this test expects a budget"));
    }
    let format = &asked["response_format"];
    let is_format = format.is_null()
        || (format["type"] == "json_schema"
            && format["json_schema"]["name"].is_string()
            && format["json_schema"]["schema"].is_object());
    if !is_format {
        return Err(invalid("Invalid value: 'response_format'"));
    }
    let content = if format.is_null() { "It is the fan." } else { "{\"cause\": \"fan\", \"confidence\": 0.8}" };
    Ok((asked, says(content, "stop")))
}
