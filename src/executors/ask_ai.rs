//! `ask_ai`: asks a language model, by the chat completions that OpenAI's API has and many servers speak
//! (<https://platform.openai.com/docs/api-reference/chat>, version 1).
//!
//! With a `schema` the answer is JSON that is checked here against it, whatever the model promises: one that does not
//! hold may be asked for again. What has the form of a secret is taken out of a prompt, and a prompt can name none.

mod own;

use std::fmt;
use std::sync::Arc;

use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Connection, Executor, Performed, Target, Trial};
use core314_actors::ports::integration::Integration;
use core314_domain::Json;
use core314_domain::form::Form;
use core314_domain::integration::{Definition, Endpoint, Field, Kind};
use core314_domain::json as bounds;
use core314_domain::log::{Failure, HttpFigures};
use core314_domain::plan::Problem;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::{self, HttpClient, invalid};
use super::connect::http::endpoint_problem;
use super::failure::Code;
use super::payload::{Reader, Reading};
use super::redact::{self, Redactor};
use super::service::{self, Ask, Inquiry, Performing, Service};
pub use own::ModelsError;
use own::OwnModels;

const KEYS: [&str; 6] = ["prompt", "system", "schema", "model", "max_tokens", "temperature"];
const API_KEY: &str = "api_key";
const MODEL: &str = "model";
const MAX_TOKENS: &str = "max_tokens";
/// What the request calls the most tokens of an answer.
const TOKENS_KEY: &str = "tokens_key";
const TOKENS_KEYS: [&str; 2] = ["max_completion_tokens", "max_tokens"];
/// Tokens of an answer, where nobody says it.
const TOKENS: i64 = 1_024;
const MAX_MODEL_CHARS: usize = 200;

/// What the configuration says about models: section `[executors.ai]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AiSettings {
    /// Of `prompt` and `system` together, in bytes.
    pub max_prompt_bytes: usize,
    /// No answer may have more.
    pub max_tokens: i64,
    /// Of the server's own service of models; empty: none is sent.
    pub api_key: String,
    /// Where that is. Empty: the kind's own address, if there is a key.
    pub base_url: String,
    /// Its model, where a payload names none; empty: each must.
    pub model: String,
    /// Who may ask it.
    pub tenants: Vec<String>,
}

/// Without the key, and without the address, which may hold one.
impl fmt::Debug for AiSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AiSettings")
            .field("max_prompt_bytes", &self.max_prompt_bytes)
            .field("max_tokens", &self.max_tokens)
            .field("model", &self.model)
            .field("tenants", &self.tenants)
            .finish_non_exhaustive()
    }
}

/// The kind of its integrations.
pub const KIND: Kind = Kind {
    word: "openai",
    about: "A language model by the chat completions of OpenAI's API, of OpenAI or of any server that speaks them.",
    endpoint: Some(Endpoint::at("https://api.openai.com/v1")),
    credentials: &[Field::optional(API_KEY, "the key; a server of one's own may need none")],
    settings: &[
        Field::optional(MODEL, "the model, where the payload names none"),
        Field::optional(MAX_TOKENS, "the most tokens of an answer"),
        Field::optional(TOKENS_KEY, "what the server calls that: max_completion_tokens (default) or max_tokens"),
    ],
    check,
};

fn check(definition: &Definition) -> Vec<Problem> {
    let mut found: Vec<Problem> = endpoint_problem(definition).into_iter().collect();
    for name in [MODEL, TOKENS_KEY] {
        if definition.settings.get(name).is_some_and(|value| !value.is_string()) {
            found.push(Problem::new(format!("/settings/{name}"), "must be a text"));
        }
    }
    if definition.text(TOKENS_KEY).is_some_and(|key| !TOKENS_KEYS.contains(&key)) {
        let message = format!("is not one of: {}", TOKENS_KEYS.join(", "));
        found.push(Problem::new(format!("/settings/{TOKENS_KEY}"), message));
    }
    if definition.settings.get(MAX_TOKENS).is_some_and(|value| value.as_i64().is_none_or(|tokens| tokens < 1)) {
        found.push(Problem::new(format!("/settings/{MAX_TOKENS}"), "must be a whole number from 1"));
    }
    found
}

/// Asks language models.
#[derive(Debug)]
pub struct AskAi {
    http: Arc<HttpClient>,
    settings: AiSettings,
    own: Option<Arc<OwnModels>>,
}

impl AskAi {
    /// An executor that shares a client.
    pub fn new(http: Arc<HttpClient>, settings: AiSettings) -> Result<Self, ModelsError> {
        let own = OwnModels::new(&settings)?.map(Arc::new);
        Ok(Self { http, settings, own })
    }
}

/// What a payload says.
#[derive(Debug)]
struct Question {
    prompt: String,
    system: Option<String>,
    schema: Option<(Value, Form)>,
    model: Option<String>,
    max_tokens: Option<i64>,
    temperature: Option<f64>,
}

impl Executor for AskAi {
    fn action_type(&self) -> &'static str {
        "ask_ai"
    }

    fn kinds(&self) -> &'static [&'static Kind] {
        &[&KIND]
    }

    /// What is asked is told to somebody else, who may keep it.
    fn takes_secrets(&self, _: &str) -> bool {
        false
    }

    /// The server's own models go so, though an integration for something else has that name.
    fn is_own_word(&self, word: &str) -> bool {
        self.own.is_some() && OwnModels::is_named(word)
    }

    fn check(&self, to: &Target<'_>, payload: &Value) -> Vec<Problem> {
        let own = self.own.as_deref().filter(|_| OwnModels::is_named(to.word));
        let settings = match (to.integration, own) {
            (Some(integration), _) => &integration.definition.settings,
            (None, Some(own)) => own.settings(),
            (None, None) => return vec![no_integration(to.word)],
        };
        read(payload, Reading::Document, &self.settings, settings).err().unwrap_or_default()
    }

    fn logged(&self, payload: &Json) -> Json {
        Redactor::new(payload).logged_payload()
    }

    fn trial(&self, integration: &Integration) -> Option<Trial> {
        (integration.kind == KIND.word).then_some(Trial::Probe)
    }

    fn probe(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let http = self.http.clone();
        Box::pin(async move {
            let none = || invalid(&[no_integration(&attempt.action_target)]);
            let found = attempt.connection.as_deref().ok_or_else(none);
            service::probe(&http, &attempt, found.map(|connection| (connection, models as Inquiry))).await
        })
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let (http, settings, own) = (self.http.clone(), self.settings.clone(), self.own.clone());
        Box::pin(async move {
            let mut figures = None;
            let mut redactor = Redactor::of(&attempt);
            let outcome = match connection(own.as_deref(), &attempt) {
                Ok(connection) => perform(&http, &settings, (&attempt, connection), &mut redactor, &mut figures).await,
                Err(failure) => Err(failure),
            };
            client::performed(outcome, &redactor, figures)
        })
    }
}

fn no_integration(word: &str) -> Problem {
    let own = if OwnModels::is_named(word) { ", or models that the server's configuration names" } else { "" };
    let message = format!("action_target '{word}' names no integration: it needs one of the kind openai{own}");
    let problem = Problem::new("", message);
    // One without a name cannot come later.
    if word.is_empty() { problem } else { problem.of_absence() }
}

/// Who is asked: the integration of an attempt, or else the server's own models.
fn connection<'a>(own: Option<&'a OwnModels>, attempt: &'a Attempt) -> Result<&'a Connection, Failure> {
    if let Some(connection) = attempt.connection.as_deref() {
        return Ok(connection);
    }
    let own = own.filter(|_| OwnModels::is_named(&attempt.action_target));
    let none = || invalid(&[no_integration(&attempt.action_target)]);
    own.ok_or_else(none)?.connection(attempt.owner.tenant)
}

async fn perform(
    http: &HttpClient,
    settings: &AiSettings,
    (attempt, connection): (&Attempt, &Connection),
    redactor: &mut Redactor,
    figures: &mut Option<HttpFigures>,
) -> Result<Value, Failure> {
    let question = read(&attempt.payload, Reading::Rendered, settings, &connection.settings);
    let question = question.map_err(|problems| invalid(&problems))?.expect("a rendered payload is read whole");
    // Whoever runs the server pays for its own models, and says which.
    let named = connection.text(MODEL);
    if attempt.connection.is_none() && named.is_some() && question.model.as_deref().is_some_and(|m| named != Some(m)) {
        return Err(invalid(&[Problem::new("/model", "is the server's for its own models: leave it out")]));
    }
    let mut service = Service::new(http, attempt, connection)?;
    let outcome = asked(&mut service, connection, settings, &question).await;
    (*redactor, *figures) = (service.redactor, service.figures);
    outcome
}

async fn asked(
    service: &mut Service<'_>,
    connection: &Connection,
    settings: &AiSettings,
    question: &Question,
) -> Result<Value, Failure> {
    sign_in(service, connection)?;
    let body = request(connection, settings, question);
    let answer = service.ask(Ask::question(&["chat", "completions"], &body)).await;
    judge(&answer.map_err(spent)?, question)
}

/// Which models there are: no model is asked, and nothing is paid.
fn models<'a>(service: &'a mut Service<'_>, connection: &'a Connection) -> Performing<'a> {
    Box::pin(async move {
        sign_in(service, connection)?;
        let answer = service.ask(Ask::get(&["models"], &[])).await?;
        let unexpected = || Code::UnexpectedAnswer.failure(format!("an answer without models: {}", answer["body"]));
        let models = answer["body"]["data"].as_array().ok_or_else(unexpected)?;
        Ok(json!({"models": models.len()}))
    })
}

fn sign_in(service: &mut Service<'_>, connection: &Connection) -> Result<(), Failure> {
    match connection.credential(API_KEY) {
        Some(key) => {
            // An attempt was given those of its integration alone, and not the server's.
            service.redactor.hide(key.trim());
            service.header(AUTHORIZATION, &format!("Bearer {}", key.trim()))
        }
        None => Ok(()),
    }
}

fn request(connection: &Connection, settings: &AiSettings, question: &Question) -> Value {
    let message = |role: &str, text: &str| json!({"role": role, "content": redact::forms(text)});
    let system = question.system.as_deref().map(|text| message("system", text));
    let messages: Vec<Value> = system.into_iter().chain([message("user", &question.prompt)]).collect();
    let own = connection.settings.get(MAX_TOKENS).and_then(Value::as_i64);
    // The payload may ask for less than the integration allows, never for more.
    let most = own.unwrap_or(settings.max_tokens).min(settings.max_tokens);
    let tokens = question.max_tokens.unwrap_or(own.unwrap_or(TOKENS)).min(most);
    let mut body = json!({
        "model": question.model.as_deref().or(connection.text(MODEL)).unwrap_or_default(),
        "messages": messages,
    });
    body[connection.text(TOKENS_KEY).unwrap_or(TOKENS_KEYS[0])] = tokens.into();
    if let Some(temperature) = question.temperature {
        body["temperature"] = temperature.into();
    }
    if let Some((schema, _)) = &question.schema {
        let format = json!({"name": "answer", "schema": schema});
        body["response_format"] = json!({"type": "json_schema", "json_schema": format});
    }
    body
}

/// A budget of money that is spent comes as 429 like a rate that is too high, but no patience mends it.
fn spent(failure: Failure) -> Failure {
    if failure.code == Code::RateLimited.word() && failure.message.contains("insufficient_quota") {
        return Failure { retryable: false, retry_after_ms: None, ..failure };
    }
    failure
}

fn judge(answer: &Value, question: &Question) -> Result<Value, Failure> {
    let body = &answer["body"];
    let choice = &body["choices"][0];
    let message = &choice["message"];
    if let Some(refusal) = message["refusal"].as_str() {
        return Err(Failure::fatal(Code::Refused.word(), refusal));
    }
    match choice["finish_reason"].as_str() {
        Some("length") => {
            return Err(Failure::fatal(Code::InvalidAnswer.word(), "the answer is longer than max_tokens allows"));
        }
        Some("content_filter") => {
            return Err(Failure::fatal(Code::Refused.word(), "the service's filter kept the answer back"));
        }
        _ => {}
    }
    let unexpected = || Code::UnexpectedAnswer.failure(format!("an answer without a message: {body}"));
    let text = message["content"].as_str().ok_or_else(unexpected)?;
    let said = match &question.schema {
        None => Value::String(text.to_owned()),
        Some((_, form)) => checked(text, form)?,
    };
    let usage = &body["usage"];
    let spent = json!({"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]});
    Ok(json!({"answer": said, "model": body["model"], "usage": spent}))
}

/// An answer that holds against its schema.
fn checked(text: &str, form: &Form) -> Result<Value, Failure> {
    let wrong = |why: String| Code::InvalidAnswer.failure(format!("the answer is not what the schema asks for: {why}"));
    let value: Value = serde_json::from_str(text).map_err(|error| wrong(format!("no JSON: {error}")))?;
    if bounds::too_deep(&value) {
        return Err(wrong("it nests too deep".to_owned()));
    }
    form.fill(&bounds::without_nul(value)).map_err(|problems| {
        let list: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect();
        wrong(list.join("; "))
    })
}

/// Reads a payload; `None` when it is right as far as can be seen before it is rendered.
fn read(
    payload: &Value,
    reading: Reading,
    settings: &AiSettings,
    integration: &Map<String, Value>,
) -> Result<Option<Question>, Vec<Problem>> {
    let mut reader = match Reader::new(payload, reading) {
        Ok(reader) => reader,
        Err(problems) if problems.is_empty() => return Ok(None),
        Err(problems) => return Err(problems),
    };
    reader.only(&KEYS);
    if !reader.has("prompt") {
        reader.problem(&["prompt"], "is required");
    }
    if !reader.has(MODEL) && !integration.contains_key(MODEL) {
        let message =
            "is required, unless the integration has a setting 'model', or the server's configuration names one";
        reader.problem(&[MODEL], message);
    }
    let prompt = reader.said("prompt", settings.max_prompt_bytes).map(str::to_owned);
    let system = reader.said("system", settings.max_prompt_bytes).map(str::to_owned);
    let bytes = [&prompt, &system].into_iter().flatten().map(String::len).sum::<usize>();
    if bytes > settings.max_prompt_bytes {
        let message = format!("has {bytes} bytes with system, at most {} are sent", settings.max_prompt_bytes);
        reader.problem(&["prompt"], message);
    }
    let model = reader.said(MODEL, MAX_MODEL_CHARS).map(str::to_owned);
    let most = u64::try_from(settings.max_tokens).unwrap_or_default();
    let max_tokens = reader.whole(MAX_TOKENS, 1, most).map(|tokens| tokens as i64);
    let temperature = reader.get("temperature").and_then(|value| {
        let temperature = value.as_f64().filter(|number| (0.0..=2.0).contains(number));
        if temperature.is_none() {
            reader.problem(&["temperature"], "must be a number from 0 to 2");
        }
        temperature
    });
    let schema = reader.get("schema").and_then(|schema| match Form::compile(schema) {
        Ok(form) => Some((schema.clone(), form)),
        Err(problems) => {
            for problem in problems {
                reader.problems.push(Problem::new(format!("/schema{}", problem.pointer), problem.message));
            }
            None
        }
    });
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    Ok(prompt.map(|prompt| Question { prompt, system, schema, model, max_tokens, temperature }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: AiSettings = AiSettings {
        max_prompt_bytes: 100,
        max_tokens: 500,
        api_key: String::new(),
        base_url: String::new(),
        model: String::new(),
        tenants: Vec::new(),
    };

    fn problems(payload: &Value) -> Vec<String> {
        let own = Map::from_iter([(MODEL.to_owned(), json!("m"))]);
        let problems = read(payload, Reading::Document, &SETTINGS, &own).err().unwrap_or_default();
        problems.into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
    }

    #[test]
    fn mistakes_are_found_in_the_document() {
        for (payload, expected) in [
            (json!({}), "/prompt: is required"),
            (json!({"prompt": "x", "max_tokens": 501}), "/max_tokens: must be a whole number from 1 to 500"),
            (json!({"prompt": "x", "temperature": 3}), "/temperature: must be a number from 0 to 2"),
            (json!({"prompt": "ä".repeat(51)}), "/prompt: has 102 bytes with system, at most 100 are sent"),
        ] {
            assert_eq!(problems(&payload), [expected], "{payload}");
        }
        let schema = problems(&json!({"prompt": "x", "schema": {"$ref": "#/x"}}));
        assert!(schema[0].starts_with("/schema"), "{schema:?}");
        assert_eq!(problems(&json!({"prompt": "{{ trigger.x }}", "schema": {"type": "object"}})), [""; 0]);
    }

    #[test]
    fn an_answer_is_checked_here() {
        let schema = json!({"type": "object", "required": ["cause"], "properties": {"cause": {"type": "string"}}});
        let payload = json!({"prompt": "x", "model": "m", "schema": schema});
        let question = read(&payload, Reading::Rendered, &SETTINGS, &Map::new()).expect("good").expect("a question");
        let answer = |content: &str, reason: &str| {
            let choices = json!([{"finish_reason": reason, "message": {"content": content}}]);
            let usage = json!({"prompt_tokens": 3, "completion_tokens": 4});
            judge(&json!({"status": 200, "body": {"model": "m-1", "choices": choices, "usage": usage}}), &question)
        };
        let good = answer("{\"cause\": \"fan\"}", "stop").expect("it holds");
        assert_eq!(good["answer"], json!({"cause": "fan"}));
        assert_eq!(good["usage"], json!({"input_tokens": 3, "output_tokens": 4}));
        for (content, reason, code, retryable) in [
            ("It was the fan.", "stop", "invalid_answer", true),
            ("{\"cause\": 7}", "stop", "invalid_answer", true),
            ("{\"cause\": \"f", "length", "invalid_answer", false),
            ("", "content_filter", "refused", false),
        ] {
            let failure = answer(content, reason).expect_err(content);
            assert_eq!((failure.code.as_str(), failure.retryable), (code, retryable), "{content}");
        }
    }
}
