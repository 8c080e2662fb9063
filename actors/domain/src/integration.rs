//! Integrations: named connections of a tenant to services outside, as people define them.
//!
//! A [`Kind`] says what a service needs; it is declared by the executors that speak with it. A [`Definition`] fills that in:
//! where the service is, which secrets open it, and what else it wants to know. It holds no secret, only their names.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::breaker::BreakerPolicy;
use crate::limits::Rate;
use crate::plan::Problem;
use crate::retry::RetryPolicy;
use crate::secret;
use crate::suggest::meant_or_known;

/// The credential that a person's consent brings, and the setting that says where people consent.
pub const REFRESH_TOKEN: &str = "refresh_token";
pub const AUTHORIZATION_URL: &str = "authorization_url";
const MAX_NAME_CHARS: usize = 64;
const MAX_ENDPOINT_CHARS: usize = 2_000;
/// Bytes of all settings as JSON.
const MAX_SETTINGS_BYTES: usize = 64 * 1024;

/// What an integration is made of, beside its name and kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "IntegrationDefinition")]
pub struct Definition {
    /// Where the service is: an address without credentials. Absent: the kind's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Where else the same service is: it takes over while the breaker of the endpoint is open, and hands back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_endpoint: Option<String>,
    /// By what the kind calls it the secret that holds it, as `secrets.NAME`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, String>,
    /// What else the kind wants to know; nothing that is secret.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
    /// How many calls go at once, how fast they start, and how long one may take.
    #[serde(skip_serializing_if = "CallLimits::is_none")]
    pub limits: CallLimits,
    /// When the service is left alone because it is ill; absent: as the defaults say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerPolicy>,
    /// How a failed action is tried again where neither its step nor its flow says; absent: as the defaults say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
}

/// What bounds the calls to a service. A full limit delays, and fails nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CallLimits {
    /// Calls under way at once: 1 to 10,000. Absent: without limit.
    #[schemars(range(min = 1, max = 10_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How fast calls start. Absent: without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<CallRate>,
    /// An attempt that would be given longer is given this long, in milliseconds: 1 to 86,400,000.
    #[schemars(range(min = 1, max = 86_400_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// How fast calls start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallRate {
    /// How many may start in `per_seconds`: 1 to 1,000,000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: u32,
    /// 1 to 86,400.
    #[schemars(range(min = 1, max = 86_400))]
    #[serde(default = "one")]
    pub per_seconds: u32,
    /// How many may start at once after a pause: 1 to 1,000,000.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(default = "one")]
    pub burst: u32,
}

fn one() -> u32 {
    1
}

impl CallLimits {
    /// Whether it bounds nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The rate as buckets know it.
    pub fn rate(&self) -> Option<Rate> {
        self.rate.map(|rate| {
            let (of_us, max) = (i64::from(rate.per_seconds) * 1_000_000, i64::from(rate.max.max(1)));
            Rate { interval_us: (of_us + max - 1) / max, burst: rate.burst.max(1) }
        })
    }

    fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut check = |is_sound: bool, field: &str, message: &str| {
            if !is_sound {
                found.push(Problem::new(format!("/limits/{field}"), message));
            }
        };
        check(self.concurrency.is_none_or(|max| (1..=10_000).contains(&max)), "concurrency", "must be 1 to 10000");
        check(self.timeout_ms.is_none_or(|ms| (1..=86_400_000).contains(&ms)), "timeout_ms", "must be 1 to 86400000");
        if let Some(rate) = self.rate {
            check((1..=1_000_000).contains(&rate.max), "rate/max", "must be 1 to 1000000");
            check((1..=86_400).contains(&rate.per_seconds), "rate/per_seconds", "must be 1 to 86400");
            check((1..=1_000_000).contains(&rate.burst), "rate/burst", "must be 1 to 1000000");
        }
        found
    }
}

/// What executors can connect to: one service, or all that speak one protocol.
#[derive(Debug)]
pub struct Kind {
    /// The word in documents and tables.
    pub word: &'static str,
    /// One sentence for people.
    pub about: &'static str,
    /// `None`: it is elsewhere than at an address, or a credential is the address.
    pub endpoint: Option<Endpoint>,
    pub credentials: &'static [Field],
    pub settings: &'static [Field],
    /// What the lists cannot say: which fields go together, and what the values of settings may be.
    pub check: fn(&Definition) -> Vec<Problem>,
}

/// What a kind's address is like.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// Schemes that it may have.
    pub schemes: &'static [&'static str],
    /// Where the service is for everybody; `None`: it must be given.
    pub default: Option<&'static str>,
}

impl Endpoint {
    /// An address of HTTP that must be given.
    pub const HTTP: Self = Self { schemes: &["https", "http"], default: None };
    /// A service that is at one address for everybody.
    pub const fn at(default: &'static str) -> Self {
        Self { schemes: &["https", "http"], default: Some(default) }
    }
}

/// A credential or setting of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    /// One sentence for people.
    pub about: &'static str,
    pub is_required: bool,
}

impl Field {
    pub const fn required(name: &'static str, about: &'static str) -> Self {
        Self { name, about, is_required: true }
    }

    pub const fn optional(name: &'static str, about: &'static str) -> Self {
        Self { name, about, is_required: false }
    }
}

/// What is wrong with the name of an integration. It stands in documents and paths.
pub fn name_problem(name: &str) -> Option<String> {
    let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !(is_plain && begins) || name.len() > MAX_NAME_CHARS {
        return Some(format!(
            "must be a letter or digit, then letters, digits, `_`, `-` and `.`; at most {MAX_NAME_CHARS}"
        ));
    }
    name.parse::<uuid::Uuid>()
        .is_ok()
        .then(|| "must not look like an id: integrations are also named by theirs".to_owned())
}

impl Definition {
    /// What is wrong with it for this kind.
    pub fn problems(&self, kind: &Kind) -> Vec<Problem> {
        let mut found = Vec::new();
        self.check_endpoint(kind, &mut found);
        let given: Vec<&str> = self.credentials.keys().map(String::as_str).collect();
        check_fields("credentials", kind.credentials, &given, &mut found);
        for (name, reference) in &self.credentials {
            if secret::referred(reference).is_none() {
                // What stands there may be a secret by mistake, so it is not repeated.
                let message = "must name a secret, as `secrets.NAME`; `core314 secret set NAME` keeps its value";
                found.push(Problem::new(pointer("credentials", name), message));
            }
        }
        let given: Vec<&str> = self.settings.keys().map(String::as_str).collect();
        check_fields("settings", kind.settings, &given, &mut found);
        let bytes = Value::Object(self.settings.clone()).to_string().len();
        if bytes > MAX_SETTINGS_BYTES {
            let message = format!("has {bytes} bytes as JSON, at most {MAX_SETTINGS_BYTES} are kept");
            found.push(Problem::new("/settings", message));
        }
        found.extend(self.limits.problems());
        let breaker = self.breaker.iter().flat_map(BreakerPolicy::problems);
        found.extend(breaker.map(|problem| Problem { pointer: format!("/breaker{}", problem.pointer), ..problem }));
        let retry = self.retry.iter().flat_map(RetryPolicy::problems);
        found.extend(retry.map(|(field, message)| Problem::new(format!("/retry/{field}"), message)));
        if found.is_empty() {
            found = (kind.check)(self);
        }
        found
    }

    fn check_endpoint(&self, kind: &Kind, found: &mut Vec<Problem>) {
        let mut wrong = |message: String| found.push(Problem::new("/endpoint", message));
        match (&self.endpoint, kind.endpoint) {
            (Some(_), None) => wrong(format!("the kind {} has no endpoint", kind.word)),
            (None, Some(Endpoint { default: None, .. })) => wrong("is required".to_owned()),
            (Some(text), Some(of)) => {
                if let Some(problem) = address_problem(text, of.schemes) {
                    wrong(problem);
                }
            }
            (None, _) => {}
        }
        let mut wrong = |message: String| found.push(Problem::new("/backup_endpoint", message));
        match (&self.backup_endpoint, kind.endpoint) {
            (Some(_), None) => wrong(format!("the kind {} has no endpoint", kind.word)),
            (Some(text), Some(of)) => {
                if let Some(problem) = address_problem(text, of.schemes) {
                    wrong(problem);
                }
            }
            (None, _) => {}
        }
    }

    /// Where the service is.
    pub fn endpoint_of<'a>(&'a self, kind: &'a Kind) -> Option<&'a str> {
        self.endpoint.as_deref().or(kind.endpoint.and_then(|of| of.default))
    }

    /// The secrets that its credentials are, by the credential.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.credentials.iter().filter_map(|(field, reference)| Some((field.as_str(), secret::referred(reference)?)))
    }

    /// Whether a credential is brought by a person's consent, and so need not be there before.
    pub fn is_brought(&self, credential: &str) -> bool {
        credential == REFRESH_TOKEN && self.settings.contains_key(AUTHORIZATION_URL)
    }

    /// A setting that is a text.
    pub fn text(&self, setting: &str) -> Option<&str> {
        self.settings.get(setting).and_then(Value::as_str)
    }
}

fn pointer(list: &str, name: &str) -> String {
    format!("/{list}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn check_fields(list: &str, known: &[Field], given: &[&str], found: &mut Vec<Problem>) {
    let names: Vec<&str> = known.iter().map(|field| field.name).collect();
    for name in given.iter().filter(|name| !names.contains(name)) {
        let shown: String = name.chars().take(60).collect();
        let rest =
            if names.is_empty() { "; there are none".to_owned() } else { meant_or_known(&shown, &names, "known:") };
        found.push(Problem::new(pointer(list, name), format!("unknown name `{shown}`{rest}")));
    }
    for field in known.iter().filter(|field| field.is_required && !given.contains(&field.name)) {
        found.push(Problem::new(pointer(list, field.name), format!("is required: {}", field.about)));
    }
}

/// What is wrong with an address, as far as it can be seen without reading it as its protocol does.
fn address_problem(text: &str, schemes: &[&str]) -> Option<String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Some(format!("must be an address that begins with one of: {}", shown(schemes)));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if !schemes.contains(&scheme) {
        Some(format!("must begin with one of: {}", shown(schemes)))
    } else if authority.is_empty() {
        Some("has no host".to_owned())
    } else if authority.contains('@') {
        Some("must not hold credentials: keep them as secrets and name them in `credentials`".to_owned())
    } else if rest.contains(['?', '#']) {
        Some("must not have a query or a fragment".to_owned())
    } else if text.chars().any(|c| c.is_control() || c.is_whitespace()) || text.chars().count() > MAX_ENDPOINT_CHARS {
        Some(format!("must have at most {MAX_ENDPOINT_CHARS} characters, none of them a space or a control character"))
    } else {
        None
    }
}

fn shown(schemes: &[&str]) -> String {
    schemes.iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KIND: Kind = Kind {
        word: "sample",
        about: "A sample.",
        endpoint: Some(Endpoint::HTTP),
        credentials: &[Field::required("token", "opens it")],
        settings: &[Field::optional("channel", "where to")],
        check: |definition| {
            let is_text = definition.settings.get("channel").is_none_or(Value::is_string);
            if is_text { Vec::new() } else { vec![Problem::new("/settings/channel", "must be a text")] }
        },
    };

    fn problems(definition: Value) -> Vec<String> {
        let definition: Definition = serde_json::from_value(definition).expect("a definition");
        definition.problems(&KIND).into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
    }

    #[test]
    fn a_definition_is_what_its_kind_asks_for() {
        let token = json!({"token": "secrets.T"});
        assert_eq!(problems(json!({"endpoint": "https://h/x", "credentials": token})), [] as [String; 0]);
        for (definition, expected) in [
            (json!({"credentials": token}), "/endpoint: is required"),
            (
                json!({"endpoint": "h", "credentials": token}),
                "/endpoint: must be an address that begins with one of: https://, http://",
            ),
            (
                json!({"endpoint": "ftp://h", "credentials": token}),
                "/endpoint: must begin with one of: https://, http://",
            ),
            (json!({"endpoint": "https:///x", "credentials": token}), "/endpoint: has no host"),
            (
                json!({"endpoint": "https://u:p@h/", "credentials": token}),
                "/endpoint: must not hold credentials: keep them as secrets and name them in `credentials`",
            ),
            (
                json!({"endpoint": "https://h/?a=1", "credentials": token}),
                "/endpoint: must not have a query or a fragment",
            ),
            (json!({"endpoint": "https://h"}), "/credentials/token: is required: opens it"),
            (
                json!({"endpoint": "https://h", "credentials": {"token": "xoxb-1"}}),
                "/credentials/token: must name a secret, as `secrets.NAME`; `core314 secret set NAME` keeps its value",
            ),
            (
                json!({"endpoint": "https://h", "credentials": token, "settings": {"chanel": 1}}),
                "/settings/chanel: unknown name `chanel`; did you mean `channel`?",
            ),
            (
                json!({"endpoint": "https://h", "credentials": token, "limits": {"concurrency": 0}}),
                "/limits/concurrency: must be 1 to 10000",
            ),
            (
                json!({"endpoint": "https://h", "credentials": token, "limits": {"rate": {"max": 0}}}),
                "/limits/rate/max: must be 1 to 1000000",
            ),
            (
                json!({"endpoint": "https://h", "credentials": token, "breaker": {"failure_rate": 2}}),
                "/breaker/failure_rate: must be more than 0 and at most 1",
            ),
            (
                json!({"endpoint": "https://h", "credentials": token, "retry": {"max_attempts": 101}}),
                "/retry/max_attempts: must be 1 to 100, is 101",
            ),
            (
                json!({"endpoint": "https://h", "backup_endpoint": "h", "credentials": token}),
                "/backup_endpoint: must be an address that begins with one of: https://, http://",
            ),
            (
                json!({"endpoint": "https://h", "credentials": token, "settings": {"channel": 1}}),
                "/settings/channel: must be a text",
            ),
        ] {
            assert_eq!(problems(definition), [expected]);
        }
    }

    #[test]
    fn names_stand_in_paths() {
        for name in ["slack", "team-slack", "a.b_c", "1"] {
            assert_eq!(name_problem(name), None, "{name}");
        }
        for name in ["", "-a", "a b", "a/b", "ä", "01930000-0000-7000-8000-0000000000aa", &"x".repeat(65)] {
            assert!(name_problem(name).is_some(), "{name}");
        }
    }
}
