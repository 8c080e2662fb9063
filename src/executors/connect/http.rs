//! The kind `http`: any service that is reached by HTTP, with its way of authentication.
//!
//! A payload names a `path` below the integration's endpoint, or a `url` within it. Neither can lead elsewhere: the
//! credentials are for this service alone.

use core314_domain::integration::{Definition, Endpoint, Kind};
use core314_domain::plan::Problem;
use reqwest::Url;

use super::{Address, auth};
use crate::executors::payload::{Reader, Reading};

/// The kind.
pub const KIND: Kind = Kind {
    word: "http",
    about: "Any service that is reached by HTTP.",
    endpoint: Some(Endpoint::HTTP),
    credentials: auth::CREDENTIALS,
    settings: auth::SETTINGS,
    check,
};

fn check(definition: &Definition) -> Vec<Problem> {
    let mut problems = auth::problems(definition);
    problems.extend(endpoint_problem(definition));
    problems
}

/// An endpoint that no URL can be made of.
pub fn endpoint_problem(definition: &Definition) -> Option<Problem> {
    let text = definition.endpoint.as_deref()?;
    Url::parse(text).err().map(|error| Problem::new("/endpoint", format!("is no URL: {error}")))
}

/// Where an `api_call` goes: `path` is read below the address of an integration.
pub fn read_target(address: Address<'_>, reader: &mut Reader<'_>, reading: Reading) -> Option<Url> {
    let (has_path, has_url) = (reader.has("path"), reader.has("url"));
    match address {
        Address::InPayload | Address::Absent if has_path => {
            let message = "needs an integration: name one of the kind http in action_target, or give a url";
            let problem = Problem::new("/path", message);
            let may_come = matches!(address, Address::Absent) && !has_url;
            reader.problems.push(if may_come { problem.of_absence() } else { problem });
            None
        }
        Address::InPayload | Address::Absent => address.read(reader, reading),
        _ if has_path && has_url => {
            reader.problem(&["path"], "only one of url, path can be given");
            None
        }
        Address::Elsewhere if reading == Reading::Document => {
            reader.text("path");
            reader.text("url");
            None
        }
        Address::Elsewhere => {
            reader.problem(&[], "the integration has no endpoint");
            None
        }
        Address::At(endpoint) => {
            let key = if has_url { "url" } else { "path" };
            let text = reader.text(key).unwrap_or_default();
            let found = if has_url { within(endpoint, text.trim()) } else { below(endpoint, text) };
            found.map_err(|problem| reader.problem(&[key], problem)).ok()
        }
    }
}

/// A URL that must lie within an endpoint.
fn within(endpoint: &str, text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    keep_within(endpoint, url)
}

/// A path below an endpoint, whatever it begins with.
fn below(endpoint: &str, path: &str) -> Result<Url, String> {
    let base = endpoint.trim_end_matches('/');
    let path = path.trim_start_matches('/');
    let text = if path.is_empty() { endpoint.to_owned() } else { format!("{base}/{path}") };
    let url = Url::parse(&text).map_err(|error| format!("makes no URL with the integration's endpoint: {error}"))?;
    keep_within(endpoint, url)
}

/// Refuses a URL that leaves the endpoint: its credentials go nowhere else.
pub fn keep_within(endpoint: &str, url: Url) -> Result<Url, String> {
    let base = Url::parse(endpoint).map_err(|error| format!("the integration's endpoint is no URL: {error}"))?;
    let own = base.path().trim_end_matches('/');
    let is_below = url.path().strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    // Many servers take an encoded slash or dot for one.
    let decoded = url.path().to_ascii_lowercase().replace("%2f", "/").replace("%5c", "/").replace("%2e", ".");
    let is_straight = decoded.split('/').all(|part| part != "..");
    let is_plain = url.username().is_empty() && url.password().is_none();
    if base.origin() == url.origin() && is_below && is_straight && is_plain {
        Ok(url)
    } else {
        Err(format!("leaves the integration's endpoint {endpoint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_its_endpoint() {
        let endpoint = "https://api.example/v1/";
        for (path, expected) in [
            ("users", "https://api.example/v1/users"),
            ("/users?a=1", "https://api.example/v1/users?a=1"),
            ("", "https://api.example/v1/"),
            ("//evil.example/x", "https://api.example/v1/evil.example/x"),
            ("https://evil.example/", "https://api.example/v1/https://evil.example/"),
            ("a/../b", "https://api.example/v1/b"),
        ] {
            assert_eq!(below(endpoint, path).map(String::from), Ok(expected.to_owned()), "{path}");
        }
        for path in ["../admin", "%2e%2e/admin", "a/../../admin", "..\\admin", "../v10/x"] {
            let refused = below(endpoint, path).expect_err(path);
            assert_eq!(refused, "leaves the integration's endpoint https://api.example/v1/", "{path}");
        }
    }

    #[test]
    fn a_url_stays_within_its_endpoint() {
        let endpoint = "https://api.example/v1";
        assert!(within(endpoint, "https://api.example/v1/x").is_ok());
        assert!(within(endpoint, "https://API.example:443/v1").is_ok());
        for url in [
            "https://evil.example/v1/x",
            "http://api.example/v1/x",
            "https://api.example:444/v1/x",
            "https://api.example/v10",
            "https://u:p@api.example/v1/x",
            "https://api.example@evil.example/v1",
        ] {
            assert!(within(endpoint, url).is_err(), "{url}");
        }
    }
}
