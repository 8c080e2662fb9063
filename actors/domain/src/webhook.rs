//! What a webhook is told when it is made: how callers prove themselves, what makes two deliveries one, what is answered.
//! Whoever makes one by the API says it, and a flow's trigger for the webhook that goes with it; both are checked here.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::expr::{ExprError, Expression, Names, Template, Type, Types};
use crate::run::known_types;
use crate::words::{RunStatus, words};

/// What the key of a delivery may name: there is no run yet.
const KEY_ROOTS: &[&str] = &["trigger", "webhook", "tenant", "now"];
/// What an answer may name: the run is over.
const ANSWER_ROOTS: &[&str] = &["trigger", "webhook", "input", "steps", "flow", "run", "tenant", "now"];
/// The longest time for which a caller waits for the flow's answer.
const MAX_WAIT_SECONDS: u32 = 60;
/// The most by which a delivery's time of sending may be off.
const MAX_TOLERANCE_SECONDS: u32 = 3_600;
/// The longest text among those of a signature's form.
const MAX_TEXT_CHARS: usize = 100;

words! {
    /// How a webhook verifies its callers: by a secret that ends the URL, by a signature of a known form or of one that is
    /// described (`hmac`), or by `Authorization: Bearer SECRET`.
    Verification {
        UrlSecret = "url_secret", StandardWebhooks = "standard_webhooks", Github = "github", Slack = "slack",
        Hmac = "hmac", Bearer = "bearer",
    }
}

impl Verification {
    /// Whether a signature is computed with the secret, so that its digest alone would not do.
    pub const fn is_signature(self) -> bool {
        !matches!(self, Self::UrlSecret | Self::Bearer)
    }
}

/// The hash function of the HMAC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    Sha1,
    #[default]
    Sha256,
    Sha512,
}

/// How a signature's bytes are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    #[default]
    Hex,
    Base64,
}

/// A provider whose form has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    Stripe,
}

/// The form of a signature, as a client describes it: a preset alone, or a header and the rest as far as it differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "HmacForm")]
pub struct HmacForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// The header with the signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// `sha256` where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// `hex` where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// What stands before the signature in the header, such as `sha256=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What divides the header's parts, where it has several, such as `,`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<char>,
    /// The header with the time of sending, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// What stands before that time among the parts of the signature's header, such as `t=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_prefix: Option<String>,
    /// How far that time may be off: 1 to 3600 seconds; 300 where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance_seconds: Option<u32>,
    /// What is signed, with `{body}`, `{timestamp}` and `{id}` in it; `{body}` where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// The header with the delivery's own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_header: Option<String>,
}

/// A webhook's answer that waits for the run's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// How long callers wait: 1 to 60 seconds. A run that takes longer is answered as if nothing waited for it.
    #[schemars(range(min = 1, max = 60))]
    pub wait_seconds: u32,
    /// A template over `trigger`, `webhook`, `steps` and `run` (its `status`, `output`, `error`); absent: the run's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

/// What is wrong with a part, by its JSON pointer within what was given.
pub type Fault = (String, String);

/// Whether callers can prove themselves in this way: `hmac` needs a sound form, and nothing else has one.
pub fn check_proof(verification: Verification, form: Option<&HmacForm>) -> Result<(), Fault> {
    let fault = |message: &str| Err(("/hmac".to_owned(), message.to_owned()));
    match (verification, form) {
        (Verification::Hmac, None) => {
            fault("is required for the verification hmac: a preset, or a header and the rest")
        }
        (Verification::Hmac, Some(form)) => {
            form.check().map_err(|(field, message)| (format!("/hmac/{field}"), message))
        }
        (_, Some(_)) => fault("is for the verification hmac alone"),
        (_, None) => Ok(()),
    }
}

impl HmacForm {
    /// The field that is wrong, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |field, message: &str| Err((field, message.to_owned()));
        if let Some(Preset::Stripe) = self.preset {
            let is_alone = *self == Self { preset: self.preset, ..Self::default() };
            return if is_alone { Ok(()) } else { wrong("preset", "says everything: leave the other fields out") };
        }
        if self.header.is_none() {
            return wrong("header", "is required, unless a preset is named");
        }
        for (field, name) in
            [("header", &self.header), ("timestamp_header", &self.timestamp_header), ("id_header", &self.id_header)]
        {
            if name.as_ref().is_some_and(|name| !is_header_name(name)) {
                return wrong(field, "must be the name of a header");
            }
        }
        let texts = [("signed", &self.signed), ("timestamp_prefix", &self.timestamp_prefix), ("prefix", &self.prefix)];
        if let Some(&(field, _)) = texts.iter().find(|(_, text)| text.as_ref().is_some_and(|text| !is_shown(text))) {
            return Err((field, format!("must have 1 to {MAX_TEXT_CHARS} characters that can be seen")));
        }
        if self.timestamp_header.is_some() && self.timestamp_prefix.is_some() {
            return wrong("timestamp_prefix", "one of timestamp_header and timestamp_prefix is enough");
        }
        if self.tolerance_seconds.is_some_and(|seconds| !(1..=MAX_TOLERANCE_SECONDS).contains(&seconds)) {
            return Err(("tolerance_seconds", format!("must be 1 to {MAX_TOLERANCE_SECONDS}")));
        }
        let signed = self.signed.as_deref().unwrap_or("{body}");
        if !signed.contains("{body}") {
            return wrong("signed", "must contain {body}: a signature over less proves nothing of it");
        }
        let is_timed = self.timestamp_header.is_some() || self.timestamp_prefix.is_some();
        if signed.contains("{timestamp}") != is_timed {
            let message = "{timestamp} and where it stands (timestamp_header or timestamp_prefix) go together";
            return wrong("signed", message);
        }
        if signed.contains("{id}") && self.id_header.is_none() {
            return wrong("id_header", "is required where {id} is signed");
        }
        if self.timestamp_prefix.is_some() && self.separator.is_none() {
            return wrong("separator", "is required where the time stands among the header's parts");
        }
        Ok(())
    }
}

/// A token of RFC 9110.
fn is_header_name(name: &str) -> bool {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=MAX_TEXT_CHARS).contains(&name.len()) && name.bytes().all(is_of_token)
}

fn is_shown(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= MAX_TEXT_CHARS && !text.contains(char::is_control)
}

/// The expression that names a delivery. Types are checked where it is new: what a later checker finds is no reason to stop
/// what runs.
pub fn delivery_key(source: &str, is_new: bool) -> Result<Expression, ExprError> {
    let types = known_types();
    let names = Names::new(KEY_ROOTS, &[]);
    Expression::parse(source, &if is_new { names.typed(&types) } else { names })
}

impl Respond {
    /// The template of the answer, where it has one of its own. Types are checked where it is new.
    pub fn template(&self, is_new: bool) -> Result<Option<Template>, Fault> {
        if !(1..=MAX_WAIT_SECONDS).contains(&self.wait_seconds) {
            return Err(("/wait_seconds".to_owned(), format!("must be 1 to {MAX_WAIT_SECONDS}")));
        }
        let Some(body) = &self.body else { return Ok(None) };
        let steps = step_names(body);
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        let (types, names) = (answer_types(), Names::new(ANSWER_ROOTS, &steps));
        let template = Template::parse(body, &if is_new { names.typed(&types) } else { names });
        template.map(Some).map_err(|error| (format!("/body{}", error.pointer), error.to_string()))
    }
}

/// What an answer is made of: the run is over.
fn answer_types() -> Types {
    let ended = Type::object([
        ("id", Type::Text),
        ("status", Type::Word(RunStatus::WORDS)),
        ("output", Type::Dyn),
        ("error", Type::Dyn),
    ]);
    Types { run: ended, ..known_types() }
}

/// The steps that a template names. Which steps there are is known only by the run that is answered with: one that it
/// does not have makes the answer fail then, by name.
fn step_names(body: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(body, &mut names);
    names
}

fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            for (at, word) in text.match_indices("steps") {
                let rest = &text[at + word.len()..];
                let name: String = if let Some(rest) = rest.strip_prefix('.') {
                    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
                } else {
                    let quoted =
                        rest.strip_prefix("['").map(|r| (r, '\'')).or(rest.strip_prefix("[\"").map(|r| (r, '"')));
                    quoted
                        .and_then(|(rest, quote)| rest.split_once(quote))
                        .map_or_else(String::new, |(n, _)| n.to_owned())
                };
                if !name.is_empty() {
                    names.insert(name);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        Value::Object(members) => members.values().for_each(|member| collect(member, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_verified_is_refused_by_its_field() {
        for (form, field) in [
            (json!({}), "header"),
            (json!({"header": "a b"}), "header"),
            (json!({"header": ""}), "header"),
            (json!({"header": "x", "id_header": "a:b"}), "id_header"),
            (json!({"header": "x", "signed": "v0"}), "signed"),
            (json!({"header": "x", "signed": "{timestamp}{body}"}), "signed"),
            (json!({"header": "x", "timestamp_header": "t"}), "signed"),
            (json!({"header": "x", "signed": "{id}{body}"}), "id_header"),
            (json!({"header": "x", "signed": "{timestamp}{body}", "timestamp_prefix": "t="}), "separator"),
            (json!({"header": "x", "timestamp_header": "t", "timestamp_prefix": "t="}), "timestamp_prefix"),
            (json!({"header": "x", "tolerance_seconds": 0}), "tolerance_seconds"),
            (json!({"header": "x", "tolerance_seconds": 3_601}), "tolerance_seconds"),
            (json!({"header": "x", "prefix": "é\n"}), "prefix"),
            (json!({"preset": "stripe", "header": "x"}), "preset"),
        ] {
            let read: HmacForm = serde_json::from_value(form.clone()).expect("the shape is right");
            assert_eq!(read.check().expect_err("refused").0, field, "{form}");
            let pointer = check_proof(Verification::Hmac, Some(&read)).expect_err("refused").0;
            assert_eq!(pointer, format!("/hmac/{field}"));
        }
        for sound in [json!({"header": "X-Sign", "prefix": "é"}), json!({"preset": "stripe"})] {
            let read: HmacForm = serde_json::from_value(sound).expect("a form");
            assert_eq!(check_proof(Verification::Hmac, Some(&read)), Ok(()));
            assert_eq!(check_proof(Verification::Github, Some(&read)).expect_err("no form").0, "/hmac");
        }
        assert_eq!(check_proof(Verification::Hmac, None).expect_err("a form").0, "/hmac");
        assert_eq!(check_proof(Verification::Github, None), Ok(()));
    }

    #[test]
    fn the_steps_that_an_answer_names_are_found_in_it() {
        let body =
            json!({"a": "{{ steps.one.output }}", "b": ["{{ steps['two-b'].status }}"], "c": "{{ run.output }}"});
        assert_eq!(step_names(&body).into_iter().collect::<Vec<_>>(), ["one", "two-b"]);
    }
}
