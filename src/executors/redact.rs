//! What may be kept of a payload, a result or another side's words: everything but secrets.
//!
//! Three things mark a secret: the name it stands under (`password`, `X-Api-Key`, …), its own form (`Bearer …`, a JWT,
//! `scheme://user:password@host`), and that it is one of this attempt's own secrets coming back, as in the answer of a
//! server that echoes its request. Redaction is for what is stored and shown; what is sent is never altered.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use core314_actors::ports::executor::Attempt;
use core314_domain::Json;
pub use core314_domain::secret::REDACTED;
use core314_domain::secret::Secrets;
use regex::Regex;
use reqwest::Url;
use serde_json::Value;

/// Shorter values are not looked for in answers: they would be found everywhere.
const MIN_SECRET_CHARS: usize = 6;
/// Shorter parts of a secret address are words that stand in many addresses.
const MIN_URL_PART_CHARS: usize = 16;
/// How many of an attempt's own secrets are looked for.
const MAX_SECRETS: usize = 32;

/// What the names of secrets contain.
const PARTS: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "authorization",
    "cookie",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
    "authkey",
];

/// Whether a key or a header names a secret. Case, `-` and `_` do not matter.
pub fn is_secret_name(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase()).collect();
    PARTS.iter().any(|part| plain.contains(part))
        || plain.ends_with("token")
        || matches!(plain.as_str(), "pwd" | "auth")
}

/// Forms of secrets, and what replaces each. The names of the first two are those of [`is_secret_name`], as they occur
/// in running text.
const FORMS: [(&str, &str); 9] = [
    (
        r#"(?i)([\w-]*(?:passw(?:or)?d|passphrase|secret|token|authorization|cookie|api[_-]?key|access[_-]?key|private[_-]?key|credential)[\w-]*"\s*:\s*)"(?:[^"\\]|\\.)*""#,
        "$1\"[redacted]\"",
    ),
    (
        r#"(?i)\b([\w-]*(?:passw(?:or)?d|pwd|passphrase|secret|token|authorization|api[_-]?key|access[_-]?key|private[_-]?key|credential)(?:[_-][\w-]*)?\\?["']?\s*[:=]\s*\\?["']?)(?:(?:bearer|basic|digest)\s+)?[^\s"'\\&,;<>{}\[\]()]+"#,
        "$1[redacted]",
    ),
    (r#"(?i)\b((?:set-)?cookie\s*:\s*)[^\s"][^\r\n]*"#, "$1[redacted]"),
    (r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{16,}", "$1 [redacted]"),
    (r#"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@"'<>]+@"#, "$1[redacted]@"),
    (r#"(?i)([?&](?:key|sig|signature|auth|code)=)[^\s&#"'<>]+"#, "$1[redacted]"),
    // JWTs and the tokens of well-known services.
    (r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*", REDACTED),
    (
        r"\b(?:whsec_[\w+/=-]{8,}|sk-[\w-]{16,}|xox[a-z]-[\w-]{10,}|gh[a-z]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|AKIA[0-9A-Z]{16})",
        REDACTED,
    ),
    // Addresses whose path is the secret: Slack, Teams, Telegram, Discord, and this server's own hooks.
    (
        r"(?i)(hooks\.slack(?:-gov)?\.com/[a-z]+/|/webhookb2/|api\.telegram\.org/bot|/api/webhooks/\d+/|/hooks/[0-9a-f-]{36}/)[\w:/@-]+",
        "$1[redacted]",
    ),
];

/// Whether a text may hold one of the forms. Most texts hold none, and every payload of every attempt is looked through:
/// this one scan of ASCII costs a hundredth of a search for the forms themselves.
static SUSPICIOUS: LazyLock<Regex> = LazyLock::new(|| {
    let parts = [
        "passw|pwd|passphrase|secret|token|authorization|cookie|(?:api|access|private)[_-]?key|credential",
        "bearer|basic",
        "://[!-.0-~]*@|[?&](?:key|sig|signature|auth|code)=",
        r"eyJ|whsec_|\bsk-|xox[a-z]-|gh[a-z]_|github_pat_|glpat-|AKIA",
        r"hooks\.slack(?:-gov)?\.com/|/webhookb2/|api\.telegram\.org/|/api/webhooks/|/hooks/",
    ];
    Regex::new(&format!("(?i-u){}", parts.join("|"))).expect("the parts are constant and tested")
});
static EACH_FORM: LazyLock<Vec<Regex>> =
    LazyLock::new(|| FORMS.map(|(form, _)| Regex::new(form).expect("the forms are constant and tested")).to_vec());

/// A text without what has the form of a secret.
pub fn forms(text: &str) -> Cow<'_, str> {
    let mut out = Cow::Borrowed(text);
    if SUSPICIOUS.is_match(text) {
        for (form, (_, replacement)) in EACH_FORM.iter().zip(FORMS) {
            if let Cow::Owned(changed) = form.replace_all(&out, replacement) {
                out = Cow::Owned(changed);
            }
        }
    }
    out
}

/// Knows the secrets of one attempt: those that stand in its payload under a name, and those that it was given.
#[derive(Debug)]
pub struct Redactor {
    logged: Json,
    secrets: Vec<String>,
    given: Secrets,
}

impl Redactor {
    /// Redacts a payload and remembers the secrets that stood in it under a name.
    pub fn new(payload: &Json) -> Self {
        let mut secrets = Vec::new();
        let logged = redacted(payload, false, &mut secrets).map_or_else(|| payload.clone(), Arc::new);
        Self { logged, secrets, given: Secrets::default() }.in_order()
    }

    /// The same for an attempt, with the secrets that it was given.
    pub fn of(attempt: &Attempt) -> Self {
        Self { given: Secrets::clone(&attempt.secrets), ..Self::new(&attempt.payload) }
    }

    /// The same for an attempt whose `url` is a secret.
    pub fn of_secret_url(attempt: &Attempt) -> Self {
        Self { given: Secrets::clone(&attempt.secrets), ..Self::with_secret_url(&attempt.payload) }
    }

    /// One more secret, such as a token that was got with another.
    pub fn hide(&mut self, secret: &str) {
        self.given.add(secret);
    }

    /// The same for a payload whose `url` is itself the secret that lets one send, as that of a chat's webhook is. Of it
    /// scheme, host and port remain.
    pub fn with_secret_url(payload: &Json) -> Self {
        let mut redactor = Self::new(payload);
        if let Some(text) = payload.get("url").and_then(Value::as_str) {
            let shown = secret_url(text, &mut redactor.secrets);
            Arc::make_mut(&mut redactor.logged)["url"] = Value::String(shown);
        }
        redactor.in_order()
    }

    /// The longest first: a secret may be part of another.
    fn in_order(mut self) -> Self {
        self.secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        self.secrets.truncate(MAX_SECRETS);
        self
    }

    /// The payload as the log may keep it; the same allocation when it holds no secret.
    pub fn logged_payload(&self) -> Json {
        self.logged.clone()
    }

    /// A message for people: no secrets, no control characters, at most `max_chars` characters.
    pub fn message(&self, text: &str, max_chars: usize) -> String {
        // Bounded before the search, with room for what redaction shortens.
        let bounded: String = text.chars().take(max_chars.saturating_mul(8)).collect();
        let bounded = self.given.redact(&bounded).into_owned();
        let bounded = self.without_own(&bounded).map_or(bounded, |changed| changed);
        let clean: String =
            forms(&bounded).chars().map(|c| if c.is_control() { ' ' } else { c }).take(max_chars).collect();
        clean.trim().to_owned()
    }

    /// A result without this attempt's own secrets. Other secrets in it are data that later steps may need.
    pub fn result(&self, value: Value) -> Value {
        let value = self.given.redact_value(value);
        if self.secrets.is_empty() { value } else { self.without_named(value) }
    }

    fn without_named(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.without_own(&text).unwrap_or(text)),
            Value::Array(items) => items.into_iter().map(|item| self.without_named(item)).collect(),
            Value::Object(map) => map.into_iter().map(|(key, value)| (key, self.without_named(value))).collect(),
            other => other,
        }
    }

    /// `None` when nothing had to be changed.
    fn without_own(&self, text: &str) -> Option<String> {
        let mut changed: Option<String> = None;
        for secret in &self.secrets {
            let current = changed.as_deref().unwrap_or(text);
            if current.contains(secret.as_str()) {
                changed = Some(current.replace(secret.as_str(), REDACTED));
            }
        }
        changed
    }
}

/// The redacted value, or `None` when it can stay as it is. What stands under a secret's name is a secret with all that
/// is in it.
fn redacted(value: &Value, is_secret: bool, secrets: &mut Vec<String>) -> Option<Value> {
    match value {
        Value::String(text) if is_secret => {
            remember(text, secrets);
            Some(Value::String(REDACTED.to_owned()))
        }
        Value::String(text) => match forms(text) {
            Cow::Owned(changed) => Some(Value::String(changed)),
            Cow::Borrowed(_) => None,
        },
        Value::Array(items) => {
            let mut changed: Option<Vec<Value>> = None;
            for (at, item) in items.iter().enumerate() {
                if let Some(new) = redacted(item, is_secret, secrets) {
                    changed.get_or_insert_with(|| items.clone())[at] = new;
                }
            }
            changed.map(Value::Array)
        }
        Value::Object(map) => {
            let mut changed: Option<serde_json::Map<String, Value>> = None;
            for (key, item) in map {
                if let Some(new) = redacted(item, is_secret || is_secret_name(key), secrets) {
                    changed.get_or_insert_with(|| map.clone())[key] = new;
                }
            }
            changed.map(Value::Object)
        }
        // A number under a secret's name, such as a PIN, is hidden, too.
        Value::Number(_) if is_secret => Some(Value::String(REDACTED.to_owned())),
        _ => None,
    }
}

/// Remembers an address and the parts of it that tell secrets, and gives what may be shown of it.
fn secret_url(text: &str, secrets: &mut Vec<String>) -> String {
    let Ok(url) = Url::parse(text.trim()) else {
        remember(text, secrets);
        return REDACTED.to_owned();
    };
    let path = url.path().trim_start_matches('/');
    let whole = [path].into_iter().chain(url.query()).chain(url.password());
    let query: Vec<_> = url.query_pairs().map(|(_, value)| value).collect();
    let parts = path.split('/').chain(query.iter().map(AsRef::as_ref));
    let parts = parts.filter(|part| part.chars().count() >= MIN_URL_PART_CHARS);
    secrets.extend(whole.filter(|part| part.chars().count() >= MIN_SECRET_CHARS).chain(parts).map(str::to_owned));
    format!("{}/{REDACTED}", url.origin().ascii_serialization())
}

/// A header's value is a secret as a whole and without its scheme: `Bearer x` and `x`.
fn remember(text: &str, secrets: &mut Vec<String>) {
    let bare = text.split_once(' ').map(|(_, rest)| rest.trim());
    for secret in [Some(text), bare].into_iter().flatten() {
        if secret.chars().count() >= MIN_SECRET_CHARS {
            secrets.push(secret.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn redactor(payload: Value) -> Redactor {
        Redactor::new(&Arc::new(payload))
    }

    #[test]
    fn names_of_secrets() {
        for name in [
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "set-cookie",
            "X-Api-Key",
            "api_key",
            "apiKey",
            "X-Auth-Token",
            "access_token",
            "PRIVATE-TOKEN",
            "client_secret",
            "db_password",
            "aws_secret_access_key",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["max_tokens", "author", "key", "Idempotency-Key", "Content-Type", "tokenizer", "webhook-id"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn forms_of_secrets_in_running_text() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
        for (text, expected) in [
            ("Authorization: Bearer abc.def, then", "Authorization: [redacted], then"),
            ("Authorization: Basic dTpw", "Authorization: [redacted]"),
            ("used Bearer abcdefghijklmnop12 here", "used Bearer [redacted] here"),
            (r#"{"password":"a \"b\" c","user":"u"}"#, r#"{"password":"[redacted]","user":"u"}"#),
            ("password=hunter2&user=u", "password=[redacted]&user=u"),
            (r#"{\"client_secret\": \"x1y2\"}"#, r#"{\"client_secret\": \"[redacted]\"}"#),
            ("api-key: k1 was refused", "api-key: [redacted] was refused"),
            ("Cookie: a=1; b=2\nnext", "Cookie: [redacted]\nnext"),
            ("postgres://joe:pw@db:5432/x", "postgres://[redacted]@db:5432/x"),
            ("https://h/x?sig=abc%2F&a=1", "https://h/x?sig=[redacted]&a=1"),
            ("https://h/x?access_token=abc", "https://h/x?access_token=[redacted]"),
            ("https://hooks.slack.com/services/T0/B0/xyz failed", "https://hooks.slack.com/services/[redacted] failed"),
            (
                "POST https://hooks.slack-gov.com/services/T0/B0/xyz is gone",
                "POST https://hooks.slack-gov.com/services/[redacted] is gone",
            ),
            (
                "https://x.webhook.office.com/webhookb2/11-2@3-4/IncomingWebhook/ab/56 is gone",
                "https://x.webhook.office.com/webhookb2/[redacted] is gone",
            ),
            ("invalid key whsec_C2FVsBQIhrscChlQIMV", "invalid key [redacted]"),
            ("sk-abcdefghijklmnopqrst is wrong", "[redacted] is wrong"),
            ("xoxb-0000000000-x ghp_00000000000000000000 AKIA0000000000000000", "[redacted] [redacted] [redacted]"),
            ("glpat-0000000000000000 github_pat_00000000000000000000", "[redacted] [redacted]"),
            ("https://api.telegram.org/bot1:x/sendMessage", "https://api.telegram.org/bot[redacted]"),
            ("https://discord.com/api/webhooks/12/x-y", "https://discord.com/api/webhooks/12/[redacted]"),
            (
                "http://h/hooks/00000000-0000-7000-8000-000000000000/abc",
                "http://h/hooks/00000000-0000-7000-8000-000000000000/[redacted]",
            ),
        ] {
            assert_eq!(forms(text), expected);
        }
        assert_eq!(forms(jwt), REDACTED);
    }

    #[test]
    fn plain_words_stay() {
        for text in [
            "Bearer authentication is required",
            "the maximum of max_tokens: 500 is passed",
            "mail joe@example.com about https://example.com/a?b=c",
            "no route to host",
            r#"{"error":"not found","code":404}"#,
        ] {
            assert!(matches!(forms(text), Cow::Borrowed(_)), "{text} became {}", forms(text));
        }
    }

    #[test]
    fn a_payload_without_secrets_is_not_copied() {
        let payload =
            Arc::new(json!({"url": "https://example.com/a", "headers": {"Accept": "text/plain"}, "json": [1]}));
        assert!(Arc::ptr_eq(&payload, &Redactor::new(&payload).logged_payload()));
    }

    #[test]
    fn a_payloads_secrets_are_replaced_by_name_and_by_form() {
        let redactor = redactor(json!({
            "url": "https://joe:pw@example.com/a?token=t&b=1",
            "headers": {"Authorization": "Bearer abc", "X-API-Key": ["one", "two"], "Accept": "*/*"},
            "json": {"credentials": {"user": "u", "pin": 1234}, "note": "Bearer abcdefghijklmnop12"},
        }));
        assert_eq!(
            *redactor.logged_payload(),
            json!({
                "url": "https://[redacted]@example.com/a?token=[redacted]&b=1",
                "headers": {"Authorization": "[redacted]", "X-API-Key": ["[redacted]", "[redacted]"], "Accept": "*/*"},
                "json": {"credentials": {"user": "[redacted]", "pin": "[redacted]"}, "note": "Bearer [redacted]"},
            })
        );
    }

    #[test]
    fn what_is_redacted_stays_as_it_is() {
        let payload = Arc::new(json!({
            "url": "https://joe:pw@example.com/a?token=t&b=1",
            "headers": {"Authorization": "Bearer abc", "X-API-Key": ["one", "two"]},
            "note": "Cookie: a=b; password=x Bearer abcdefghijklmnop12",
        }));
        for redact in [Redactor::new, Redactor::with_secret_url] {
            let once = redact(&payload).logged_payload();
            assert_ne!(once, payload);
            assert_eq!(redact(&once).logged_payload(), once);
        }
    }

    #[test]
    fn an_attempts_own_secrets_do_not_come_back() {
        let redactor = redactor(json!({"headers": {"X-Api-Key": "planted-one"}, "secret": "Token planted-two"}));
        let echoed = json!({"args": ["x planted-one y", {"t": "planted-two"}], "n": 1});
        assert_eq!(redactor.result(echoed), json!({"args": ["x [redacted] y", {"t": "[redacted]"}], "n": 1}));
        assert_eq!(redactor.message("bad planted-two", 100), "bad [redacted]");
    }

    #[test]
    fn an_address_that_is_a_secret_keeps_its_origin_alone() {
        let url =
            "https://joe:planted-pw@chat.example:8443/services/T0/planted-token-0001?sv=1.0&sig=planted-signature";
        let redactor = Redactor::with_secret_url(&Arc::new(json!({"url": url, "text": "hi"})));
        let shown = json!({"url": "https://chat.example:8443/[redacted]", "text": "hi"});
        assert_eq!(*redactor.logged_payload(), shown);
        for words in [
            format!("cannot reach {url}"),
            "POST /services/T0/planted-token-0001 HTTP/1.1".to_owned(),
            "no such hook: planted-token-0001".to_owned(),
            "bad signature planted-signature".to_owned(),
            "https://chat.example:8443/services/T0/planted-token-0001".to_owned(),
        ] {
            assert!(!redactor.message(&words, 500).contains("planted"), "{}", redactor.message(&words, 500));
            assert!(!redactor.result(json!([words])).to_string().contains("planted"));
        }
        let broken = Redactor::with_secret_url(&Arc::new(json!({"url": "planted, no URL"})));
        assert_eq!(*broken.logged_payload(), json!({"url": "[redacted]"}));
        let none = Arc::new(json!({"text": "hi"}));
        assert!(Arc::ptr_eq(&none, &Redactor::with_secret_url(&none).logged_payload()));
    }

    #[test]
    fn a_message_is_bounded_and_printable() {
        let redactor = redactor(json!({}));
        assert_eq!(redactor.message("\u{1b}[31mno\0\r\nway\u{9b}", 100), "[31mno   way");
        assert_eq!(redactor.message(&"ä".repeat(2_000), 500).chars().count(), 500);
    }
}
