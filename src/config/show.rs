//! The configuration for people: keys, values, sources; secrets masked.

use figment::value::Value;
use serde::Serialize;

use super::rules::{self, Rule};

/// What stands for a secret that is set.
const MASK: &str = "********";

/// One key as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    pub key: String,
    pub value: serde_json::Value,
    pub source: String,
}

/// A key with its value, masked where it is a secret.
pub fn shown(key: &str, value: &Value, source: String) -> Shown {
    let plain = plain(value);
    let value = match (rules::rule(key), plain.as_str()) {
        (Some(rule), Some(text)) if rule.is_secret() && !text.is_empty() => MASK.into(),
        (Some(Rule::DatabaseUrl | Rule::WebUrl), Some(text)) => without_password(text).into(),
        _ => plain,
    };
    Shown { key: key.to_owned(), value, source }
}

/// A value without the mark of its source.
pub fn plain(value: &Value) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A URL with its password masked, be it before the host or in the query.
fn without_password(url: &str) -> String {
    let masked = match (url.split_once("://"), url.rfind('@')) {
        (Some((scheme, rest)), Some(_)) => {
            let (credentials, place) = rest.rsplit_once('@').unwrap_or_default();
            match credentials.split_once(':') {
                Some((user, _)) => format!("{scheme}://{user}:{MASK}@{place}"),
                None => url.to_owned(),
            }
        }
        _ => url.to_owned(),
    };
    let Some((before, after)) = masked.split_once("password=") else {
        return masked;
    };
    let rest = after.find('&').map_or("", |at| &after[at..]);
    format!("{before}password={MASK}{rest}")
}
